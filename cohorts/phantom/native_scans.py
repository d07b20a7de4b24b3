"""Native scans of the phantom cohort's patients: NCCT, CTA, DWI and ADC (or b0), each in its own head pose.

A scan shows the lesion of the patient's mask file, so that what a score finds on the scan can be compared with the
mask. The scans are simulated by ``tasks.phantoms.scans``; the same seed gives the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cohorts.images.mask import read_mask
from cohorts.images.nifti import nifti_bytes
from cohorts.images.transforms import SCAN_SPACE
from cohorts.phantom.tables import write_tsv
from tasks.arrays import Affine, FloatingArray
from tasks.phantoms.head import Acquisition, Head, build_head, head_pose, scan_grid
from tasks.phantoms.scans import Infarct, lowering_hu, simulate_cta, simulate_diffusion, simulate_ncct
from tasks.registration.target import TissueMaps
from tasks.space.resample import Grid

NECK_MM = 60.0  # a head scan ends above it
CT_SHAPE, CT_SLICE_MM = (240, 240, 32), 5.0  # a quarter of a scanner's 512 x 512, so that the demo stays quick
CT_PIXEL_MM = (0.86, 0.94)  # field of view 206 to 226 mm
MR_SHAPE, MR_SPACING_MM = (128, 128, 30), (1.75, 1.75, 5.0)
#: Of the template: mean, SD between persons, SD between axes; brains of 1,050 to 1,550 ml.
HEAD_SCALE = (0.88, 0.03, 0.02)
TURN_DEG = (5.0, 15.0)  # SD about each axis and most: heads lie askew by a few degrees
CT_NOISE_HU = (3.0, 5.0)  # of slices of 5 mm
CT_CUPPING_HU = (1.0, 3.0)
CTA_SHAPE, CTA_SLICE_MM = (240, 240, 64), 2.5  # thinner than plain CT, as they come; not 0.6 mm, so that it stays quick
CTA_NOISE_HU = (6.0, 10.0)
ARTERY_HU = (220.0, 420.0)  # arteries of a good CT angiography
MR_NOISE = (6.0, 11.0)  # signal-to-noise ratio of white matter at b = 1000: 18 to 10
MR_BIAS = (0.05, 0.25)
ADC_STORED = 1000.0  # whole numbers of 10^-6 mm2/s, as most scanners store it
CLIPPED_EVERY, CLIPPED_AT = 4, 1  # every fourth CT has lost its negative values, as the public ones have
B0_EVERY, B0_AT = 4, 3  # every fourth patient has b0 in place of an ADC map, which then has to be computed
SCAN_STREAM = 5  # stream of random numbers, after those of ``cohorts.phantom.cohort``


@dataclass(frozen=True)
class ScanRow:
    """One row of ``scans.tsv``."""

    participant_id: str
    modality: str
    space: str
    path: str


def write_phantom_scans(
    folder: Path, maps: TissueMaps, *, without: Collection[str] = (), n_patients: int = 6, seed: int = 11
) -> list[ScanRow]:
    """Write native scans of the first patients of a phantom cohort and add them to its ``scans.tsv``.

    The cohort's own files say which lesion and how old it is, so that it can be written without scans and get them
    later, and so that mask and scan cannot differ.

    Parameters
    ----------
    folder : a cohort that ``write_phantom_cohort`` wrote
    maps : TissueMaps of the template in which the masks lie
    without : participants that get no scan, such as those with planted faults
    n_patients : how many get scans, in the order of ``scans.tsv``; who has no time of onset is passed over
    seed : the same seed gives the same bytes; a patient's scans do not change with ``n_patients``

    Returns
    -------
    The rows added to ``scans.tsv``: four per patient.

    Raises
    ------
    ImageProblemError
        A mask cannot be read.
    """
    listed = pd.read_csv(folder / "scans.tsv", sep="\t", dtype=str, keep_default_na=False)
    clinical = pd.read_csv(folder / "participants.tsv", sep="\t", dtype=str, keep_default_na=False)
    is_timed = clinical["onset_to_scan_h"] != "n/a"
    hours = dict(zip(clinical["participant_id"][is_timed], clinical["onset_to_scan_h"][is_timed], strict=True))
    lesions = listed[(listed["modality"] == "lesion") & ~listed["participant_id"].isin(list(without))]
    lesions = lesions[lesions["participant_id"].isin(list(hours))].head(n_patients)
    head = build_head(maps, neck_mm=NECK_MM)
    (folder / "scans").mkdir(exist_ok=True)

    def write(patient: tuple[str, str]) -> list[ScanRow]:
        """One patient, with random numbers of its own."""
        participant_id, mask_path = patient
        number = int("".join(filter(str.isdigit, participant_id)))
        infarct = _infarct(folder / mask_path, float(hours[participant_id]))
        rows = []
        for modality, content in _scans(head, infarct, number, np.random.default_rng([seed, SCAN_STREAM, number])):
            path = f"scans/{participant_id}_space-{SCAN_SPACE}_desc-synthetic_{modality}.nii.gz"
            (folder / path).write_bytes(content)
            rows.append(ScanRow(participant_id, modality, SCAN_SPACE, path))
        return rows

    patients = zip(lesions["participant_id"], lesions["path"], strict=True)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        rows = [row for found in threads.map(write, patients) for row in found]
    table = pd.concat([listed, pd.DataFrame([asdict(row) for row in rows])])
    write_tsv(folder / "scans.tsv", table)
    return rows


def small_lesions(folder: Path, *, minimum_ml: float, n_patients: int = 6, without: Collection[str] = ()) -> set[str]:
    """Patients of a phantom cohort to pass over so that the scanned ones have a lesion of some size.

    Parameters
    ----------
    folder : a cohort that ``write_phantom_cohort`` wrote
    minimum_ml : who has a smaller lesion is passed over
    n_patients : looked for in the order of ``scans.tsv`` until so many have one
    without : participants that get no scan anyway
    """
    listed = pd.read_csv(folder / "scans.tsv", sep="\t", dtype=str, keep_default_na=False)
    lesions = listed[(listed["modality"] == "lesion") & ~listed["participant_id"].isin(list(without))]
    small, n_found = set(), 0
    for participant_id, path in zip(lesions["participant_id"], lesions["path"], strict=True):
        mask = read_mask((folder / path).read_bytes(), path)
        is_large = len(mask.indices) * mask.voxel_volume_mm3 >= 1000 * minimum_ml
        n_found += is_large
        if not is_large:
            small.add(participant_id)
        if n_found == n_patients:
            break
    return small


def scan_bytes(values: FloatingArray, affine: Affine) -> bytes:
    """A scan as the bytes of a compressed NIfTI file of whole numbers (int16).

    Parameters
    ----------
    values : (X, Y, Z) float array, in the unit to be stored
    affine : (4, 4) float array, voxel -> world, RAS, mm
    """
    stored = np.asarray(np.rint(values), dtype=np.int16, order="F")
    fields = {"descrip": b"SYNTHETIC phantom scan, no patient"}
    return nifti_bytes(stored, affine, fields=fields, compression=("zlib", 1))  # noise does not shrink with more effort


def _infarct(path: Path, age_h: float) -> Infarct:
    """The lesion of a mask file as an infarct of a given age."""
    lesion = read_mask(path.read_bytes(), path.name)
    mask = np.zeros(lesion.shape, dtype=bool)
    mask[np.unravel_index(lesion.indices, lesion.shape, order="F")] = True
    return Infarct(mask, lesion.affine, lowering_hu(age_h))


def _scans(head: Head, infarct: Infarct, number: int, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Modality and file of every scan of one patient; CT and MR see the same head in different poses."""
    mean, between_persons, between_axes = HEAD_SCALE
    x, y, z = (mean + between_persons * rng.standard_normal() + between_axes * rng.standard_normal(3)).tolist()
    pixel_mm = float(rng.uniform(*CT_PIXEL_MM))
    ct = _acquisition((x, y, z), CT_SHAPE, (pixel_mm, pixel_mm, CT_SLICE_MM), rng)
    hu = simulate_ncct(
        head, ct, infarct, noise_hu=float(rng.uniform(*CT_NOISE_HU)), cupping_hu=float(rng.uniform(*CT_CUPPING_HU))
    )
    is_clipped = number % CLIPPED_EVERY == CLIPPED_AT
    yield "ncct", scan_bytes(np.clip(hu, 0, None) if is_clipped else hu, ct.grid.affine)
    mr = _acquisition((x, y, z), MR_SHAPE, MR_SPACING_MM, rng)
    series = simulate_diffusion(
        head, mr, infarct, noise=float(rng.uniform(*MR_NOISE)), bias=float(rng.uniform(*MR_BIAS))
    )
    yield "dwi", scan_bytes(series.b1000, mr.grid.affine)
    if number % B0_EVERY == B0_AT:
        yield "dwi-b0", scan_bytes(series.b0, mr.grid.affine)
    else:
        yield "adc", scan_bytes(series.adc * ADC_STORED, mr.grid.affine)
    angiography = _acquisition((x, y, z), CTA_SHAPE, (pixel_mm, pixel_mm, CTA_SLICE_MM), rng)
    artery_hu, noise_hu = (float(rng.uniform(*limits)) for limits in (ARTERY_HU, CTA_NOISE_HU))
    hu = simulate_cta(head, angiography, infarct, vessel_hu=artery_hu, noise_hu=noise_hu)
    yield "cta", scan_bytes(hu, angiography.grid.affine)


def _acquisition(
    scale: tuple[float, float, float],
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    rng: np.random.Generator,
) -> Acquisition:
    """A random pose on the scanner's table, the grid centred on the head to a few millimetres."""
    sd, most = TURN_DEG
    a, b, c = np.clip(sd * rng.standard_normal(3), -most, most).tolist()
    pose = head_pose((a, b, c), (0.0, 0.0, 0.0), scale)
    pose[:3, 3] = rng.uniform((-10, -180, -700), (10, -100, 700))  # table heights and positions of scanners
    grid = scan_grid(pose, shape, spacing_mm)
    off_centre = np.eye(4)
    off_centre[:3, 3] = rng.uniform(-4, 4, 3)
    return Acquisition(Grid(shape, off_centre @ grid.affine), pose, int(rng.integers(2**32)))
