"""The flowchart: who was screened, who left where and why. Included, excluded and failed sum to screened."""

from __future__ import annotations

import pandas as pd

from cohorts.tables.schemas import STAGES
from reports.statistics.inputs import ReportInput
from reports.statistics.rows import Rows, Scope

SCREENED = Scope("flow", "screened")


def add_flow(rows: Rows, data: ReportInput) -> None:
    """Add the counts of the flowchart and one count per primary reason, in the order of the stages."""
    table = data.participants
    n = len(table)
    rows.count(SCREENED, "n_screened", n, n)
    for status in ("included", "excluded", "failed"):
        rows.count(SCREENED, f"n_{status}", int((table["status"] == status).sum()), n)
    rows.count(SCREENED, "n_scored", _count(table["is_scored"]), n)
    if data.config.eligibility.is_set:
        rows.count(SCREENED, "n_eligible", _count(table["is_eligible"]), n)
    primary = data.exclusions[data.exclusions["is_primary"].fillna(False).astype(bool)]
    counts = primary.groupby(["stage", "status", "reason"]).size()
    order = {stage: position for position, stage in enumerate(STAGES)}
    for stage, status, reason in sorted(counts.index, key=lambda key: (order.get(key[0], len(order)), *key)):
        rows.count(SCREENED, f"n_{status}:{stage}:{reason}", int(counts[stage, status, reason]), n)


def _count(flag: pd.Series) -> int:
    """True values of a flag column; null is false."""
    return int(flag.fillna(False).astype(bool).sum())
