"""CT perfusion series for the first patients of a phantom cohort, each with its sidecar.

The core is the lesion of the patient's mask file, with penumbra around it, so that the core found on the series can be
compared with the mask. Frames are dense over the bolus and sparse after it, and every third head moves. The series are
simulated by ``tasks.phantoms.perfusion``; the same seed gives the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from cohorts.images.mask import read_mask
from cohorts.images.transforms import SCAN_SPACE
from cohorts.phantom.native_scans import ScanRow, scan_bytes
from cohorts.phantom.tables import write_tsv
from tasks.arrays import Affine, Mask
from tasks.phantoms.head import head_pose
from tasks.phantoms.perfusion import Protocol, simulate_perfusion
from tasks.phantoms.perfusion_head import PhantomHead, prepare_head
from tasks.phantoms.tissue import PhantomLesion
from tasks.registration.target import TissueMaps
from tasks.space.affines import voxel_sizes_mm
from tasks.space.resample import Grid, resample_labels
from tasks.space.rigid_motion import head_motion

MODALITY = "ctp"
SHAPE, SPACING_MM = (96, 96, 18), (2.2, 2.2, 5.0)  # a seventh of a scanner's 256 x 256, so that the demo stays quick
#: Every 1.5 s over the bolus, then every 3 s: the two phases of usual protocols.
FRAME_TIMES_S = (*(1.5 * frame for frame in range(26)), *(37.5 + 3.0 * frame for frame in range(1, 9)))
NOISE_HU = (3.0, 5.0)  # of voxels of 24 microlitres; a scanner's of a fifth of that have 7 to 11
SLAB_HEAD_SCALE = (0.88, 0.02)  # of the template: mean and SD between persons
SLAB_TURN_DEG, SLAB_TURN_MOST_DEG = 4.0, 12.0
MOVES_EVERY, DRIFT_MM, JUMP_MM = 3, 1.5, 3.0
#: Hypoperfused tissue over core, and its least volume: mismatch ratios of 1.8 and more make patients eligible for late
#: treatment (DEFUSE 3, Albers et al., N Engl J Med 2018;378:708-718).
HYPOPERFUSED_RATIO, LEAST_HYPOPERFUSED_ML = 1.8, 30.0
PERFUSION_STREAM = 6  # stream of random numbers, after those of ``cohorts.phantom.native_scans``


def write_phantom_perfusion(
    folder: Path, maps: TissueMaps, *, without: Collection[str] = (), n_patients: int = 6, seed: int = 11
) -> list[ScanRow]:
    """Write perfusion series of the first patients of a phantom cohort and add them to its ``scans.tsv``.

    Parameters
    ----------
    folder : a cohort that ``write_phantom_cohort`` wrote
    maps : TissueMaps of the template in which the masks lie
    without : participants that get no series
    n_patients : how many get one, in the order of ``scans.tsv``
    seed : the same seed gives the same bytes

    Returns
    -------
    The rows added to ``scans.tsv``.
    """
    listed = pd.read_csv(folder / "scans.tsv", sep="\t", dtype=str, keep_default_na=False)
    lesions = listed[(listed["modality"] == "lesion") & ~listed["participant_id"].isin(list(without))].head(n_patients)
    head = prepare_head(maps)
    (folder / "scans").mkdir(exist_ok=True)

    def write(patient: tuple[str, str]) -> ScanRow:
        """One patient, with random numbers of its own."""
        participant_id, mask_path = patient
        number = int("".join(filter(str.isdigit, participant_id)))
        rng = np.random.default_rng([seed, PERFUSION_STREAM, number])
        stem = f"scans/{participant_id}_space-{SCAN_SPACE}_desc-synthetic_{MODALITY}"
        lesion = _ischaemia(folder / mask_path, maps)
        _write_series(folder / stem, head, lesion, rng, moves=number % MOVES_EVERY == 0)
        return ScanRow(participant_id, MODALITY, SCAN_SPACE, f"{stem}.nii.gz")

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        rows = list(threads.map(write, zip(lesions["participant_id"], lesions["path"], strict=True)))
    table = pd.concat([listed, pd.DataFrame([asdict(row) for row in rows])])
    write_tsv(folder / "scans.tsv", table)
    return rows


def _write_series(
    stem: Path, head: PhantomHead, lesion: PhantomLesion, rng: np.random.Generator, *, moves: bool
) -> None:
    """One series and the sidecar with its frame times."""
    size = SLAB_HEAD_SCALE[0] + SLAB_HEAD_SCALE[1] * rng.standard_normal()
    a, b, c = np.clip(SLAB_TURN_DEG * rng.standard_normal(3), -SLAB_TURN_MOST_DEG, SLAB_TURN_MOST_DEG).tolist()
    pose = head_pose((a, b, c), (0.0, -140.0, 300.0), (size, size, size))
    protocol = Protocol(SHAPE, SPACING_MM, FRAME_TIMES_S, noise_hu=float(rng.uniform(*NOISE_HU)))
    motion = head_motion(FRAME_TIMES_S, rng, drift_mm=DRIFT_MM, jump_mm=JUMP_MM) if moves else None
    phantom = simulate_perfusion(head, protocol, rng, lesion=lesion, template_to_scan=pose, motion=motion)
    stem.with_name(f"{stem.name}.nii.gz").write_bytes(scan_bytes(phantom.series, phantom.affine))
    sidecar = {
        "Description": "SYNTHETIC phantom series, no patient",
        "Units": "HU",
        "VolumeTiming": list(FRAME_TIMES_S),
    }
    stem.with_name(f"{stem.name}.json").write_text(json.dumps(sidecar, indent=2) + "\n", encoding="utf-8")


def _ischaemia(path: Path, maps: TissueMaps) -> PhantomLesion:
    """The lesion of a mask file as core, and the brain nearest to it on its own side as penumbra."""
    mask = read_mask(path.read_bytes(), path.name)
    drawn = np.zeros(mask.shape, dtype=bool)
    drawn[np.unravel_index(mask.indices, mask.shape, order="F")] = True
    x, y, z = maps.brain.shape
    core = resample_labels(drawn, mask.affine, Grid((x, y, z), maps.affine), np.eye(4))
    x_mm = maps.affine[0, 0] * np.arange(x) + maps.affine[0, 3]
    is_left = core[x_mm < 0].sum() > core[x_mm > 0].sum()
    domain = (maps.brain > 0.5) & ((x_mm < 0) == is_left)[:, None, None]
    return PhantomLesion(core, _nearest(domain & ~core, core, maps.affine) & ~core)


def _nearest(domain: Mask, core: Mask, affine: Affine) -> Mask:
    """The part of a domain nearest to the core, of the wanted volume."""
    spacing = voxel_sizes_mm(affine)
    voxel_ml = float(np.prod(spacing)) / 1000
    core_ml = float(core.sum()) * voxel_ml
    wanted_ml = max(LEAST_HYPOPERFUSED_ML, HYPOPERFUSED_RATIO * core_ml) - core_ml
    distance = ndimage.distance_transform_edt(~core, sampling=spacing)
    inside = np.sort(distance[domain])
    limit = inside[min(len(inside) - 1, max(0, round(wanted_ml / voxel_ml)))]
    return np.asarray(domain & (distance <= limit))
