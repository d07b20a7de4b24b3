"""The document: complete, self-contained, traceable to its rows, and safe whatever people are called."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from flows.run.pages import card_texts
from flows.sources.registry import METHODS
from reports.document.appendix import NOT_ANSWERED, MethodCard, _data, appendix_page
from reports.document.document import Document, document, write_report
from reports.document.page import material
from reports.figures.brain_maps import AtlasLevel, AtlasSlices
from reports.statistics.analysis import analyse
from reports.statistics.inputs import ReportInput
from reports.statistics.rows import Statistics
from tasks.anatomy import aspects_label_table
from tests.reports.builders import shuffled, synthetic_config, synthetic_input, synthetic_run

SCRIPT = "<script>alert(1)</script>"
SMALL = {"name": "Small study", "synthetic": False, "bootstrap_resamples": 100}


class Page(HTMLParser):
    """What a browser would see: text per element, titles, links, identifiers."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != ["style"]:
            self.text.append(data)

    def all(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def atlas(map_name: str = "classic") -> AtlasSlices:
    labels = np.zeros((44, 30), dtype=np.int16)
    for index in range(1, 21):
        column = 22 + index if index <= 10 else 22 - (index - 10)
        labels[column, 5:25] = index
    level = AtlasLevel("ganglionic", "z = 4 mm", np.ones((44, 30)), labels)
    return AtlasSlices(map_name, aspects_label_table(), (level,))


def hostile_input() -> ReportInput:
    """The synthetic cohort in which everything that a person may name is hostile."""
    config = synthetic_config(
        study={
            "name": f'Study "; }} </style>{SCRIPT}',
            "description": SCRIPT,
            "synthetic": True,
            "bootstrap_resamples": 100,
        },
    )
    data = synthetic_input(60, config=config)
    tables = {}
    for name in ("participants", "scans", "exclusions", "regions", "scores", "lesions"):
        table: pd.DataFrame = getattr(data, name).copy()
        table["participant_id"] = table["participant_id"].replace("sub-0001", f"sub-{SCRIPT}")
        if "source" in table:
            table["source"] = table["source"].replace("reader:A", f"reader:{SCRIPT}$x$")
        if "site" in table:
            table["site"] = SCRIPT
        if "path" in table:
            table["path"] = table["path"] + SCRIPT
        if "detail" in table:
            table["detail"] = table["detail"] + SCRIPT
        tables[name] = table
    return replace(data, **tables)


@pytest.fixture(scope="module")
def hostile() -> tuple[ReportInput, pd.DataFrame, Document]:
    data = hostile_input()
    statistics = analyse(data)
    run = replace(synthetic_run(), warnings=(SCRIPT,), command=SCRIPT)
    return data, statistics, document(data, statistics, run, atlas())


@pytest.fixture(scope="module")
def page(hostile: tuple[ReportInput, pd.DataFrame, Document]) -> Page:
    return Page(hostile[2].html)


@pytest.fixture(scope="module")
def plain() -> tuple[ReportInput, pd.DataFrame]:
    """A small study without readers, and its statistics."""
    data = synthetic_input(40, config=synthetic_config(study=SMALL), readers=False)
    return data, analyse(data)


def test_hostile_names_appear_as_text(hostile: tuple[ReportInput, pd.DataFrame, Document], page: Page) -> None:
    assert "script" not in page.tags
    assert "<script" not in hostile[2].html
    assert f"sub-{SCRIPT}" in page.words
    assert f'Study "; }} </style>{SCRIPT}' in page.words
    assert page.words.count(f"reader:{SCRIPT}$x$") > 20
    assert page.tags.count("style") == 1
    assert all("<script" not in chart.svg for chart in hostile[2].charts)


def test_the_page_asks_for_nothing(page: Page) -> None:
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page.all("content")
    assert not {"link", "iframe", "object", "embed", "form", "base", "img", "video", "audio"} & set(page.tags)
    targets = page.all("href") + page.all("xlink:href") + page.all("src")
    for other in (
        "patients/index.html",
        "gallery.html",
        "quality.html",
        "appendix.html",
    ):  # opened by a person, beside the report
        targets.remove(other)
    assert targets
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in targets)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_the_style_cannot_be_left_nor_load(hostile: tuple[ReportInput, pd.DataFrame, Document]) -> None:
    style = hostile[2].html.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert "Study\\000020\\000022" in style  # the study's name in the printed header, every other sign escaped


def test_links_and_references_lead_somewhere_and_identifiers_are_unique(page: Page) -> None:
    identifiers = page.all("id")
    assert len(identifiers) == len(set(identifiers))
    inside = [target[1:] for target in page.all("href") + page.all("xlink:href") if target.startswith("#")]
    assert set(inside) <= set(identifiers)


def test_every_titled_number_is_a_row_of_statistics(
    hostile: tuple[ReportInput, pd.DataFrame, Document], page: Page
) -> None:
    known = set(hostile[1]["statistic_id"])
    titled = [value.split(" – ")[0] for tag, name, value in page.attributes if name == "title" and tag in ("td", "th")]
    named = {title for title in titled if title in known}
    assert len(named) > 1500
    of_section = {row.section for row in hostile[1].itertuples() if row.statistic_id in named}
    assert of_section == {"flow", "cohort", "distribution", "regions", "roc", "dichotomies", "youden", "association",
                          "agreement", "guards", "regional", "reference_cuts", "calibration", "segmentation",
                          "readers", "intention", "benefit", "precision"}  # fmt: skip


def test_printed_numbers_are_those_of_their_rows(
    hostile: tuple[ReportInput, pd.DataFrame, Document], page: Page
) -> None:
    rows = hostile[1].set_index("statistic_id")
    auc = rows.loc["roc/auc:score/mask-classic/nihss/examined"]
    printed = f"ASPECTS mask-classic {auc['n']} {auc['n_positive']} {auc['estimate']:.3f} {auc['lower']:.3f} to"
    assert printed in page.words
    sensitivity = rows.loc["dichotomies/sensitivity:wei_le6/mask-classic/nihss/included"]
    counts = f"{sensitivity['numerator']}/{sensitivity['denominator']}"
    assert f"{100 * sensitivity['estimate']:.1f} % {100 * sensitivity['lower']:.1f} to " in page.words
    assert f"; {counts}) and specificity" in page.words


def test_the_flowchart_is_checked_in_words(page: Page) -> None:
    found = re.search(r"Check: (\d+) screened = (\d+) included \+ (\d+) excluded \+ (\d+) failed", page.words)
    assert found is not None
    screened, *parts = (int(number) for number in found.groups())
    assert screened == 60 == sum(parts)


def test_the_summary_is_about_the_included_and_its_numbers_sum(
    hostile: tuple[ReportInput, pd.DataFrame, Document], page: Page
) -> None:
    found = re.search(
        r"(\d+) patients included of (\d+) screened .* (\d+) participants were screened: (\d+) are included, (\d+) are "
        r"excluded with a reason, and (\d+) failed\. The eligibility rules were asked of (\d+): the (\d+) included, "
        r"and (\d+) whom they exclude",
        page.words,
    )
    assert found is not None
    tile, of, screened, included, excluded, failed, examined, again, by_rules = map(int, found.groups())
    assert (tile, of, again) == (included, screened, included)
    assert screened == included + excluded + failed
    assert examined == included + by_rules
    assert f"; {examined} examined = {included} included + {by_rules} excluded by the eligibility rules." in page.words
    row = hostile[1].set_index("statistic_id").loc["roc/auc:score/mask-classic/nihss/included"]
    assert f"{row['n_positive']} of {row['n']} patients), the area" in page.words
    assert row["n"] <= included


def test_every_p_of_the_summary_is_adjusted(hostile: tuple[ReportInput, pd.DataFrame, Document], page: Page) -> None:
    key = "roc/auc_difference:score:volume_ml/mask-classic/lesion/included"
    row = hostile[1].set_index("statistic_id").loc[key]
    assert row["p_adjusted"] > row["p_value"]
    summary = page.words.split("Who is in this report")[1].split("Check:")[0]
    assert re.findall(r"p = (\d\.\d+)", summary) == [f"{row['p_adjusted']:.3f}"]


def test_what_is_not_computed_says_so_and_no_cell_is_a_dash() -> None:
    data = synthetic_input(40, readers=False, config=synthetic_config(study=SMALL, outcome="sex"))
    found = Page(document(data, analyse(data), synthetic_run()).html)
    cells = [text.strip() for text in found.text]
    assert cells.count("n/c") > 3
    assert not {"–", "-", "nan", "None"} & set(cells)
    assert "n/c means: not computed" in found.words


def test_synthetic_data_are_marked_in_every_section(page: Page) -> None:
    assert page.all("class").count("mark") == page.tags.count("section") == 23
    assert "SYNTHETIC DATA" in page.words or "Synthetic data." in page.words


def test_real_data_are_not_marked_and_the_disclaimer_stands(plain: tuple[ReportInput, pd.DataFrame]) -> None:
    made = document(*plain, synthetic_run())
    found = Page(made.html)
    assert "synthetic data" not in made.html.lower()
    assert "Research use only; never a diagnosis." in found.words
    assert found.all("class").count("mark") == 0


def test_no_maps_without_slices_of_the_sources_label_map(plain: tuple[ReportInput, pd.DataFrame]) -> None:
    for given, why in ((None, "no slices were given"), (atlas("other"), "the slices given are those of other")):
        made = document(*plain, synthetic_run(), given)
        assert f"measured with the label map classic, and {why}" in Page(made.html).words
        assert not [chart for chart in made.charts if chart.name.startswith("region-maps")]


def test_impossible_comparisons_are_named() -> None:
    only = [{"name": "mask-classic", "kind": "mask", "regions": "classic"}]
    config = synthetic_config(study=SMALL, severity=None, outcome=None, source=only)
    data = synthetic_input(40, config=config, readers=False)
    made = document(data, analyse(data), synthetic_run())
    words = Page(made.html).words
    assert "There is no severity column: no ROC, no severity cut and no table by grade." in words
    assert "There is no outcome column" in words
    assert "The study has no readers" in words
    assert "Agreement needs two sources that give a score; there is one." in words


def test_the_primary_cut_is_marked_with_its_operator_and_positive_side(page: Page) -> None:
    assert re.search(
        r"score ≤ 6 is positive · wei_le6 \(Wei 2026: [^)]*\) · danet_not_gt6 \([^)]*\) primary", page.words
    )
    assert "volume ≥ 27.86 ml is positive · wei_volume" in page.words
    assert "score < 6 is positive · guideline_lt6" in page.words


def test_many_participants_to_chase_are_folded_and_all_are_there(plain: tuple[ReportInput, pd.DataFrame]) -> None:
    data, statistics = plain
    extra = data.exclusions[data.exclusions["reason"] == "no_scan"].iloc[:1]
    more = [extra.assign(participant_id=f"sub-9{number:03d}", is_primary=False) for number in range(40)]
    data = replace(data, exclusions=pd.concat([data.exclusions, *more], ignore_index=True))
    words = Page(document(data, statistics, synthetic_run()).html).words
    assert all(f"sub-9{number:03d}" in words for number in range(40))
    assert "39 more: no scan · at screening" in words  # 42 of the reason, 3 shown of each of the reasons


GATED: list[tuple[str, str, str, str | None]] = [
    ("sub-0011", "ncct", "noise_too_high", "ncct: noise_hu must be <= 9, got 12.35 HU. Use a smoother kernel."),
    ("sub-0012", "ncct", "noise_too_high", "ncct: noise_hu must be <= 9, got 10.75 HU. Use a smoother kernel."),
    ("sub-0013", "dwi", "field_of_view_too_small", "dwi: template_coverage must be >= 0.9, got 0.7312."),
    ("sub-0014", "cta", "modality_not_used", None),
]


def with_refused_scans(data: ReportInput, rows: list[tuple[str, str, str, str | None]]) -> ReportInput:
    """The tables with further scans, refused, of participants whose lesion was measured."""
    first = data.scans[data.scans["status"] == "ok"].iloc[:1]
    more = [
        first.assign(
            participant_id=name, modality=modality, path=f"{name}/{modality}.nii.gz", status="excluded", reason=reason,
            detail=detail,
        )
        for name, modality, reason, detail in rows
    ]  # fmt: skip
    return replace(data, scans=pd.concat([data.scans, *more], ignore_index=True))


def test_scans_refused_by_gates_are_to_chase_though_their_patient_is_measured(
    plain: tuple[ReportInput, pd.DataFrame],
) -> None:
    data, statistics = plain
    words = Page(document(with_refused_scans(data, GATED), statistics, synthetic_run()).html).words
    assert "Further scans refused: 3. Their patients were measured on another scan." in words
    noise = "noise too high · another scan was used What to do 2 scans The image is too poor to see an early infarct."
    assert noise in words
    found = [f"{name} {name}/{modality}.nii.gz {detail}" for name, modality, _, detail in GATED[:3]]
    assert [line for line in found if line not in words] == []
    assert words.index(noise) < words.index(found[0]) < words.index(found[1])
    assert "field of view too small · another scan was used What to do 1 scan Not all of the brain" in words
    assert "sub-0014/cta.nii.gz" not in words  # nobody reads it: nothing to fix
    without = Page(document(data, statistics, synthetic_run()).html).words
    assert "another scan" not in without


def test_a_scan_that_excludes_its_patient_is_listed_once(plain: tuple[ReportInput, pd.DataFrame]) -> None:
    data, statistics = plain
    one = data.exclusions[data.exclusions["stage"] == "intake"].iloc[0]
    row = (str(one["participant_id"]), "ncct", str(one["reason"]), "of the scan alone")
    words = Page(document(with_refused_scans(data, [row]), statistics, synthetic_run()).html).words
    assert "Further scans refused" not in words
    assert "of the scan alone" not in words


def test_many_refused_scans_are_folded_and_all_are_there(plain: tuple[ReportInput, pd.DataFrame]) -> None:
    data, statistics = plain
    row = ("noise_too_high", "ncct: noise_hu must be <= 9, got 12.35 HU.")
    many = [(f"sub-8{number:03d}", "ncct", *row) for number in range(40)]
    words = Page(document(with_refused_scans(data, many), statistics, synthetic_run()).html).words
    assert all(f"sub-8{number:03d}/ncct.nii.gz" in words for number in range(40))
    assert "10 more: noise too high · another scan was used" in words


def test_nothing_to_chase_says_so(plain: tuple[ReportInput, pd.DataFrame]) -> None:
    data, statistics = plain
    text = "Nothing to chase: every participant was read and measured, and every scan was used."
    calm = replace(data, exclusions=data.exclusions.iloc[:0], scans=data.scans[data.scans["status"] == "ok"])
    assert text in Page(document(calm, statistics, synthetic_run()).html).words
    assert text not in Page(document(with_refused_scans(calm, GATED), statistics, synthetic_run()).html).words


def test_the_same_input_gives_the_same_bytes_in_any_row_order(
    plain: tuple[ReportInput, pd.DataFrame], tmp_path: Path
) -> None:
    data, statistics = plain
    run = synthetic_run()
    first = write_report(data, statistics, run, atlas(), tmp_path / "a")
    other = shuffled(data)
    second = write_report(other, statistics, run, atlas(), tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "a/figures").iterdir())
    assert first.name == "report.html"
    assert first.read_bytes() == second.read_bytes()
    assert names == sorted(path.name for path in (tmp_path / "b/figures").iterdir())
    for name in names:
        drawing = (tmp_path / "a/figures" / name).read_text()
        assert drawing == (tmp_path / "b/figures" / name).read_text()
        assert ElementTree.fromstring(drawing).tag == "{http://www.w3.org/2000/svg}svg"
    assert {"flowchart.svg", "roc-included.svg", "roc-examined.svg", "region-maps-mask-classic-1-included.svg"} <= set(
        names
    )


def test_figures_of_an_earlier_report_are_replaced(plain: tuple[ReportInput, pd.DataFrame], tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/old.svg").write_text("old")
    write_report(*plain, synthetic_run(), None, tmp_path)
    assert not (tmp_path / "figures/old.svg").exists()


def test_chapters_fold_and_their_anchors_lie_inside_so_that_a_link_opens_them(
    hostile: tuple[ReportInput, pd.DataFrame, Document], page: Page
) -> None:
    chapters = re.findall(
        r'<details class="chapter"><summary>.*?</summary>\s*<div id="([a-z_]+)">', hostile[2].html, re.S
    )
    linked = [target[1:] for target in page.all("href") if target.startswith("#")]
    assert chapters[:3] == ["plan", "flow", "next"]
    assert linked == ["summary", *chapters]


def test_the_first_page_answers_the_primary_question_and_has_three_figures() -> None:
    question = {"name": "maps", "role": "primary", "at_least": 0.1,
                "statistic": "agreement/icc_a1/mask-territory/mask-classic/measured"}  # fmt: skip
    config = synthetic_config(study=SMALL, analysis={"question": [question]})
    data = synthetic_input(40, config=config, readers=False)
    statistics = analyse(data)
    made = document(data, statistics, synthetic_run())
    row = statistics.set_index("statistic_id").loc[question["statistic"]]
    words = Page(made.html).words
    limits = f"{row['lower']:.2f} to {row['upper']:.2f}"
    assert f"{row['estimate']:.2f} 95 % interval {limits} n = {row['n']}" in words
    assert "above 0.1: shown" in words.split("Who is in this report")[1]
    first = made.html.split('<section id="summary">')[1].split("</section>")[0]
    assert first.count("<figure>") == 3
    assert first.count('id="first-') > 3  # drawn for this page: identifiers of their own


def test_the_short_report_has_no_fold_no_links_and_the_numbers_of_the_long_one(
    plain: tuple[ReportInput, pd.DataFrame],
) -> None:
    made = document(*plain, synthetic_run())
    brief = Page(made.brief)
    assert not {"details", "nav"} & set(brief.tags)
    assert [one for one in brief.all("id") if one in ("plan", "flow", "regional", "methods")] == [
        "plan", "flow", "regional", "methods",
    ]  # fmt: skip
    assert len(made.brief) < len(made.html) / 2
    titled = {value for _, name, value in brief.attributes if name == "title" and " – " in value}
    assert titled <= {value for _, name, value in Page(made.html).attributes if name == "title"}


def test_the_appendix_has_a_card_of_each_system_published_numbers_and_red_for_what_is_not_answered(
    plain: tuple[ReportInput, pd.DataFrame],
) -> None:
    cards = {kind: MethodCard.of(kind, text) for kind, text in card_texts().items()}
    html = appendix_page(material(plain[0], Statistics(plain[1]), synthetic_run(), None), cards)
    words = Page(html).words
    for kind, card in cards.items():
        assert METHODS[kind].kind == kind
        assert f"{card.paper}. Source kind {kind}, not in this run." in words
        assert all(name in words for name, *_ in card.parameters)
    assert "ICC .86 (.56 to .96)" in words
    assert "The interval is that of 10 patients, not of the 90" in words
    red = html.count(f'<span class="absent">{NOT_ANSWERED.replace(chr(39), "&#39;")}</span>')
    items = [item for one in _data("checklists")["checklist"] for item in one["items"]]
    assert len(items) > 90
    unanswered = sum(not by for *_, by in items)
    assert red >= unanswered  # and what this study has not: no plan, one reader and fewer
    assert "40 screened," in words
    with pytest.raises(ValueError, match="must be of paper, code, chosen here, got others of Window"):
        MethodCard.of("x", 'title="t"\npaper="p"\nparameter=[["Window", "1", "memory", ""]]\ncontradiction=[]')
