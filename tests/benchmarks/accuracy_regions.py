"""Where ``region-net`` and the registered atlas place the ASPECTS regions, on heads whose regions are known.

    python -m tests.benchmarks.accuracy_regions pool POOL --anatomies DIR [--first N] [--weights NAME] [--folder FOLDER]
    python -m tests.benchmarks.accuracy_regions brains DATA [--weights NAME] [--folder FOLDER]
    python -m tests.benchmarks.accuracy_regions given DATA [--weights NAME] [--folder FOLDER]

POOL holds synthetic patients of anatomies that no training saw; each is shown as CT, CTA and diffusion MR, the brain is
extracted and registered as in a run, and Dice with the true regions is printed by the volume of the anatomy's lateral
ventricles. ``brains``: the ten real brains of ``anatomy/oasis-trt`` with manual labels, put into a ring of fluid, bone
and skin and rendered by the same physics: caudate, lentiform nucleus and insula, within the slices of the classic map.
``given``: the three real CT of ``ncct-aspects`` with the regions given for them, which another network drew.

With ``--syn`` the template is also brought onto each scan by SyN (Avants et al., Med Image Anal 2008;12:26-41) of ANTs,
from the same affine transform, as a ceiling of what registration can do; it needs ``antspyx``, which nothing else does.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from cohorts.images.nifti import ImageProblemError, nifti_bytes
from cohorts.images.scan import read_scan
from cohorts.store.hashing import file_sha256
from flows.cases.native_scan import PreparedScan, prepare, refined
from models.anatomy.register_template import template_tissues
from models.anatomy.template import labels_on_grid, load_label_map
from models.regions import network_regions, region_network
from models.training.anatomies import CODE, SYNTHSEG, Anatomy
from models.training.pool import pooled_files, read_patient
from models.training.synthetic import Recipe, draw_patient, with_settings
from reports.estimators.agreement import icc_a1
from tasks.anatomy import ASPECTS_REGIONS, aspects_label_table
from tasks.registration.refined_labels import labels_to_scan
from tasks.scoring import BUILT_IN_RULES, aspects_score
from tasks.segmentation import INFARCT, STEP_MM
from tasks.space.network_grid import network_grid, to_network_grid
from tasks.space.resample import Grid, resample_image, resample_labels

AFFINE = np.diag([STEP_MM, STEP_MM, STEP_MM, 1.0])
RING_MM = (("csf", 3), ("bone", 9), ("skin", 14))
#: Manual labels of ``oasis-trt`` -> region; right 1-10, left 11-20.
MANUAL = {"caudate": (50, 11), "lentiform": ((51, 52), (12, 13)), "insula": (2035, 1035)}
#: Regions of ``ncct-aspects`` by their numbers, 1-10 right and 11-20 left; two of the scans are numbered otherwise.
GIVEN = ("caudate", "insula", "internal_capsule", "lentiform", "m1", "m2", "m3", "m4", "m5", "m6")
GIVEN_OTHERWISE = ("caudate", "internal_capsule", "lentiform", "insula", "m1", "m2", "m3", "m4", "m5", "m6")
#: Intensities of grey, white and fluid with which the template is shown to SyN.
LOOKS = {"ct": (37.0, 29.0, 8.0), "dwi": (1.0, 0.8, 0.3)}
TEMPLATE_MIDDLE_MM = (0.0, -20.0, 12.0)  # of its brain
#: No deformation, no disease: the head as it is.
PLAIN = {
    "rotation_deg": (-5.0, 5.0), "tilt_deg": (-10.0, 10.0), "scale": (1.0, 1.0), "shift_mm": (0.0, 0.0),
    "coarse_mm": 0.0, "fine_mm": 0.0, "atrophy": 0.0, "leukoaraiosis": 0.0, "old_lesion": 0.0, "no_infarct": 1.0,
}  # fmt: skip


@dataclass(frozen=True)
class Ways:
    """What is judged beside the atlas: the network, if any, and whether SyN."""

    network: object
    syn: bool = False


def placed(image: np.ndarray, contrast: str, ways: Ways) -> dict[str, np.ndarray]:
    """Labels of the classic map by each way on the image's grid; none where refused."""
    kind = {"ct": "ncct", "cta": "cta", "dwi": "dwi"}[contrast]
    scan = prepare(read_scan(nifti_bytes(image, AFFINE), "synthetic.nii.gz", kind, forms="sform"), contrast)
    return placed_on(scan, ways)


def placed_on(scan: PreparedScan, ways: Ways) -> dict[str, np.ndarray]:
    """The same of a prepared scan."""
    found: dict[str, np.ndarray] = {}
    if not scan.registration.is_usable:
        return found
    classic, grid = load_label_map("classic"), Grid(scan.shape, scan.image.affine)
    found["affine"] = labels_on_grid(classic, grid.shape, scan.registration.moving_to_fixed @ grid.affine).labels
    best = refined(scan)
    if best.warp is not None:
        found["refined"] = labels_to_scan(classic.labels, classic.affine, grid, best.warp)
    if ways.syn:
        found["syn"] = by_syn(scan)
    if ways.network is not None:
        found["network"] = network_regions(
            ways.network,
            scan.image.values,
            grid.affine,
            scan.brain_mask,
            scan.registration.moving_to_fixed,
            scan.contrast,
            lambda other: best.atlas(classic, other),
        )
    return found


def by_syn(scan: PreparedScan) -> np.ndarray:
    """The classic map by ANTs: SyN with mutual information at 2 mm, from the affine transform."""
    import ants

    grid = network_grid(scan.brain_mask, scan.image.affine)
    brain = to_network_grid(scan.brain_mask.astype(np.float32), scan.image.affine, grid) > 0.5
    seen = to_network_grid(scan.image.values, scan.image.affine, grid)
    if scan.contrast == "ct":
        seen = np.clip(seen, 0, 80)
    seen = ndimage.gaussian_filter(seen, 0.5) * brain
    tissues = template_tissues(scan.contrast)
    values = LOOKS[scan.contrast]
    look = sum(value * one for value, one in zip(values, (tissues.grey, tissues.white, tissues.csf), strict=True))
    shown = resample_image(
        (look * tissues.brain).astype(np.float32), tissues.affine, grid, scan.registration.moving_to_fixed
    )
    classic = load_label_map("classic")
    labels = labels_on_grid(classic, grid.shape, scan.registration.moving_to_fixed @ grid.affine).labels
    fixed, moving, carried = (
        ants.from_numpy(np.ascontiguousarray(one, dtype=np.float32), spacing=(STEP_MM,) * 3)
        for one in (seen, shown, labels)
    )
    result = ants.registration(fixed, moving, type_of_transform="SyNOnly", initial_transform="Identity", random_seed=1)
    moved = ants.apply_transforms(fixed, carried, result["fwdtransforms"], interpolator="nearestNeighbor").numpy()
    return resample_labels(np.rint(moved).astype(np.int16), grid.affine, Grid(scan.shape, scan.image.affine), np.eye(4))


def dices(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Dice of each region that the truth holds, mean of both sides."""
    result = {}
    for position, region in enumerate(ASPECTS_REGIONS, start=1):
        sides = []
        for index in (position, position + 10):
            one, other = found == index, truth == index
            if other.sum() >= 20:
                sides.append(2 * (one & other).sum() / (one.sum() + other.sum()))
        if sides:
            result[region] = float(np.mean(sides))
    return result


def report(rows: dict[tuple[str, str, str], list[dict[str, float]]]) -> None:
    """Means by contrast, group and way."""
    print(f"{'':5s}{'group':>10s} {'way':>9s}   n  " + " ".join(f"{one[:9]:>9s}" for one in ASPECTS_REGIONS))
    for (contrast, group, way), all_dices in sorted(rows.items()):
        means = [np.mean([one[region] for one in all_dices if region in one] or [np.nan]) for region in ASPECTS_REGIONS]
        print(
            f"{contrast:5s}{group:>10s} {way:>9s} {len(all_dices):3d}  " + " ".join(f"{one:9.3f}" for one in means),
            flush=True,
        )


def score(infarct: np.ndarray, labels: np.ndarray) -> int | None:
    """ASPECTS of the worse side by the rule ``wei``, where every region is there."""
    affected = {}
    for label in aspects_label_table().labels:
        region = labels == label.index
        if not region.any():
            return None
        n_lesion = int((region & infarct).sum())
        affected[label.side, label.region] = BUILT_IN_RULES["wei"].is_affected(
            region=label.region, fraction=n_lesion / int(region.sum()), n_lesion_voxels=n_lesion
        )
    return aspects_score(affected, laterality="worst").score


def report_scores(pairs: dict[tuple[str, str], list[tuple[int, int]]]) -> None:
    """What the regions alone do to scores: the same infarcts in true regions and in each way's."""
    print("\nScores of the true infarcts (rule wei), by the way's regions against the true ones")
    for (contrast, way), both in sorted(pairs.items()):
        difference = np.array([found - true for true, found in both])
        print(
            f"{contrast:5s}{way:>9s} n {len(both):3d}, equal {np.mean(difference == 0):.2f}, mean difference "
            f"{difference.mean():+.2f}, mean absolute {np.abs(difference).mean():.2f}, ICC(A,1) "
            f"{icc_a1(reference=[true for true, _ in both], candidate=[found for _, found in both]).estimate:.3f}"
        )


def report_pool(pool: Path, ventricles_ml: dict[str, float], ways: Ways, first: int | None) -> None:
    """Synthetic patients of held-out anatomies, by ventricle volume."""
    rows, pairs = defaultdict(list), defaultdict(list)
    for path in pooled_files(pool)[:first]:
        patient = read_patient(path)
        infarct = patient.classes == INFARCT
        volume = ventricles_ml[str(patient.facts["anatomy"])]
        group = "< 15 ml" if volume < 15 else "15-45 ml" if volume < 45 else "> 45 ml"
        for contrast, image in (("ct", patient.ct), ("cta", patient.cta), ("dwi", patient.b_high)):
            try:
                found_by = placed(image.astype(np.float32), contrast, ways)
            except ImageProblemError as error:
                print(f"{path.stem} {contrast}: {error.reason}")
                continue
            for way, labels in found_by.items():
                rows[contrast, group, way].append(dices(labels, patient.classic))
                found = score(infarct, labels)
                if infarct.any() and found is not None:
                    pairs[contrast, way].append((score(infarct, patient.classic), found))
    report(rows)
    report_scores(pairs)


def ventricles_ml(anatomies: Path) -> dict[str, float]:
    """Volume of both lateral ventricles of every anatomy in a folder of label maps."""
    volumes = {}
    for path in sorted(anatomies.glob("*.nii.gz")):
        image = nib.load(path)
        labels = np.rint(np.asarray(image.dataobj))
        voxel_ml = abs(np.linalg.det(image.affine[:3, :3])) / 1000
        volumes[path.name.removesuffix(".nii.gz")] = float(np.isin(labels, (4, 43)).sum() * voxel_ml)
    return volumes


def brains(data: Path) -> Iterator[Anatomy]:
    """The real brains inside a ring, their manual caudate, lentiform nucleus and insula as regions."""
    for path in sorted((data / "anatomy" / "oasis-trt").glob("*_dseg.nii.gz")):
        image = nib.as_closest_canonical(nib.load(path))
        manual = np.pad(np.asarray(image.dataobj).astype(int), 20)
        t1 = nib.as_closest_canonical(nib.load(str(path).replace("_dseg", "_T1w_brain")))
        brain = ndimage.binary_fill_holes(np.pad(np.asarray(t1.dataobj) > 0, 20))
        codes = np.zeros(manual.shape, np.uint8)
        inner = 0.0
        distance = ndimage.distance_transform_edt(~brain)
        for tissue, outer in RING_MM:
            codes[(distance > inner) & (distance <= outer)] = CODE[tissue]
            inner = outer
        values = np.pad(np.asarray(t1.dataobj, dtype=float), 20)
        level = np.median(values[brain])
        codes[brain] = np.where(values[brain] > 0.55 * level, CODE["white"], CODE["csf"])
        for tissue, numbers in SYNTHSEG.items():
            codes[np.isin(manual, numbers) & brain] = CODE[tissue]
        codes[np.isin(manual, (6, 45, 630, 631, 632))] = CODE["cerebellar_grey"]
        codes[np.isin(manual, (91, 92))] = CODE["deep_grey"]
        codes[manual >= 1000] = CODE["grey"]
        regions = np.zeros(manual.shape, np.uint8)
        for region, sides in MANUAL.items():
            for offset, numbers in zip((0, 10), sides, strict=True):
                regions[np.isin(manual, numbers)] = ASPECTS_REGIONS.index(region) + 1 + offset
        low = np.maximum(0, np.argwhere(brain).min(axis=0) - 20)
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, np.argwhere(brain).max(axis=0) + 20, strict=True))
        kept = np.indices([-(-(one.stop - one.start) // 2) for one in box]) * 2.0  # vessels need a rough way alone
        kept += np.reshape(np.subtract(TEMPLATE_MIDDLE_MM, np.argwhere(brain[box]).mean(axis=0)), (3, 1, 1, 1))
        regions_of = {"classic": regions[box]}
        yield Anatomy(
            path.name[:12], file_sha256(path), codes[box], regions_of, kept.astype(np.float32), np.eye(4), 0.0
        )


def report_brains(data: Path, ways: Ways) -> None:
    """Real brains with manual labels."""
    rows = defaultdict(list)
    recipe = with_settings(Recipe(), **PLAIN)
    for number, anatomy in enumerate(brains(data)):
        patient = draw_patient(anatomy, None, np.random.default_rng((7, number)), recipe)
        for contrast, image in (("ct", patient.ct), ("dwi", patient.b_high)):
            for way, labels in placed(image, contrast, ways).items():
                seen = labels.any(axis=(0, 1))
                truth = patient.regions["classic"] * seen
                rows[contrast, "oasis", way].append(dices(labels, truth))
    report(rows)


def report_given(data: Path, ways: Ways) -> None:
    """Real CT with the regions given for them, which lie on the aligned form of each scan."""
    rows = defaultdict(list)
    for folder in sorted((data / "ncct-aspects").iterdir()):
        path = folder / "im_aligned.nii.gz"
        image = read_scan(path.read_bytes(), path.name, "ncct", forms="sform")
        file = nib.load(next(folder.glob("*_seg.nii.gz")))
        given = np.rint(np.asarray(file.dataobj)).astype(int)
        order = GIVEN if folder.name == "sub001" else GIVEN_OTHERWISE
        number = {
            1 + at + side: 1 + ASPECTS_REGIONS.index(one) + side for at, one in enumerate(order) for side in (0, 10)
        }
        table = np.array([number.get(one, 0) for one in range(given.max() + 1)])
        labels = resample_labels(
            table[given].astype(np.int16), file.affine, Grid(image.values.shape, image.affine), np.eye(4)
        )
        for way, found in placed_on(prepare(image, "ct"), ways).items():
            rows["ct", folder.name, way].append(dices(found, labels))
            rows["ct", "all three", way].append(rows["ct", folder.name, way][-1])
    report(rows)


def main() -> None:
    """Read the arguments and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["pool", "brains", "given"])
    parser.add_argument("folder_of", type=Path)
    parser.add_argument("--anatomies", type=Path, help="folder of the label maps, for the ventricles of a pool")
    parser.add_argument("--weights", default="region-net")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--first", type=int)
    parser.add_argument("--atlas-only", action="store_true")
    parser.add_argument("--syn", action="store_true", help="SyN of ANTs as well; needs antspyx")
    given = parser.parse_args()
    ways = Ways(None if given.atlas_only else region_network(given.folder, given.weights), given.syn)
    if given.what == "pool":
        report_pool(given.folder_of, ventricles_ml(given.anatomies), ways, given.first)
    elif given.what == "brains":
        report_brains(given.folder_of, ways)
    else:
        report_given(given.folder_of, ways)


if __name__ == "__main__":
    main()
