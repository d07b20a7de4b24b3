"""Agreement between sources, and which comparisons cannot be made and why."""

from __future__ import annotations

from reports.document.page import (
    AnalysisSet,
    Block,
    Chapter,
    FigureView,
    Folded,
    Group,
    Listing,
    Material,
    TableView,
    Text,
    in_sets,
)
from reports.document.tables import NOT_COMPUTED, Cell, cell, number, p_cell, p_text, proportion_cell, words
from reports.figures.charts import bland_altman, forest
from reports.statistics.rows import Row
from tasks.anatomy import ASPECTS_REGIONS

_PLOTS_SHOWN = 6
_COEFFICIENTS = ("icc_a1", "icc_a1_bootstrap", "kappa_linear", "kappa_quadratic", "ac2", "spearman", "bowker")
_SHARES = ("exact", "within_1", "within_2")
_LIMITS = ("bias", "loa_lower", "loa_upper")
SHARED = "shared method"


def agreement_chapter(material: Material) -> Chapter:
    """Every declared pair of sources."""
    intro = Text(
        "ICC(A,1): two-way random effects, absolute agreement, single measurement (McGraw and Wong 1996). Weighted κ "
        "has "
        "linear or quadratic weights; AC2 is Gwet's coefficient with quadratic weights, which a rare category does "
        "not pull "
        "down. Differences are candidate less reference, in points of ASPECTS. Correlation is not agreement: a "
        "source that is always "
        "two points off correlates perfectly."
    )
    views = [(analysis_set, tuple(_pairs(material, analysis_set))) for analysis_set in material.agreement_sets]
    found = in_sets(views)
    blocks: list[Block] = [intro, *found] if found else []
    reasons = impossible_comparisons(material)
    blocks.append(Text("Comparisons that cannot be made", "heading"))
    blocks.append(Listing(tuple(reasons)) if reasons else Text("None: every comparison asked for was made."))
    return Chapter("agreement", "Agreement between sources", tuple(blocks))


def impossible_comparisons(material: Material) -> list[str]:
    """What the study asks or a reader might expect, and why it is not there."""
    config, scores = material.data.config, tuple(material.agreement_sets[0].patients.scores)
    sentences = [
        f"{source.name} gave no score: its label map {config.regions_of(source)} does not name the ten ASPECTS "
        "regions on both "
        "sides, or every patient was excluded. It can be compared by volume and region fraction only."
        for source in config.computed_sources
        if source.is_scoring and source.name not in scores
    ]
    readers = [name for name in scores if name not in {source.name for source in config.computed_sources}]
    if config.readings_source is not None and not readers:
        sentences.append(
            "The study declares readers, but no reading was found: no agreement with a reader can be given."
        )
    if config.readings_source is None:
        sentences.append("The study has no readers: agreement is between automatic sources only, not with a reference.")
    if len(scores) < 2:
        sentences.append(f"Agreement needs two sources that give a score; there {'is one' if scores else 'is none'}.")
    binary = sorted(set(material.data.scores.loc[material.data.scores["score"].isna() &
                    material.data.scores["low_score_probability"].notna(), "source"]) - set(scores))  # fmt: skip
    sentences += [
        f"{name} says only low or high: it has sensitivity and specificity, but no ICC, κ of scores or Bland-Altman."
        for name in binary
    ]
    if material.severity is None:
        sentences.append("There is no severity column: no ROC, no severity cut and no table by grade.")
    if config.outcome is None:
        sentences.append("There is no outcome column: no association with outcome.")
    missing: dict[str, list[str]] = {}
    for row in material.statistics.select("agreement"):
        if row.estimate is None and row.note and row.quantity == "icc_a1":
            missing.setdefault(row.note, []).append(f"{row.source} with {row.reference} ({row.stratum})")
    sentences += [f"{'; '.join(pairs)}: {note}." for note, pairs in missing.items()]
    return sentences


def _pairs(material: Material, analysis_set: AnalysisSet) -> list[Block]:
    """Overview, two tables, plots and regions of one analysis set."""
    stratum = analysis_set.stratum
    rows = [row for row in material.statistics.select("agreement", "icc_a1", stratum) if row.estimate is not None]
    if not rows:
        return []
    by_pair = {(row.reference or "", row.source or ""): row for row in rows}
    blocks: list[Block] = [
        FigureView(
            forest(
                [(f"{candidate} · {reference}", row) for (reference, candidate), row in by_pair.items()],
                name=f"icc-{stratum}",
                x_label="ICC(A,1), 95 % interval",
                title="ICC(A,1) of every pair",
            ),
            f"ICC(A,1) of every pair, candidate · reference, {analysis_set.title.lower()}; F-based 95 % intervals "
            "and n at the right; an arrow goes on below −1.",
        ),
        TableView(
            f"Agreement of the score, {analysis_set.title.lower()}; 95 % intervals",
            ("Candidate, reference", "n", "ICC(A,1)\nF interval", "ICC(A,1)\nbootstrap", "κ linear", "κ quadratic",
             "AC2", "Spearman ρ", "Bowker\np of symmetry"),
            (Group("", tuple(_coefficients(material, pair, row) for pair, row in by_pair.items())),),
        ),
        TableView(
            f"Distance between scores, {analysis_set.title.lower()}; Wilson intervals of shares, intervals of bias "
            "and limits of "
            "agreement",
            ("Candidate, reference", "n", "Exact", "Within 1", "Within 2", "Bias, points", "Lower limit", "Upper limit",
             "Slope"),
            (Group("", tuple(_distances(material, pair, row) for pair, row in by_pair.items())),),
        ),
    ]  # fmt: skip
    is_first = analysis_set is material.agreement_sets[0]
    plots = [_plot(material, analysis_set, pair) for pair in by_pair] if is_first else []
    blocks += plots[:_PLOTS_SHOWN]
    if plots[_PLOTS_SHOWN:]:
        blocks.append(Folded(f"{len(plots) - _PLOTS_SHOWN} further Bland-Altman plots", tuple(plots[_PLOTS_SHOWN:])))
    regions = [table for pair in by_pair for table in _regions(material, analysis_set, pair)]
    if regions:
        blocks.append(Folded("Agreement region by region", tuple(regions)))
    return blocks


def _label(pair: tuple[str, str], row: Row) -> Cell:
    """Candidate over reference, marked where both share the method."""
    reference, candidate = pair
    note = row.note or ""
    return Cell(candidate, reference, note=note, badge=SHARED if note.startswith("shared") else "")


def _coefficients(material: Material, pair: tuple[str, str], row: Row) -> tuple[Cell, ...]:
    """One line of coefficients."""
    found = (material.row("agreement", name, pair[1], pair[0], row.stratum) for name in _COEFFICIENTS)
    return (
        _label(pair, row),
        Cell(str(row.n)),
        *(p_cell(item) if name == "bowker" else cell(item, 3) for name, item in zip(_COEFFICIENTS, found, strict=True)),
    )


def _distances(material: Material, pair: tuple[str, str], row: Row) -> tuple[Cell, ...]:
    """One line of shares, limits and the slope of proportional bias."""
    shares = (material.row("agreement", name, pair[1], pair[0], row.stratum) for name in _SHARES)
    limits = (material.row("agreement", name, pair[1], pair[0], row.stratum) for name in _LIMITS)
    slope = material.row("agreement", "proportional_slope", pair[1], pair[0], row.stratum)
    slope_cell = cell(slope)
    if slope is not None and slope.p_value is not None:
        slope_cell = Cell(number(slope.estimate), f"p {p_text(slope.p_value)}", slope.statistic_id, slope.method)
    return (
        _label(pair, row),
        Cell(str(row.n)),
        *(proportion_cell(item) for item in shares),
        *(cell(item) for item in limits),
        slope_cell,
    )


def _plot(material: Material, analysis_set: AnalysisSet, pair: tuple[str, str]) -> FigureView:
    """Bland-Altman plot of one pair."""
    reference, candidate = pair
    patients = analysis_set.patients
    first, second = patients.scores[reference], patients.scores[candidate]
    kept = patients.complete(first, second)
    lines = {name: material.row("agreement", name, candidate, reference, analysis_set.stratum) for name in _LIMITS}
    bias = lines["bias"]
    chart = bland_altman(
        first[kept],
        second[kept],
        lines,
        name=f"bland-altman-{material.stem(candidate, reference)}-{analysis_set.stratum}",
        title=f"{candidate} − {reference}",
    )
    return FigureView(
        chart,
        f"{candidate} less {reference}. Solid: bias; dashed: limits of agreement; bands: their 95 % intervals; "
        "bubble area: "
        f"patients. n = {bias.n if bias else NOT_COMPUTED}.",
        is_half=True,
    )


def _regions(material: Material, analysis_set: AnalysisSet, pair: tuple[str, str]) -> list[TableView]:
    """Region agreement of one pair, where both give all ten."""
    reference, candidate = pair
    names = [
        row.quantity
        for row in material.statistics.select("agreement", stratum=analysis_set.stratum)
        if row.source == candidate and row.reference == reference and row.region == ASPECTS_REGIONS[0]
    ]
    if not names:
        return []
    lines = []
    for region in ASPECTS_REGIONS:
        found = (
            material.row("agreement", f"{name}:{region}", candidate, reference, analysis_set.stratum) for name in names
        )
        lines.append(
            (Cell(words(region)), *(proportion_cell(r) if r and r.denominator is not None else cell(r) for r in found))
        )
    titles = (words(name.removeprefix("region_")).replace("kappa", "κ") for name in names)
    return [
        TableView(
            f"{candidate} against {reference}, region affected on either side, {analysis_set.title.lower()}",
            ("Region", *(title[0].upper() + title[1:] for title in titles)),
            (Group("", tuple(lines)),),
        )
    ]
