"""What a run's data answer of a reporting checklist: where it stands, and a number where there is one; else None."""

from __future__ import annotations

from cohorts.folder.source import ReadingsSource
from reports.document.page import Material
from reports.document.tables import whole


def facts_of(material: Material) -> dict[str, str | None]:
    """Name of a fact, as the checklists' data name it -> the answer, None where the data have none."""
    config, statistics, run = material.data.config, material.statistics, material.run
    count = {row.quantity: whole(row) for row in statistics.select("flow") if row.stage is None}
    sections = {row.section for row in statistics.rows}
    readers = [name for name in material.agreement_sets[0].patients.scores if name.startswith("reader:")]
    pairs = dict.fromkeys((row.reference, row.source) for row in statistics.select("agreement", "icc_a1"))
    references = ", ".join(dict.fromkeys(str(reference) for reference, _ in pairs))
    sites = sorted({str(site) for site in material.data.participants["site"].dropna()})
    computed = [source.name for source in config.source if not isinstance(source, ReadingsSource)]
    n_primary = sum(item.role == "primary" for item in config.analysis.question) if config.analysis else 0
    graded = config.severity is not None

    def when(known: object, text: str) -> str | None:
        return text if known else None

    return {
        "plan": when(config.analysis, f"{n_primary} primary questions declared beforehand, digest "
                     f"{(config.analysis_digest or '')[:12]}: report, Declared questions"),
        "design": "retrospective: a cohort of files that were there; report, Methods",
        "eligibility": when(config.eligibility.is_set, "report, Methods, with the reason of every exclusion"),
        "sites": when(len(sites) > 1 or "sites" in sections,
                      f"{len(sites)} sites ({', '.join(sites[:6])}): report, Site by site"),
        "sources": f"{', '.join(computed)}: report, Methods; appendix, Method cards",
        "references": when(references, f"{references}: report, Methods"),
        "cuts": f"{len(config.dichotomy)} cuts with operator, positive side and source: report, Every declared cut",
        "assisted": when(readers, "per reader, whether the registered template was shown: scores.template_assisted"),
        "methods": "every estimator of every number: report, Methods; column method of statistics",
        "failures": when("intention" in sections or count.get("n_failed"),
                         f"{count.get('n_failed')} failed, counted as errors: report, Failures and precision"),
        "missing": "left out of the number that needs them and counted beside it: report, Methods; n on every row",
        "variability": when("sites" in sections or "readers" in sections, "by site and by reader: report"),
        "flow": f"{count.get('n_screened')} screened, {count.get('n_included')} included, {count.get('n_excluded')} "
                f"excluded, {count.get('n_failed')} failed: report, Who is in this report",
        "cohort": when("cohort" in sections, "report, cohort table by severity"),
        "severity": when(graded, f"grades of {config.severity.column if config.severity else ''}: report"),
        "tables": "every count and value in Parquet beside the report, one row per printed number in statistics",
        "intervals": "95 % intervals with their method on every estimate that has one; regions by patient cluster",
        "cards": "appendix, Method cards; models/weights for data, licences, splits and audit of each weight",
        "provenance": f"aspects-cohort {run.version}, code {run.code_digest[:12]}, settings {run.settings_digest[:9]}; "
                      "digests of inputs, weights and code on every step: table provenance",
        "quality": when(len(material.data.scans), "geometry and quality of each scan: quality.html, table scans"),
        "readers": when(len(readers) > 1, f"{len(readers)} readers and sessions: report, Several readers"),
        "agreement": when(pairs, f"{len(pairs)} pairs: report, Agreement between sources"),
        "gallery": "the largest disagreements on key slices: gallery.html; every patient has a page",
    }  # fmt: skip
