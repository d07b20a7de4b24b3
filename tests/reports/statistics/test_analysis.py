"""The analysis against answers worked by hand on six patients, and its promises on a synthetic cohort."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from cohorts.tables.schemas import STATISTICS
from flows.sources.ctp_core import CtpCoreSource
from flows.sources.registry import STUDY as STUDY_MODEL
from reports.lint.lint import lint
from reports.statistics.analysis import SECTIONS, analyse
from reports.statistics.inputs import ReportInput
from reports.statistics.patients import patients_of
from reports.statistics.rows import Builder, Scope
from tasks.anatomy import ASPECTS_REGIONS
from tests.reports.builders import PANDAS_TYPE, shuffled, synthetic_config, synthetic_input

# Six scored patients, worked by hand. Deductions are taken in the order of ASPECTS_REGIONS, on the left.
NIHSS = [2, 5, 10, 20, None, 3]
GRADE = ["mild", "mild", "moderate", "severe", None, "mild"]
SCORE_A = [10, 8, 8, 2, 9, 7]
SCORE_B = [9, 8, 7, 2, 9, None]
VOLUME_ML = [1.0, 5.0, 30.0, 80.0, 3.0, 28.0]
SEX = ["F", "M", "M", "F", None, "M"]


def six_patients() -> ReportInput:
    """Six scored patients and one screened without a scan, as contract tables."""
    config = STUDY_MODEL.model_validate(
        {
            "study": {"name": "Six", "bootstrap_resamples": 100},
            "source": [{"name": "a", "kind": "mask"}, {"name": "b", "kind": "mask", "regions": "territory"}],
            "clinical": [
                {"column": "nihss", "read_as": "integer", "label": "NIHSS"},
                {"column": "sex", "read_as": "category", "levels": {"F": "female", "M": "male"}},
            ],
            "severity": {},
        }
    )
    ids = [f"sub-{number}" for number in range(1, 7)]
    people = pd.DataFrame(
        {
            "participant_id": [*ids, "sub-7"],
            "status": ["included"] * 6 + ["excluded"],
            "stage": [None] * 6 + ["screening"],
            "reason": [None] * 6 + ["participant_without_scan"],
            "is_listed": True,
            "is_measured": [True] * 6 + [False],
            "is_examined": [True] * 6 + [False],
            "is_included": [True] * 6 + [False],
            "severity": [*GRADE, None],
            "nihss": pd.array([*NIHSS, None], dtype="Int64"),
            "sex": [*SEX, None],
        }
    )
    exclusions = {"participant_id": "sub-7", "stage": "screening", "reason": "participant_without_scan"}
    scored = [
        (key, source, score)
        for source, scores in (("a", SCORE_A), ("b", SCORE_B))
        for key, score in zip(ids, scores, strict=True)
        if score is not None
    ]
    scores = pd.DataFrame(
        [
            {"participant_id": key, "source": source, "score_left": score, "score_right": 10, "score": score}
            for key, source, score in scored
        ]
    ).assign(status="ok", template_assisted=None)
    regions = pd.DataFrame(
        [
            {
                "participant_id": key,
                "source": source,
                "side": side,
                "region": region,
                "affected": side == "left" and position < 10 - score,
            }
            for key, source, score in scored
            for side in ("left", "right")
            for position, region in enumerate(ASPECTS_REGIONS)
        ]
    ).assign(status="ok")
    lesions = pd.DataFrame({"participant_id": ids, "source": "lesion", "volume_ml": VOLUME_ML, "status": "ok"})
    return ReportInput(
        config=config,
        participants=people.astype(
            dict.fromkeys(("is_listed", "is_measured", "is_examined", "is_included"), "boolean")
        ),
        scans=pd.DataFrame(),
        exclusions=pd.DataFrame([exclusions | {"status": "excluded", "is_primary": True}]),
        regions=regions.astype({"affected": "boolean"}),
        scores=scores.astype(dict.fromkeys(("score_left", "score_right", "score"), "Int64")),
        lesions=lesions,
    )


@pytest.fixture(scope="module")
def by_hand() -> pd.DataFrame:
    return analyse(six_patients()).set_index("statistic_id")


@pytest.fixture(scope="module")
def cohort() -> ReportInput:
    return synthetic_input()


@pytest.fixture(scope="module")
def statistics(cohort: ReportInput) -> pd.DataFrame:
    return analyse(cohort)


@pytest.mark.parametrize(
    ("statistic_id", "estimate"),
    [
        ("flow/n_screened/-/-/screened", 7),
        ("flow/n_excluded/-/-/screened", 1),
        ("flow/n_excluded:screening:participant_without_scan/-/-/screened", 1),
        ("flow/n_examined/-/-/screened", 6),
        ("cohort/n/-/-/included/mild", 3),
        ("cohort/n/-/-/included/ungraded", 1),
        ("cohort/median/-/nihss/included", 5),  # of 2 3 5 10 20
        ("cohort/n_missing/-/nihss/included", 1),
        ("cohort/mean/a/score/included/mild", 25 / 3),  # 10 8 7
        ("distribution/mean/b/score/included", 7),  # 9 8 7 2 9
        ("distribution/n_missing/b/score/included", 1),
        ("distribution/q1/lesion/volume_ml/included", 3.5),  # 1 3 5 28 30 80: between the 2nd and the 3rd
        ("roc/auc:score/a/nihss/included", 4.5 / 6),  # 8 against 10 8 7 gives 1.5 of 3, 2 gives 3 of 3
        ("roc/auc:volume_ml/lesion/nihss/included", 1.0),
        ("dichotomies/balanced_accuracy:wei_le6/a/nihss/included", 0.75),
        ("dichotomies/mcc:wei_le6/a/nihss/included", 3 / math.sqrt(24)),  # TP 1, FN 1, FP 0, TN 3
        ("dichotomies/lr_positive:wei_volume/lesion/nihss/included", 3),  # 2/2 over 1/3
        ("youden/cut:score/a/nihss/included", 2),  # J is 1/2 at <= 2, 1/6 at <= 7, 1/3 at <= 8
        ("youden/j:score/a/nihss/included", 0.5),
        ("youden/cut:volume_ml/lesion/nihss/included", 30),
        ("youden/cut_published:volume_ml/lesion/nihss/included", 27.86),
        ("youden/j_published:volume_ml/lesion/nihss/included", 2 / 3),
        ("association/spearman:score/a/nihss/included", -6.5 / math.sqrt(95)),
        ("agreement/bias/b/a/measured", -0.4),  # b - a: -1 0 -1 0 0
        ("agreement/loa_lower/b/a/measured", -0.4 - 1.96 * math.sqrt(0.3)),
    ],
)
def test_estimates_are_those_worked_by_hand(by_hand: pd.DataFrame, statistic_id: str, estimate: float) -> None:
    assert by_hand.loc[statistic_id, "estimate"] == pytest.approx(estimate, abs=1e-12)


@pytest.mark.parametrize(
    ("statistic_id", "numerator", "denominator", "n"),
    [
        ("cohort/share:M/-/sex/included", 3, 5, 5),
        ("cohort/share:F/-/sex/included/mild", 1, 3, 3),
        ("distribution/share:8/a/score/included", 2, 6, 6),
        ("regions/affected:left:caudate/a/-/included", 5, 6, 6),  # every score below 10
        ("regions/affected:left:lentiform/a/-/included", 4, 6, 6),  # every score below 9
        ("regions/affected:any:lentiform/a/-/included/mild", 2, 3, 3),
        ("regions/affected:right:caudate/a/-/included", 0, 6, 6),
        ("dichotomies/test_positive:wei_le6/a/-/included", 1, 6, 6),
        ("dichotomies/sensitivity:wei_le6/a/nihss/included", 1, 2, 5),
        ("dichotomies/specificity:wei_le6/a/nihss/included", 3, 3, 5),
        ("dichotomies/accuracy:wei_le6/a/nihss/included", 4, 5, 5),
        ("dichotomies/ppv:wei_volume/lesion/nihss/included", 2, 3, 5),
        ("youden/specificity_published:volume_ml/lesion/nihss/included", 2, 3, 5),
        ("agreement/exact/b/a/measured", 3, 5, 5),
        ("agreement/within_1/b/a/measured", 5, 5, 5),
        ("agreement/region_agreement:caudate/b/a/measured", 4, 5, 5),  # 10 against 9 differs
        ("agreement/region_prevalence_candidate:caudate/b/a/measured", 5, 5, 5),
    ],
)
def test_shares_carry_their_counts(
    by_hand: pd.DataFrame, statistic_id: str, numerator: int, denominator: int, n: int
) -> None:
    row = by_hand.loc[statistic_id]
    assert (row["numerator"], row["denominator"], row["n"]) == (numerator, denominator, n)
    assert row["estimate"] == numerator / denominator


def test_rows_of_the_severity_question_state_their_positive_class(by_hand: pd.DataFrame) -> None:
    rows = by_hand[by_hand["section"].isin(["roc", "youden"])]
    assert set(rows["positive_class"]) == {"NIHSS >= 8"}
    assert set(rows["n_positive"]) == {2}


def test_notes_name_the_form_of_a_cut_its_source_and_shared_masks(by_hand: pd.DataFrame) -> None:
    primary = by_hand.loc["dichotomies/sensitivity:wei_le6/a/nihss/included", "note"]
    assert primary == "primary; ASPECTS <= 6; Wei 2026: score <= 6 marks moderate-severe"
    assert by_hand.loc["youden/cut:score/a/nihss/included", "note"] == "ASPECTS <= 2"
    shared = by_hand.loc["agreement/icc_a1/b/a/measured", "note"]
    assert shared == "shared-method agreement: both sources rest on the same measurement"


def test_the_frame_is_the_statistics_contract(statistics: pd.DataFrame) -> None:
    assert list(statistics.columns) == list(STATISTICS.names)
    types = {column.name: PANDAS_TYPE[column.type] for column in STATISTICS.columns}
    assert {name: str(dtype) for name, dtype in statistics.dtypes.items()} == types
    assert statistics["statistic_id"].is_unique
    assert tuple(dict.fromkeys(statistics["section"])) == SECTIONS
    required = [column.name for column in STATISTICS.columns if not column.nullable]
    assert not statistics[required].isna().any().any()


def test_two_rows_of_one_id_are_refused() -> None:
    rows = Builder()
    for _ in range(2):
        rows.count(Scope(section="flow", analysis_set="screened"), "n_screened", 7, 7)
    with pytest.raises(ValueError, match="got flow/n_screened/-/-/screened more than once"):
        rows.frame()


def test_the_order_of_the_rows_of_the_tables_does_not_matter(cohort: ReportInput, statistics: pd.DataFrame) -> None:
    assert_frame_equal(analyse(shuffled(cohort)), statistics, check_exact=True)


def test_a_further_source_moves_no_random_number_of_another(statistics: pd.DataFrame) -> None:
    alone = analyse(synthetic_input(readers=False))
    both = statistics[statistics["statistic_id"].isin(alone["statistic_id"])].reset_index(drop=True)
    random = alone["seed"].notna() & (alone["section"] != "regions")  # the family of a region test may grow
    assert random.sum() > 20
    assert_frame_equal(both[random], alone[random], check_exact=True)


def test_another_seed_of_the_study_moves_the_bootstrap_only() -> None:
    cohort = synthetic_input(60, readers=False)
    statistics = analyse(cohort)
    study = cohort.config.study.model_copy(update={"seed": 1})
    other = analyse(replace(cohort, config=cohort.config.model_copy(update={"study": study})))
    fixed = statistics["seed"].isna()  # an adjusted p may share its family with one of a Monte Carlo test
    assert_frame_equal(other[fixed].drop(columns="p_adjusted"), statistics[fixed].drop(columns="p_adjusted"))
    resampled = statistics["quantity"] == "icc_a1_bootstrap"
    assert (other.loc[resampled, "lower"] != statistics.loc[resampled, "lower"]).any()


def test_both_analysis_sets_are_given_where_rules_are_declared(statistics: pd.DataFrame) -> None:
    assert set(statistics["analysis_set"]) == {"screened", "measured", "examined", "included"}
    none = analyse(synthetic_input(readers=False, config=synthetic_config(eligibility={})))
    assert set(none["analysis_set"]) == {"screened", "measured", "included"}


def test_readers_shown_the_template_are_named_beside_what_they_agree_with(statistics: pd.DataFrame) -> None:
    notes = statistics.set_index("statistic_id")["note"]
    assert notes["agreement/exact/mask-classic/reader:C/measured"] == (
        "shared-method agreement: reader:C was shown the registered template"
    )
    assert notes["agreement/exact/reader:C/reader:A/measured"] == "reader:C was shown the registered template"
    assert pd.isna(notes["agreement/exact/mask-classic/reader:A/measured"])


def test_region_tests_are_adjusted_within_a_named_family(statistics: pd.DataFrame) -> None:
    tests = statistics.query("side == 'any' and source == 'mask-classic' and analysis_set == 'examined'")
    tests = tests[tests["quantity"].str.endswith("_test")].sort_values("p_value")
    assert len(tests) == 20  # ten regions, three grades and two classes
    assert set(tests["family"]) == {"mask-classic, examined, any: regions x contrasts, Holm over 20"}
    steps = tests["p_value"].to_numpy() * np.arange(20, 0, -1)  # Holm (1979): p(i) times the tests that remain
    assert tests["p_adjusted"].to_numpy() == pytest.approx(np.minimum(np.maximum.accumulate(steps), 1))


def test_the_severity_column_is_not_tested_against_its_own_grades(statistics: pd.DataFrame) -> None:
    row = statistics.set_index("statistic_id").loc["cohort/difference/-/nihss/examined"]
    assert pd.isna(row["p_value"])
    assert row["note"] == "the grades are made from this column"


def with_people(**columns: object) -> ReportInput:
    """A small synthetic cohort with columns of participants replaced."""
    data = synthetic_input(40, readers=False)
    return replace(data, participants=data.participants.assign(**columns))


def without_rows(*names: str) -> ReportInput:
    """A small synthetic cohort with empty tables."""
    data = synthetic_input(40, readers=False)
    return replace(data, **{name: getattr(data, name).iloc[:0] for name in names})


def only(kept: Callable[[pd.DataFrame], pd.Series]) -> ReportInput:
    """Some participants of a small synthetic cohort, in all tables."""
    data = synthetic_input(40, readers=False)
    ids = data.participants.loc[kept(data.participants), "participant_id"]
    names = ("participants", "exclusions", "scans", "scores", "regions", "lesions")
    tables = {name: getattr(data, name) for name in names}
    return replace(data, **{name: table[table["participant_id"].isin(ids)] for name, table in tables.items()})


DEGENERATE: dict[str, Callable[[], ReportInput]] = {
    "no severity": lambda: synthetic_input(40, readers=False, config=synthetic_config(severity=None)),
    "no outcome": lambda: synthetic_input(40, readers=False, config=synthetic_config(outcome=None)),
    "outcome is the severity column": lambda: synthetic_input(
        40, readers=False, config=synthetic_config(outcome="nihss")
    ),
    "outcome is no number": lambda: synthetic_input(40, readers=False, config=synthetic_config(outcome="sex")),
    "no readers": lambda: synthetic_input(40, readers=False),
    "one source": lambda: synthetic_input(40, config=synthetic_config(source=[{"name": "lesion", "kind": "mask"}])),
    "one class": lambda: with_people(nihss=pd.array([3] * 40, dtype="Int64"), severity="mild"),
    "no grade": lambda: with_people(nihss=pd.array([None] * 40, dtype="Int64"), severity=None),
    "nobody included": lambda: only(lambda people: ~people["is_included"]),
    "nobody examined": lambda: only(lambda people: ~people["is_examined"]),
    "one included": lambda: only(lambda people: ~people["is_included"] | (people["participant_id"] == "sub-0021")),
    "no scores": lambda: without_rows("scores", "regions"),
    "no lesions": lambda: without_rows("lesions"),
    "nobody": lambda: without_rows("participants", "exclusions", "scans", "scores", "regions", "lesions"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", DEGENERATE)
def test_a_degenerate_cohort_gives_reasons_and_no_exception(name: str) -> None:
    data = DEGENERATE[name]()
    rows = analyse(data)
    assert rows.loc[rows["section"] == "flow", "estimate"].iloc[0] == len(data.participants)
    empty = rows[rows["estimate"].isna()]
    assert empty["note"].notna().all()
    assert lint(rows, data) == []


def test_fewer_patients_than_cells_are_not_tested(by_hand: pd.DataFrame) -> None:
    row = by_hand.loc["regions/grades_test:any:caudate/a/nihss/included"]
    assert pd.isna(row["p_value"])
    assert row["note"] == "5 patients for 6 cells"


def test_one_class_gives_no_area_and_says_so() -> None:
    row = analyse(DEGENERATE["one class"]()).set_index("statistic_id").loc["roc/auc:score/mask-classic/nihss/examined"]
    assert pd.isna(row["estimate"])
    assert row["note"] == "both classes are needed, got 0 positive and 30 negative"


def test_without_a_severity_column_only_the_share_below_a_cut_is_given() -> None:
    rows = analyse(DEGENERATE["no severity"]())
    assert not {"roc", "youden"} & set(rows["section"])
    assert set(rows.loc[rows["section"] == "dichotomies", "quantity"]) == {"test_positive"}


def test_a_declared_pair_whose_source_gave_no_score_says_so() -> None:
    config = synthetic_config(agreement=[{"reference": "reader:A", "candidate": "mask-classic"}])
    rows = analyse(synthetic_input(40, readers=False, config=config))
    row = rows.set_index("statistic_id").loc["agreement/icc_a1/mask-classic/reader:A/measured"]
    assert pd.isna(row["estimate"])
    assert row["note"] == "reader:A gave no score"


def test_the_studys_first_lesion_leads_whatever_the_others_are_called() -> None:
    config = synthetic_config()
    core = CtpCoreSource(name="ctp-core", kind="ctp_core")
    data = synthetic_input(config=config.model_copy(update={"source": (*config.source, core)}))
    few = data.lesions.head(6).assign(source="core-ctp")  # by name before "lesion"
    patients = patients_of(replace(data, lesions=pd.concat([few, data.lesions], ignore_index=True)))
    assert list(patients.volumes) == ["lesion", "core-ctp"]
