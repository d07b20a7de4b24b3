"""Tables for ``accuracy_boosted``: the densities of every region, measured as in a run, of heads whose truth is known.

    python -m tests.benchmarks.boosted_tables CACHE NAME pool POOL [--first 300]
    python -m tests.benchmarks.boosted_tables CACHE phantom phantom --first 117
    python -m tests.benchmarks.boosted_tables CACHE oasis oasis DATA --first 80 [--brains 10]
    python -m tests.benchmarks.boosted_tables CACHE real real DATA

One line of JSON a patient in CACHE/NAME.jsonl; what is there is not measured again. ``pool`` holds synthetic patients
as ``aspects train`` keeps them: those in whom an infarct is more than a tenth of some region (METHODS A.3), and of the
rest one in five, for in most of them nothing of the ten regions is touched. ``oasis``: the brains of
``tests.benchmarks.accuracy_regions``, whose regions and lesions come over from the template by registration; infarcts
of patients that no training saw, by 1-2, 2-3, 3-5 and 5-9 HU less dense in turn, and none in one of five. With
``--weights FILE ...`` what ``ncct-overlap`` says is laid over the same regions: the mean of its probability; of
``ncct-radiomics`` and ``ncct-asymmetry`` it is what these say of each, which know one label map: ``--map classic``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import models.weights
from cohorts.folder.source import MapUse
from cohorts.images.nifti import ImageProblemError, nifti_bytes
from cohorts.images.scan import ScanImage, read_scan
from flows.cases.case import MapReference
from flows.cases.described_regions import described_regions
from flows.cases.native_scan import PreparedScan, prepare, refined
from flows.sources.describing import RadiomicsFindings
from flows.sources.ncct_asymmetry import compared_regions
from flows.sources.ncct_overlap import infarct_probability
from flows.sources.region_classifier import NcctRadiomicsSource
from models.anatomy.template import load_label_map, mca_territory
from models.training.anatomies import STEP, Anatomy, _regions, _registered, load_anatomy, save_anatomy
from models.training.pool import lesions_by_size, pooled_files, read_lesion
from models.training.splits import lesion_split
from models.training.synthetic import Recipe, draw_patient, with_settings
from tasks.density.measure import measure_density, place_regions
from tasks.overlay import STORED_STEPS, overlay
from tasks.quality.regions import fluid_shares, looks_like_fluid
from tasks.radiomics.features import LEARNED
from tasks.segmentation import INFARCT, STEP_MM
from tests.benchmarks.accuracy_baselines_ncct import SCANS, read_truth
from tests.benchmarks.accuracy_regions import PLAIN, brains
from tests.tasks.density_phantom import make_patient

MAP = "territory"
AFFECTED = 0.10  # share of a region that is infarct: METHODS A.3
AFFINE = np.diag([STEP_MM, STEP_MM, STEP_MM, 1.0])
ONE_OF = 5  # patients without an affected region
CONTRASTS_HU = ((1, 2), (2, 3), (3, 5), (5, 9))
PHANTOM_SEED, OASIS_SEED = 8000, 63


@dataclass
class Asked:
    """On the command line: the label map, and trained weights to ask besides."""

    label_map: str = MAP
    weights: Sequence[Path] = ()


ASKED = Asked()

Rows = list[dict[str, Any]]
#: Densities, None where the scan is refused; share of each label that is infarct; what else is known.
Row = tuple[Rows | None, list[float], dict[str, Any]]
#: Every patient by its name, measured when asked.
Patients = Iterator[tuple[str, Callable[[], Row]]]


def measured(image: ScanImage) -> Rows | None:
    """Densities of every label as ``density_ratio`` measures them, and its share of fluid; None where refused."""
    scan = refined(prepare(image, "ct"))
    if not scan.registration.is_usable:
        return None
    rows = densities_of(scan)
    for path in ASKED.weights:
        for row, chance in zip(rows, said_by(path, scan, [int(row["index"]) for row in rows]), strict=True):
            row.setdefault("chances", {})[path.stem] = chance
    return rows


def densities_of(scan: PreparedScan) -> Rows:
    """Of a registered scan, in the order of the label table."""
    label_map = load_label_map(ASKED.label_map)
    own = (label_map.labels, label_map.table, label_map.affine)
    regions = place_regions(scan.working, own, mca_territory(), scan.registration.moving_to_fixed, scan.warp)
    found = measure_density(scan.working, scan.brain.mask, regions, scan.registration.matrix)
    fluid = fluid_shares(regions.labels, looks_like_fluid(scan.working.values, scan.brain.mask, "ct"), tuple(found))
    return [asdict(row) | {"fluid_share": share} for row, share in zip(found.values(), fluid, strict=True)]


def said_by(path: Path, scan: PreparedScan, indices: Sequence[int]) -> list[float | None]:
    """What weights say of each region of a registered scan."""
    facts = json.loads(path.with_suffix(".json").read_text()).get("classifier")
    if facts is None:
        return _overlaid(scan, path, indices)
    return (_compared if facts["kind"] == "da-net" else _said_by_classifier)(scan, path)


def _overlaid(scan: PreparedScan, path: Path, indices: Sequence[int]) -> list[float | None]:
    """Mean probability of a network over each region."""
    probability = infarct_probability(scan, path.stem, flip=True, folder=path.parent)
    label_map = load_label_map(ASKED.label_map)
    labels = scan.labels(MapReference(ASKED.label_map, label_map.sha256))[1].labels
    stored = np.rint(probability * STORED_STEPS).astype(np.uint8)
    return [one.mean_probability for one in overlay(stored, labels, indices)]


def _compared(scan: PreparedScan, path: Path) -> list[float | None]:
    """Chance of each region by networks that compare both sides."""
    reference = MapReference(ASKED.label_map, load_label_map(ASKED.label_map).sha256)
    with patch.object(models.weights, "FOLDER", path.parent):
        return [one.probability for one in compared_regions(scan, reference, path.stem)]


def _said_by_classifier(scan: PreparedScan, path: Path) -> list[float | None]:
    """Chance of each region by a classifier."""
    label_map = load_label_map(ASKED.label_map)
    described = described_regions(scan, MapReference(ASKED.label_map, label_map.sha256), LEARNED, "cubes")
    findings = RadiomicsFindings(names=LEARNED.names, described={label_map.sha256: described})
    with patch.object(models.weights, "FOLDER", path.parent):
        source = NcctRadiomicsSource(name="judged", kind="ncct_radiomics", classifier=path.stem)
        return [one.value for one in source.evidence(findings, MapUse(label_map.sha256, label_map.table))]


def measured_array(values: np.ndarray, affine: np.ndarray) -> Rows | None:
    """The same of voxels, HU."""
    try:
        return measured(read_scan(nifti_bytes(values, affine), "synthetic.nii.gz", "ncct", forms="sform"))
    except ImageProblemError:
        return None


def infarct_shares(classes: np.ndarray, labels: np.ndarray) -> list[float]:
    """Share of each label, 1 to 20, that is infarct."""
    sizes = np.maximum(1, np.bincount(labels.ravel(), minlength=21))
    return (np.bincount(labels[classes == INFARCT], minlength=21) / sizes)[1:].tolist()


def of_shares(affected: dict[tuple[str, str], float] | list[tuple[str, str]]) -> list[float]:
    """Of regions that are affected as a whole."""
    return [float((one.side, one.region) in affected) for one in load_label_map(ASKED.label_map).table.labels]


def of_pool(folder: Path) -> Patients:
    """Patients of a pool with an affected region, and some of the others."""
    n_without = 0
    for path in pooled_files(folder):
        with np.load(path, allow_pickle=False) as kept:
            shares = infarct_shares(kept["classes"], kept[ASKED.label_map])
            facts = json.loads(str(kept["facts"]))
        if max(shares) <= AFFECTED:
            n_without += 1
            if n_without % ONE_OF:
                continue

        def measure(path: Path = path, shares: list[float] = shares, facts: dict[str, Any] = facts) -> Row:
            with np.load(path, allow_pickle=False) as kept:
                return measured_array(kept["ct"].astype(np.float32), AFFINE), shares, facts

        yield path.stem, measure


def of_phantoms() -> Patients:
    """The patients on whom the settings of ``density_ratio`` were chosen are others."""
    for number in count(PHANTOM_SEED):

        def measure(number: int = number) -> Row:
            patient = make_patient(number)
            shares = of_shares([(patient.side, region) for region in patient.affected])
            lowering = float(np.mean(list(patient.affected.values()))) if patient.affected else 0.0
            return measured_array(patient.values, patient.affine), shares, {"lowering_hu": lowering}

        yield str(number), measure


def of_real(data: Path) -> Patients:
    """The three real scans, as scanned and aligned, with their readings."""
    for form in ("im", "im_aligned"):
        for name in SCANS:
            path = data / "ncct-aspects" / name / f"{form}.nii.gz"

            def measure(path: Path = path) -> Row:
                side, affected = read_truth(path.with_name("GroundTruth.txt"))
                image = read_scan(path.read_bytes(), path.name, "ncct", forms="sform")
                return measured(image), of_shares([(side, region) for region in affected]), {"lowering_hu": 0.0}

            yield f"{name} {form}", measure


def of_brains(data: Path, folder: Path, n_brains: int | None) -> Patients:
    """Real brains, rendered."""
    bins = _test_lesions(data / "soop" / "lesions")
    anatomies = [_prepared(anatomy, folder) for anatomy in islice(brains(data), n_brains)]
    for number in count():

        def measure(number: int = number) -> Row:
            rng = np.random.default_rng((OASIS_SEED, number))
            chosen = bins[int(rng.integers(1, len(bins)))]
            lesion = read_lesion(chosen[int(rng.integers(len(chosen)))])
            contrast = float(rng.uniform(*CONTRASTS_HU[number % len(CONTRASTS_HU)]))
            own = {"infarct_hu": (contrast, contrast), "no_infarct": float(number % ONE_OF == 0), "grown": 0.0}
            recipe = with_settings(Recipe(), **(PLAIN | own))
            patient = draw_patient(anatomies[number // len(CONTRASTS_HU) % len(anatomies)], lesion, rng, recipe)
            rows = measured_array(patient.ct, AFFINE)
            return rows, infarct_shares(patient.classes, patient.regions[ASKED.label_map]), dict(patient.facts)

        yield str(number), measure


def _test_lesions(folder: Path) -> tuple[tuple[Path, ...], ...]:
    """Masks of patients that only test, by size."""
    paths = [path for path in sorted(folder.glob("*_mask.nii.gz")) if lesion_split(path.name.split("_")[0]) == "test"]
    volumes = []
    for path in paths:
        mask, affine = read_lesion(path)
        volumes.append(float((mask > 0.5).sum() * abs(np.linalg.det(affine[:3, :3]))) / 1000)
    return lesions_by_size(paths, volumes)


def _prepared(anatomy: Anatomy, folder: Path) -> Anatomy:
    """A brain with its way to the template, found once: minutes of one core."""
    path = folder / f"{anatomy.name}.npz"
    if not path.is_file():
        codes = anatomy.tissues[tuple(slice(0, size // STEP * STEP) for size in anatomy.tissues.shape)]
        to_template = _registered(codes, anatomy.affine)
        regions = {ASKED.label_map: _regions(codes, to_template, load_label_map(ASKED.label_map))}
        folder.mkdir(parents=True, exist_ok=True)
        save_anatomy(Anatomy(anatomy.name, anatomy.sha256, codes, regions, to_template, anatomy.affine, 0.0), path)
    return load_anatomy(path)


def fill(path: Path, patients: Patients, first: int | None) -> None:
    """Measure those of the first patients that are not there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done = {json.loads(line)["name"] for line in path.read_text().splitlines()} if path.is_file() else set()
    for name, measure in islice(patients, first):
        if name in done:
            continue
        rows, shares, facts = measure()
        line = json.dumps({"name": name, "rows": rows, "shares": shares, "facts": facts})
        with path.open("a") as file:
            file.write(line + "\n")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("name")
    parser.add_argument("what", choices=("pool", "phantom", "oasis", "real"))
    parser.add_argument("folder", type=Path, nargs="?", help="the pool, or the shared real data")
    parser.add_argument("--first", type=int, help="patients")
    parser.add_argument("--brains", type=int, help="of oasis; each takes minutes once")
    parser.add_argument("--weights", type=Path, nargs="+", default=[], help=".safetensors files, their cards beside")
    parser.add_argument("--map", choices=("territory", "classic"), default=MAP)
    given = parser.parse_args()
    ASKED.label_map, ASKED.weights = given.map, given.weights
    patients = {
        "pool": lambda: of_pool(given.folder),
        "phantom": of_phantoms,
        "oasis": lambda: of_brains(given.folder, given.cache / "brains", given.brains),
        "real": lambda: of_real(given.folder),
    }[given.what]()
    fill(given.cache / f"{given.name}.jsonl", patients, given.first)


if __name__ == "__main__":
    main()
