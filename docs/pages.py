"""Pages of the documentation that follow from the program: made when the site is built, and never committed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.testing import CliRunner

from cohorts.folder.source import OnScanSource, Source
from cohorts.tables.schemas import TABLES
from cohorts.tables.storage import data_dictionary
from flows.__main__ import app
from flows.commands.sources import declared, gives, needs, reads, toml
from flows.sources.interface import Method
from flows.sources.registry import METHODS
from models.weights import FOLDER
from reports.pages.remedies import BY_STAGE, REMEDIES

#: Folder of these pages inside that of the documentation.
GENERATED = "made"
HELP_COLUMNS = "100"
_LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def pages() -> dict[str, str]:
    """Path below ``GENERATED``, without its ending -> Markdown."""
    made = {f"sources/{kind}": source_page(method) for kind, method in METHODS.items()}
    made["sources"] = _lines(
        "# Sources",
        "Everything that scores is a source: one `[[source]]` of `cohort.toml` each. Every reader of `readings.tsv` is "
        'one too (`kind = "readings"`).',
        _table(
            ("kind", "what it is"),
            [(f"[{kind}](sources/{kind}.md)", one.source.about) for kind, one in METHODS.items()],
        ),
        "```{toctree}\n:hidden:\n" + "\n".join(f"sources/{kind}" for kind in METHODS) + "\n```",
    )
    made |= {"commands": commands_page(), "tables": tables_page(), "reasons": reasons_page()}
    return made


def write_pages(folder: Path) -> None:
    """Write every page below a folder of documentation."""
    for name, text in pages().items():
        path = folder / GENERATED / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def source_page(method: Method) -> str:
    """What a kind is, reads, needs and gives, its settings, and the card of its weights."""
    source = declared(method)
    facts = [("reads", reads(source)), ("gives", gives(source))]
    if source.scans:
        facts.append(("needs", needs(method, source)))
    if isinstance(source, OnScanSource):
        facts.append(
            ('with `registration = "network"`', needs(method, source.model_copy(update={"registration": "network"})))
        )
    example = ["```toml", "[[source]]", 'name = "any"', f'kind = "{method.kind}"']
    example += [*(f"{key} = {toml(value)}" for key, value in source.needed.items()), "```"]
    return _lines(
        f"# {method.kind}",
        f"{method.source.about[:1].upper()}{method.source.about[1:]}.",
        _table(("", ""), facts),
        "\n".join(example),
        "## Settings",
        _table(("key", "default", "values", "meaning"), _settings(method.source)),
        *(part for name in source.weights for part in card_parts(name)),
    )


def _settings(source: type[Source]) -> Iterator[Sequence[str]]:
    """Key, default, values and meaning of everything that a study may set."""
    for key, field in source.model_fields.items():
        if key not in ("kind", "name"):
            yield f"`{key}`", _default(field), _values(field), field.description or ""
    yield "`name`", "", "small letters, digits and _ : . -", "What it is called in tables and pages"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "must be given"
    return "" if value is None or value == "" else f"`{toml(value)}`"


def _values(field: FieldInfo) -> str:
    """Type and limits, as a study writes them."""
    found = [
        f"{_LIMITS[name]} {getattr(one, name):g}" for one in field.metadata for name in _LIMITS if hasattr(one, name)
    ]
    return ", ".join([_type_text(field.annotation), *found])


def _type_text(kind: Any) -> str:
    """A type in words."""
    words = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): ""}
    if kind in words:
        return words[kind]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in inner)
    if not inner:
        return "table" if hasattr(kind, "model_fields") else "text"
    parts = dict.fromkeys(filter(None, (_type_text(one) for one in inner if one is not ...)))
    shape = "table of " if origin in (dict, Mapping) else "list of " if origin in (tuple, list) else ""
    return shape + " or ".join(parts)


def card_parts(name: str) -> Iterator[str]:
    """Data, licences, measured figures and limits of weights, from their card."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        yield f"## Weights {name}\n\nNone ship: train them by `aspects train`."
        return
    card = json.loads(path.read_bytes())
    yield f"## Weights {name}"
    yield f"State `{card['state']}`, sha256 `{card['sha256'][:12]}`. " + (
        "Images of patients are behind them."
        if card.get("has_patient_images")
        else "No patient's image is behind them."
    )
    rows = [
        (one["kind"], one["folder"], ", ".join(f"{n} {split}" for split, n in one["n"].items()), _licences(one))
        for one in card.get("data", ())
    ]
    yield _table(("data", "folder", "number", "licence"), rows)
    yield f"### Measured on the test set\n\nIntervals: {card.get('interval', '95 %')}."
    yield _table(("patients", "figure", "n", "value", "interval"), _metrics(card))
    yield "### Known limits\n\n" + "\n".join(f"* {one}" for one in card.get("known_limits", ()))


def _licences(data: dict[str, Any]) -> str:
    return "; ".join(one["title"] for one in data.get("licences", ())) or "not stated"


def _metrics(card: dict[str, Any]) -> Iterator[Sequence[str]]:
    """The card's figures on patients that no training saw."""
    for one in card.get("metrics", ()):
        if one["split"] == "test":
            value = one.get("median", one.get("value"))
            shown = [
                "n/a" if number is None else f"{number:.3g}" for number in (value, one.get("lower"), one.get("upper"))
            ]
            yield one["stratum"], one["metric"].replace("_", " "), str(one["n"]), shown[0], f"{shown[1]} to {shown[2]}"


def commands() -> dict[str, Any]:
    """Every command as it is typed behind ``aspects``."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found |= {name: command} if inner is None else {f"{name} {own}": one for own, one in inner.items()}
    return found


def help_text(command: str = "") -> str:
    """What ``aspects COMMAND --help`` prints."""
    return (
        CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": HELP_COLUMNS}, prog_name="aspects").output
    )


def commands_page() -> str:
    """Every command's own help."""
    texts = {"aspects": help_text()} | {f"aspects {name}": help_text(name) for name in commands()}
    return _lines("# Commands", *(f"## {name}\n\n```text\n{text.strip()}\n```" for name, text in texts.items()))


def tables_page() -> str:
    """Every column of every table, from the contracts that the writer enforces."""
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in data_dictionary(TABLES.values()):
        rows[row["table"]].append(row)
    parts = [
        "# Tables",
        "One Parquet file each in `OUT/results/latest/tables`. A study's clinical columns follow the columns of "
        "`participants`; `dictionary.tsv` of every run has them too. What could not be computed has its row, with "
        "`status`, `reason` and nulls.",
    ]
    columns = ("column", "type", "unit", "range", "nullable", "description")
    for name, table in TABLES.items():
        parts.append(f"## {name}\n\nA row is {table.row}; key {', '.join(f'`{one}`' for one in table.key)}.")
        parts.append(_table(columns, [[row[key].replace("n/a", "") for key in columns] for row in rows[name]]))
    return _lines(*parts)


def reasons_page() -> str:
    """Every reason for which a patient or a source is left out, with what can be done."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for reason, text in REMEDIES.items():
        reasons[text].append(reason)
    return _lines(
        "# Reasons and what to do",
        "`exclusions` and every table with a `status` give one of these. The page of the patient says the same, with "
        "the values found. A reason that begins with `vendor_` is what other software says of its own failure.",
        _table(
            ("reason", "what to do"), [(" ".join(f"`{one}`" for one in same), text) for text, same in reasons.items()]
        ),
        "## Any other reason, by stage",
        _table(("stage", "what to do"), list(BY_STAGE.items())),
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )


def _lines(*parts: str) -> str:
    return "\n\n".join(parts) + "\n"
