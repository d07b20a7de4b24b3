"""``cohort.toml`` as a model: what it takes, what it refuses and in which words."""

from __future__ import annotations

import tomllib
from copy import deepcopy

import pytest
from pydantic import ValidationError

from cohorts.folder.source import ReadingsSource
from cohorts.folder.study import (
    BUILT_IN_RULES,
    DEFAULT_DICHOTOMIES,
    EligibilitySection,
    FractionRule,
    PerRegionRule,
)
from flows.sources.mask import MaskSource
from flows.sources.registry import STUDY as STUDY_MODEL
from tasks.anatomy import ASPECTS_REGIONS

LEAST = {"study": {"name": "Least"}, "source": [{"name": "classic", "kind": "mask"}]}
CUTS = dict.fromkeys(ASPECTS_REGIONS, 0.5)


def _config(**changes):
    return STUDY_MODEL.model_validate(deepcopy(LEAST) | changes)


def _nihss(**changes):
    return {"column": "nihss", "read_as": "integer"} | changes


def test_the_least_study_has_the_documented_defaults():
    config = _config()
    (source,) = config.computed_sources
    assert (source.modality, source.rule, source.laterality) == ("lesion", "wei", "worst")
    assert config.regions_of(source) == "classic"
    assert config.readings_source is None
    assert (config.study.seed, config.study.bootstrap_resamples, config.study.synthetic) == (20260101, 2000, False)
    assert config.study.pictures == "radiological"
    assert not config.eligibility.is_set
    assert config.severity is None


def test_severity_grades_and_positive_class_are_those_of_the_paper():
    severity = _config(severity={}, clinical=[_nihss()]).severity
    assert severity.positive_minimum == 8
    assert [(grade.name, grade.minimum, grade.maximum) for grade in severity.grades] == [
        ("mild", 0, 7),
        ("moderate", 8, 16),
        ("severe", 17, 42),
    ]


def test_declared_cuts_carry_operator_and_source():
    cuts = {item.name: (item.on, item.operator, item.cut) for item in DEFAULT_DICHOTOMIES}
    assert cuts["wei_le6"] == ("score", "le", 6)
    assert cuts["guideline_lt6"] == ("score", "lt", 6)
    assert cuts["wei_volume"] == ("volume_ml", "ge", 27.86)
    assert [item.name for item in DEFAULT_DICHOTOMIES if item.primary] == ["wei_le6"]
    assert all(item.source for item in DEFAULT_DICHOTOMIES)


def test_kinds_choose_the_models():
    config = _config(
        source=[{"name": "own", "kind": "mask", "regions": "maps/own_dseg.nii.gz"}, {"kind": "readings"}],
        rule=[
            {"name": "a", "kind": "fraction", "deep": 0, "cortical": 1},
            {"name": "b", "kind": "per_region", "cuts": CUTS},
        ],
        template={"regions": "territory"},
    )
    assert [type(source) for source in config.source] == [MaskSource, ReadingsSource]
    assert [type(rule) for rule in config.rule] == [FractionRule, PerRegionRule]
    assert config.readings_source.name == "readers"
    assert config.regions_of(config.computed_sources[0]) == "maps/own_dseg.nii.gz"


def test_a_study_is_frozen_and_blanks_around_text_do_not_count():
    config = _config(study={"name": "  Least  "})
    assert config.study.name == "Least"
    with pytest.raises(ValidationError, match="frozen"):
        config.study.name = "other"


@pytest.mark.parametrize(
    ("rules", "is_set", "needs_lesion"),
    [
        ({}, False, False),
        ({"required_columns": ("nihss",)}, True, False),
        ({"minimum_max_diameter_mm": 15}, True, True),
        ({"minimum_mca_share": 0.0}, True, True),
        ({"maximum_aca_share": 1.0}, True, True),
        ({"maximum_pca_share": 0.2}, True, True),
        ({"maximum_volume_ml": 500, "required_columns": ("nihss",)}, True, True),
    ],
)
def test_what_eligibility_asks_for(rules, is_set, needs_lesion):
    section = EligibilitySection(**rules)
    assert (section.is_set, section.needs_lesion) == (is_set, needs_lesion)


DWI = {"name": "dwi", "kind": "dwi_threshold"}


def test_drawn_regions_are_held_against_every_way_of_placing_regions_on_their_scan():
    sources = [
        {"name": "ratio", "kind": "density_ratio"},
        {"name": "ratio-again", "kind": "density_ratio", "laterality": "both"},
        {"name": "affine", "kind": "density_ratio", "registration": "affine"},
        {"name": "manual", "kind": "native_mask", "modality": "ct-lesion", "scan": "ncct"},
        {"name": "territory", "kind": "density_ratio", "regions": "territory"},
        DWI,
    ]
    config = _config(source=sources, drawn_regions=[{"name": "drawn"}])
    assert [source.name for source in config.regions_on("ncct")] == ["ratio", "affine", "territory"]
    assert [source.name for source in config.regions_on("dwi")] == ["dwi"]
    assert config.regions_on("cta") == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": [LEAST["source"][0]] * 2}, "source 'classic' is declared 2 times"),
        ({"source": [{"kind": "readings"}] * 3}, "source 'readers' is declared 3 times"),
        (
            {"rule": [{"name": "a", "kind": "fraction", "deep": 0, "cortical": 1}] * 2},
            "rule 'a' is declared 2 times",
        ),
        ({"dichotomy": [{"name": "a", "cut": 1, "operator": "le"}] * 2}, "dichotomy 'a' is declared 2 times"),
        ({"clinical": [_nihss()] * 2}, "clinical column 'nihss' is declared 2 times"),
        (
            {"rule": [{"name": "wei", "kind": "fraction", "deep": 0, "cortical": 1}]},
            "rule 'wei' is built in: give yours another name",
        ),
        (
            {"source": [{"name": "a", "kind": "mask", "rule": "Wei"}]},
            "source 'a': rule must be one of any, wei, danet, got 'Wei'",
        ),
        (
            {"source": [{"name": "reader:a", "kind": "mask"}]},
            "source 'reader:a': names beginning with reader: are those of readers, give yours another",
        ),
        (
            {"source": [{"name": "a", "kind": "mask", "modality": "dwi/b1000"}]},
            "source 'a': modality must not contain /, got 'dwi/b1000'",
        ),
        (
            {"source": [{"name": "a", "kind": "dwi_unet", "regions": "territory", "registration": "network"}]},
            "source 'a': registration network knows the regions classic, got territory",
        ),
        ({"drawn_regions": [{"name": "classic"}]}, "drawn_regions 'classic': its name is that of a source"),
        ({"drawn_regions": [{"name": "a"}, {"name": "a"}]}, "drawn_regions 'a' is declared 2 times"),
        ({"drawn_regions": [{"name": "a"}]}, "scan must be one onto which a source brings regions, got 'ncct'"),
        (
            {"drawn_regions": [{"name": "a", "modality": "dwi", "scan": "dwi"}], "source": [DWI]},
            "modality and scan must differ, got 'dwi' for both",
        ),
        (
            {"drawn_regions": [{"name": "a", "modality": "adc", "scan": "dwi"}], "source": [DWI]},
            "modality must hold its label images alone, got 'adc', which a source reads",
        ),
        (
            {"clinical": [{"column": "onset", "read_as": "date", "minimum": 0}]},
            "clinical column 'onset': minimum and maximum need read_as integer or number, got date",
        ),
        ({"outcome": "mrs"}, r"outcome must be a declared \[\[clinical\]\] column \(none declared\), got 'mrs'"),
        (
            {"outcome": "NIHSS", "clinical": [_nihss()]},
            r"outcome must be a declared \[\[clinical\]\] column \(nihss\), got 'NIHSS'",
        ),
        ({"clinical_side": "side"}, r"clinical_side must be a declared .* got 'side'"),
        ({"severity": {"column": "gcs"}}, r"severity column must be a declared .* got 'gcs'"),
        (
            {"eligibility": {"required_columns": ["age"]}},
            r"eligibility required_columns age must be a declared .* got 'age'",
        ),
        (
            {"source": [{"name": "a", "kind": "mask", "laterality": "clinical_side"}]},
            "laterality 'clinical_side' needs clinical_side = \"<column>\"",
        ),
        (
            {"source": [{"kind": "readings", "laterality": "clinical_side"}]},
            "laterality 'clinical_side' needs clinical_side",
        ),
        (
            {
                "dichotomy": [
                    {"name": name, "cut": 1, "operator": "le", "primary": primary}
                    for name, primary in (("a", True), ("b", True), ("c", False))
                ]
            },
            "at most one dichotomy may be primary",
        ),
        (
            {"rule": [{"name": "a", "kind": "per_region", "cuts": {"m1": 0.5, "m7": 0.5}}]},
            r"cuts must name exactly caudate, .*missing \['caudate'.*'m6'\], unknown \['m7'\]",
        ),
    ],
)
def test_each_contradiction_is_named(changes, message):
    with pytest.raises(ValidationError, match=message):
        _config(**changes)


def test_all_contradictions_are_named_at_once():
    with pytest.raises(ValidationError) as caught:
        _config(outcome="mrs", clinical_side="side", source=[{"name": "a", "kind": "mask", "rule": "x"}])
    (error,) = caught.value.errors()
    problems = str(error["ctx"]["error"]).split("; ")
    assert [problem.split(" must ")[0] for problem in problems] == ["source 'a': rule", "outcome", "clinical_side"]


@pytest.mark.parametrize(
    ("changes", "place", "kind"),
    [
        ({"studdy": {}}, ("studdy",), "extra_forbidden"),
        ({"study": {"name": "a", "sed": 1}}, ("study", "sed"), "extra_forbidden"),
        ({"study": {}}, ("study", "name"), "missing"),
        ({"study": {"name": " "}}, ("study", "name"), "string_too_short"),
        ({"study": {"name": "a", "seed": -1}}, ("study", "seed"), "greater_than_equal"),
        ({"study": {"name": "a", "bootstrap_resamples": 99}}, ("study", "bootstrap_resamples"), "greater_than_equal"),
        ({"source": []}, ("source",), "too_short"),
        ({"source": [{"name": "a", "kind": "masks"}]}, ("source", 0), "union_tag_invalid"),
        ({"source": [{"name": "A b", "kind": "mask"}]}, ("source", 0, "mask", "name"), "string_pattern_mismatch"),
        (
            {"source": [{"name": "a", "kind": "mask", "laterality": "best"}]},
            ("source", 0, "mask", "laterality"),
            "literal_error",
        ),
        (
            {"rule": [{"name": "a", "kind": "fraction", "deep": 1.2, "cortical": 1}]},
            ("rule", 0, "fraction", "deep"),
            "less_than_equal",
        ),
        (
            {"rule": [{"name": "a", "kind": "per_region", "cuts": CUTS | {"m1": -0.1}}]},
            ("rule", 0, "per_region", "cuts", "m1"),
            "greater_than_equal",
        ),
        ({"dichotomy": [{"name": "a", "cut": 6}]}, ("dichotomy", 0, "operator"), "missing"),
        ({"dichotomy": [{"name": "a", "cut": 6, "operator": "<"}]}, ("dichotomy", 0, "operator"), "literal_error"),
        ({"clinical": [{"column": "a", "read_as": "float"}]}, ("clinical", 0, "read_as"), "literal_error"),
        ({"eligibility": {"maximum_volume_ml": 0}}, ("eligibility", "maximum_volume_ml"), "greater_than"),
        ({"eligibility": {"minimum_mca_share": 50}}, ("eligibility", "minimum_mca_share"), "less_than_equal"),
        ({"study": {"name": "T", "pictures": "left"}}, ("study", "pictures"), "literal_error"),
        ({"agreement": [{"reference": "a"}]}, ("agreement", 0, "candidate"), "missing"),
    ],
)
def test_each_wrong_key_or_value_is_found_at_its_place(changes, place, kind):
    with pytest.raises(ValidationError) as caught:
        _config(**changes)
    found = [(error["loc"], error["type"]) for error in caught.value.errors()]
    assert found[0] == (place, kind)
    assert found[1:] in ([], [(("source",), "too_short")])  # a list whose only entry is wrong counts as empty


def test_a_study_survives_json_as_the_run_summary_stores_it():
    config = _config(clinical=[_nihss(levels={"0": "none"})], severity={}, outcome="nihss", eligibility={})
    assert STUDY_MODEL.model_validate(config.model_dump(mode="json")) == config


def test_toml_gives_what_the_model_takes():
    text = '[study]\nname = "T"\n[[source]]\nname = "a"\nkind = "mask"\nrule = "danet"\n'
    config = STUDY_MODEL.model_validate(tomllib.loads(text))
    assert config.computed_sources[0].rule in BUILT_IN_RULES


@pytest.mark.parametrize("kind", ["density_ratio", "dwi_threshold", "dwi_unet", "native_mask"])
def test_regions_by_a_network_need_its_weights(kind):
    scan = {"modality": "dwi-lesion", "scan": "dwi"} if kind == "native_mask" else {}
    sources = [{"name": "a", "kind": kind, "registration": "network"} | scan, {"name": "b", "kind": kind} | scan]
    config = _config(source=sources)
    network, atlas = config.computed_sources
    assert set(network.weights) - set(atlas.weights) == {"region-net"}
    assert config.measurement_of["a"] != config.measurement_of["b"]
