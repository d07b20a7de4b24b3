"""A cohort of synthetic patients whom no training saw, for ``aspects run``: every system beside the truth.

    python -m tests.benchmarks.synthetic_cohort POOL COHORT [--first 60]
    aspects run COHORT OUT

POOL holds synthetic patients as ``aspects train`` keeps them (``work/pool-.../test``). Each has plain CT, CT
angiography and diffusion MR of the same moment on voxels of 2 mm, the infarct drawn on the diffusion scan, and a reader
called ``truth``, who knows the regions of that very anatomy and which of them the infarct touches (rule ``wei``): what
systems miss because they misplace regions counts against them. The report then has the tables of the papers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from cohorts.images.nifti import nifti_bytes
from cohorts.images.transforms import SCAN_SPACE
from cohorts.phantom.native_scans import ADC_STORED
from cohorts.phantom.tables import write_tsv
from models.training.dichotomy import affected_regions
from models.training.pool import PooledPatient, pooled_files, read_patient
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES, MAXIMUM_SCORE
from tasks.segmentation import INFARCT, STEP_MM

AFFINE = np.diag([STEP_MM, STEP_MM, STEP_MM, 1.0])
#: Name, kind and further keys of what scores.
SYSTEMS = (
    ("ncct-ratio", "density_ratio", ""),
    ("ncct-overlap", "ncct_overlap", ""),
    ("ncct-asymmetry", "ncct_asymmetry", ""),
    ("ncct-radiomics", "ncct_radiomics", ""),
    ("cta-ratio", "density_ratio", 'modality = "cta"\nimage = "cta"'),
    ("cta-radiomics", "cta_radiomics", ""),
    ("dwi-threshold", "dwi_threshold", ""),
    ("dwi-unet", "dwi_unet", ""),
    ("dwi-dichotomy", "dwi_dichotomy", ""),
    ("drawn", "native_mask", ""),
)
TRUTH = "reader:truth:1"
STUDY = """[study]
name = "Synthetic test patients"
description = "Synthetic patients of anatomies and lesions that no training saw; the reader is the truth itself."
synthetic = true

[template]
regions = "classic"

[[source]]
kind = "readings"
"""


def study() -> str:
    """The text of ``cohort.toml``."""
    parts = [STUDY]
    parts += [f'[[source]]\nname = "{name}"\nkind = "{kind}"\n{keys}\n' for name, kind, keys in SYSTEMS]
    parts += [f'[[agreement]]\nreference = "{TRUTH}"\ncandidate = "{name}"\n' for name, _, _ in SYSTEMS]
    return "\n".join(parts)


def images_of(patient: PooledPatient) -> dict[str, np.ndarray]:
    """Modality -> values as they are stored."""
    lesion = patient.classes == INFARCT
    found = {
        "ncct": np.rint(patient.ct.astype(np.float32)).astype(np.int16),
        "cta": np.rint(patient.cta.astype(np.float32)).astype(np.int16),
        "dwi": np.rint(np.clip(patient.b_high.astype(np.float32), 0, 32000)).astype(np.int16),
    }
    if patient.adc.size:
        found["adc"] = np.rint(patient.adc.astype(np.float32) * ADC_STORED).astype(np.int16)
    return found | {"dwi-lesion": lesion.astype(np.uint8)}


def readings_of(participant_id: str, patient: PooledPatient) -> list[dict[str, object]]:
    """What is true of both sides, as a reader writes it."""
    affected = affected_regions(patient.classes, patient.classic)
    rows = []
    for side in HEMISPHERES:
        flags = {region: int(affected[side, region]) for region in ASPECTS_REGIONS}
        score = MAXIMUM_SCORE - sum(flags.values())
        own = {"participant_id": participant_id, "reader": "truth", "session": "1", "template_assisted": 0}
        rows.append({**own, "side": side, "score": score, "low": pd.NA, **flags})
    return rows


def write_cohort(pool: Path, folder: Path, n: int) -> None:
    """Write images, tables and study."""
    (folder / "images").mkdir(parents=True)
    scans, readings, people = [], [], []
    for path in pooled_files(pool)[:n]:
        patient = read_patient(path)
        participant_id = f"sub-synthetic{path.stem[-4:]}"
        people.append({"participant_id": participant_id, "lowering_hu": patient.facts.get("lowering_hu", pd.NA)})
        for modality, values in images_of(patient).items():
            name = f"images/{participant_id}_{modality}.nii.gz"
            (folder / name).write_bytes(nifti_bytes(values, AFFINE))
            scans.append({"participant_id": participant_id, "modality": modality, "space": SCAN_SPACE, "path": name})
        readings += readings_of(participant_id, patient)
    for name, rows in (("participants", people), ("scans", scans), ("readings", readings)):
        write_tsv(folder / f"{name}.tsv", pd.DataFrame(rows))
    (folder / "cohort.toml").write_text(study(), "utf-8")
    print(f"{len(people)} patients in {folder}")


def main() -> None:
    """Write as asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--first", type=int, default=60)
    asked = parser.parse_args()
    write_cohort(asked.pool, asked.cohort, asked.first)


if __name__ == "__main__":
    main()
