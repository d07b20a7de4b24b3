"""A study that declares no source takes what its files allow, and says so."""

import pytest

from cohorts.folder.manifest import CohortError
from flows.sources.registry import read_cohort
from tests.cohorts.small_cohort import write_small_cohort

DECLARED = '[[source]]\nname = "lesion"\nkind = "mask"\n\n[[source]]\nkind = "readings"\n'


@pytest.fixture
def folder(tmp_path):
    write_small_cohort(tmp_path)
    text = (tmp_path / "cohort.toml").read_text()
    assert DECLARED in text
    (tmp_path / "cohort.toml").write_text(text.replace(DECLARED, ""))
    return tmp_path


def add_scans(folder, *modalities):
    with (folder / "scans.tsv").open("a") as table:
        for modality in modalities:
            (folder / f"{modality}.nii.gz").write_bytes(b"x")
            table.write(f"sub-9\t{modality}\tn/a\t{modality}.nii.gz\n")


def test_masks_and_readings_are_taken_where_there_is_nothing_else(folder):
    cohort = read_cohort(folder)
    assert [source.kind for source in cohort.config.source] == ["mask", "readings"]
    (warning,) = cohort.problems
    assert warning.is_warning
    assert warning.reason == "sources_taken"
    assert "all are taken that the cohort's files allow: mask, readers (not taken" in warning.text
    assert "results (file, id, columns)" in warning.text
    assert "command (" in warning.text


def test_every_kind_whose_scan_is_there_is_taken_once_for_each_modality(folder):
    header = (folder / "scans.tsv").read_text().splitlines()[0]
    assert header.split("\t") == ["participant_id", "modality", "space", "path"]
    add_scans(folder, "ncct", "cta", "dwi", "ctp")
    (folder / "readings.tsv").unlink()
    config = read_cohort(folder).config
    assert {source.name: source.scans[0] for source in config.computed_sources} == {
        "mask": "lesion",
        "ncct-ratio": "ncct",
        "cta-ratio": "cta",
        "dwi-threshold": "dwi",
        "dwi-unet": "dwi",
        "dwi-dichotomy": "dwi",
        "ctp-core": "ctp",
        "ncct-overlap": "ncct",
        "ncct-asymmetry": "ncct",
        "ncct-features": "ncct",
        "cta-features": "cta",
        "ncct-radiomics": "ncct",
        "cta-radiomics": "cta",
    }
    assert config.readings_source is None
    by_name = {source.name: source for source in config.computed_sources}
    assert by_name["cta-ratio"].image_kind == by_name["cta-features"].image_kind == "cta"


def test_a_declared_source_is_all_there_is(folder):
    (folder / "cohort.toml").write_text(
        (folder / "cohort.toml").read_text() + '[[source]]\nname = "a"\nkind = "mask"\n'
    )
    add_scans(folder, "ncct")
    cohort = read_cohort(folder)
    assert [source.name for source in cohort.config.source] == ["a"]
    assert "sources_taken" not in [problem.reason for problem in cohort.problems]


def test_nothing_to_take_names_the_modalities_found(folder):
    (folder / "readings.tsv").unlink()
    text = (folder / "scans.tsv").read_text()
    (folder / "scans.tsv").write_text(text.replace("\tlesion\t", "\tflair\t"))
    with pytest.raises(CohortError) as caught:
        read_cohort(folder)
    (problem,) = caught.value.problems
    assert problem.text == (
        "cohort.toml, key source: must be given: no kind of source reads a modality of scans.tsv (flair). Add at least "
        "one [[source]]; 'aspects sources' lists the kinds."
    )
