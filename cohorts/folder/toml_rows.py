"""On which row of a TOML file each section and key stands, and whether it nests deeper than a study ever does.

The parser of the standard library gives values without their places, and takes minutes for keys nested without end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_PART = r"(?:[A-Za-z0-9_\-]+|\"[^\"\n]*\"|'[^'\n]*')"
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER_LINE = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]\]?")
_KEY_LINE = re.compile(rf"\s*({_DOTTED})\s*=")
#: What spans or hides line ends in TOML, longest first: texts of several lines, texts of one, comments, brackets.
_TOKEN = re.compile(
    r"\"\"\"(?:\\.|[^\\])*?\"\"\"|\'\'\'.*?\'\'\'|\"(?:\\.|[^\"\\\n])*\"|'[^'\n]*'|\#[^\n]*|[\[\]{}\n]", re.DOTALL
)

#: A study nests three deep; what is far deeper is no study, and costs the parser time without end.
DEEPEST = 20
_BETWEEN_KEYS = re.compile(r"([=,{}\[\]\n])")

Location = tuple[str | int, ...]


def first_row_too_deep(text: str) -> int | None:
    """Row of the first key or bracket nested deeper than any study is; None where there is none."""
    depth, row = 0, 1
    bare: list[str] = []  # the text without what is quoted, which may hold any dots and brackets
    begin = 0
    for token in _TOKEN.finditer(text):
        bare.append(text[begin : token.start()])
        found, begin = token.group(), token.end()
        bare.append(found if len(found) == 1 else "\n" * found.count("\n"))
        depth += (found in "[{") - (found in "]}")
        row += found.count("\n")
        if depth > DEEPEST:
            return row
    row = 1
    for key, separator in zip(*[iter([*_BETWEEN_KEYS.split("".join(bare)), ""])] * 2, strict=False):
        if key.count(".") >= DEEPEST:
            return row
        row += separator.count("\n")
    return None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of the lines on which a section or a key may begin: not inside a text or a list."""
    number = depth = 0
    begin, is_inside = 0, False
    for token in (*_TOKEN.finditer(text), None):
        found = "\n" if token is None else token.group()
        end = len(text) if token is None else token.start()
        if found == "\n":
            if not is_inside:
                yield number + 1, text[begin:end]
            number, begin, is_inside = number + 1, end + 1, depth > 0
        elif found in "[{":
            depth += 1
        elif found in "]}":
            depth = max(0, depth - 1)
        elif "\n" in found:
            if not is_inside:
                yield number + 1, text[begin:end]
            number, is_inside = number + found.count("\n"), True
            begin = end + len(found)


def rows_of(text: str) -> dict[Location, int]:
    """Row of every section and key, list entries counted from 0."""
    rows: dict[Location, int] = {}
    section: Location = ()
    count: dict[str, int] = {}
    for number, line in _lines(text):
        if header := _HEADER_LINE.match(line):
            section = _parts(header.group(2))
            name = ".".join(map(str, section))
            if header.group(1) == "[[":
                count[name] = count.get(name, -1) + 1
                section = (*section, count[name])
            elif len(section) > 1 and section[0] in count:  # [rule.cuts] belongs to the last [[rule]]
                section = (section[0], count[str(section[0])], *section[1:])
            rows.setdefault(section, number)
        elif key := _KEY_LINE.match(line):
            place = (*section, *_parts(key.group(1)))
            for end in range(len(section) + 1, len(place) + 1):
                rows.setdefault(place[:end], number)
    return rows


def _parts(dotted: str) -> Location:
    """The keys of a dotted key, without their quotes."""
    return tuple(part.strip("\"'") for part in re.findall(_PART, dotted))
