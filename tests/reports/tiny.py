"""Tiny synthetic cohorts of any shape as contract tables: a few participants, readers and one mask, values as given.

Everything that a sweep wants to be degenerate is an argument; nothing here is patient data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cohorts.tables.participants import participants_contract
from cohorts.tables.schemas import EXCLUSIONS, LESIONS, REGIONS, SCANS, SCORES, Table
from flows.sources.registry import STUDY
from reports.statistics.inputs import ReportInput
from tasks.anatomy import ASPECTS_REGIONS
from tests.reports.builders import PANDAS_TYPE

GRADES = ((7, "mild"), (16, "moderate"), (42, "severe"))


@dataclass(frozen=True)
class TinyPatient:
    """One participant: NIHSS and mRS (None: missing), a score per reader (None: not read), the mask's volume."""

    nihss: int | None
    mrs: int | None
    readings: tuple[int | None, ...]
    volume_ml: float | None  # None: a broken mask, which excludes the participant at intake


def tiny_input(patients: Sequence[TinyPatient], *, rules: bool = False) -> ReportInput:
    """The tables of these patients; the mask scores ten less one per 10 ml, readers deduct in the order of regions."""
    config = STUDY.model_validate(
        {
            "study": {"name": "Tiny", "synthetic": True, "bootstrap_resamples": 100},
            "source": [{"name": "mask", "kind": "mask"}, {"name": "readers", "kind": "readings"}],
            "clinical": [
                {"column": "nihss", "read_as": "integer", "label": "NIHSS", "minimum": 0, "maximum": 42},
                {"column": "mrs", "read_as": "integer", "minimum": 0, "maximum": 6},
                {"column": "onset", "read_as": "date"},
            ],
            "severity": {},
            "outcome": "mrs",
            **({"eligibility": {"maximum_volume_ml": 50}} if rules else {}),
        }
    )
    people, exclusions, lesions, scores, regions = [], [], [], [], []
    for number, patient in enumerate(patients, start=1):
        key = f"sub-{number}"
        stage, reason = None, None
        if patient.volume_ml is None:
            stage, reason = "intake", "wrong_grid"
        elif rules and patient.volume_ml > 50:
            stage, reason = "eligibility", "implausible_volume"
        if stage is not None:
            exclusions.append((key, stage, reason, "excluded", True, "must be better."))
        grade = next((name for top, name in GRADES if patient.nihss is not None and patient.nihss <= top), None)
        readings = {f"reader:{'ABC'[at]}": score for at, score in enumerate(patient.readings) if score is not None}
        people.append(
            {
                "participant_id": key,
                "status": "included" if stage is None else "excluded",
                "stage": stage,
                "reason": reason,
                "is_listed": True,
                "is_measured": bool(readings) or patient.volume_ml is not None,
                "is_examined": stage in (None, "eligibility"),
                "is_included": stage is None,
                "severity": grade,
                "nihss": patient.nihss,
                "mrs": patient.mrs,
                "onset": pd.Timestamp("2024-05-01"),
            }
        )
        given = dict(readings)
        if patient.volume_ml is not None:
            lesions.append({"participant_id": key, "source": "lesion", "volume_ml": patient.volume_ml, "status": "ok"})
            given = {"mask": max(10 - int(patient.volume_ml // 10), 0)} | given
        else:
            lesions.append({"participant_id": key, "source": "lesion", "status": "excluded", "reason": "wrong_grid"})
            scores.append({"participant_id": key, "source": "mask", "status": "excluded", "reason": "wrong_grid"})
        for source, score in given.items():
            row = {"participant_id": key, "source": source, "status": "ok", "weights_state": "none"}
            scores.append(row | {"score": score, "score_left": score, "score_right": 10, "laterality": "worst"})
            regions += [
                row | {"side": side, "region": region, "affected": side == "left" and at < 10 - score}
                for side in ("left", "right")
                for at, region in enumerate(ASPECTS_REGIONS)
            ]
    return ReportInput(
        config=config,
        participants=_frame(participants_contract(config), people),
        scans=_frame(SCANS, []),
        exclusions=_frame(EXCLUSIONS, [dict(zip(EXCLUSIONS.names, row, strict=True)) for row in exclusions]),
        regions=_frame(REGIONS, regions),
        scores=_frame(SCORES, scores),
        lesions=_frame(LESIONS, lesions),
        map_names={"mask": "classic"},
    )


def _frame(table: Table, rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """Rows as a frame with the contract's columns and types."""
    frame = pd.DataFrame(rows, columns=list(table.names), dtype=object)
    return frame.astype({column.name: PANDAS_TYPE[column.type] for column in table.columns})
