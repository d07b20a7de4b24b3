"""Does a large infarct move the registration, its gate, or what is measured after it?

    python -m tests.benchmarks.accuracy_large_lesions DATA [--figure FILE] [--only NAME]

DATA is the folder of the shared real data. Infarcts of 20 to 300 ml, grown in one hemisphere, are painted into the real
scans (three diffusion, three CT) and into the head phantom, on either side: on diffusion 1.5 and 3 times as bright, on
CT 12 HU darker and nearly as dark as fluid. Per scan, volume and contrast, the worse of both sides: mean displacement
of the brain against the scan without infarct (mm), the figure of the gate, the correlation over the whole brain that it
replaces (limit 0.2), and the reason of a refusal. On diffusion, with the ADC lowered alike: Dice of the segmented with
the painted infarct, with ADC and by b-high alone. ``--figure`` draws both figures against the volume.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from cohorts.images.scan import read_scan
from models.anatomy.register_template import template_target
from tasks.brain import Brain
from tasks.diffusion.threshold import segment_dwi
from tasks.quality.gates import MINIMUM_TISSUE_CORRELATION
from tasks.registration.affine import Registration
from tasks.registration.solver import moving_levels, sample
from tasks.space.working_grid import WorkingScan, to_native_grid
from tests.tasks.head_phantom import head_scan, mean_distance_mm
from tests.tasks.painted_infarct import lesion_share, paint_ct, paint_dwi, paint_late_ct, place, reason_of

VOLUMES_ML = (20, 50, 100, 165, 220, 300)
OLD_LIMIT = 0.2
ADC_RATIO = 0.6
SCANS = {
    "ISLES 9": ("dwi", "dwi/isles22-case0009/ses-0001/sub-strokecase0009_ses-0001_{}.nii.gz", "dwi", "adc"),
    "ISLES 1": ("dwi", "dwi/isles22-case0001/{}.nii.gz", "dwi", "adc"),
    "JHU 2": ("dwi", "dwi/jhu-subject02/Subject02_{}.nii.gz", "DWI", "ADC"),
    **{f"CT {n}": ("ct", f"ncct-aspects/sub00{n}/{{}}.nii.gz", "im", "") for n in (1, 2, 3)},
}


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan to paint on: values, affine, kind, and the ADC on the same grid where there is one."""

    name: str
    modality: str
    values: np.ndarray
    affine: np.ndarray
    adc: np.ndarray | None = None


@dataclass(frozen=True)
class Row:
    """One painted scan against the same without."""

    contrast: str
    volume_ml: float
    moved_mm: float
    figure: float
    old_figure: float
    reason: str
    dice: tuple[float, ...]


def scans(data: Path, only: str) -> Iterator[Scan]:
    """The real scans and the phantoms, one at a time."""
    for name, (modality, path, one, other) in SCANS.items():
        if only in name:
            image = nib.load(data / path.format(one))
            adc = None
            if other:
                file = data / path.format(other)
                stored = read_scan(file.read_bytes(), file.name, "adc", forms="sform").values
                adc = stored if stored.shape == image.shape else None
            yield Scan(name, modality, np.asarray(image.dataobj, dtype=np.float32), image.affine, adc)
    for modality in ("dwi", "ct"):
        if only in (name := f"phantom {modality}"):
            values, affine, _, _ = head_scan(modality, (12, -8, 10), (10, 20, -300), 0.93)
            yield Scan(name, modality, values, affine)


def whole_correlation(scan: WorkingScan, brain: Brain, modality: str, warp: np.ndarray) -> float:
    """Correlation of the tissue channel over the whole brain at the finest level."""
    target = template_target(modality)
    moving, level = moving_levels(scan, brain.mask, target)[-1], target.levels[-1]
    sampled, is_inside = sample(moving.channels, moving.world_to_voxel @ warp, level.points)
    both = is_inside & (sampled.real > 0.5) & (level.values[0] > 0.5)
    return float(np.corrcoef(sampled.imag[both], level.values[1][both])[0, 1])


def painted(scan: Scan, share: np.ndarray) -> dict[str, np.ndarray]:
    """The scan with an infarct, by contrast."""
    if scan.modality == "dwi":
        return {f"x {factor:g}": paint_dwi(scan.values, share, factor) for factor in (1.5, 3.0)}
    return {"-12 HU": paint_ct(scan.values, share, 12.0), "fluid": paint_late_ct(scan.values, share)}


def segmented(scan: Scan, values: np.ndarray, share: np.ndarray, placed: tuple) -> tuple[float, ...]:
    """Dice of the segmented infarct with the painted one in the brain, with ADC and without; NaN where refused."""
    working, brain, found = placed
    mask = to_native_grid(brain.mask, working)
    truth = (share > 0.5) & mask
    adc = None if scan.adc is None else scan.adc * (1 - share * (1 - ADC_RATIO)).astype(np.float32)
    dices = []
    for one in (None,) if adc is None else (adc, None):
        lesion = segment_dwi(values, one, mask, scan.affine, found.matrix)
        total = int(lesion.mask.sum() + truth.sum())
        dices.append(float("nan") if lesion.reason else 2 * int((lesion.mask & truth).sum()) / max(1, total))
    return tuple(dices)


def rows_of(scan: Scan, plain: Registration) -> Iterator[Row]:
    """Every volume, side and contrast."""
    for volume_ml in VOLUMES_ML:
        for side in ("left", "right"):
            share = lesion_share(scan.values.shape, scan.affine, plain.matrix, side, volume_ml)
            for contrast, values in painted(scan, share).items():
                placed = working, brain, found = place(values, scan.affine, scan.modality)
                if found.fixed_to_moving is None:
                    yield Row(contrast, volume_ml, np.nan, np.nan, np.nan, found.reason, ())
                    continue
                dice = segmented(scan, values, share, placed) if scan.modality == "dwi" else ()
                yield Row(
                    contrast,
                    volume_ml,
                    mean_distance_mm(found.matrix, plain.matrix),
                    found.tissue_correlation,
                    whole_correlation(working, brain, scan.modality, found.matrix),
                    reason_of(found, scan.modality),
                    dice,
                )


def report(scan: Scan) -> list[Row]:
    """Print a scan's table, the worse side of each pair."""
    working, brain, plain = place(scan.values, scan.affine, scan.modality)
    old = whole_correlation(working, brain, scan.modality, plain.matrix)
    print(f"{scan.name}: without infarct figure {plain.tissue_correlation:.2f}, whole brain {old:.2f}", flush=True)
    rows = list(rows_of(scan, plain))
    for contrast in dict.fromkeys(row.contrast for row in rows):
        for volume_ml in VOLUMES_ML:
            pair = [row for row in rows if (row.contrast, row.volume_ml) == (contrast, volume_ml)]
            reasons = ", ".join(sorted({row.reason for row in pair} - {""})) or "-"
            dices = np.array([row.dice for row in pair if row.dice])
            said = "" if not len(dices) else "  Dice " + " ".join(f"{value:.2f}" for value in dices.min(axis=0))
            was = "refused" if min(row.old_figure for row in pair) < OLD_LIMIT else "passed"
            print(
                f"  {contrast:7s} {volume_ml:3d} ml  moved {max(row.moved_mm for row in pair):5.2f} mm  "
                f"figure {min(row.figure for row in pair):.2f}  "
                f"whole brain {min(row.old_figure for row in pair):.2f} ({was} before)  {reasons}{said}",
                flush=True,
            )
    return rows


def draw(found: dict[str, list[Row]], path: Path) -> None:
    """Both figures against the volume, a line per scan at the stronger contrast, with their limits."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, field, limit, title in (
        (axes[0], "old_figure", OLD_LIMIT, "whole brain"),
        (axes[1], "figure", MINIMUM_TISSUE_CORRELATION, "best third of 18 parts"),
    ):
        for name, rows in found.items():
            strong = [row for row in rows if row.contrast in ("x 3", "fluid")]
            worst = [min(getattr(row, field) for row in strong if row.volume_ml == ml) for ml in VOLUMES_ML]
            axis.plot(VOLUMES_ML, worst, marker="o", markersize=3, label=name)
        axis.axhline(limit, color="black", linewidth=0.8, linestyle="--")
        axis.set(title=title, xlabel="painted infarct, ml", ylim=(0, 1))
    axes[0].set_ylabel("tissue correlation")
    axes[1].legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Report every scan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--only", default="", help="scans whose name holds this")
    arguments = parser.parse_args()
    found = {scan.name: report(scan) for scan in scans(arguments.data, arguments.only)}
    if arguments.figure is not None:
        draw(found, arguments.figure)


if __name__ == "__main__":
    main()
