"""A pool of synthetic patients on disk, so that training never waits: one file each, drawn from its own seed.

A synthetic patient is named by its number; the same number, recipe, anatomies and lesions give the same bytes. A pool
that was interrupted goes on where it stopped. Patients of a cohort are kept in files of the same kind.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
import numpy.typing as npt

from cohorts.store.records import atomic_writer, write_bytes
from models.training.anatomies import Anatomy
from models.training.kept import AGAIN, BrokenFileError, kept_arrays
from models.training.synthetic import Recipe, SyntheticPatient, draw_patient
from tasks.arrays import Affine, Float32Array, FloatArray, Mask
from tasks.segmentation import INFARCT

BIN_ML = (3.0, 16.0, 66.0)  # masks of all sizes are drawn alike: METHODS A.6 T3
#: Label of voxels of which it is known only that they are none of the foreground: any other class may be there.
NOT_FOREGROUND = 254
IGNORED = 255  # label of voxels that no loss counts
WAIT_S = 900.0  # for a patient that is still to be written
A_PATIENT = "a patient to train on"
COHORT = "cohort"  # kind of a patient whose scan is a real one


@dataclass(frozen=True, eq=False)
class PooledPatient:
    """What training reads of one patient; images float16, classes and regions uint8, all on one grid.

    Of a patient of a cohort b-high, brain and classes are known, and perhaps the ADC; all else is empty.
    """

    b_high: npt.NDArray[np.float16]
    adc: npt.NDArray[np.float16]
    ct: npt.NDArray[np.float16]
    cta: npt.NDArray[np.float16]
    brain: Mask
    head: Mask
    classes: npt.NDArray[np.uint8]
    classic: npt.NDArray[np.uint8]
    territory: npt.NDArray[np.uint8]
    to_template: FloatArray
    facts: Mapping[str, float | str]

    @property
    def is_real(self) -> bool:
        """Whether this is a patient of a cohort: nobody has told its tissues apart, only its lesion."""
        return self.facts.get("kind") == COHORT


def read_lesion(path: Path) -> tuple[Float32Array, Affine]:
    """A lesion mask in template space."""
    image = cast(nib.Nifti1Image, nib.load(path))
    return np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine, dtype=np.float64)


def lesions_by_size(paths: Sequence[Path], volumes_ml: Sequence[float]) -> tuple[tuple[Path, ...], ...]:
    """Masks in the bins of ``BIN_ML``, empty ones left out."""
    edges = (0.0, *BIN_ML, np.inf)
    pairs = list(zip(paths, volumes_ml, strict=True))
    return tuple(
        tuple(path for path, volume in pairs if low < volume <= high) for low, high in itertools.pairwise(edges)
    )


def draw_pooled(
    number: int,
    anatomies: Sequence[Anatomy],
    lesions: Sequence[Sequence[Path]],
    recipe: Recipe,
    seed: int,
) -> SyntheticPatient:
    """One patient of a pool, by its number."""
    rng = np.random.default_rng((seed, number))
    anatomy = anatomies[int(rng.integers(len(anatomies)))]
    bins = [one for one in lesions if one]
    lesion, name = None, ""
    if bins:
        chosen = bins[int(rng.integers(len(bins)))]
        path = chosen[int(rng.integers(len(chosen)))]
        lesion, name = read_lesion(path), path.name.split("_")[0].split(".")[0]
    patient = draw_patient(anatomy, lesion, rng, recipe)
    facts = {**patient.facts, "lesion": name if patient.facts["kind"] == "mask" else "", "number": float(number)}
    return replace(patient, facts=facts)


def write_pool(
    folder: Path,
    n: int,
    anatomies: Sequence[Anatomy],
    lesions: Sequence[Sequence[Path]],
    *,
    recipe: Recipe | None = None,
    seed: int = 0,
    first: int = 0,
) -> None:
    """Draw patients until the pool holds numbers ``first`` to ``first + n - 1``.

    Raises
    ------
    ValueError
        The folder holds a pool of another recipe, seed or other anatomies.
    """
    drawn = recipe or Recipe()
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "recipe": asdict(drawn),
        "seed": seed,
        "anatomies": [[one.name, one.sha256] for one in anatomies],
        "lesions": sorted(path.name for one in lesions for path in one),
    }
    written = json.dumps(about, indent=1)
    card = folder / "pool.json"
    if card.is_file() and json.loads(card.read_text("utf-8")) != json.loads(written):
        raise ValueError(f"{folder} must hold a pool of the same recipe, got another. Give another folder.")
    if not card.is_file():  # several processes may begin at once: whole or not at all
        write_bytes(card, written.encode())
    for number in range(first, first + n):
        path = folder / f"{number:06d}.npz"
        if not path.is_file():
            write_patient(_pooled(draw_pooled(number, anatomies, lesions, drawn, seed)), path)


def read_patient(path: Path) -> PooledPatient:
    """Read one patient.

    Raises
    ------
    BrokenFileError
        It cannot be read, or was written by an older version, which drew less.
    """
    names = ("b_high", "adc", "ct", "cta", "classes", "classic", "territory", "to_template")
    masks = ("brain", "head")
    with kept_arrays(path, A_PATIENT) as kept:
        if missing := sorted({*names, *masks} - set(kept.files)):
            raise BrokenFileError(f"{path} must hold every scan, got no {', '.join(missing)}. {AGAIN}")
        facts = json.loads(str(kept["facts"]))
        arrays = {name: kept[name] for name in names} | {name: kept[name].astype(bool) for name in masks}
        return PooledPatient(facts=facts, **arrays)


def is_whole(path: Path) -> bool:
    """Whether a patient's file is there to its end; its arrays are not read."""
    try:
        with kept_arrays(path, A_PATIENT) as kept:
            return "facts" in kept.files
    except (OSError, BrokenFileError):
        return False


def awaited(folder: Path, number: int) -> Path:
    """The file of one patient; waits while the pool is still written.

    Raises
    ------
    FileNotFoundError
        It did not come within ``WAIT_S``.
    """
    path = folder / f"{number:06d}.npz"
    until = time.monotonic() + WAIT_S
    while not path.is_file():
        if time.monotonic() > until:
            raise FileNotFoundError(
                f"{folder} must hold patient {number}, got none in {WAIT_S:g} s. Write the pool on."
            )
        time.sleep(0.2)
    return path


def pooled_files(folder: Path) -> tuple[Path, ...]:
    """The patients of a pool so far, by number."""
    return tuple(sorted(folder.glob("[0-9]*.npz")))


def patient_of(b_high: Float32Array, adc: Float32Array | None, brain: Mask, lesion: Mask) -> PooledPatient:
    """A patient of a cohort, from what a network is given of the scan and the lesion drawn on it.

    Outside of the brain is outside; inside, what is no lesion is any class but the lesion's.

    Parameters
    ----------
    b_high : (X, Y, Z) float32 array, any unit
    adc : (X, Y, Z) float32 array, 10^-3 mm2/s, 0 where unknown; None without
    brain, lesion : (X, Y, Z) bool arrays
    """
    classes = np.where(brain, NOT_FOREGROUND, 0).astype(np.uint8)
    classes[lesion] = INFARCT
    images = np.zeros((0, 0, 0), np.float16)
    labels = np.zeros((0, 0, 0), np.uint8)
    return PooledPatient(
        b_high=_stored_signal(b_high, brain),
        adc=images if adc is None else adc.astype(np.float16),
        ct=images,
        cta=images,
        brain=brain,
        head=np.zeros((0, 0, 0), bool),
        classes=classes,
        classic=labels,
        territory=labels,
        to_template=np.zeros((0, 4)),
        facts={"kind": COHORT},
    )


def write_patient(patient: PooledPatient, path: Path) -> None:
    """Written whole or not at all."""
    with atomic_writer(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            b_high=patient.b_high,
            adc=patient.adc,
            ct=patient.ct,
            cta=patient.cta,
            brain=patient.brain.astype(np.uint8),
            head=patient.head.astype(np.uint8),
            classes=patient.classes,
            classic=patient.classic,
            territory=patient.territory,
            to_template=patient.to_template,
            facts=json.dumps(patient.facts),
        )


def _pooled(patient: SyntheticPatient) -> PooledPatient:
    """A synthetic patient as it is kept."""
    return PooledPatient(
        b_high=_stored_signal(patient.b_high, patient.brain),
        adc=patient.adc.astype(np.float16),
        ct=patient.ct.astype(np.float16),
        cta=patient.cta.astype(np.float16),
        brain=patient.brain,
        head=patient.head,
        classes=patient.classes,
        classic=patient.regions["classic"],
        territory=patient.regions["territory"],
        to_template=patient.to_template,
        facts=patient.facts,
    )


def _stored_signal(b_high: Float32Array, brain: Mask) -> npt.NDArray[np.float16]:
    """Signal with a median of 1,000 in the brain, as channels are made of its ratio to the median."""
    scale = 1000 / max(1e-6, float(np.median(b_high[brain])) if brain.any() else 1.0)
    return np.asarray(np.clip(b_high * scale, 0, 60000), np.float16)
