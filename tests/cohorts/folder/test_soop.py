import csv
from collections import Counter

import nibabel as nib
import numpy as np
import pytest

from cohorts.folder.soop import OPT_AI_ORDER, adopt_soop, arterial_label_table, ordered_label_table, write_label_table
from flows.sources.registry import read_cohort

ATLAS_LIST = """\
9|MCAPL|parietal pars of middle cerebral artery left|3
10|MCAPL|parietal pars of middle cerebral artery right|4
23|ACTPL|anteior choroidal and thalamoperfurators left|5
24|ACTPR|anterior choroidal and thalamoperfurators right|6
31|LVL|lateral ventricle left|9
32|LVR|lateral ventricle right|10
"""


def small_source(folder):
    """A cohort of two in the layout of the public one, and a label map."""
    (folder / "lesions").mkdir(parents=True)
    header = "participant_id\tsex\tage\trace\tacuteischaemicstroke\tpriorstroke\tbmi\tnihss\tgs_rankin_6isdeath\n"
    rows = "sub-10\tM\t89+\tw\t1.0\t0.0\t37.29\t1.0\tn/a\nsub-9\tF\t58.0\tb\t1.0\t1.0\tn/a\t18.0\t6.0\n"
    (folder / "participants.tsv").write_text(header + rows)
    for name in ("sub-9", "sub-10"):
        (folder / "lesions" / f"{name}_space-MNI152_label-lesion_mask.nii.gz").write_bytes(name.encode())
    (folder / "ours_dseg.nii.gz").write_bytes(b"map")
    return folder


def test_small_cohort_is_adopted_without_a_problem(tmp_path):
    source, folder = small_source(tmp_path / "public"), tmp_path / "cohort"
    maps = {"lesion-ours": (source / "ours_dseg.nii.gz", ordered_label_table(OPT_AI_ORDER))}
    adopt_soop(source, folder, extra_maps=maps)
    cohort = read_cohort(folder)
    assert [problem.reason for problem in cohort.problems] == ["top_coded_values"]
    assert [(scan.participant_id, scan.space, scan.path) for scan in cohort.scans] == [
        ("sub-9", "MNI152", "lesions/sub-9_space-MNI152_label-lesion_mask.nii.gz"),
        ("sub-10", "MNI152", "lesions/sub-10_space-MNI152_label-lesion_mask.nii.gz"),
    ]
    assert cohort.config.regions_of(cohort.config.computed_sources[2]) == "maps/ours_dseg.nii.gz"
    assert (folder / "participants.tsv").read_bytes() == (source / "participants.tsv").read_bytes()
    assert cohort.participants["age"].tolist() == [58, 89]
    assert cohort.participants["priorstroke"].tolist() == [True, False]
    assert cohort.participants["bmi"].isna().tolist() == [True, False]
    eligibility = cohort.config.eligibility.model_dump(exclude_defaults=True)
    assert eligibility == {
        "minimum_max_diameter_mm": 15,
        "minimum_mca_share": 0.5,
        "maximum_aca_share": 0.2,
        "maximum_pca_share": 0.2,
        "maximum_volume_ml": 500,
    }


def test_masks_are_linked_or_copied(tmp_path, monkeypatch):
    source = small_source(tmp_path / "public")
    name = "lesions/sub-9_space-MNI152_label-lesion_mask.nii.gz"
    adopt_soop(source, tmp_path / "linked")
    assert (tmp_path / "linked" / name).samefile(source / name)

    def refuse(*_args, **_options):
        raise OSError("another file system")

    monkeypatch.setattr("os.link", refuse)
    adopt_soop(source, tmp_path / "copied")
    assert not (tmp_path / "copied" / name).samefile(source / name)
    assert (tmp_path / "copied" / name).read_bytes() == b"sub-9"


def test_what_is_not_the_public_cohort_is_refused(tmp_path):
    table = ordered_label_table(OPT_AI_ORDER)
    with pytest.raises(FileNotFoundError, match=r"participants\.tsv, .*lesions, .*dseg"):
        adopt_soop(tmp_path, tmp_path / "cohort", extra_maps={"ours": (tmp_path / "dseg.nii", table)})
    source = small_source(tmp_path / "public")
    with pytest.raises(ValueError, match="must be named by"):
        adopt_soop(source, tmp_path / "cohort", extra_maps={'"': (source / "ours_dseg.nii.gz", table)})
    with pytest.raises(FileExistsError, match="must be empty"):
        adopt_soop(source, source)
    (source / "lesions" / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"got notes\.txt"):
        adopt_soop(source, tmp_path / "cohort")
    assert not (tmp_path / "cohort").exists()


def test_traps_of_the_arterial_list_are_repaired():
    table = arterial_label_table(ATLAS_LIST)
    parietal, choroidal = "parietal_pars_of_middle_cerebral_artery", "anterior_choroidal_and_thalamoperfurators"
    assert [(label.index, label.side, label.region) for label in table.labels] == [
        (9, "left", parietal),
        (10, "right", parietal),  # coded MCAPL
        (23, "left", choroidal),  # written anteior
        (24, "right", choroidal),
        (31, "left", "lateral_ventricle"),
        (32, "right", "lateral_ventricle"),
    ]
    assert {label.group for label in table.labels} == {"other"}


def test_an_arterial_list_of_another_form_is_refused():
    with pytest.raises(ValueError, match=r"line 1 must be index.*got '1;ACAL'; basilar must have both sides"):
        arterial_label_table("1;ACAL\n25|BL|basilar left|7\n")


def test_label_table_is_written_as_the_tsv_beside_a_map(tmp_path):
    write_label_table(arterial_label_table(ATLAS_LIST), tmp_path / "map.tsv")
    with (tmp_path / "map.tsv").open(newline="") as stream:
        rows = list(csv.reader(stream, delimiter="\t"))
    assert rows[0] == ["index", "name", "side", "region", "group"]
    assert rows[-1] == ["32", "right_lateral_ventricle", "right", "lateral_ventricle", "other"]


def test_ordered_label_table_needs_all_ten_regions():
    labels = ordered_label_table(OPT_AI_ORDER).labels
    assert [labels[place].name for place in (1, 3, 10, 19)] == [
        "right_insula",
        "right_lentiform",
        "left_caudate",
        "left_m6",
    ]
    with pytest.raises(ValueError, match="got caudate"):
        ordered_label_table(["caudate"])


@pytest.mark.real_data
def test_real_cohort_has_the_known_problems_and_no_other(real_data, tmp_path):
    source = real_data / "soop"
    table = arterial_label_table((source / "ArterialAtlas136.txt").read_text())
    adopt_soop(source, tmp_path, extra_maps={"lesion-arterial": (source / "ArterialAtlas136.nii.gz", table)})
    cohort = read_cohort(tmp_path)
    assert len(cohort.participants) == 1050
    assert len(cohort.scans) == 1022
    assert cohort.refused_scans == ()
    assert Counter((problem.reason, problem.is_warning) for problem in cohort.problems) == {
        ("scan_without_participant", False): 133,
        ("participant_without_scan", False): 161,
        ("all_values_missing", False): 275,
        ("top_coded_values", True): 1,
    }
    assert cohort.participants["nihss"].notna().sum() == 775
    assert (cohort.participants["age"] == 89).sum() == 34


@pytest.mark.real_data
def test_arterial_sides_are_those_of_the_image(real_data):
    source = real_data / "soop"
    table = arterial_label_table((source / "ArterialAtlas136.txt").read_text())
    image = nib.load(source / "ArterialAtlas136.nii.gz")
    labels = np.asarray(image.dataobj)
    assert [label.index for label in table.labels] == list(range(1, 33))
    for label in table.labels:
        x_mm = nib.affines.apply_affine(image.affine, np.argwhere(labels == label.index)).mean(axis=0)[0]
        assert label.side == ("left" if x_mm < 0 else "right"), label.name
