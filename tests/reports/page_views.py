"""A phantom's picture and one participant's rows, for tests of the pages."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd

from reports.figures.quality_figures import cohort_quality
from reports.figures.scan_picture import scan_picture
from reports.pages.view import CohortView, Drawing, PatientView
from reports.statistics.inputs import RunInfo
from tasks.anatomy import aspects_label_table
from tasks.views.key_slices import PreparedScan, key_slices

TABLE = aspects_label_table()
RUN = RunInfo("2026-01-02T03-04-05", "0.1.0", "2026-01-02T03:04:05+00:00", "c" * 64, "d" * 64, "aspects run COHORT")


@lru_cache(maxsize=1)
def picture():
    """A brain of 30 HU with 50 HU in the left M1 and a lesion in the left caudate, as stored by a CT (LPS)."""
    shape, spacing = (64, 76, 20), np.array([2.5, 2.5, 5.0])
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    x, y, z = (affine[axis, axis] * np.indices(shape)[axis] + affine[axis, 3] for axis in range(3))
    brain = (x / 65) ** 2 + (y / 80) ** 2 + (z / 48) ** 2 < 1
    labels = np.zeros(shape, dtype=np.int16)
    for label in TABLE.labels:
        side = -1 if label.side == "left" else 1
        place = {"m1": (38, 30, 0), "m4": (38, 30, 22), "caudate": (12, 0, 0)}.get(label.region)
        if place:
            box = (abs(x - side * place[0]) < 9) & (abs(y - place[1]) < 9) & (abs(z - place[2]) < 6)
            labels[box] = label.index
    left_m1 = labels == next(one.index for one in TABLE.labels if one.name == "left_m1")
    lesion = labels == next(one.index for one in TABLE.labels if one.name == "left_caudate")
    values = np.where(brain, 30.0, -1000.0)
    values[left_m1] = 50.0
    scan = PreparedScan(values, affine, brain, labels, np.eye(4), lesion)
    return scan_picture(key_slices(replace(scan, template=(brain, affine)), TABLE, (0.0, 80.0)), TABLE, "HU")


def scan_row(participant_id, **changes):
    """A row of the scans table with some quality figures."""
    row = {
        "participant_id": participant_id, "modality": "ncct", "space": "native", "path": f"{participant_id}/ct.nii.gz",
        "sha256": "a" * 64, "size_bytes": 123456, "shape": "512x512x30", "spacing_mm": "0.45x0.45x5",
        "orientation": "LPS", "status": "ok", "reason": None, "slice_step_mm": 5.0, "n_slices": 30,
        "registration_dice": 0.95, "brain_volume_ml": 1300.0, "motion_mm": None,
    }  # fmt: skip
    return {**row, **changes}


def scans_table(n=60):
    """A cohort's scans; the last one was left out for its overlap."""
    rng = np.random.default_rng(3)
    rows = [
        scan_row(f"sub-{i:04d}", registration_dice=float(rng.normal(0.95, 0.005)), brain_volume_ml=rng.normal(1300, 90))
        for i in range(n - 1)
    ]
    bad = {"status": "excluded", "reason": "registration_overlap_too_low", "registration_dice": 0.8}
    return pd.DataFrame([*rows, scan_row(f"sub-{n - 1:04d}", **bad)])


REGISTERED = {"ncct": {"registration_dice": (0.9, None)}}  # a limit of the study


def cohort_view(scans=None, **changes):
    """What all pages share."""
    quality = cohort_quality(scans_table() if scans is None else scans, REGISTERED)
    settings = {"study": "Study A", "run": RUN, "quality": quality, "columns": {"age": "Age, year"}}
    return CohortView(**{**settings, **changes})


def region_rows(participant_id, affected=(("left", "m1"),)):
    """Rows of the regions table: 20 regions by one source."""
    return [
        {
            "participant_id": participant_id, "source": "ncct-ratio", "side": label.side, "region": label.region,
            "fraction": 0.61 if (label.side, label.region) in affected else 0.02, "probability": None,
            "affected": (label.side, label.region) in affected, "rule": "wei", "status": "ok", "reason": None,
        }
        for label in TABLE.labels
    ]  # fmt: skip


def included(participant_id="sub-0001", **changes):
    """A patient with everything."""
    base = {"participant_id": participant_id, "status": "ok", "reason": None}
    views = {
        "participant": {
            "participant_id": participant_id, "site": "Centre 1", "split": None, "status": "included", "stage": None,
            "reason": None, "is_listed": True, "is_measured": True, "is_examined": True,
            "is_included": True, "severity": "mild", "age": 71.0,
        },
        "scans": [scan_row(participant_id)],
        "scores": [{**base, "source": "ncct-ratio", "score_left": 9, "score_right": 10, "score": 9,
                    "scored_side": "left", "rule": "wei"}],
        "regions": region_rows(participant_id),
        "lesions": [{**base, "source": "lesion", "volume_ml": 12.34, "volume_left_ml": 12.0, "volume_right_ml": 0.34,
                     "n_components": 2, "max_diameter_mm": 41.0, "mca_share": 0.9}],
        "provenance": [{**base, "step": "register", "digest": "1" * 64, "input_sha256": "2" * 64,
                        "settings_sha256": "3" * 64, "weights_sha256": None, "code": "register/2"}],
        "timings": [{"participant_id": participant_id, "step": "register", "seconds": 1.25, "cpu_seconds": 0.75}],
        "drawings": [Drawing("ratio-ncct", "ncct", ("ncct-ratio",), picture())],
        "sides": {"clinical table": "left", "ncct-ratio": "left"},
    }  # fmt: skip
    return PatientView(**{**views, **changes})


def left_out(participant_id="sub-0059"):
    """A patient whose scan was refused, and whose row has a fault as well."""
    common = {"participant_id": participant_id, "status": "excluded"}
    return PatientView(
        {**common, "site": None, "stage": "intake", "reason": "registration_overlap_too_low", "age": None},
        exclusions=[
            {**common, "stage": "screening", "reason": "value_out_of_range", "is_primary": False,
             "detail": "column age: value 700 must be <= 120. Check the chart."},
            {**common, "stage": "intake", "reason": "registration_overlap_too_low", "is_primary": True,
             "detail": "brain_dice must be >= 0.9, got 0.80. Check the field of view."},
        ],
        scans=[scan_row(participant_id, status="excluded", reason="registration_overlap_too_low",
                        registration_dice=0.8)],
    )  # fmt: skip
