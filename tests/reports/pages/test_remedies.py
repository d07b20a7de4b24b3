"""Every reason with which a scan can end has words of its own: the sources are searched for the codes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cohorts.tables.participants import NO_SCAN_OF_MODALITY, NOT_MEASURED
from reports.pages.remedies import BY_STAGE, REMEDIES
from tasks.quality.gates import GATES
from tests.flows.bad_images import KINDS

REPOSITORY = Path(__file__).resolve().parents[3]
#: What a scan passes, from its row in scans.tsv to its numbers.
SCAN_MODULES = (
    *sorted((REPOSITORY / "tasks").rglob("*.py")),
    REPOSITORY / "cohorts" / "folder" / "scans.py",
    *sorted((REPOSITORY / "cohorts" / "images").glob("*.py")),
    *sorted((REPOSITORY / "flows" / "sources").glob("*.py")),
    *(REPOSITORY / "flows" / "run" / f"{name}.py" for name in ("steps", "measuring")),
)
CODE = re.compile(r"[a-z]+(_[a-z0-9]+)+")
#: Told beside a result that is used all the same, or about the study and no scan.
NO_END = {
    "adc_does_not_overlap",
    "adc_missing",
    "adc_scale_implausible",
    "b_value_missing",
    "modality_without_scan",
    "no_bolus",
    "no_venous_output",
    "other_side_not_described",
    "refinement_folded",
    "region_absent",
    "region_not_finite",
    "region_too_small",
    "region_uniform",
    "same_content",
    "too_many_grey_levels",
    "vof_before_aif",
    "vof_scaling_out_of_range",
}


def _texts(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def _is_message(node: ast.AST) -> bool:
    """A text with a rule in it, or a variable that holds one."""
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return bool(names & {"detail", "rule"}) or any(" must " in f" {text}" for text in _texts(node))


def _codes(tree: ast.AST) -> Iterator[str]:
    """Snake-case literals beside a message, given as ``reason=`` or assigned to a name with ``reason`` in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call | ast.Tuple):
            items = node.args if isinstance(node, ast.Call) else node.elts
            beside = [*items, *(item.value for item in getattr(node, "keywords", ()))]
            if any(map(_is_message, beside)):
                yield from (item.value for item in items if isinstance(item, ast.Constant) and _is_code(item.value))
        elif isinstance(node, ast.keyword) and node.arg == "reason":
            yield from filter(_is_code, _texts(node.value))
        elif isinstance(node, ast.Assign):
            names = {part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)}
            if any("reason" in name for name in names):
                yield from filter(_is_code, _texts(node.value))


def _is_code(value: object) -> bool:
    return isinstance(value, str) and CODE.fullmatch(value) is not None


def _found() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in SCAN_MODULES:
        for code in _codes(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(code, set()).add(path.name)
    return found


def test_the_search_finds_codes_however_they_are_written():
    text = (
        "raise Problem('too_odd', f'{name} must be even, got 3.')\n"
        "reason, detail = 'too_thin', rule\n"
        "make(reason='' if ok else 'too_wide')\n"
        "Outcome('failed', 'too_late', detail)\n"
        "return 'too_cold', f'{rule} Warm it.'\n"
        "rows = (('too_far', is_far, 'x must be near.'), ('no', 'code_alone'))\n"
    )
    assert set(_codes(ast.parse(text))) == {"too_odd", "too_thin", "too_wide", "too_late", "too_cold", "too_far"}


def test_every_reason_in_the_sources_has_words():
    found = _found()
    assert {"brain_too_small", "registration_diverged", "truncated_file", "worker_died", "input_changed"} <= set(found)
    without = {code: sorted(files) for code, files in found.items() if code not in REMEDIES and code not in NO_END}
    assert without == {}
    assert set(found) >= NO_END  # a code that is gone leaves this list too


def test_every_gate_and_every_bad_image_has_words():
    gates = {gate.reason for each in GATES.values() for gate in each}
    images = {kind.refused_when_listed or kind.reason for kind in KINDS.values()} - {""}
    others = {NOT_MEASURED, NO_SCAN_OF_MODALITY, "modality_not_used"}
    assert sorted((gates | images | others) - set(REMEDIES)) == []


@pytest.mark.parametrize("words", {**REMEDIES, **BY_STAGE}.values())
def test_words_are_sentences_that_say_what_to_do(words):
    assert words[0].isupper()
    assert words.endswith(".")
    assert len(words) > 40
