"""Every kind of bad image in one cohort with two good patients: each ends with its reason, the good ones are scored."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import pytest

from cohorts.tables.storage import read_table
from tests.flows.bad_images import EXCLUDED, OK, write_bad_images
from tests.flows.conftest import TinyCohort
from tests.flows.scan_phantom import REGIONS, ct_case, dwi_case

pytestmark = [pytest.mark.slow, pytest.mark.processes]

STUDY = """\
[study]
name = "Bad images"
bootstrap_resamples = 100

[[source]]
name = "ncct-ratio"
kind = "density_ratio"
registration = "affine"

[[source]]
name = "dwi-threshold"
kind = "dwi_threshold"

[[clinical]]
column = "nihss"
read_as = "integer"
"""
GOOD = {"sub-good1": "adc", "sub-good2": "dwi-b0"}
NOT_READ = ("excluded", "modality_not_used")  # no source of this study reads it


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[TinyCohort, dict[tuple[str, str], tuple[str, str, str]], str]:
    """The cohort, run; what each scan must end with: name, status, reason, by participant and modality; the output."""
    folder = tmp_path_factory.mktemp("bad")
    cohort = TinyCohort(folder / "cohort", folder / "out")
    expected, listed = {}, []
    for number, image in enumerate(write_bad_images(cohort.folder / "scans"), start=1):
        reason = image.refused_when_listed or image.expected_reason
        status = EXCLUDED if reason else OK
        used = (status, reason) if image.modality in ("ncct", "dwi") else NOT_READ
        expected[f"sub-{number:02d}", image.modality] = (image.name, *used)
        listed.append((f"sub-{number:02d}", image.modality, image.path))
    for participant_id, second in GOOD.items():
        scans = cohort.folder / "scans" / participant_id
        for file in (*ct_case(scans).files, *dwi_case(scans, second).files):
            expected[participant_id, file.modality] = (participant_id, OK, "")
            listed.append((participant_id, file.modality, Path(file.path)))
    participants = dict.fromkeys(participant_id for participant_id, _, _ in listed)
    rows = [f"{participant_id}\t{number % 30}" for number, participant_id in enumerate(participants)]
    (cohort.folder / "participants.tsv").write_text("\n".join(["participant_id\tnihss", *rows]) + "\n")
    rows = [f"{one}\t{modality}\torig\t{path.relative_to(cohort.folder)}" for one, modality, path in listed]
    (cohort.folder / "scans.tsv").write_text("\n".join(["participant_id\tmodality\tspace\tpath", *rows]) + "\n")
    (cohort.folder / "cohort.toml").write_text(STUDY)
    begun = time.perf_counter()
    done = cohort.run(expect=0)  # patients that are left out are no failure
    print(f"{len(listed)} scans in {time.perf_counter() - begun:.0f} s")
    return cohort, expected, done.stdout


def _scans(cohort: TinyCohort, name: str) -> dict[tuple[str, str], tuple[str, str]]:
    path = cohort.latest / "tables" / name
    if path.suffix == ".parquet":
        table = read_table(path)
    else:
        table = pd.read_csv(path, sep="\t", keep_default_na=False).replace("n/a", "")
    table["reason"] = table["reason"].fillna("")
    return {
        (row.participant_id, row.modality): (row.status, row.reason)
        for row in table[["participant_id", "modality", "status", "reason"]].itertuples()
    }


@pytest.mark.parametrize("name", ["scans.parquet", "scans.tsv"])
def test_every_image_ends_with_its_reason(run, name: str) -> None:
    cohort, expected, _ = run
    found = _scans(cohort, name)
    assert {key: (image, *found[key]) for key, (image, _, _) in expected.items()} == expected
    assert set(found) == set(expected)


def test_nothing_failed_and_everybody_is_accounted_for(run) -> None:
    cohort, expected, output = run
    participants = read_table(cohort.latest / "tables" / "participants.parquet")
    usable = {key[0] for key, (_, status, _) in expected.items() if status == OK}
    assert set(participants["participant_id"][participants["status"] == "included"]) == usable
    assert set(participants["status"]) == {"included", "excluded"}
    counts = participants["status"].value_counts()
    assert f"included              {counts['included']}\n" in output
    assert f"excluded              {counts['excluded']}\n" in output
    details = read_table(cohort.latest / "tables" / "exclusions.parquet")["detail"]
    assert details.str.contains(" must ").all()
    pages = {path.stem for path in (cohort.latest / "patients").glob("*.html")}
    assert len(pages) >= len(participants)


def test_the_good_patients_are_scored(run) -> None:
    cohort, _, _ = run
    scores = read_table(cohort.latest / "tables" / "scores.parquet").set_index(["participant_id", "source"])
    for participant_id in GOOD:
        for source in ("ncct-ratio", "dwi-threshold"):
            row = scores.loc[participant_id, source]
            assert (row["status"], row["score_left"], row["scored_side"]) == ("ok", 10, "right")
        assert scores.loc[(participant_id, "ncct-ratio"), "score"] == 10 - len(REGIONS)
        assert scores.loc[(participant_id, "dwi-threshold"), "score"] in (5, 6)  # a voxel counts in the capsule between
    lesions = read_table(cohort.latest / "tables" / "lesions.parquet").set_index("participant_id")
    assert lesions.loc[list(GOOD), "side"].tolist() == ["right", "right"]


def test_a_second_run_reads_no_image_again(run) -> None:
    cohort, _, _ = run
    assert "nothing was computed" in cohort.run().stdout
