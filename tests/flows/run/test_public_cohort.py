"""The public cohort of 1,022 real strokes, from its own files to the published statistics."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from cohorts.tables.storage import read_table
from tests.flows.conftest import TinyCohort

pytestmark = [pytest.mark.real_data, pytest.mark.processes]


@pytest.fixture(scope="module")
def results(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a run with our two maps and the public volumetric one."""
    folder = tmp_path_factory.mktemp("soop")
    cohort = TinyCohort(folder / "cohort", folder / "out")
    public = real_data / "atlas" / "opt-ai-aspects_mni2mm_dseg.nii.gz"
    order = "C,I,IC,L,M1,M2,M3,M4,M5,M6"
    soop = str(real_data / "soop")
    cohort.aspects("init", str(cohort.folder), "--from-soop", soop, "--map", f"lesion-public={public}:{order}")
    cohort.run()
    return cohort.latest


def test_everybody_is_accounted_for(results: Path) -> None:
    summary = json.loads((results / "summary.json").read_text())
    counts = summary["counts"]
    # 1,050 rows of participants.tsv and 133 masks without a row; 1,022 - 133 - 223 all-n/a with a mask are examined
    assert counts["screened"] == 1050 + 133 == counts["included"] + counts["excluded"] + counts["failed"]
    assert counts["examined"] == 1022 - 133 - 223
    assert counts["failed"] == 0
    assert sum(summary["exclusions"].values()) == counts["excluded"]
    assert summary["exclusions"]["screening:scan_without_participant"] == 133
    assert summary["exclusions"]["screening:all_values_missing"] == 275
    # 161 rows have no mask; 52 of them are all n/a, which comes first
    assert summary["exclusions"]["screening:participant_without_scan"] == 161 - 52
    assert read_table(results / "tables" / "lesions.parquet")["status"].eq("ok").sum() == 1022


def test_severity_is_told_apart_as_well_as_expected_by_every_map(results: Path) -> None:
    statistics = read_table(results / "tables" / "statistics.parquet")
    aucs = statistics[(statistics["section"] == "roc") & (statistics["quantity"] == "auc")]
    assert set(aucs["source"]) == {"lesion-classic", "lesion-territory", "lesion-public", "lesion"}
    assert aucs["estimate"].between(0.75, 0.79).all()
    assert (aucs["lower"] < aucs["estimate"]).all()
    examined = aucs[aucs["analysis_set"] == "examined"]
    assert (examined["n"] == 666).all()
    assert (examined["n_positive"] == 268).all()
    assert (aucs.loc[aucs["analysis_set"] == "included", "n"] == 355).all()


def test_our_maps_agree_with_the_public_one(results: Path) -> None:
    statistics = read_table(results / "tables" / "statistics.parquet")
    icc = statistics[(statistics["quantity"] == "icc_a1") & (statistics["analysis_set"] == "measured")]
    public = icc[icc["source"].eq("lesion-public") | icc["reference"].eq("lesion-public")]
    assert len(public) == 2
    assert (public["lower"] >= 0.85).all()


def test_auc_of_the_report_is_that_of_the_tables(results: Path) -> None:
    from sklearn.metrics import roc_auc_score

    tables = {
        name: read_table(results / "tables" / f"{name}.parquet") for name in ("participants", "lesions", "scores")
    }
    people = tables["participants"].query("is_examined").set_index("participant_id")
    volume = tables["lesions"].set_index("participant_id")["volume_ml"]
    score = tables["scores"].query("source == 'lesion-classic'").set_index("participant_id")["score"]
    severe = (people["nihss"] >= 8).astype(int)
    statistics = pd.read_parquet(results / "tables" / "statistics.parquet").set_index("statistic_id")["estimate"]
    expected = roc_auc_score(severe, volume.loc[people.index])
    assert statistics["roc/auc:volume_ml/lesion/nihss/examined"] == pytest.approx(expected, abs=1e-12)
    expected = roc_auc_score(severe, -score.loc[people.index].astype(float))
    assert statistics["roc/auc:score/lesion-classic/nihss/examined"] == pytest.approx(expected, abs=1e-12)
