"""``aspects sources``: every kind of source that there is, what it reads, needs and gives."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from cohorts.folder.source import OnScanSource, Source
from flows.sources.interface import Method
from flows.sources.registry import METHODS
from models.weights import WeightsMissingError, find_weights

_GIVES = {
    "regions": "regions",
    "score": "score",
    "low_score_probability": "low-score probability",
    "lesion": "lesion",
    "volume": "volumes",
    "features": "features",
}


def show_sources(console: Console) -> None:
    """Print one block for each kind, and how to declare it."""
    table = Table(show_header=False, show_edge=False, pad_edge=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for kind, method in METHODS.items():
        source = declared(method)
        table.add_row(kind, method.source.about)
        table.add_row("", f"reads  {reads(source)}")
        if source.scans:
            table.add_row("", f"needs  {needs(method, source)}")
        if isinstance(source, OnScanSource):
            drawn = source.model_copy(update={"registration": "network"})
            table.add_row("", f'       with registration = "network": {needs(method, drawn)}')
        table.add_row("", f"gives  {gives(source)}")
        for place, (key, value) in enumerate(source.needed.items()):
            table.add_row("", f"{'         ' if place else 'declare  '}{key} = {toml(value)}")
        table.add_row("", "")
    table.add_row("readings", "every reader of readings.tsv becomes a source reader:<name>")
    console.print(table, highlight=False, markup=False)
    console.print(
        '\nDeclare one in cohort.toml:  [[source]]  name = "..."  kind = "..."', highlight=False, markup=False
    )


def declared(method: Method) -> Source:
    """A source of this kind as it is declared with nothing but its name and what it cannot do without."""
    return method.source.model_validate({"name": "any", "kind": method.kind, **method.source.needed})


def reads(source: Source) -> str:
    """The modalities of scans.tsv, with what may be missing in brackets."""
    if not source.scans:
        return "a table in the cohort folder (.csv, .tsv, .txt, .xlsx)"
    first, *others = source.scans
    optional = f" [{', '.join(others)}]" if others else ""
    return f"{first}{optional}{', with its sidecar' if source.reads_sidecar else ''}"


def gives(source: Source) -> str:
    """What it gives to the tables."""
    return ", ".join(word for name, word in _GIVES.items() if name in source.gives)


def toml(value: object) -> str:
    """A value as cohort.toml has it, on one line."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(key)} = {toml(item)}' for key, item in value.items())} }}"
    return json.dumps(value)


def needs(method: Method, source: Source) -> str:
    """Weights, memory, time and device."""
    weights = [_weights(name, wanted) for name, wanted in source.weights.items()]
    limit_s, memory_mib = method.cpu_limit_of(source.settings), method.memory_of(source.settings)
    parts = [*weights, f"about {memory_mib} MiB", f"at most {limit_s:g} CPU s a case"]
    return ", ".join([*parts, *(["a GPU where there is one"] if method.wants_gpu else [])])


def _weights(name: str, method: str) -> str:
    """Weights by name, and whether they can be used."""
    try:
        return f"weights {find_weights(name, method=method).name}"
    except WeightsMissingError as error:
        return f"weights {name} (cannot be used: {error})"
