"""Lesions of one grid are compared by a step of their own, which resumes by the bytes of the two masks."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohorts.tables.storage import read_table
from flows.run.overlaps import overlap_plan
from flows.run.plan import make_plan, with_records
from flows.run.publishing import RunFacts, publish_results, write_tables
from flows.run.steps import run_case
from tests.flows.conftest import AFFINE, BOXES, STUDY, TinyCohort, box_mask
from tests.flows.sources.patient import reordered

SECOND = """
[[source]]
name = "other"
kind = "mask"
modality = "lesion-2"
"""
PAIR = "overlap:lesion:lesion-2"


def _write(path: Path, mask: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(mask, affine)
    image.set_sform(affine, 4)
    image.set_qform(affine, 4)
    nib.save(image, path)


@pytest.fixture(scope="module")
def twice(tiny: TinyCohort, tmp_path_factory: pytest.TempPathFactory) -> TinyCohort:
    """The tiny cohort with a second mask of the first six: as it is, smaller, elsewhere, in another order, coarser."""
    folder = tmp_path_factory.mktemp("twice")
    cohort = TinyCohort(folder / "cohort", folder / "out")
    shutil.copytree(tiny.folder, cohort.folder)
    (cohort.folder / "cohort.toml").write_text(STUDY + SECOND)
    masks = [(box_mask(*box), AFFINE) for box in BOXES[:5]]
    masks[1] = (box_mask(BOXES[1][0], 4), AFFINE)
    masks[2] = (box_mask((50, -4, 34), 14), AFFINE)
    masks[3] = reordered(*masks[3])
    masks[4] = (box_mask(*BOXES[4])[::2, ::2, ::2], AFFINE @ np.diag([2.0, 2, 2, 1]))
    rows = (cohort.folder / "scans.tsv").read_text()
    for number, (mask, affine) in enumerate(masks, start=1):
        name = f"masks/sub-{number:02d}_second.nii.gz"
        _write(cohort.folder / name, mask, affine)
        rows += f"sub-{number:02d}\tlesion-2\tMNI152\t{name}\n"
    (cohort.folder / "scans.tsv").write_text(rows)
    return cohort


def _measured(cohort: TinyCohort, out: Path):
    plan = make_plan(cohort.folder, out)
    for measurement, case in plan.pending:
        run_case(case, plan.settings[measurement], out)
    return with_records(plan, out)


@pytest.fixture(scope="module")
def compared(twice: TinyCohort):
    """The plan with its records, after every pair was compared."""
    plan = _measured(twice, twice.out)
    pairs = overlap_plan(plan, twice.out)
    assert len(pairs.pending) == 5  # those with both masks
    for name, case in pairs.pending:
        run_case(case, pairs.settings[name], twice.out)
    return plan


def test_the_table_holds_every_participant_and_what_was_found(twice: TinyCohort, compared, tmp_path: Path) -> None:
    write_tables(compared, tmp_path, twice.out)
    rows = read_table(tmp_path / "segmentation.parquet").set_index("participant_id")
    assert list(rows.index) == [f"sub-{number:02d}" for number in range(1, 9)]
    assert set(rows["reference"]) == {"lesion"}
    assert rows.loc["sub-01", ["dice", "surface_dice", "hd95_mm", "lesion_f1"]].tolist() == [1, 1, 0, 1]
    large, small = (int(box_mask(BOXES[1][0], width).sum()) for width in (8, 4))
    assert rows.loc["sub-02", "dice"] == pytest.approx(2 * small / (small + large))
    assert rows.loc["sub-02", "volume_difference_ml"] == pytest.approx((small - large) * 8 / 1000)
    assert rows.loc["sub-02", "hd95_mm"] > 4  # corners of the larger box lie 4 mm from the smaller one along each axis
    assert rows.loc["sub-03", ["dice", "lesion_f1", "n_found_lesions", "n_false_lesions"]].tolist() == [0, 0, 0, 1]
    assert rows.loc["sub-03", "hd95_mm"] == pytest.approx(100, rel=0.05)  # the other hemisphere
    assert rows.loc["sub-04", ["dice", "surface_dice", "hd95_mm"]].tolist() == [1, 1, 0]
    assert rows.loc["sub-05", ["status", "reason"]].tolist() == ["excluded", "grids_differ"]
    assert rows.loc["sub-06", ["status", "reason"]].tolist() == ["excluded", "no_scan_of_this_modality"]
    provenance = read_table(tmp_path / "provenance.parquet")
    assert (provenance["step"] == PAIR).sum() == 5
    assert (read_table(tmp_path / "timings.parquet")["step"] == PAIR).sum() == 5


def test_a_changed_mask_is_compared_again_and_no_other(twice: TinyCohort, compared, tmp_path: Path) -> None:
    cohort = TinyCohort(tmp_path / "cohort", tmp_path / "out")
    shutil.copytree(twice.folder, cohort.folder)
    shutil.copytree(twice.out, cohort.out)
    assert overlap_plan(_measured(cohort, cohort.out), cohort.out).pending == []
    cohort.write_mask(2, BOXES[1][0], 10)
    due = overlap_plan(_measured(cohort, cohort.out), cohort.out).pending
    assert [(name, case.participant_id) for name, case in due] == [(PAIR, "sub-02")]


def test_a_study_with_one_lesion_has_nothing_to_compare(tiny: TinyCohort, tmp_path: Path) -> None:
    pairs = overlap_plan(make_plan(tiny.folder, tmp_path), tmp_path)
    assert (pairs.cases, pairs.settings) == ({}, {})


@pytest.mark.processes
def test_a_run_compares_on_its_workers_and_a_second_one_does_nothing(
    twice: TinyCohort, compared, tmp_path: Path
) -> None:
    cohort = TinyCohort(twice.folder, tmp_path / "out")
    done = cohort.run()
    facts = RunFacts("20260101-020000_aaaaaaaa", "2026-01-01T02:00:00+00:00", "aspects run")
    plain, _ = publish_results(compared, twice.out, facts)
    name = "tables/segmentation.parquet"
    assert (cohort.latest / name).read_bytes() == (plain / name).read_bytes()
    assert "compare" in done.stdout
    assert "nothing was computed" in cohort.run().stdout
    for path in (cohort.out / "records").glob("sub-02/lesion-overlap-*.json"):
        path.unlink()
    (cohort.folder / "cohort.toml").write_text(STUDY.replace("Tiny", "Tiny again") + SECOND)
    cohort.run()
    assert (cohort.latest / name).read_bytes() == (plain / name).read_bytes()
