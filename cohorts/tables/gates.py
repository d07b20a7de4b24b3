"""Quality gates on committed records: limits are applied to stored figures, so that changing one opens no image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cohorts.folder.study import StudyConfig
from cohorts.store.records import Record
from tasks.quality.gates import judge_quality


def gated(records: Mapping[tuple[str, str], Record], config: StudyConfig) -> dict[tuple[str, str], Record]:
    """The records as the study judges them: one whose figures break gates is excluded, each of them in its detail.

    Parameters
    ----------
    records : (participant, measurement) -> record as committed
    config : the study with its limits

    Returns
    -------
    (participant, measurement) -> record; payloads are left as they are, so that the figures stay visible.
    """
    judged = {}
    for (participant_id, measurement), record in records.items():
        source = config.measurements[measurement][0]
        figures = record.payload.quality.get(source.lies_on)
        if record.status == "ok" and figures and source.gated_as is not None:
            findings = judge_quality(figures, config.gates_of(source.gated_as))
            if findings:
                detail = " ".join(f"{source.lies_on}: {finding.detail}" for finding in findings)
                record = replace(record, status="excluded", reason=findings[0].reason, detail=detail)
        judged[participant_id, measurement] = record
    return judged
