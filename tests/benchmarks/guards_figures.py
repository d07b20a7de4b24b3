"""How often the guards of plain CT are right, on synthetic patients whose old infarcts, blood and clots are known.

    python -m tests.benchmarks.guards_figures DATA ANATOMIES --test training_seg_09 training_seg_10 [--patients 60]

DATA is the folder of the shared real data, ANATOMIES one of prepared anatomies (``aspects train`` keeps them in its
work folder). Thresholds were chosen on the patients called validation, of the other anatomies and the lesions of that
side; test patients are of the anatomies named and of lesions that only test. Every third patient has a dense clot
in M1 or the beginning of M2, the others none; one in three has an old infarct of 3 ml or more, one in three a bleeding
of any size. Brains are found and registered by the code of a run. Counted are those with and without: an old infarct
of ``CHRONIC_ML`` in one piece or none at all; blood of ``HAEMORRHAGE_ML`` in one piece above the tentorium, or none.
Real scans of DATA come last: judged by eye, ``thin`` has an old frontal defect, and none has a haemorrhage.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy import ndimage

import models.training.synthetic.patient as patient_module
import models.training.synthetic.vessels as vessel_module
from cohorts.images.nifti import ImageProblemError, nifti_bytes
from cohorts.images.scan import read_scan
from flows.cases.native_scan import PreparedScan, guard_figures, prepare
from models.anatomy.template import load_label_map
from models.training.anatomies import Anatomy, load_anatomy
from models.training.pool import draw_pooled, lesions_by_size, read_lesion
from models.training.splits import lesion_split
from models.training.synthetic import Recipe, with_settings
from models.training.synthetic.disease import draw_old_lesion
from models.training.synthetic.trees import Tree
from reports.estimators.estimate import Proportion
from tasks.quality.guards import GUARDS, suspected
from tasks.registration.affine import Registration
from tasks.segmentation import STEP_MM
from tests.benchmarks.synthetic_beside_real import ON_GRID, real_cts

CHRONIC_ML, HAEMORRHAGE_ML, CLOT_ML = 2.5, 1.0, 0.02
LEAST_OLD_ML, TRIES = 3.0, 30
ONE_OF = 3
BLOCK_ML = STEP_MM**3 / 1000
M1_RADIUS_MM = 1.5
M1_MM = 36.0  # a course of one side lies within this of any of its points
SEEDS = {"validation": 4100, "test": 4200}
RECIPE = with_settings(Recipe(), haemorrhage=0.35, old_lesion=0.35, occluded=1.0, cropped=0.0)


@dataclass(frozen=True)
class Known:
    """What a patient has, ml: None where it is neither there nor absent."""

    chronic: bool | None
    haemorrhage: bool | None
    hyperdense_mca: bool | None


def largest_old_lesion(tissue: np.ndarray, infarct: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Drawn until it has ``LEAST_OLD_ML`` in all: most that are drawn are lacunes."""
    for _ in range(TRIES):
        old = draw_old_lesion(tissue, infarct, rng)
        if float((old * tissue).sum()) * BLOCK_ML >= LEAST_OLD_ML:
            break
    return old


def occluded_m1(
    tree: Tree, at: np.ndarray, infarct: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, int] | None:
    """In place of the artery that feeds the infarct, M1 on the infarct's side."""
    points = np.flatnonzero(np.isclose(tree.radius_mm, M1_RADIUS_MM) & ~tree.is_twig)
    nearest = points[np.argmin(np.linalg.norm(at[points] - ndimage.center_of_mass(infarct), axis=1))]
    own = points[np.abs(at[points, 0] - at[nearest, 0]) * STEP_MM < M1_MM]
    chosen = int(own[rng.integers(len(own))])
    below = np.zeros(len(at), bool)
    below[chosen] = True
    for point in range(chosen + 1, len(at)):
        below[point] = below[tree.parent[point]]
    return below, chosen


def patients(
    side: str, anatomies: list[Anatomy], lesions: Path, n: int
) -> Iterator[tuple[int, np.ndarray, dict[str, Any]]]:
    """Number, CT, and what was drawn: ``Disease`` and ``Vessels``."""
    paths = [path for path in sorted(lesions.glob("*_mask.nii.gz")) if lesion_split(path.name.split("_")[0]) == side]
    masks = [read_lesion(path) for path in paths[::4]]
    volumes = [float((mask > 0.5).sum() * abs(np.linalg.det(affine[:3, :3]))) / 1000 for mask, affine in masks]
    bins = lesions_by_size(paths[::4], volumes)
    drawn: dict[str, Any] = {}

    def keeping(name: str, draw: Callable[..., Any]) -> Callable[..., Any]:
        def kept(*given: Any) -> Any:
            found = draw(*given)
            drawn[name] = found[0]
            return found

        return kept

    own_feeding = vessel_module._feeding
    with (
        patch.object(patient_module, "_disease", keeping("disease", patient_module._disease)),
        patch.object(patient_module, "draw_vessels", keeping("vessels", patient_module.draw_vessels)),
        patch.object(patient_module, "draw_old_lesion", largest_old_lesion),
    ):
        for number in range(n):
            has_clot = number % ONE_OF == 0
            own = {"dense_clot": float(has_clot)} | ({"no_infarct": 0.0} if has_clot else {})
            sizes = bins[2:] if number % 2 else bins
            with patch.object(vessel_module, "_feeding", occluded_m1 if has_clot else own_feeding):
                patient = draw_pooled(number, anatomies, sizes, with_settings(RECIPE, **own), SEEDS[side])
            yield number, patient.ct, drawn


def largest_ml(share: np.ndarray) -> float:
    """The largest piece of what fills more than half of a voxel."""
    pieces, n = ndimage.label(share > 0.5)
    return float(np.bincount(pieces.ravel(), minlength=n + 1)[1:].max(initial=0)) * BLOCK_ML


def known_of(number: int, drawn: dict[str, Any], registration: Registration) -> Known:
    """What is there, from what was drawn."""
    disease, clot = drawn["disease"], drawn["vessels"].clot
    old = largest_ml(disease.old * disease.tissue)
    territories = load_label_map("vascular")
    cerebrum = [one.index for one in territories.table.labels if one.region != "posterior_fossa"]
    to_map = np.linalg.inv(territories.affine) @ registration.moving_to_fixed @ ON_GRID
    at = np.argwhere(disease.blood > 0.5)
    voxels = np.rint(at @ to_map[:3, :3].T + to_map[:3, 3]).astype(int)
    is_inside = ((voxels >= 0) & (voxels < territories.labels.shape)).all(axis=1)
    above = np.zeros(disease.blood.shape, np.float32)
    above[tuple(at[is_inside].T)] = np.isin(territories.labels[tuple(voxels[is_inside].T)], cerebrum)
    blood = largest_ml(above)
    return Known(
        True if old >= CHRONIC_ML else None if old > 0 else False,
        True if blood >= HAEMORRHAGE_ML else None if disease.blood.any() else False,
        number % ONE_OF == 0 if number % ONE_OF or float(clot.sum()) * BLOCK_ML >= CLOT_ML else None,
    )


def prepared(values: np.ndarray, affine: np.ndarray) -> PreparedScan | None:
    """A scan as in a run; None where it is refused."""
    try:
        scan = prepare(read_scan(nifti_bytes(values, affine), "scan.nii.gz", "ncct", forms="sform"), "ct")
    except ImageProblemError:
        return None
    return scan if scan.registration.is_usable else None


def counted(side: str, rows: list[tuple[Known, dict[str, float | None]]]) -> None:
    """Sensitivity and specificity of every flag, with Wilson intervals, and the figures themselves."""
    for guard in GUARDS:
        told = [(getattr(known, guard.name), suspected(guard, figures)) for known, figures in rows]
        parts = []
        for name, wanted in (("sensitivity", True), ("specificity", False)):
            right = [flag is wanted for truth, flag in told if truth is wanted and flag is not None]
            share = Proportion(sum(right), len(right))
            limits = share.confidence_interval(0.95)
            parts.append(f"{name} {sum(right)}/{len(right)} ({limits.lower:.2f} to {limits.upper:.2f})")
        print(f"** {side}, {guard.name}: {', '.join(parts)}")
        for wanted in (True, False):
            values = sorted(
                tuple(figures[figure] or 0.0 for figure in reversed(guard.figures))
                for known, figures in rows
                if getattr(known, guard.name) is wanted
            )
            shown = values if wanted else values[-8:]
            text = "  ".join("/".join(f"{one:.2f}" for one in value) for value in shown)
            print(f"     {'with' if wanted else 'without, largest'}: {text}")


def main() -> None:
    """Read the arguments, draw, measure, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("anatomies", type=Path)
    parser.add_argument("--test", nargs="+", default=[], help="names of anatomies that only test")
    parser.add_argument("--patients", type=int, default=60)
    given = parser.parse_args()
    paths = sorted(given.anatomies.rglob("*.npz"))
    for side in SEEDS:
        own = [path for path in paths if (path.name.rpartition("-")[0] in given.test) == (side == "test")]
        if not own:
            continue
        rows, began, measuring = [], time.process_time(), 0.0
        drawn_all = patients(side, [load_anatomy(path) for path in own], given.data / "soop/lesions", given.patients)
        for number, values, drawn in drawn_all:
            scan = prepared(values, ON_GRID)
            if scan is not None:
                start = time.process_time()
                figures = guard_figures(scan)
                measuring += time.process_time() - start
                rows.append((known_of(number, drawn, scan.registration), figures))
        spent = (time.process_time() - began) / given.patients
        print(
            f"{side}: {len(rows)} of {given.patients} patients registered, {len(own)} anatomies; {spent:.1f} CPU s a "
            f"patient, of which guards {measuring / max(1, len(rows)):.2f}"
        )
        counted(side, rows)
    for name, values, affine in real_cts(given.data):
        scan = prepared(values, affine)
        figures = {} if scan is None else guard_figures(scan)
        flags = [guard.name for guard in GUARDS if suspected(guard, figures)]
        shown = ", ".join(f"{name} {value:.2f}" for name, value in figures.items() if value is not None)
        print(f"{name}: {shown}; suspected: {', '.join(flags) or 'none'}")


if __name__ == "__main__":
    main()
