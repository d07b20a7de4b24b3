"""``cohort.toml`` as a file: reading it, and saying in a coordinator's words what is wrong with it.

The models of ``cohorts.folder.study`` state what a study is; here their errors become problems with row, key, value,
rule, nearest spelling and remedy.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cohorts.folder.analysis_plan import AnalysisSection, Question
from cohorts.folder.clinical import top_code_number
from cohorts.folder.clinical_column import NUMERIC, ClinicalColumn
from cohorts.folder.problems import CohortError, Problem, Refusal, did_you_mean
from cohorts.folder.scans import CohortPaths
from cohorts.folder.study import (
    BUILT_IN_MAPS,
    CLASSIC,
    AgreementPair,
    Dichotomy,
    DrawnRegions,
    EligibilitySection,
    FractionRule,
    GateLimit,
    Grade,
    GuardsSection,
    PerRegionRule,
    SeveritySection,
    StudyConfig,
    StudySection,
    TemplateSection,
    kinds_of,
)
from cohorts.folder.table_mapping import TableMapping
from cohorts.folder.taken_sources import taken_sources
from cohorts.folder.toml_rows import DEEPEST, Location, first_row_too_deep, rows_of
from cohorts.folder.tsv import read_text
from cohorts.tables.schemas import RESERVED_COLUMNS

FILE = "cohort.toml"

#: The models that read each section, or each entry of a list, sources aside; the nearest spelling is looked for among
#: their keys.
_SECTIONS: dict[str, tuple[type[BaseModel], ...]] = {
    "": (StudyConfig,),
    "study": (StudySection,),
    "template": (TemplateSection,),
    "source": (),
    "rule": (FractionRule, PerRegionRule),
    "clinical": (ClinicalColumn,),
    "severity": (SeveritySection,),
    "grades": (Grade,),
    "eligibility": (EligibilitySection,),
    "gate": (GateLimit,),
    "guards": (GuardsSection,),
    "dichotomy": (Dichotomy,),
    "agreement": (AgreementPair,),
    "drawn_regions": (DrawnRegions,),
    "table": (TableMapping,),
    "analysis": (AnalysisSection,),
    "question": (Question,),
}
_LISTS = ("source", "rule", "clinical", "gate", "dichotomy", "agreement", "drawn_regions", "table", "question")
_SYMBOLS = {">=": "ge", ">": "gt", "<=": "le", "<": "lt"}
_CORRECT = "Correct it."

Sections = Mapping[str, tuple[type[BaseModel], ...]]
LARGEST_STUDY = 1_000_000  # bytes


def read_study(folder: Path, model: type[StudyConfig]) -> tuple[StudyConfig, list[Problem]]:
    """Read ``cohort.toml``.

    Parameters
    ----------
    folder : cohort folder
    model : the study, closed over the kinds of source that there are (``cohorts.folder.study.study_model``)

    Returns
    -------
    The study; and the warning that it declares no source, so that all were taken that the cohort's files allow.

    Raises
    ------
    CohortError
        The folder or file cannot be read, or the study is not valid; every problem is named.
    """
    if not folder.is_dir():
        remedy = "Give the folder that holds cohort.toml; 'aspects init' writes an example."
        raise CohortError(
            [Problem(FILE, None, None, str(folder), "must be in a folder that exists", remedy, "folder_missing")]
        )
    text, problem = read_text(folder, FILE, limit=LARGEST_STUDY)
    if text is None:
        raise CohortError([problem] if problem else [])
    text = text.replace("\r\n", "\n")
    if (row := first_row_too_deep(text)) is not None:
        rule = f"must nest keys and brackets at most {DEEPEST} deep"
        raise CohortError([Problem(FILE, row, None, None, rule, "Look for a damaged line.", "nested_too_deep")])
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        where = re.search(r"line ([0-9]+)", str(error))
        row = int(where.group(1)) if where else None
        reason = re.sub(r" \(at .*\)$", "", str(error))
        rule = f"must be valid TOML ({reason[:1].lower()}{reason[1:]})"
        remedy = 'Look for a missing quote, bracket or "=" in this line or the one before.'
        raise CohortError([Problem(FILE, row, None, None, rule, remedy, "invalid_toml")]) from None
    problems: list[Problem] = []
    if "source" not in content and "study" in content:
        content["source"], problems = taken_sources(folder, kinds_of(model))
        if not content["source"]:
            raise CohortError(problems)
    try:
        return model.model_validate(content), problems
    except ValidationError as error:
        rows, sections = rows_of(text), _SECTIONS | {"source": kinds_of(model)}
        problems = [
            found for details in error.errors(include_url=False) for found in _explain(details, content, rows, sections)
        ]
        raise CohortError(sorted(problems, key=lambda problem: problem.row or 0)) from None


def _location(details: ErrorDetails, content: Mapping[str, Any]) -> Location:
    """The error's place in the file: pydantic's location without the tags of its unions."""
    place: list[str | int] = []
    at: Any = content
    for step, item in enumerate(details["loc"]):
        is_last = step == len(details["loc"]) - 1
        if isinstance(at, Mapping) and item not in at and not (is_last and details["type"] == "missing"):
            continue
        place.append(item)
        try:
            at = at[item]
        except (KeyError, IndexError, TypeError):
            at = None
    return tuple(place)


def _explain(
    details: ErrorDetails, content: Mapping[str, Any], rows: Mapping[Location, int], sections: Sections
) -> list[Problem]:
    """Turn one error of pydantic into problems."""
    place = _location(details, content)
    row = next((rows[place[:end]] for end in range(len(place), 0, -1) if place[:end] in rows), None)
    key = "".join(f"[{item + 1}]" if isinstance(item, int) else f".{item}" for item in place).removeprefix(".")
    written = details["input"]
    match details["type"]:
        case "value_error":
            rules = str(details["ctx"]["error"])
            return [
                Problem(FILE, row, key or None, None, rule, _CORRECT, "contradiction")
                for rule in (re.split("; (?!give )", rules) if not place else [rules])
            ]
        case "too_short" if written:  # the entries are there, and each has its own problem
            return []
        case "extra_forbidden":
            known = _known_keys(place, content, sections)
            remedy = (
                _other_section(str(place[-1]), sections) or did_you_mean(str(place[-1]), known)
            ) + "Rename or delete it."
            return [Problem(FILE, row, key, None, f"must be one of {', '.join(known)}", remedy, "unknown_key")]
    value = str(written) if isinstance(written, str | int | float) and details["type"] != "missing" else None
    return [Problem(FILE, row, key, value, *_rule(details, place, sections))]


def _known_keys(place: Location, content: Mapping[str, Any], sections: Sections) -> list[str]:
    """The keys that exist where ``place`` ends; of a list of several kinds, those of the kind declared there."""
    section = next((item for item in reversed(place[:-1]) if isinstance(item, str)), "")
    models = sections.get(section, ())
    if len(models) > 1 and len(place) > 1 and isinstance(place[1], int):
        kind = content[section][place[1]].get("kind")
        models = tuple(model for model in models if kind in _kinds(model)) or models
    return list(dict.fromkeys(key for model in models for key in model.model_fields))


def _kinds(model: type[BaseModel]) -> tuple[str, ...]:
    """The values of ``kind`` that choose a model."""
    return get_args(model.model_fields["kind"].annotation)


def _other_section(key: str, sections: Sections) -> str:
    """Return the sentence that says where a misplaced key belongs, or nothing."""
    for section, models in sections.items():
        if any(key in model.model_fields for model in models):
            where = f"in [{section}]" if section else "at the top of the file, before the first section"
            return f"Does it belong {where}? "
    return ""


def _rule(details: ErrorDetails, place: Location, sections: Sections) -> tuple[str, str, str]:
    """Rule, remedy and reason of one error of pydantic, in words that need no Python."""
    last = str(place[-1])
    expected = str(details.get("ctx", {}).get("expected", "")) or str(details.get("ctx", {}).get("expected_tags", ""))
    choices = re.findall("'([^']*)'", expected)
    match details["type"]:
        case "missing" if last in _LISTS:
            return "must be given", f"Add at least one [[{last}]].", "missing_key"
        case "missing" if len(place) == 1:
            return "must be given", f"Add a section [{last}].", "missing_key"
        case "missing":
            return "must be given", f"Add {last} = ... to this section.", "missing_key"
        case "union_tag_not_found":
            choices = [next(iter(_kinds(m))) for m in sections[str(place[0])]]
            return f"must have kind = one of {', '.join(choices)}", "Add kind to this section.", "missing_key"
        case "union_tag_invalid" | "literal_error":
            written = str(details["ctx"].get("tag", details["input"]))
            remedy = did_you_mean(_SYMBOLS.get(written, written), choices) + _CORRECT
            what = "kind must" if details["type"] == "union_tag_invalid" else "must"
            return f"{what} be one of {', '.join(choices)}", remedy, "unknown_choice"
        case "tuple_type" if last in _LISTS:
            return "must be a list", f"Write [[{last}]] with double brackets.", "wrong_type"
        case "tuple_type":
            return "must be a list", f"Write {last} = [...].", "wrong_type"
        case "model_type" | "model_attributes_type" | "dict_type":
            name = next(str(item) for item in reversed(place) if isinstance(item, str))
            header = f"[[{name}]]" if name in _LISTS else f"[{name}]"
            return "must be a section with keys", f"Write {header} and its keys below it.", "wrong_type"
        case "string_pattern_mismatch":
            rule = "must be lower-case letters, digits and _ : . -, beginning with a letter or digit"
            return rule, _CORRECT, "invalid_name"
        case "too_short":
            return "must have at least one entry", f"Add a [[{last}]].", "missing_key"
        case "string_too_short":
            return "must not be empty", "Write a text.", "missing_key"
    message = details["msg"].split(", unable")[0]
    message = re.sub(r"^(Input|String|Value|Tuple|Dictionary) should", "must", message)
    return message[:1].lower() + message[1:], _CORRECT, "invalid_value"


def check_study(config: StudyConfig, paths: CohortPaths) -> list[Problem]:
    """Check what ``cohort.toml`` says about other columns and files: label maps, dates, and names already taken."""
    problems = []
    for item in config.clinical:
        problems += _check_column(item, config)
    for name, users in _maps(config).items():
        for path in (name, re.sub(r"\.nii(\.gz)?$", "", name) + ".tsv"):
            result = paths.check(path, (".tsv",) if path.endswith(".tsv") else (".nii", ".nii.gz"))
            if isinstance(result, Refusal):
                near = did_you_mean(name, BUILT_IN_MAPS)
                rule = f"{result.rule} (label map of {', '.join(users)})"
                remedy = f"{near}Give {', '.join(BUILT_IN_MAPS)}, or a NIfTI label map with its table (.tsv) beside it."
                problems.append(Problem(FILE, None, "regions", path, rule, remedy, f"label_map_{result.reason}"))
                break
    for drawn in config.drawn_regions:
        result = drawn.labels if drawn.labels == CLASSIC else paths.check(drawn.labels, (".tsv",))
        if isinstance(result, Refusal):
            key, reason = f"drawn_regions {drawn.name}: labels", f"label_table_{result.reason}"
            remedy = f"Give {CLASSIC}, or a table (.tsv) of the columns index name side region group."
            problems.append(Problem(FILE, None, key, drawn.labels, result.rule, remedy, reason))
    return problems


def _maps(config: StudyConfig) -> dict[str, list[str]]:
    """Label maps that are files, with the sources that use them."""
    maps: dict[str, list[str]] = {}
    for source in config.computed_sources:
        name = config.regions_of(source)
        if name not in BUILT_IN_MAPS:
            maps.setdefault(name, []).append(source.name)
    return maps


def _check_column(item: ClinicalColumn, config: StudyConfig) -> list[Problem]:
    """Check what one clinical column is declared to be."""
    key = f"clinical {item.column}"
    problems = []

    def refuse(name: str, value: str, rule: str, remedy: str, reason: str) -> None:
        problems.append(Problem(FILE, None, f"{key}: {name}", value, rule, remedy, reason))

    if item.column in RESERVED_COLUMNS:
        rule = f"must not be one of {', '.join(RESERVED_COLUMNS)}"
        refuse("column", item.column, rule, "Rename the column here and in participants.tsv.", "reserved_column")
    if item.top_code is not None and top_code_number(item) is None:
        refuse("top_code", item.top_code, "must contain its number, such as 89+", _CORRECT, "invalid_top_code")
    if item.not_before is not None:
        dates = [other.column for other in config.clinical if other.read_as == "date" and other is not item]
        if item.read_as != "date" or item.not_before not in dates:
            rule = f"must compare two columns read as date ({', '.join(dates) or 'no other is declared'})"
            remedy = did_you_mean(item.not_before, dates) + _CORRECT
            refuse("not_before", item.not_before, rule, remedy, "not_before_without_date")
    numeric = item.read_as in NUMERIC
    for role, name in (("severity", config.severity and config.severity.column), ("outcome", config.outcome)):
        if name == item.column and not numeric:
            rule = f"must be integer or number for the {role} column"
            refuse("read_as", item.read_as, rule, _CORRECT, "column_not_numeric")
    if config.clinical_side == item.column and not {"left", "right"} <= set(item.level_titles):
        rule, remedy = (
            "must be left and right for the clinical_side column",
            'Write levels = { left = "left", right = "right" }.',
        )
        refuse("levels", ", ".join(item.levels or ()) or "none", rule, remedy, "invalid_clinical_side")
    return problems
