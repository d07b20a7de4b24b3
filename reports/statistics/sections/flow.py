"""The flowchart: who was screened, who left where and why. Included, excluded and failed sum to screened."""

from __future__ import annotations

from dataclasses import replace

from cohorts.tables.schemas import STAGES
from reports.statistics.inputs import ReportInput
from reports.statistics.rows import Builder, Scope

SCREENED = Scope(section="flow", analysis_set="screened")


def add_flow(rows: Builder, data: ReportInput) -> None:
    """Add the counts of the flowchart and one count per primary reason, in the order of the stages."""
    table = data.participants
    n = len(table)
    rows.count(SCREENED, "n_screened", n, n)
    for status in ("included", "excluded", "failed"):
        rows.count(SCREENED, f"n_{status}", int((table["status"] == status).sum()), n)
    for name in ("measured", "examined"):
        rows.count(SCREENED, f"n_{name}", int(table[f"is_{name}"].fillna(False).astype(bool).sum()), n)
    primary = data.exclusions[data.exclusions["is_primary"].fillna(False).astype(bool)]
    counts = primary.groupby(["stage", "status", "reason"]).size()
    order = {stage: position for position, stage in enumerate(STAGES)}
    for stage, status, reason in sorted(counts.index, key=lambda key: (order.get(key[0], len(order)), *key)):
        scope = replace(SCREENED, stage=stage, reason=reason)
        rows.count(scope, f"n_{status}", int(counts[stage, status, reason]), n)
