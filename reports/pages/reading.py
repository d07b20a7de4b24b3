"""The page on which a reader reads: one file with everything in it, which asks nothing of any other place.

It names no participant: cases have codes. The slices of each case stand in an element of their own, so that a browser
reads one case at a time. What a reader does is kept by the browser, and saved to a file on demand.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from reports.document.document import DISCLAIMER
from reports.document.page_template import page_template
from tasks.anatomy import CORTICAL_REGIONS, DEEP_REGIONS, SHORT_CODES
from tasks.views.convention import RADIOLOGICAL, Convention, edge_letters, in_words

#: Keys of the deep regions; M1 to M6 have their numbers.
KEYS = {"caudate": "C", "lentiform": "L", "internal_capsule": "K", "insula": "I"} | {
    region: region[1] for region in CORTICAL_REGIONS
}
#: What is kept, what is shown, what keys and buttons do; one script of the page.
SCRIPTS = ("reading_kept.js", "reading_shown.js", "reading_keys.js")
_LEVELS = (
    ("Ganglionic level", (*DEEP_REGIONS, *CORTICAL_REGIONS[:3])),
    ("Supraganglionic level", CORTICAL_REGIONS[3:]),
)
#: Smallest and largest value shown, HU: Tao 2024, section 2.1 (width 80, level 40), and one twice as steep.
CT_WINDOWS = ((0.0, 80.0), (15.0, 55.0))


@dataclass(frozen=True)
class ReaderPage:
    """What one reader's page says beside its slices.

    Attributes
    ----------
    study : name of the study
    round_id, round_name, reader : as the saved file says them
    cases : code and whether it is a training case, in their order
    unreadable : reasons why a scan cannot be read -> how the page says them
    is_ct : whether values are HU
    pictures : on which side the patient's right lies
    is_synthetic : whether the data were made by a model
    """

    study: str
    round_id: str
    round_name: str
    reader: str
    cases: Sequence[tuple[str, bool]]
    unreadable: Mapping[str, str]
    is_ct: bool
    pictures: Convention = RADIOLOGICAL
    is_synthetic: bool = False


def reading_page(page: ReaderPage, stack_of: Callable[[str], str]) -> Iterator[str]:
    """Render a page piece by piece: all slices together may be larger than the memory.

    Parameters
    ----------
    page : ReaderPage
    stack_of : code -> slices as ``reports.figures.stack_picture`` encodes them
    """
    script, digest = _script()
    first, second = edge_letters(page.pictures)
    sides = [{"R": "right", "L": "left"}[letter] for letter in (first, second)]
    data: dict[str, Any] = {
        "round_id": page.round_id,
        "round": page.round_name,
        "reader": page.reader,
        "sides": sides,
        "keys": {key.lower(): region for region, key in KEYS.items()},
        "windows": [list(window) for window in CT_WINDOWS] if page.is_ct else [],
        "cases": [{"code": code, "is_training": is_training} for code, is_training in page.cases],
    }
    return page_template("reading.html.j2").generate(
        page=page,
        n_training=sum(is_training for _, is_training in page.cases),
        disclaimer=DISCLAIMER,
        convention=in_words(page.pictures),
        letters=(first, second),
        sides=sides,
        is_mirrored=page.pictures != RADIOLOGICAL,
        levels=[(title, [_region(region) for region in regions]) for title, regions in _LEVELS],
        data=Markup(json.dumps(data).replace("<", "\\u003c")),
        stack_of=lambda code: Markup(stack_of(code)),
        script=script,
        script_digest=digest,
    )


def _region(region: str) -> dict[str, str]:
    """A region's button."""
    return {
        "region": region,
        "code": SHORT_CODES[region],
        "title": region.replace("_", " ").capitalize() if region in DEEP_REGIONS else region.upper(),
        "key": KEYS[region],
    }


@lru_cache(maxsize=1)
def _script() -> tuple[Markup, str]:
    """The page's script, and its digest as a policy names it."""
    folder = files("reports") / "templates"
    text = "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return Markup(text), base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
