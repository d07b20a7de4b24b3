"""How well ``ncct-ratio`` does on the real non-contrast CT and on synthetic patients.

    python -m tests.benchmarks.accuracy_baselines_ncct DATA [--pictures FOLDER] [--phantoms 100] [--seed 5000]
        [--registration refined]

DATA is the folder of the shared real data. Each of the three scans is taken by the whole path, as scanned and aligned,
with both label maps: affected side and score against the reading, regions of both sides (20 a scan) and of the side
read as affected (10 a scan), with Wilson intervals. Regions of one scan are not independent, so the intervals are too
narrow. Phantoms: the same figures over synthetic patients, and the mean error of the score. CPU seconds are of placing
the regions and measuring (images in memory, warm).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

from cohorts.images.scan import read_scan
from models.anatomy.register_template import template_target
from models.anatomy.template import load_label_map, mca_territory
from reports.estimators.estimate import Proportion
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES, MAXIMUM_SCORE, SHORT_CODES, LabelTable
from tasks.brain import ct_working_scan, extract_ct_brain
from tasks.density.measure import RegionDensity, measure_density, place_regions
from tasks.density.rule import NCCT_RATIO
from tasks.registration.affine import register
from tasks.registration.refinement import refine
from tasks.scoring import RegionEvidence, affected_side
from tasks.space.resample import Grid, resample_labels
from tests.tasks.density_phantom import make_patient

SCANS = ("sub001", "sub002", "sub003")
MAPS = ("classic", "territory")
REGION_OF = {code: region for region, code in SHORT_CODES.items()}
Calls = dict[tuple[str, str], bool | None]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one scan gave with one map."""

    densities: dict[int, RegionDensity]
    calls: Calls
    side: str | None
    score: int
    moving_to_fixed: np.ndarray
    cpu_s: float


@dataclass
class Tally:
    """Counts over regions and scans."""

    found: int = 0
    affected: int = 0
    cleared: int = 0
    normal: int = 0
    cleared_same_side: int = 0
    normal_same_side: int = 0
    sides: list[bool] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)
    per_region: dict[str, list[int]] = field(default_factory=lambda: {one: [0, 0, 0, 0] for one in ASPECTS_REGIONS})

    def add(self, outcome: Outcome, side: str, affected: Mapping[str, float] | list[str]) -> None:
        """Count one scan; a region that could not be measured counts as not called."""
        for (here, region), call in outcome.calls.items():
            row = self.per_region[region]
            if here == side and region in affected:
                self.found += bool(call)
                self.affected += 1
                row[0] += bool(call)
                row[1] += 1
                continue
            self.cleared += not call
            self.normal += 1
            row[2] += not call
            row[3] += 1
            if here == side:
                self.cleared_same_side += not call
                self.normal_same_side += 1
        if side:
            self.sides.append(outcome.side == side)
        self.errors.append(outcome.score - (MAXIMUM_SCORE - len(affected)))

    def text(self) -> str:
        """One line."""
        errors = np.array(self.errors)
        same_side = _proportion(self.cleared_same_side, self.normal_same_side)
        return (
            f"sensitivity {_proportion(self.found, self.affected)}, "
            f"specificity {_proportion(self.cleared, self.normal)} (on the affected side {same_side}), "
            f"side right {sum(self.sides)}/{len(self.sides)}, "
            f"score off by {errors.mean():+.2f}, absolute {np.abs(errors).mean():.2f}"
        )


def calls_of(densities: Mapping[int, RegionDensity], table: LabelTable) -> Calls:
    """Affected regions by the built-in rule; None where a region has no difference."""
    found = {}
    for label in table.labels:
        value = densities[label.index].relative_difference
        found[label.side, label.region] = NCCT_RATIO.judge(
            RegionEvidence(label.side, label.region, "relative_difference", value)
        )
    return found


def measure(values: np.ndarray, affine: np.ndarray, map_name: str, *, is_refined: bool) -> Outcome:
    """The whole path from HU to calls."""
    label_map = load_label_map(map_name)
    scan = ct_working_scan(values, affine)
    brain = extract_ct_brain(scan)
    registration = register(scan, brain, template_target("ct"))
    if not registration.is_usable:
        raise ValueError(registration.detail)
    refinement = refine(scan, brain, template_target("ct"), registration) if is_refined else None
    begun = time.process_time()
    own = (label_map.labels, label_map.table, label_map.affine)
    regions = place_regions(scan, own, mca_territory(), registration.moving_to_fixed, refinement)
    densities = measure_density(scan, brain.mask, regions, registration.matrix)
    cpu_s = time.process_time() - begun
    calls = calls_of(densities, label_map.table)
    n_worst = max(sum(bool(calls[side, region]) for region in ASPECTS_REGIONS) for side in HEMISPHERES)
    side = affected_side({key: bool(flag) for key, flag in calls.items()})
    return Outcome(densities, calls, side, MAXIMUM_SCORE - n_worst, registration.moving_to_fixed, cpu_s)


def read_truth(path: Path) -> tuple[str, list[str]]:
    """Affected side and regions of a reading such as ``Affected: Left side. / Region: I, L``."""
    rows = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    side = rows["Affected"].split()[0].lower()
    regions = [REGION_OF[code.strip()] for code in rows["Region"].split(",")]
    if int(rows["Score"]) != MAXIMUM_SCORE - len(regions):
        raise ValueError(f"{path} must name as many regions as its score lacks, got {rows}. Read it again.")
    return side, regions


def report_real(data: Path, pictures: Path | None, *, is_refined: bool) -> None:
    """Print every scan, its differences and the tally per form and map."""
    for form in ("im", "im_aligned"):
        for map_name in MAPS:
            tally = Tally()
            for name in SCANS:
                path = data / "ncct-aspects" / name / f"{form}.nii.gz"
                side, affected = read_truth(path.with_name("GroundTruth.txt"))
                scan = read_scan(path.read_bytes(), path.name, "ncct", forms="sform")
                outcome = measure(scan.values, scan.affine, map_name, is_refined=is_refined)
                tally.add(outcome, side, affected)
                print(f"{name} {form} {map_name}: {_scan_text(outcome, side, affected)}")
                if pictures:
                    title = f"{name} {form} {map_name}; read: {side} {_codes(affected)}"
                    draw(pictures / f"{name}_{form}_{map_name}.png", scan.values, scan.affine, outcome, title)
            print(f"** {form} {map_name}: {tally.text()}\n", flush=True)


def _scan_text(outcome: Outcome, side: str, affected: list[str]) -> str:
    """Truth, calls and the left/right difference of every region, percent (negative: left is less dense)."""
    called = {
        here: _codes([region for region in ASPECTS_REGIONS if outcome.calls[here, region]]) for here in HEMISPHERES
    }
    table = load_label_map("classic").table
    left = {one.region: outcome.densities[one.index].relative_difference for one in table.labels if one.side == "left"}
    shown = ", ".join(f"{SHORT_CODES[one]} {100 * value:+.1f}" for one, value in left.items() if value is not None)
    return (
        f"read {side} {_codes(affected)} (score {MAXIMUM_SCORE - len(affected)}), called {outcome.side}: left "
        f"{called['left']}, right {called['right']} (score {outcome.score}), {outcome.cpu_s:.2f} CPU s\n"
        f"    left over right, %: {shown}"
    )


def _codes(regions: list[str]) -> str:
    return " ".join(SHORT_CODES[one] for one in regions) or "none"


def _proportion(count: int, n: int) -> str:
    """A share with its Wilson interval."""
    interval = Proportion(count, n).confidence_interval(0.95)
    return f"{count}/{n} = {count / n:.2f} ({interval.lower:.2f}-{interval.upper:.2f})"


def report_phantoms(n_patients: int, seed: int, *, is_refined: bool) -> None:
    """Print the tally over synthetic patients."""
    tallies, refused = {name: Tally() for name in MAPS}, 0
    for number in range(n_patients):
        patient = make_patient(seed + number)
        try:
            outcomes = {name: measure(patient.values, patient.affine, name, is_refined=is_refined) for name in MAPS}
        except ValueError as error:
            refused += 1
            print(f"patient {seed + number} refused: {error}")
            continue
        for name, outcome in outcomes.items():
            tallies[name].add(outcome, patient.side, patient.affected)
    for name, tally in tallies.items():
        print(f"** {n_patients - refused} synthetic patients from seed {seed}, {name}: {tally.text()}")
        rows = tally.per_region.items()
        print(
            "   sensitivity/specificity: "
            + ", ".join(f"{SHORT_CODES[one]} {a / max(b, 1):.2f}/{c / max(d, 1):.2f}" for one, (a, b, c, d) in rows),
            flush=True,
        )


def draw(path: Path, values: np.ndarray, affine: np.ndarray, outcome: Outcome, title: str) -> None:
    """Native slices with region outlines, called ones in red; the patient's left is on the picture's left."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    label_map = load_label_map("classic" if "classic" in path.name else "territory")
    x, y, z = values.shape
    labels = resample_labels(label_map.labels, label_map.affine, Grid((x, y, z), affine), outcome.moving_to_fixed)
    codes = nib.aff2axcodes(affine)
    flips = tuple(slice(None, None, 1 if code in "RA" else -1) for code in codes[:2])
    area = (labels > 0).sum(axis=(0, 1))
    slices = np.flatnonzero(area > 0.25 * area.max())
    figure, axes = plt.subplots(2, 5, figsize=(22, 10))
    for axis, place in zip(axes.flat, np.linspace(slices[0], slices[-1], 10).astype(int), strict=True):
        axis.imshow(values[:, :, place][flips].T, vmin=15, vmax=50, cmap="gray", origin="lower")
        for label in label_map.table.labels:
            inside = (labels[:, :, place] == label.index)[flips]
            if inside.any():
                is_called = outcome.calls[label.side, label.region]
                axis.contour(inside.T, [0.5], colors="red" if is_called else "deepskyblue", linewidths=1)
                if inside.sum() > 150:
                    axis.text(*np.argwhere(inside).mean(axis=0), SHORT_CODES[label.region], color="yellow", fontsize=6)
        axis.set(title=f"slice {place}", xticks=[], yticks=[])
        axis.text(0.02, 0.5, "L", color="white", transform=axis.transAxes, fontsize=14)
    figure.suptitle(title)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=60)
    plt.close(figure)


def main() -> None:
    """Real scans, then phantoms where asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--phantoms", type=int, default=0)
    parser.add_argument("--seed", type=int, default=5000)
    parser.add_argument("--registration", choices=("affine", "refined"), default="refined")
    arguments = parser.parse_args()
    is_refined = arguments.registration == "refined"
    report_real(arguments.data, arguments.pictures, is_refined=is_refined)
    if arguments.phantoms:
        report_phantoms(arguments.phantoms, arguments.seed, is_refined=is_refined)


if __name__ == "__main__":
    main()
