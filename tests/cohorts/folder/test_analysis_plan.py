"""``[analysis]`` of ``cohort.toml``: what may be declared, what is refused and in which words, and its digest."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
from pydantic import ValidationError

from cohorts.folder.problems import CohortError
from cohorts.folder.study_file import read_study
from flows.sources.registry import STUDY

ICC = "agreement/icc_a1/mask/reader:A/measured"
LEAST = {"study": {"name": "Least"}, "source": [{"name": "mask", "kind": "mask"}]}


def plan(*questions: dict[str, object], **section: object):
    """A study with these questions."""
    named = [{"name": f"q{at}", "role": "primary", "statistic": ICC} | item for at, item in enumerate(questions, 1)]
    return STUDY.model_validate(deepcopy(LEAST) | {"analysis": {"question": named} | section})


def test_a_question_has_the_edges_of_its_claim():
    within, above, below, both, nothing = plan(
        {"margin": 1}, {"at_least": 0.5}, {"at_most": 2}, {"at_least": 0, "at_most": 1}, {}
    ).analysis.question
    assert (within.edges, above.edges, below.edges) == ((-1, 1), (0.5, None), (None, 2))
    assert (both.edges, nothing.edges) == ((0, 1), (None, None))
    assert plan({}).analysis.alpha == 0.05


@pytest.mark.parametrize(
    "statistic",
    [
        ICC,
        "roc/auc:score/mask/nihss/included",
        "dichotomies/sensitivity:wei_le6/mask/nihss/included",
        "regions/affected:left:caudate/mask/-/included/mild",
        "segmentation/dice:0 to 3 ml/lesion/lesion/measured",
        "flow/n_included/-/-/screened",
    ],
)
def test_every_kind_of_statistic_id_is_taken(statistic: str):
    assert plan({"statistic": statistic}).analysis.question[0].statistic == statistic


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"statistic": "icc_a1 of mask"}, "statistic must be a statistic_id"),
        ({"statistic": "agreement/icc_a1/mask/reader:A/everybody"}, "a set of screened, measured, examined, included"),
        ({"margin": 1, "at_least": 0}, "margin must stand alone"),
        ({"at_least": 2, "at_most": 1}, "at_least must be < at_most, got 2 and 1"),
        ({"margin": 0}, "greater than 0"),
        ({"role": "secondary"}, "'primary', 'confirmatory' or 'exploratory'"),
        ({"statistic": "roc/auc:score/masc/nihss/included"}, "'q1': source must be one of mask, lesion, or a reader"),
        ({"statistic": "agreement/icc_a1/mask/masc/measured"}, "'q1': against must be one of"),
        ({"statistic": "dichotomies/ppv:wei/mask/nihss/included"}, "the dichotomy must be one of wei_le6"),
    ],
)
def test_a_wrong_question_is_refused(question: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        plan(question)


def test_a_name_twice_and_a_wrong_alpha_are_refused():
    with pytest.raises(ValidationError, match="analysis question 'same' is declared 2 times"):
        plan({"name": "same"}, {"name": "same"})
    for alpha in (0, 0.5, 5):
        with pytest.raises(ValidationError, match="alpha"):
            plan({}, alpha=alpha)
    with pytest.raises(ValidationError, match="question"):
        plan()


def test_the_digest_is_of_the_plan_and_what_it_rests_on():
    first = plan({"at_least": 0.5})
    assert first.analysis_digest == plan({"at_least": 0.5}).analysis_digest
    others = [
        plan({"at_least": 0.6}),
        plan({"at_least": 0.5}, alpha=0.01),
        first.model_copy(update={"dichotomy": ()}),
        STUDY.model_validate(first.model_dump() | {"agreement": [{"reference": "reader:A", "candidate": "mask"}]}),
    ]
    assert len({first.analysis_digest, *(other.analysis_digest for other in others)}) == 5
    renamed = STUDY.model_validate(first.model_dump() | {"study": {"name": "Other"}})
    assert renamed.analysis_digest == first.analysis_digest
    assert STUDY.model_validate(LEAST).analysis_digest is None


def test_a_file_says_where_the_plan_is_wrong(tmp_path: Path):
    (tmp_path / "cohort.toml").write_text(
        '[study]\nname = "x"\n[[source]]\nname = "mask"\nkind = "mask"\n[analysis]\n[[analysis.question]]\n'
        f'name = "icc"\nrole = "primary"\nstatistic = "{ICC}"\nat_last = 0.5\n'
    )
    with pytest.raises(CohortError) as caught:
        read_study(tmp_path, STUDY)
    (problem,) = caught.value.problems
    assert (problem.row, problem.column, problem.reason) == (11, "analysis.question[1].at_last", "unknown_key")
    assert "at_least" in problem.remedy
