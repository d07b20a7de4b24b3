"""A perfusion series made by hand, for tests of its picture and its panel: core in the left M1, fluid on the right."""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np

from reports.figures.perfusion_picture import PerfusionCurves, PerfusionFindings, perfusion_picture
from tasks.anatomy import aspects_label_table
from tasks.views.key_slices import PreparedScan

TABLE = aspects_label_table()
SHAPE, SPACING_MM = (64, 76, 12), np.array([2.5, 2.5, 5.0])
AIF_VOXEL, VOF_VOXEL = (30, 25, 3), (31, 66, 8)  # stored as LPS: i to the left, j to the back
TIMES_S = np.array([0.0, 2, 4, 6, 8, 10, 13, 16, 19, 22, 25, 28])
AIF_HU = np.array([0.5, -1, 1, 40, 300, 210, 90, 35, 55, 20, 28, 10])
REJECTED = 6
SERIES = {
    "core": {"cbf": 10.0, "cbv": 1.5, "mtt": 9.0, "tmax": 11.0},
    "late": {"cbf": 30.0, "cbv": 4.5, "mtt": 9.0, "tmax": 8.0},
    "brain": {"cbf": 60.0, "cbv": 3.9, "mtt": 3.9, "tmax": 1.5},
}  # what each map holds where


@lru_cache(maxsize=1)
def series():
    """The scan with its core, the maps, and hypoperfused tissue."""
    affine = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    x, y, z = (affine[axis, axis] * np.indices(SHAPE)[axis] + affine[axis, 3] for axis in range(3))
    brain = (x / 65) ** 2 + (y / 80) ** 2 + (z / 48) ** 2 < 1
    labels = np.zeros(SHAPE, dtype=np.int16)
    for label in TABLE.labels:
        side = -1 if label.side == "left" else 1
        place = {"m1": (38, 30, -8), "m4": (38, 30, 18)}.get(label.region)
        if place:
            box = (abs(x - side * place[0]) < 9) & (abs(y - place[1]) < 9) & (abs(z - place[2]) < 6)
            labels[box] = label.index
    core = (abs(x + 38) < 9) & (abs(y - 30) < 9) & (abs(z) < 30)
    late = (abs(x + 36) < 20) & (abs(y - 20) < 25) & (abs(z) < 30) & brain
    fluid = (abs(x - 20) < 8) & (abs(y + 20) < 12)
    maps = {}
    for name in ("cbf", "cbv", "mtt", "tmax"):
        values = np.where(core, SERIES["core"][name], np.where(late, SERIES["late"][name], SERIES["brain"][name]))
        maps[name] = np.where(brain & ~fluid, values, np.nan).astype(np.float32)
    values = np.where(brain, 30.0, -1000.0)
    values[AIF_VOXEL] = values[VOF_VOXEL] = 4000.0
    return PreparedScan(values, affine, brain, labels, None, core), maps, late


def curves(**changes):
    """Curves of twelve frames at uneven times, the seventh rejected."""
    is_usable = np.arange(len(TIMES_S)) != REJECTED
    found = {
        "times_s": TIMES_S, "aif": AIF_HU, "vof": np.roll(AIF_HU, 2) * 1.3, "tissue_affected": AIF_HU / 90,
        "tissue_other": AIF_HU / 45, "n_baseline_frames": 3, "arrival_s": 6.0, "is_usable": is_usable,
        "displacement_mm": np.where(is_usable, 0.2, 6.5), "aif_voxels": np.array([AIF_VOXEL]),
        "vof_voxels": np.array([VOF_VOXEL]),
    }  # fmt: skip
    return PerfusionCurves(**{**found, **changes})


FOUND = PerfusionFindings(
    core_volume_ml=12.34, hypoperfused_volume_ml=37.02, mismatch_ratio=3.0, affected_side="left", relative_cbf=0.3,
    hypoperfusion_tmax_s=6.0, aif_quality=0.87, vof_scaling=1.25,
)  # fmt: skip
REFUSED = PerfusionFindings(reason="no_arterial_input", detail="An artery must enhance by 30 HU, got <none>.")


@lru_cache(maxsize=1)
def full():
    """A series with everything, as read back from its file."""
    scan, maps, late = series()
    return json.loads(json.dumps(perfusion_picture(scan, TABLE, maps, late, curves(), FOUND)))


def refused():
    """A series without an artery: no maps, no core, no curve of a vessel."""
    scan, _, _ = series()
    bare = PreparedScan(scan.values, scan.affine, scan.brain, scan.labels)
    left = curves(aif=None, vof=None, aif_voxels=None, vof_voxels=None, tissue_other=None)
    return json.loads(json.dumps(perfusion_picture(bare, TABLE, {}, None, left, REFUSED)))


def vendor():
    """A CBF map of a workstation, without curves."""
    scan, maps, _ = series()
    found = PerfusionFindings(core_volume_ml=12.34, affected_side="left", relative_cbf=0.3)
    return json.loads(json.dumps(perfusion_picture(scan, TABLE, {"cbf": maps["cbf"]}, None, None, found)))
