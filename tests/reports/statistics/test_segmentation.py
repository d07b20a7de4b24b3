"""Agreement of lesions: medians and counts by hand, strata with their lower edge, and what the lint finds."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from cohorts.tables.schemas import SEGMENTATION
from reports.document.chapters.segmentation import segmentation_chapter
from reports.document.document import document
from reports.lint.lint import lint
from reports.lint.recount import VOLUMES
from reports.statistics.analysis import analyse
from reports.statistics.inputs import ReportInput
from reports.statistics.patients import agreement_sets, patients_of
from reports.statistics.rows import Builder
from reports.statistics.sections.segmentation import add_segmentation, strata
from tests.reports.builders import _frame, synthetic_input, synthetic_run

PAIR = ("lesion", "lesion-2", "lesion", None, None)
#: (right Dice, left Dice) of the caudate that was drawn; None: drawn by neither.
REGION_DICE = [(0.8, 0.6), (None, 0.3), (None, None), (0.0, 0.4), (1.0, 0.8)]
#: (presence, dice, hd95_mm, reference_volume_ml); the first lies below an edge, the second on it.
ROWS = [
    ("both", 0.5, 4.0, 2.999),
    ("both", 0.7, 2.0, 3.0),
    ("both", 0.9, 1.0, 15.0),
    ("candidate_empty", 0.0, None, 16.0),
    ("reference_empty", 0.0, None, 0.0),
    ("both_empty", None, None, 0.0),
    ("both", 0.8, 3.0, 66.0),
]


@pytest.fixture(scope="module")
def data() -> ReportInput:
    """Seven measured patients who are compared as ``ROWS`` say, and one whose lesion was refused."""
    whole = synthetic_input(60)
    ids = list(whole.participants.loc[whole.participants["is_measured"].astype(bool), "participant_id"])[:8]
    rows = [
        (key, *PAIR, presence, dice, hd95, dice, 0.5, volume, dice, 1, 1, 1, 0, "ok", None)
        for key, (presence, dice, hd95, volume) in zip(ids, ROWS, strict=False)
    ]
    rows.append((ids[7], *PAIR, None, *[None] * 10, "excluded", "noise_too_high"))
    return replace(whole, segmentation=_frame(SEGMENTATION, rows + _region_rows(ids)))


def _region_rows(ids):
    """The caudate of five patients, drawn and placed by two sources, the second of which never found it."""
    rows = []
    for key, sides in zip(ids, REGION_DICE, strict=False):
        for source, are_found in (("atlas", True), ("refined", False)):
            for side, dice in zip(("right", "left"), sides, strict=True):
                presence = "both_empty" if dice is None else "both" if are_found and dice else "candidate_empty"
                value = dice if are_found or dice is None else 0.0
                place = (f"{side}_caudate", side, "caudate")
                numbers = (presence, value, None, value, 0.0, 5.0, *[None] * 5)
                rows.append((key, "drawn", source, *place, *numbers, "ok", None))
    rows.append((ids[5], "drawn", "atlas", "left_caudate", "left", "caudate", *[None] * 11, "excluded", "a_reason"))
    return rows


@pytest.fixture(scope="module")
def found(data: ReportInput) -> pd.DataFrame:
    return analyse(data)


def _id(quantity: str, category: str = "") -> str:
    return f"segmentation/{quantity}{':' if category else ''}{category}/lesion-2/lesion/measured"


@pytest.mark.parametrize(
    ("name", "estimate", "n"),
    [
        (_id("dice"), 0.6, 6),  # of 0 0 .5 .7 .8 .9
        (_id("dice_q1"), 0.125, 6),
        (_id("hd95_mm"), 2.5, 4),  # of 1 2 3 4
        (_id("volume_difference_ml"), 0.5, 7),
        (_id("dice", "0 to 3 ml"), 0.25, 2),  # of .5 and the empty reference's 0
        (_id("dice", "3 to 16 ml"), 0.8, 2),
        (_id("dice", "16 to 66 ml"), 0.0, 1),
        (_id("dice", "66 ml or more"), 0.8, 1),
        (_id("hd95_mm", "16 to 66 ml"), None, 0),
        (_id("n_both_empty"), 1, 7),
        (_id("n_reference_empty"), 1, 7),
        (_id("n_candidate_empty"), 1, 7),
    ],
)
def test_medians_and_counts_by_hand(found: pd.DataFrame, name: str, estimate: float | None, n: int) -> None:
    row = found.set_index("statistic_id").loc[name]
    assert row["n"] == n
    if estimate is None:
        assert pd.isna(row["estimate"])
        assert row["note"] == "no value"
    else:
        assert row["estimate"] == pytest.approx(estimate)


@pytest.mark.parametrize(
    ("source", "quantity", "estimate"),
    [("atlas", "dice", 0.5), ("atlas", "dice_q1", 0.275), ("atlas", "dice_q3", 0.75), ("refined", "dice", 0.0)],
)
def test_a_region_counts_once_for_a_patient_by_the_mean_of_its_sides(found, source, quantity, estimate) -> None:
    row = found.set_index("statistic_id").loc[f"segmentation/{quantity}:caudate/{source}/drawn/measured"]
    assert row["estimate"] == pytest.approx(estimate)  # of .7 .3 .2 .9
    assert (row["n"], row["region"]) == (4, "caudate")


def test_dice_has_an_interval_and_its_seed(found: pd.DataFrame) -> None:
    row = found.set_index("statistic_id").loc[_id("dice")]
    assert 0 <= row["lower"] < row["estimate"] < row["upper"] <= 0.9
    assert row["method"].startswith("median, bootstrap percentile")
    assert row["seed"] > 0
    assert pd.isna(found.set_index("statistic_id").loc[_id("dice", "66 ml or more"), "lower"])


def test_the_lint_counts_again(data: ReportInput, found: pd.DataFrame) -> None:
    assert lint(found, data) == []
    assert tuple(name for name in strata() if name) == VOLUMES
    for name, value, words in (
        (_id("dice", "3 to 16 ml"), 0.7, "be the median 0.8 of 2 participants"),
        (_id("n_both_empty"), 2.0, "be 1 of 7 as in segmentation"),
        ("segmentation/dice:caudate/atlas/drawn/measured", 0.6, "be the median 0.5 of 4 participants"),
    ):
        wrong = found.copy()
        wrong.loc[wrong["statistic_id"] == name, "estimate"] = value
        assert any(words in problem for problem in lint(wrong, data))


def test_the_report_has_a_table_for_the_pair_and_none_without_lesions_to_compare(
    data: ReportInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reports.document.document._CHAPTERS", (segmentation_chapter,))
    whole = analyse(data)

    def shown(changed: ReportInput) -> str:
        rows = Builder()
        for name, patients in agreement_sets(patients_of(changed)).items():
            add_segmentation(rows, changed, patients, name)
        others = whole[whole["section"] != "segmentation"]
        return document(changed, pd.concat([others, rows.frame()], ignore_index=True), synthetic_run()).html

    html = document(data, whole, synthetic_run()).html
    assert "Agreement of lesions" in html
    assert "lesion-2 against lesion, everyone whom both sources measured; by volume of the reference." in html
    assert "7 patients compared, of these: 1 both empty, 1 reference empty, 1 candidate empty" in html
    assert "Agreement of lesions and regions" in html
    assert "Median Dice of regions with those of drawn, everyone whom both sources measured" in html
    assert "n 4" in html
    lesions = shown(replace(data, segmentation=data.segmentation[data.segmentation["region"].isna()]))
    assert "Agreement of lesions" in lesions
    assert "regions with those of" not in lesions
    assert "Agreement of lesions" not in shown(replace(data, segmentation=data.segmentation.iloc[:0]))
