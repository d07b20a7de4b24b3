from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pingouin
import pytest
from sklearn.metrics import roc_auc_score

from cohorts.images.mask import ImageProblemError, read_mask
from cohorts.phantom.cohort import PhantomAnatomy, PlantedFault, write_phantom_cohort
from cohorts.phantom.faults import FLOAT_ONE, mask_bytes
from cohorts.phantom.lesions import LesionPainter
from cohorts.phantom.patients import (
    LESION_KINDS,
    READERS,
    PlannedLesion,
    PlannedPatient,
    ReaderModel,
    plan_patients,
    simulate_clinical,
)
from flows.sources.registry import read_cohort
from tasks.anatomy import ASPECTS_REGIONS, CORTICAL_REGIONS, DEEP_REGIONS, HEMISPHERES, Label, LabelTable
from tasks.lesion import measure_lesion

KINDS = {kind.name: kind for kind in LESION_KINDS}
TERRITORY_NAMES = ("aca", "mca", "mca_deep", "pca")


@pytest.fixture(scope="module")
def anatomy() -> PhantomAnatomy:
    """A small symmetric brain: an ellipsoid of 80 x 96 x 70 mm with four territories and ten regions a side."""
    shape, origin = (91, 106, 80), (-45.0, -53.0, -40.0)
    x, y, z = (
        axis + start for axis, start in zip(np.meshgrid(*map(np.arange, shape), indexing="ij"), origin, strict=True)
    )
    brain = (x / 40) ** 2 + (y / 48) ** 2 + (z / 35) ** 2 <= 1
    lateral = np.abs(x)
    deep = (lateral >= 10) & (lateral < 24) & (np.abs(y) < 18) & (np.abs(z) < 12)
    territory = np.where(lateral < 10, np.where(y > -15, 1, 4), np.where(deep, 3, 2)) * (brain & (x != 0))
    region = np.zeros(shape, dtype=int)
    region[deep] = np.digitize(lateral[deep], [10, 13, 20, 24])  # caudate, lentiform, internal capsule
    region[(lateral >= 24) & (lateral < 27) & (np.abs(y) < 18) & (np.abs(z) < 12)] = 4
    cortical = (lateral >= 27) | ((lateral >= 14) & (z >= 14))
    column = np.digitize(-y, [-16, 16])  # front, middle, back
    region[cortical] = (5 + column + 3 * (z >= 5))[cortical]
    table = LabelTable(
        tuple(
            Label(4 * (side == "left") + index, f"{side}_{name}", side, name, "other")
            for side in HEMISPHERES
            for index, name in enumerate(TERRITORY_NAMES, start=1)
        )
    )
    affine = np.eye(4)
    affine[:3, 3] = origin
    return PhantomAnatomy(
        territories=np.where(territory > 0, territory + 4 * (x < 0), 0),
        table=table,
        aspects=np.where((region > 0) & brain & (x != 0), region + 10 * (x < 0), 0),
        brain=brain,
        affine=affine,
    )


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory, anatomy: PhantomAnatomy) -> tuple[Path, tuple[PlantedFault, ...]]:
    folder = tmp_path_factory.mktemp("phantom") / "cohort"
    return folder, write_phantom_cohort(folder, anatomy, n_participants=60, seed=3)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, anatomy: PhantomAnatomy) -> None:
    for name, seed in (("first", 5), ("second", 5), ("other", 6)):
        write_phantom_cohort(tmp_path / name, anatomy, n_participants=20, seed=seed)
    first, second, other = (contents(tmp_path / name) for name in ("first", "second", "other"))
    assert first == second
    assert first["participants.tsv"] != other["participants.tsv"]
    assert first["cohort.toml"] == other["cohort.toml"]


def test_every_planted_fault_is_found_under_its_reason_and_nothing_else_is(
    cohort: tuple[Path, tuple[PlantedFault, ...]],
) -> None:
    folder, planted = cohort
    found = read_cohort(folder)
    assert found.study_problems == ()
    assert found.warnings == ()
    reasons = {(problem.participant_id, problem.reason) for problem in found.participant_problems}
    for scan in found.scans:
        try:
            mask = read_mask((folder / scan.path).read_bytes(), scan.path)
        except ImageProblemError as error:
            reasons.add((scan.participant_id, error.reason))
        else:
            if not np.array_equal(mask.affine[:3, 3], [-40, -48, -35]):  # the corner of the brain's box
                reasons.add((scan.participant_id, "wrong_grid"))
    expected = {(fault.participant_id, fault.expected_reason) for fault in planted if fault.expected_reason}
    assert reasons == expected
    assert {reason for _, reason in expected} == {
        "value_out_of_range",
        "dates_out_of_order",
        "participant_without_scan",
        "scan_without_participant",
        "all_values_missing",
        "truncated_file",
        "empty_mask",
        "mask_values_not_binary",
        "wrong_grid",
    }


def test_a_float_mask_is_odd_but_usable(cohort: tuple[Path, tuple[PlantedFault, ...]]) -> None:
    folder, planted = cohort
    (odd,) = (fault for fault in planted if fault.expected_reason is None)
    values = np.asarray(nib.load(folder / odd.file).dataobj)  # type: ignore[attr-defined]
    assert values.max() == FLOAT_ONE != 1
    assert len(read_mask((folder / odd.file).read_bytes(), odd.file).indices) == (values > 0).sum() > 0


def test_the_folder_says_in_words_that_it_is_synthetic_and_what_is_wrong(
    cohort: tuple[Path, tuple[PlantedFault, ...]],
) -> None:
    folder, planted = cohort
    config = read_cohort(folder).config
    assert config.study.synthetic
    assert "synthetic" in config.study.name
    assert "synthetic" in config.study.description
    assert config.eligibility.minimum_max_diameter_mm == 15
    assert [source.name for source in config.source] == ["lesion-classic", "lesion-territory", "readers"]
    readme = (folder / "README.md").read_text(encoding="utf-8")
    levels = json.loads((folder / "participants.json").read_text(encoding="utf-8"))["participant_id"]["Levels"]
    for fault in planted:
        assert f"| {fault.participant_id} | {fault.file} | {fault.fault} |" in readme
        assert levels[fault.participant_id] == fault.fault
    assert all("desc-synthetic" in path.name for path in (folder / "lesions").iterdir())


def test_masks_lie_in_template_space_with_both_codes_set(cohort: tuple[Path, tuple[PlantedFault, ...]]) -> None:
    folder, planted = cohort
    faulty = {fault.participant_id for fault in planted}
    participants = pd.read_csv(folder / "participants.tsv", sep="\t", na_values="n/a").set_index("participant_id")
    for participant_id, path in pd.read_csv(folder / "scans.tsv", sep="\t")[["participant_id", "path"]].to_numpy():
        if participant_id in faulty:
            continue
        image = nib.load(folder / path)  # type: ignore[attr-defined]
        assert image.get_data_dtype() == np.uint8
        assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (4, 4)
        np.testing.assert_array_equal(image.get_sform(), image.get_qform())
        x_mm = image.affine[0, 3] + np.nonzero(np.asarray(image.dataobj))[0]
        side = participants.loc[participant_id, "affected_side"]
        expected = {"left": (True, False), "right": (False, True)}.get(side, (True, True))
        assert ((x_mm < 0).any(), (x_mm > 0).any()) == expected


def test_cropping_moves_the_affine_along(anatomy: PhantomAnatomy) -> None:
    cropped = anatomy.cropped()
    assert cropped.brain.shape == (81, 97, 71)  # -40..40, -48..48, -35..35 mm
    assert cropped.affine[:3, 3].tolist() == [-40, -48, -35]
    assert cropped.brain.sum() == anatomy.brain.sum()


@pytest.mark.parametrize(
    ("name", "region", "territories"),
    [
        ("mca_stem", "insula", ("mca", "mca_deep")),
        ("mca_inferior_division", "m3", ("mca", "mca_deep")),
        ("mca_emboli", None, ("mca", "mca_deep")),
        ("aca", None, ("aca",)),
        ("pca", None, ("pca",)),
    ],
)
def test_a_lesion_fills_its_volume_inside_its_territory(
    anatomy: PhantomAnatomy, name: str, region: str | None, territories: tuple[str, ...]
) -> None:
    painter = LesionPainter(anatomy)
    mask = painter.paint(PlannedLesion(KINDS[name], "left", region, 1.5), np.random.default_rng(4))
    assert mask.sum() == pytest.approx(1500, abs=8)
    touched = set(np.unique(anatomy.territories[mask]).tolist())
    assert touched <= {5 + TERRITORY_NAMES.index(territory) for territory in territories}


def test_a_lesion_too_large_for_its_territory_is_cut_to_three_quarters(anatomy: PhantomAnatomy) -> None:
    mask = LesionPainter(anatomy).paint(PlannedLesion(KINDS["aca"], "right", None, 500.0), np.random.default_rng(4))
    assert mask.sum() == pytest.approx(0.75 * (anatomy.territories == 1).sum(), abs=8)


def test_bilateral_lesions_share_their_volume_and_lacunes_stay_lacunar(anatomy: PhantomAnatomy) -> None:
    painter = LesionPainter(anatomy)
    both = painter.paint(PlannedLesion(KINDS["bilateral_emboli"], "left", None, 4.0), np.random.default_rng(2))
    x_mm = anatomy.affine[0, 3] + np.nonzero(both)[0]
    assert (x_mm < 0).sum() == pytest.approx(2000, abs=8)
    assert (x_mm > 0).sum() == pytest.approx(2000, abs=8)
    lacune = painter.paint(PlannedLesion(KINDS["lacune"], "left", "lentiform", 0.5, 12.0), np.random.default_rng(2))
    indices = np.flatnonzero(lacune.ravel(order="F"))
    assert 8 < measure_lesion(indices, lacune.shape, anatomy.affine).max_diameter_mm <= 12


def test_affected_regions_follow_the_rule_wei(anatomy: PhantomAnatomy) -> None:
    mask = np.zeros(anatomy.brain.shape, dtype=bool)
    mask[tuple(np.argwhere(anatomy.aspects == 11)[0])] = True  # one voxel of the left caudate
    m2 = np.argwhere(anatomy.aspects == 6)
    third = -(-len(m2) // 3)
    mask[tuple(m2[: third - 1].T)] = True  # one voxel under a third of the right M2
    affected = LesionPainter(anatomy).affected_regions(mask)
    assert [key for key, value in affected.items() if value] == [("left", "caudate")]
    mask[tuple(m2[third - 1])] = True
    assert LesionPainter(anatomy).affected_regions(mask)["right", "m2"]


def test_sites_differ_in_case_mix_as_stated() -> None:
    patients = plan_patients(6000, np.random.default_rng(1))
    frame = pd.DataFrame({"site": [p.site for p in patients], "kind": [p.lesion.kind.name for p in patients]})
    shares = frame.groupby("site")["kind"].value_counts(normalize=True)
    for kind in LESION_KINDS:
        assert shares["north", kind.name] == pytest.approx(kind.share_north, abs=0.025)
        assert shares["south", kind.name] == pytest.approx(kind.share_south, abs=0.025)
    large_mca = frame["kind"].isin([kind for kind in KINDS if kind.startswith("mca") or kind == "lenticulostriate"])
    assert large_mca.mean() == pytest.approx(0.70, abs=0.02)
    assert sum(kind.share_north for kind in LESION_KINDS) == pytest.approx(1)
    assert sum(kind.share_south for kind in LESION_KINDS) == pytest.approx(1)


def test_volumes_resemble_the_public_cohort() -> None:
    volumes_ml = [patient.lesion.volume_ml for patient in plan_patients(6000, np.random.default_rng(2))]
    lower, median, upper = np.quantile(volumes_ml, [0.25, 0.5, 0.75])
    # SOOP, 1,022 patients: 1.9, 11.9, 50.5 ml
    assert 1.9 <= lower < 5
    assert median == pytest.approx(11.9, rel=0.2)
    assert 25 < upper <= 50.5


def test_volume_tells_severe_stroke_apart_as_well_as_in_the_literature() -> None:
    aucs = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        patients = plan_patients(400, rng)
        clinical = simulate_clinical(patients, rng)
        known = clinical["nihss"].notna().to_numpy()
        volume_ml = np.array([patient.lesion.volume_ml for patient in patients])
        aucs.append(roc_auc_score(clinical.loc[known, "nihss"].astype(int) >= 8, volume_ml[known]))
    assert 0.75 <= np.mean(aucs) <= 0.80  # WEI .752, SOOP .757
    assert min(aucs) > 0.67
    assert max(aucs) < 0.87


def test_severity_follows_the_stated_equation() -> None:
    lesion = PlannedLesion(KINDS["mca_superior_division"], "left", "m5", 20.0)
    other = dataclasses.replace(lesion, kind=KINDS["pca"], side="right", seed_region=None)
    for planned, expected in (
        (lesion, 0.75 + 0.29 * np.log(21) + 0.20 + 0.45),
        (other, 0.75 + 0.29 * np.log(21) - 0.5),
    ):
        clinical = simulate_clinical([PlannedPatient("north", planned)] * 8000, np.random.default_rng(1))
        known = clinical[clinical["nihss"].notna()]
        latent = np.log1p(known["nihss"].astype(float)) - 0.10 * (known["age"].astype(float) - 70) / 10
        assert latent.median() == pytest.approx(expected, abs=0.06)  # NIHSS is rounded to whole points


def test_clinical_columns_keep_their_ranges_and_shares() -> None:
    patients = plan_patients(4000, np.random.default_rng(3))
    clinical = simulate_clinical(patients, np.random.default_rng(3))
    assert clinical["nihss"].min() == 0
    assert clinical["nihss"].max() <= 42
    assert set(clinical["mrs_90d"].dropna()) == set(range(7))
    assert (clinical["onset_date"] <= clinical["scan_date"]).all()
    assert clinical["onset_to_scan_h"].between(0.5, 24).all()
    assert clinical["nihss"].isna().mean() == pytest.approx(0.05, abs=0.012)
    assert clinical["mrs_90d"].isna().mean() == pytest.approx(0.12, abs=0.016)
    assert clinical["hypertension"].astype(float).mean() == pytest.approx(0.73, abs=0.03)  # WEI, Table 1: 69 to 74 %
    assert clinical["nihss"].median() == pytest.approx(5, abs=1)  # WEI, Table 1
    outcome = clinical[["nihss", "mrs_90d"]].dropna().astype(float)
    assert outcome.corr(method="spearman").loc["nihss", "mrs_90d"] > 0.4
    bilateral = [patient.lesion.kind.is_bilateral for patient in patients]
    assert clinical["affected_side"].isna().tolist() == bilateral


@pytest.mark.parametrize("model", READERS, ids=lambda model: f"reader {model.name}")
def test_a_reader_errs_at_the_stated_rates(model: ReaderModel) -> None:
    rng = np.random.default_rng(8)
    truth = {(side, region): bool(place % 2) for side in HEMISPHERES for place, region in enumerate(ASPECTS_REGIONS)}
    reads = [model.read(truth, ("left",), rng) for _ in range(3000)]
    for regions, sensitivity, false_positive in (
        (DEEP_REGIONS, model.sensitivity_deep, model.false_positive_deep),
        (CORTICAL_REGIONS, model.sensitivity_cortical, model.false_positive_cortical),
    ):
        for is_affected, rate in ((True, sensitivity), (False, false_positive)):
            asked = [region for region in regions if truth["left", region] is is_affected]
            found = np.mean([[read["left", region] for region in asked] for read in reads])
            assert found == pytest.approx(rate, abs=0.02)
    assert not any(read["right", region] for read in reads for region in ASPECTS_REGIONS)


def test_readers_agree_with_the_masks_in_the_expected_order(
    cohort: tuple[Path, tuple[PlantedFault, ...]], anatomy: PhantomAnatomy
) -> None:
    folder, planted = cohort
    faulty = {fault.participant_id for fault in planted}
    painter = LesionPainter(anatomy.cropped())
    readings = pd.read_csv(folder / "readings.tsv", sep="\t", na_values="n/a")
    worst = readings.groupby(["reader", "participant_id", readings["session"].fillna(1)])["score"].min()
    truth = {}
    for participant_id, path in pd.read_csv(folder / "scans.tsv", sep="\t")[["participant_id", "path"]].to_numpy():
        if participant_id not in faulty:
            affected = painter.affected_regions(np.asarray(nib.load(folder / path).dataobj) > 0)  # type: ignore[attr-defined]
            truth[participant_id] = 10 - max(
                sum(affected[side, region] for region in ASPECTS_REGIONS) for side in HEMISPHERES
            )
    icc = {}
    for reader in "ABC":
        scores = pd.DataFrame({"mask": truth, "reader": worst[reader].xs(1.0, level="session")}).dropna()
        assert len(scores) == len(truth)
        long = scores.reset_index().melt("index")
        table = pingouin.intraclass_corr(long, targets="index", raters="variable", ratings="value").set_index("Type")
        icc[reader] = table.loc["ICC(A,1)", "ICC"]
    assert icc["C"] > icc["A"] > icc["B"] > 0.3


def test_reader_a_reads_every_fourth_patient_twice(cohort: tuple[Path, tuple[PlantedFault, ...]]) -> None:
    folder, planted = cohort
    readings = pd.read_csv(folder / "readings.tsv", sep="\t", na_values="n/a")
    twice = readings.query("reader == 'A' and session == 2")["participant_id"].unique().tolist()
    unread = {
        f.participant_id for f in planted if f.expected_reason in ("participant_without_scan", "all_values_missing")
    }
    expected = [f"sub-phantom{number:03d}" for number in range(1, 61, 4)]
    assert twice == [participant_id for participant_id in expected if participant_id not in unread]
    assert set(readings.query("reader == 'C'")["template_assisted"]) == {1}
    assert set(readings.query("reader != 'C'")["template_assisted"]) == {0}
    assert (readings["score"] == 10 - readings[list(ASPECTS_REGIONS)].sum(axis=1)).all()


def test_refusals(tmp_path: Path, anatomy: PhantomAnatomy) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="folder must be empty"):
        write_phantom_cohort(tmp_path, anatomy)
    with pytest.raises(ValueError, match="n_participants must be >= 20, got 12"):
        write_phantom_cohort(tmp_path / "new", anatomy, n_participants=12)
    with pytest.raises(ValueError, match=r"1 mm RAS grid.*left_aca.*got none of \[20\]"):
        dataclasses.replace(
            anatomy,
            affine=np.diag([2.0, 2.0, 2.0, 1.0]),
            territories=np.where(anatomy.territories == 5, 0, anatomy.territories),
            aspects=np.where(anatomy.aspects == 20, 0, anatomy.aspects),
        )
    with pytest.raises(ValueError, match="aspects must have the shape of brain"):
        dataclasses.replace(anatomy, aspects=anatomy.aspects[1:])


def test_the_same_mask_gives_the_same_bytes() -> None:
    lesion = np.zeros((7, 8, 9), dtype=bool)
    lesion[2:4, 3, 5] = True
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    assert mask_bytes(lesion, affine) == mask_bytes(lesion, affine)
    assert mask_bytes(lesion, affine)[4:8] == bytes(4)  # no time in the gzip header
    assert read_mask(mask_bytes(lesion, affine), "mask.nii.gz").indices.tolist() == [
        2 + 7 * 3 + 56 * 5,
        3 + 7 * 3 + 56 * 5,
    ]
