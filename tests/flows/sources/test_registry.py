"""The registry, and kinds that give other things than those that are there: what the tables make of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal

import pytest
from pydantic import ValidationError
from rich.console import Console

from cohorts.folder.manifest import Scan
from cohorts.folder.source import MapUse, OnScanSource, Source
from cohorts.folder.study import kinds_of, study_model
from cohorts.store.findings import Findings
from cohorts.store.records import Record, StepKey
from cohorts.tables.lesions import lesions_batch
from cohorts.tables.regions_and_scores import regions_and_scores
from cohorts.tables.rows import Measured
from cohorts.tables.schemas import REGIONS, SCORES
from cohorts.tables.storage import write_table
from flows.commands.sources import show_sources
from flows.sources.registry import METHODS, STUDY
from tasks.scoring import PROBABILITY_RULES, RegionEvidence, Rule, Score
from tests.cohorts.hand_made import ASPECTS, VASCULAR, hand_made_cohort, rows, stands


class _Toy(Source):
    modality: str = "dwi"

    @property
    def scans(self):
        return (self.modality,)

    @property
    def rule_name(self):
        return "any"

    @property
    def phrase(self):
        return "a toy"


class Probabilities(_Toy):
    """Gives a probability for every region."""

    kind: Literal["probabilities"]
    rules: ClassVar[dict[str, Rule]] = PROBABILITY_RULES
    takes_declared_rules: ClassVar[bool] = False

    @property
    def rule_name(self):
        return "probability-50"

    def evidence(self, found: Findings, use: MapUse) -> Iterator[RegionEvidence]:
        for label in use.table.labels:
            likely = 0.5 if label.name in ("left_m1", "left_m2") else 0.4999
            yield RegionEvidence(label.side, label.region, "probability", likely)


class Dichotomy(_Toy):
    """Gives the chance of a low score and nothing else."""

    kind: Literal["dichotomy"]
    gives: ClassVar[frozenset[str]] = frozenset({"low_score_probability"})

    def low_score_probability(self, found: Findings) -> float:
        return 0.25


class Whole(_Toy):
    """Gives a score without regions."""

    kind: Literal["whole"]
    gives: ClassVar[frozenset[str]] = frozenset({"score"})

    def score(self, found: Findings) -> Score:
        return Score(10, 6, 6, "right")


TOYS = study_model((Probabilities, Dichotomy, Whole))


def _tables(kind, **known):
    cohort = replace(hand_made_cohort(), scans=(Scan("sub-1", "dwi", "orig", "a.nii.gz"),))
    config = TOYS.model_validate({"study": {"name": "a"}, "source": [{"name": "toy", "kind": kind}]})
    cohort = replace(cohort, config=config, readings=())
    record = Record("sub-1", StepKey("toy", "c", "a", "b"), "ok", None, None, Findings())
    measured = Measured({("sub-1", config.measurement_of["toy"]): record}, {"toy": ASPECTS}, VASCULAR, **known)
    ((regions, scores),) = regions_and_scores(cohort, measured, stands(hand_made_cohort()))
    return cohort, measured, regions, scores


def test_probabilities_are_judged_by_a_rule_of_their_own(tmp_path):
    _, _, regions, scores = _tables("probabilities")
    write_table(REGIONS, [regions], tmp_path)
    of_patient = [row for row in rows(regions) if row["participant_id"] == "sub-1"]
    assert len(of_patient) == 20
    assert {row["region"] for row in of_patient if row["affected"]} == {"m1", "m2"}
    assert {row["probability"] for row in of_patient} == {0.5, 0.4999}
    score = next(row for row in rows(scores) if row["participant_id"] == "sub-1")
    assert (score["score"], score["scored_side"], score["rule"]) == (8, "left", "probability-50")


def test_a_low_score_probability_alone_is_a_row_that_is_fine(tmp_path):
    _, _, regions, scores = _tables("dichotomy")
    write_table(SCORES, [scores], tmp_path)
    assert rows(regions) == []
    score = next(row for row in rows(scores) if row["participant_id"] == "sub-1")
    assert (score["status"], score["score"], score["low_score_probability"]) == ("ok", None, 0.25)


def test_a_score_without_regions_is_taken_as_it_is(tmp_path):
    _, _, regions, scores = _tables("whole")
    write_table(SCORES, [scores], tmp_path)
    assert rows(regions) == []
    score = next(row for row in rows(scores) if row["participant_id"] == "sub-1")
    assert (score["score_left"], score["score_right"], score["score"], score["scored_side"]) == (10, 6, 6, "right")


def test_a_source_that_cannot_be_measured_has_no_rows_at_all():
    cohort, measured, regions, scores = _tables("whole", absent={"toy": "weights toy-1 must be in a folder, got no a."})
    assert rows(regions) == rows(scores) == []
    assert rows(lesions_batch(cohort, measured, stands(hand_made_cohort()))) == []


def test_the_state_of_the_weights_is_in_every_row():
    *_, scores = _tables("whole", weights_states={"toy": "trained-here"})
    assert {row["weights_state"] for row in rows(scores)} == {"trained-here"}


def test_a_study_takes_the_kinds_of_its_model_and_no_other():
    assert {kind.model_fields["kind"].annotation.__args__[0] for kind in kinds_of(STUDY)} == {*METHODS, "readings"}
    with pytest.raises(ValidationError) as caught:
        TOYS.model_validate({"study": {"name": "a"}, "source": [{"name": "a", "kind": "mask"}]})
    assert caught.value.errors()[0]["type"] == "union_tag_invalid"


def test_two_settings_of_one_kind_are_two_measurements_of_one_step():
    """Core at .30 and .20 side by side; what shares its settings shares its measurement, whatever map and rule."""
    sources = [
        {"name": "core-30", "kind": "ctp_core"},
        {"name": "core-20", "kind": "ctp_core", "relative_cbf": 0.2},
        {"name": "core-20-any", "kind": "ctp_core", "relative_cbf": 0.2, "rule": "any", "regions": "territory"},
        {"name": "ratio", "kind": "density_ratio"},
        {"name": "ratio-affine", "kind": "density_ratio", "registration": "affine"},
        {"name": "mask", "kind": "mask"},
        {"name": "mask-any", "kind": "mask", "rule": "any"},
    ]
    config = STUDY.model_validate({"study": {"name": "a"}, "source": sources})
    assert {name: [one.name for one in sharing] for name, sharing in config.measurements.items()} == {
        "core-ctp:core-30": ["core-30"],
        "core-ctp:core-20": ["core-20", "core-20-any"],
        "ratio-ncct:ratio": ["ratio"],
        "ratio-ncct:ratio-affine": ["ratio-affine"],
        "lesion": ["mask", "mask-any"],
    }
    assert config.measurement_of["core-20-any"] == "core-ctp:core-20"
    assert {source.step for source in config.computed_sources} == {"core-ctp", "ratio-ncct", "measure-lesion"}


def test_what_lies_on_one_scan_declares_once_how_regions_come_onto_it():
    shared = {"forms", "registration"}
    on_scan = {kind: method.source for kind, method in METHODS.items() if issubclass(method.source, OnScanSource)}
    on_ct = {
        "density_ratio": "ct",
        "ncct_overlap": "ct",
        "ncct_asymmetry": "ct",
        "radiomics": "ct",
        "ncct_radiomics": "ct",
        "cta_radiomics": "cta",
    }
    assert set(on_scan) == {"native_mask", "dwi_threshold", "dwi_unet", "command", *on_ct}
    for kind, source in on_scan.items():
        assert not shared & set(source.__annotations__), kind
        plain = source.model_validate({"name": "a", "kind": kind, **source.needed})
        drawn = plain.model_copy(update={"registration": "network"})
        assert set(drawn.weights) - set(plain.weights) == {"region-net"}
        method = METHODS[kind]
        assert method.memory_of(drawn.settings) == max(1500, method.memory_mib)  # PyTorch
        assert method.cpu_limit_of(drawn.settings) == 600
        assert (method.memory_of(plain.settings), method.cpu_limit_of(plain.settings)) == (
            method.memory_mib,
            method.cpu_limit_s,
        )
        assert drawn.gated_as == on_ct.get(kind, "dwi")


def test_what_regions_by_a_network_cost_is_told():
    console = Console(width=200, record=True, file=io.StringIO())
    show_sources(console)
    block = console.export_text().split("density_ratio")[1].split("gives")[0]
    assert "needs  about 700 MiB, at most 120 CPU s a case" in block
    assert 'with registration = "network": weights region-net, about 1500 MiB, at most 600 CPU s a case' in block
