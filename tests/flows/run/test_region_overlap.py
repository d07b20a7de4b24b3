"""Regions drawn on a scan against those of a source: numbers by hand, axis orders, every refusal, and a cohort."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohorts.folder.problems import CohortError
from cohorts.store.hashing import file_sha256
from cohorts.tables.storage import read_table
from flows.cases.case import Case, CaseFile, SharedWork, StepSettings
from flows.run.overlaps import overlap_plan
from flows.run.plan import make_plan, run_digest, with_records
from flows.run.publishing import write_tables
from flows.run.region_overlap import RegionComparison, given_labels
from flows.run.steps import examine, run_case
from models.anatomy.template import load_label_map
from reports.pages.remedies import REMEDIES
from tasks.anatomy import Label, LabelTable, aspects_label_table
from tasks.space.resample import Grid, resample_labels
from tests.flows.conftest import TinyCohort
from tests.flows.scan_phantom import CLASSIC, CT_SHAPE, POSE, case, ct
from tests.flows.sources.patient import mirrored, nifti, reordered

TABLE = aspects_label_table()
RIGHT_M1, LEFT_CAUDATE = 5, 11


def settings(table=TABLE, registration="affine", reference=CLASSIC):
    """Of the comparison with a source on plain CT."""
    one = RegionComparison(given=given_labels(table), registration=registration)
    return StepSettings(one.kind, (reference,), one.settings)


@cache
def true_labels():
    """The regions of the phantom on the grid of its CT."""
    label_map = load_label_map("classic")
    grid = Grid(CT_SHAPE, ct()[1])
    return resample_labels(label_map.labels, label_map.affine, grid, np.linalg.inv(POSE)).astype(np.uint8)


SHARED = SharedWork()  # the phantom's CT is registered once for all tests


def compared(folder, labels=None, affine=None, content=None, **changes):
    """How the comparison of a label image with the phantom's CT ends."""
    if content is None:
        content = nifti(true_labels() if labels is None else labels, ct()[1] if affine is None else affine)
    given = {"ncct-regions": content, "ncct": nifti(*ct())}
    return examine(case(folder, given, "region-overlap"), settings(**changes), SHARED)


def by_place(outcome):
    """(side, region) -> agreement."""
    return {(one.side, one.region): one.overlap for one in outcome.findings.regions}


def test_the_true_regions_of_a_head_are_found_again(tmp_path):
    found = by_place(compared(tmp_path))
    assert set(found) == {(label.side, label.region) for label in TABLE.labels}
    assert {one.presence for one in found.values()} == {"both"}
    assert np.mean([one.dice for one in found.values()]) > 0.85
    n = int((true_labels() == LEFT_CAUDATE).sum())
    assert found["left", "caudate"].reference_volume_ml == pytest.approx(n * 1.8 * 1.8 * 5 / 1000, rel=1e-5)


def test_what_is_not_drawn_or_drawn_in_part_counts_as_that(tmp_path):
    whole = by_place(compared(tmp_path / "whole"))
    cut = true_labels().copy()
    cut[cut == RIGHT_M1] = 0
    caudate = np.argwhere(cut == LEFT_CAUDATE)
    cut[tuple(caudate[: len(caudate) // 2].T)] = 0
    found = by_place(compared(tmp_path / "cut", cut))
    empty = found["right", "m1"]
    assert (empty.presence, empty.dice, empty.surface_dice, empty.hd95_mm) == ("reference_empty", 0, 0, None)
    assert empty.volume_difference_ml > 0
    n_drawn, voxel_ml = len(caudate) - len(caudate) // 2, 1.8 * 1.8 * 5 / 1000
    part, before = found["left", "caudate"], whole["left", "caudate"]
    assert part.reference_volume_ml == pytest.approx(n_drawn * voxel_ml, rel=1e-5)
    assert part.volume_difference_ml == pytest.approx(
        before.volume_difference_ml + len(caudate) // 2 * voxel_ml, rel=1e-4
    )
    others = {("right", "m1"), ("left", "caudate")}
    assert {place: one for place, one in found.items() if place not in others} == {
        place: one for place, one in whole.items() if place not in others
    }


def test_another_order_of_axes_or_another_numbering_gives_the_same(tmp_path):
    expected = compared(tmp_path / "as it is").findings.regions
    assert compared(tmp_path / "turned", *reordered(true_labels(), ct()[1])).findings.regions == expected
    numbers = {label.index: 60 - 2 * label.index for label in TABLE.labels}
    table = LabelTable(
        tuple(Label(numbers[one.index], one.name, one.side, one.region, one.group) for one in TABLE.labels)
    )
    named = np.zeros_like(true_labels())
    for old, new in numbers.items():
        named[true_labels() == old] = new
    again = compared(tmp_path / "renamed", named, table=table).findings.regions
    key = lambda one: (one.side, one.region)  # noqa: E731
    assert sorted(again, key=key) == sorted(expected, key=key)


def _swapped():
    """The table with left and right exchanged."""
    other = {"left": "right", "right": "left"}
    return LabelTable(tuple(Label(one.index, one.name, other[one.side], one.region, one.group) for one in TABLE.labels))


def _floats(values):
    return gzip.compress(nib.Nifti1Image(values.astype(np.float32), ct()[1]).to_bytes(), mtime=0)


def _refused():
    labels, affine = true_labels(), ct()[1]
    lower = affine.copy()
    lower[2, 3] += 4  # of slices of 5 mm
    return {
        "fractions": ({"content": _floats(labels * 0.5)}, "labels_not_whole", r"got 0\.5, 1\.5"),
        "no numbers": ({"content": _floats(np.where(labels, np.nan, 0))}, "labels_not_whole", "got nan in"),
        "negative": ({"content": _floats(-1.0 * labels)}, "labels_not_whole", "from 0 to 32767, got -20, -19"),
        "4D": ({"content": _floats(np.stack([labels, labels], 3))}, "wrong_dimensions", "Give one 3-D image"),
        "unnamed": ({"labels": np.where(labels == 3, 33, labels)}, "label_without_row", r"got 33 in \d+ voxels"),
        "shape": ({"labels": labels[:, :, 1:]}, "labels_not_on_scan", "got 112x128x33 of"),
        "shifted": ({"labels": labels, "affine": lower}, "labels_not_on_scan", "up to 0.8 voxels apart"),
        "mirrored header": (
            dict(zip(("labels", "affine"), mirrored(labels, affine), strict=True)),
            "labels_not_on_scan",
            "voxels apart. Save it",
        ),
        "flipped": ({"labels": labels[::-1]}, "labels_turned_round", "opposite order from left to right. The voxels"),
        "back to front": ({"labels": labels[:, ::-1]}, "labels_turned_round", "order from back to front"),
        "sides": ({"table": _swapped()}, "labels_turned_round", "the label table names other numbers"),
        "elsewhere": ({"labels": np.roll(labels, 60, axis=0)}, "labels_outside_scan", "within 5 mm of it"),
    }


@pytest.mark.parametrize(
    "name",
    ["fractions", "no numbers", "negative", "4D", "unnamed", "shape", "shifted", "mirrored header", "flipped",
     "back to front", "sides", "elsewhere"],
)  # fmt: skip
def test_labels_that_are_none_of_the_scan_end_with_a_reason(name, tmp_path):
    changes, reason, words = _refused()[name]
    outcome = compared(tmp_path, **changes)
    assert (outcome.status, outcome.reason) == ("excluded", reason)
    assert " must " in outcome.detail
    with pytest.raises(ValueError, match=words):
        raise ValueError(outcome.detail)
    assert reason in REMEDIES
    assert getattr(outcome.findings, "regions", ()) == ()


#: Numbering of the network of the data's authors: C, I, IC, L for the first scan, C, IC, L, I for the others.
AUTHORS = {
    "sub001": ("caudate", "insula", "internal_capsule", "lentiform"),
    "sub002": ("caudate", "internal_capsule", "lentiform", "insula"),
    "sub003": ("caudate", "internal_capsule", "lentiform", "insula"),
}


def _authors_table(name):
    regions = (*AUTHORS[name], "m1", "m2", "m3", "m4", "m5", "m6")
    return LabelTable(
        tuple(
            Label(offset + place, f"{side}_{region}", side, region, "other")
            for side, offset in (("right", 0), ("left", 10))
            for place, region in enumerate(regions, start=1)
        )
    )


@pytest.mark.slow
@pytest.mark.real_data
def test_regions_of_real_scans_agree_with_those_given(real_data: Path) -> None:
    means: dict[str, list[float]] = {"affine": [], "refined": []}
    for name in AUTHORS:
        folder = real_data / "ncct-aspects" / name
        files = {"ncct-regions": folder / "im_aligned_stripped_seg.nii.gz", "ncct": folder / "im_aligned.nii.gz"}
        one = Case("sub-1", "region-overlap", tuple(CaseFile(k, str(p), file_sha256(p)) for k, p in files.items()))
        shared = SharedWork()
        for registration, found in means.items():
            outcome = examine(one, settings(_authors_table(name), registration), shared)
            assert (outcome.status, outcome.reason) == ("ok", None)
            assert {one.overlap.presence for one in outcome.findings.regions} == {"both"}
            found.append(float(np.mean([one.overlap.dice for one in outcome.findings.regions])))
    # of the 60 regions of three scans, as counted before without this step (cohorts.folder.source.REGISTRATION)
    assert np.mean(means["affine"]) == pytest.approx(0.690, abs=0.005)
    assert np.mean(means["refined"]) == pytest.approx(0.710, abs=0.005)


STUDY = """\
[study]
name = "Drawn"
bootstrap_resamples = 100

[[source]]
name = "ratio"
kind = "density_ratio"

[[source]]
name = "affine"
kind = "density_ratio"
registration = "affine"

[[drawn_regions]]
name = "drawn"
labels = "drawn.tsv"
"""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> TinyCohort:
    """Two participants with the phantom's CT, one of whom has regions drawn on it, stored in another order."""
    folder = tmp_path_factory.mktemp("drawn")
    made = TinyCohort(folder / "cohort", folder / "out")
    made.folder.mkdir()
    (made.folder / "cohort.toml").write_text(STUDY)
    _write_table(made, TABLE)
    (made.folder / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\n")
    rows = ["participant_id\tmodality\tpath"]
    for name, modality, content in (
        ("sub-01", "ncct", nifti(*ct())),
        ("sub-02", "ncct", nifti(ct()[0] + np.float32(1), ct()[1])),
        ("sub-01", "ncct-regions", nifti(*reordered(true_labels(), ct()[1]))),
    ):
        path = f"{name}_{modality}.nii.gz"
        (made.folder / path).write_bytes(content)
        rows.append(f"{name}\t{modality}\t{path}")
    (made.folder / "scans.tsv").write_text("\n".join(rows) + "\n")
    return made


def _write_table(made: TinyCohort, table: LabelTable) -> None:
    rows = [f"{one.index}\t{one.name}\t{one.side}\t{one.region}\t{one.group}" for one in table.labels]
    (made.folder / "drawn.tsv").write_text("\n".join(["index\tname\tside\tregion\tgroup", *rows]) + "\n")


def test_a_cohort_holds_drawn_regions_against_every_way_of_placing_them(cohort, tmp_path):
    plan = make_plan(cohort.folder, cohort.out)
    for participant_id in ("sub-01", "sub-02"):
        shared = SharedWork()
        for measurement, one in plan.pending:
            if one.participant_id == participant_id:
                run_case(one, plan.settings[measurement], cohort.out, shared)
    plan = with_records(plan, cohort.out)
    pairs = overlap_plan(plan, cohort.out)
    assert {key for key, _ in zip(pairs.cases, pairs.pending, strict=True)} == {
        ("sub-01", "regions:drawn:ratio"),
        ("sub-01", "regions:drawn:affine"),
    }
    shared = SharedWork()
    for name, one in pairs.pending:
        assert run_case(one, pairs.settings[name], cohort.out, shared).status == "ok"
    write_tables(plan, tmp_path, cohort.out)
    rows = read_table(tmp_path / "segmentation.parquet")
    assert len(rows) == 2 * 2 * 20
    first = rows[(rows["participant_id"] == "sub-01") & (rows["candidate"] == "affine")]
    assert set(first["reference"]) == {"drawn"}
    assert first["dice"].mean() > 0.85
    assert first["lesion_f1"].isna().all()
    second = rows[rows["participant_id"] == "sub-02"]
    assert set(zip(second["status"], second["reason"], strict=True)) == {("excluded", "no_scan_of_this_modality")}
    scans = read_table(tmp_path / "scans.parquet").set_index(["participant_id", "modality"])
    drawn = scans.loc["sub-01", "ncct-regions"]
    assert (drawn["status"], drawn["shape"]) == ("ok", "34x112x128")
    assert (read_table(tmp_path / "timings.parquet")["step"] == "regions:drawn:affine").sum() == 1

    # nothing is due again, until the labels or the meaning of their numbers change: both compare again
    before = run_digest(plan)
    assert overlap_plan(plan, cohort.out).pending == []
    (cohort.folder / "sub-01_ncct-regions.nii.gz").write_bytes(nifti(true_labels(), ct()[1]))
    changed = make_plan(cohort.folder, cohort.out)
    assert changed.pending == []
    assert len(overlap_plan(changed, cohort.out).pending) == 2
    assert run_digest(changed) != before
    _write_table(cohort, LabelTable(TABLE.labels[:10]))
    renamed = make_plan(cohort.folder, cohort.out)
    assert run_digest(renamed) != run_digest(changed)
    (cohort.folder / "drawn.tsv").write_text("index\tname\n")
    with pytest.raises(CohortError, match=r"drawn_regions\.drawn\.labels.*must have the columns"):
        make_plan(cohort.folder, cohort.out)
