"""Write the demo: a cohort folder of synthetic patients, with faulty cases on purpose.

Lesions are grown in vascular territories (``tasks.phantoms.lesion``), patients and readers are drawn from the models of
``cohorts.phantom.patients``, faults are those of ``cohorts.phantom.faults``. The same seed gives the same bytes.
Everything says that it is synthetic: the study's name, pseudonyms, file names, image headers and the README.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from cohorts.phantom.faults import FaultKind, PlantedFault, mask_bytes, plan_faults, spoil_clinical
from cohorts.phantom.lesions import LesionPainter, PhantomAnatomy
from cohorts.phantom.patients import (
    COLUMN_DICTIONARY,
    READERS,
    REPEAT_EVERY,
    REPEAT_READER,
    PlannedPatient,
    plan_patients,
    simulate_clinical,
)
from cohorts.phantom.tables import write_tsv
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES, MAXIMUM_SCORE, TEMPLATE_SPACE

__all__ = ["PhantomAnatomy", "PlantedFault", "write_phantom_cohort"]

LEAST_PARTICIPANTS = 20  # room for the faulty cases and some others

# Streams of random numbers, so that each part of the cohort can change without the others.
PLAN, CLINICAL, LESION, READING, FAULTS = range(5)


def write_phantom_cohort(
    folder: Path, anatomy: PhantomAnatomy, *, n_participants: int = 80, seed: int = 11
) -> tuple[PlantedFault, ...]:
    """Write a synthetic cohort folder: masks, tables, ``cohort.toml`` and a README.

    Parameters
    ----------
    folder : a folder that does not exist or is empty
    anatomy : where lesions grow
    n_participants : rows of ``participants.tsv``, at least 20; eight of them are faulty, one is odd but usable
    seed : the same seed gives the same bytes; of the default, the case mix is near the stated shares

    Returns
    -------
    The planted faults, with the reason under which each must end in the flowchart.

    Raises
    ------
    ValueError
        Too few participants.
    FileExistsError
        The folder holds something.
    """
    if n_participants < LEAST_PARTICIPANTS:
        raise ValueError(
            f"n_participants must be >= {LEAST_PARTICIPANTS}, got {n_participants}. Fewer cannot hold every fault."
        )
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"folder must be empty, got files in {folder}. Give another folder.")
    (folder / "lesions").mkdir(parents=True)
    ids = [f"sub-phantom{number:03d}" for number in range(1, n_participants + 2)]  # the last one is not listed
    patients = plan_patients(len(ids), np.random.default_rng([seed, PLAN]))
    faults = plan_faults(ids, np.random.default_rng([seed, FAULTS]))

    clinical = simulate_clinical(patients[:-1], np.random.default_rng([seed, CLINICAL]))
    clinical.insert(0, "participant_id", ids[:-1])
    write_tsv(folder / "participants.tsv", spoil_clinical(clinical, faults))
    readings = _write_images(folder, anatomy, dict(zip(ids, patients, strict=True)), faults, seed)
    write_tsv(folder / "readings.tsv", pd.DataFrame(readings))
    with_scan = [participant_id for participant_id in ids if (folder / _mask_path(participant_id)).exists()]
    paths = [*map(_mask_path, with_scan)]
    scans = {"participant_id": with_scan, "modality": "lesion", "space": TEMPLATE_SPACE, "path": paths}
    write_tsv(folder / "scans.tsv", pd.DataFrame(scans))

    planted = tuple(kind.planted(participant_id, _mask_path(participant_id)) for participant_id, kind in faults.items())
    pseudonyms = {
        "Description": "Synthetic pseudonym; nobody stands behind it. Levels name the faults planted on purpose",
        "Levels": {fault.participant_id: fault.fault for fault in planted},
    }
    dictionary = {"participant_id": pseudonyms, **COLUMN_DICTIONARY}
    (folder / "participants.json").write_text(json.dumps(dictionary, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(planted), encoding="utf-8")
    (folder / "cohort.toml").write_bytes((files("cohorts") / "templates" / "phantom_cohort.toml").read_bytes())
    return planted


def _mask_path(participant_id: str) -> str:
    """Path of a participant's mask inside the cohort folder."""
    return f"lesions/{participant_id}_space-{TEMPLATE_SPACE}_desc-synthetic_label-lesion_mask.nii.gz"


def _write_images(
    folder: Path, anatomy: PhantomAnatomy, patients: dict[str, PlannedPatient], faults: dict[str, FaultKind], seed: int
) -> list[dict[str, object]]:
    """Paint and write every mask; return the rows of ``readings.tsv``, which see the masks before any fault."""
    painter = LesionPainter(anatomy.cropped())

    def write(numbered: tuple[int, tuple[str, PlannedPatient]]) -> list[dict[str, object]]:
        """One patient, with random numbers of its own."""
        number, (participant_id, patient) = numbered
        fault = faults.get(participant_id)
        lesion = painter.paint(patient.lesion, np.random.default_rng([seed, LESION, number]))
        if fault is None or fault.name != "no_scan":
            content = mask_bytes(lesion, painter.anatomy.affine, fault.name if fault else None)
            (folder / _mask_path(participant_id)).write_bytes(content)
        if fault is not None and not fault.is_read:
            return []
        is_repeated = number % REPEAT_EVERY == 0
        rng = np.random.default_rng([seed, READING, number])
        return _reading_rows(
            participant_id, patient, painter.affected_regions(lesion), is_repeated=is_repeated, rng=rng
        )

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return [row for rows in threads.map(write, enumerate(patients.items())) for row in rows]


def _reading_rows(
    participant_id: str,
    patient: PlannedPatient,
    truth: dict[tuple[str, str], bool],
    *,
    is_repeated: bool,
    rng: np.random.Generator,
) -> list[dict[str, object]]:
    """One row per reader, session and side."""
    rows: list[dict[str, object]] = []
    for reader in READERS:
        sessions = [pd.NA] if reader.name != REPEAT_READER else ["1", "2"] if is_repeated else ["1"]
        for session in sessions:
            flags = reader.read(truth, patient.lesion.sides, rng)
            for side in HEMISPHERES:
                affected = {region: int(flags[side, region]) for region in ASPECTS_REGIONS}
                rows.append(
                    {
                        "participant_id": participant_id,
                        "reader": reader.name,
                        "session": session,
                        "template_assisted": int(reader.is_template_assisted),
                        "side": side,
                        "score": MAXIMUM_SCORE - sum(affected.values()),
                        "low": pd.NA,
                        **affected,
                    }
                )
    return rows


def _readme(planted: tuple[PlantedFault, ...]) -> str:
    """What the folder is, in words, with every planted fault."""
    readers = "\n".join(
        f"| {reader.name} | {reader.sensitivity_deep:.2f} | {reader.sensitivity_cortical:.2f} "
        f"| {reader.false_positive_deep:.2f} | {reader.false_positive_cortical:.2f} "
        f"| {'yes' if reader.is_template_assisted else 'no'} |"
        for reader in READERS
    )
    faults = "\n".join(
        f"| {fault.participant_id} | {fault.file} | {fault.fault} | {fault.expected_reason or 'none: it is used'} |"
        for fault in planted
    )
    return f"""# Phantom cohort (synthetic)

**Every patient, lesion, date and reading in this folder is synthetic, created by a program.** Nobody stands behind any
row. The
cohort shows how a cohort folder looks and what a report says; its results mean nothing and must not be cited.

Lesions are grown at random inside vascular territories of a brain template. Clinical values come from the models that
`participants.json` states column by column. Site `north` sees more large infarcts, site `south` more lacunes.

## Readers

Random number generators that see the true regions (any deep lesion, a third of a cortical region) and err at these
rates per region, in the affected hemisphere only. Reader {REPEAT_READER} reads every {REPEAT_EVERY}th patient twice.

| reader | sensitivity deep | sensitivity cortical | false positives deep | false positives cortical | template |
|---|---|---|---|---|---|
{readers}

## Faults planted on purpose

| participant | file | what was done | reason in the flowchart |
|---|---|---|---|
{faults}
"""
