"""How well CT perfusion does on reference curves, a digital phantom, real vessels and synthetic patients.

    python -m tests.benchmarks.accuracy_perfusion DATA [--parts osipi digital delay vessels cohort] [--seed 700]

DATA is the folder of the shared real data.

``osipi``: the 14 reference curves, each with its distance from the published tolerance. ``digital``: the digital slice
against its truth, label by label, with the given and with the automatic artery; core at 30 % of normal flow at the
nominal threshold and at the one calibrated by simulation. ``delay``: tissue behind its artery by 0 to 6 s, with and
without dispersion. ``vessels``: real pairs of artery and vein. ``cohort``: the synthetic patients of
``tests.benchmarks.perfusion_cohort`` at three noise levels, still and moving, through the chain of a run.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import io

from reports.estimators.estimate import Proportion
from tasks.perfusion.core import CoreSettings
from tasks.perfusion.core_threshold import calibrate_threshold, sample_tissue
from tasks.perfusion.deconvolution import (
    BlockCirculantSvd,
    Method,
    OscillationIndexSvd,
    StandardSvd,
    build_deconvolver,
    deconvolve,
)
from tasks.perfusion.maps import PerfusionMaps, PerfusionSettings, perfusion_maps
from tasks.perfusion.series import SeriesSettings
from tasks.perfusion.vessels import arterial_input_of, find_arterial_input
from tests.benchmarks.perfusion_cohort import (
    CORE_RULE,
    LESIONS,
    NOISE_HU,
    Found,
    called_regions,
    make_patient,
    run_chain,
    true_core,
    true_regions,
)
from tests.tasks.perfusion.test_deconvolution import OSIPI_CBF, OSIPI_CBV, gamma_variate, tissue
from tests.tasks.perfusion.test_maps import HEALTHY_LABELS, TRACER_UNITS

METHODS: tuple[Method, ...] = (OscillationIndexSvd(), BlockCirculantSvd(), StandardSvd())
#: By their true CBF: 53 and 26, 15 and 6, 5 and 2 ml/100 g/min.
TISSUE_LABELS = {1: "grey", 2: "white", 3: "grey, low", 5: "white, low", 4: "grey, very low", 6: "white, very low"}
N_BASELINE = 8  # frames of the digital slice before its bolus


def report_osipi(data: Path) -> None:
    """Every curve with its margin inside the tolerance."""
    with (data / "ctp" / "osipi_dsc_data.csv").open() as file:
        rows = list(csv.DictReader(file))
    curves = np.stack([np.array(row["C_tis"].split(), dtype=float) for row in rows], axis=1)
    aif = np.array(rows[0]["C_aif"].split(), dtype=float)
    times = float(rows[0]["tr"]) * np.arange(len(aif))
    truth = {name: np.array([float(row[name]) for row in rows]) for name in ("cbf", "cbv")}
    for method in METHODS:
        found = deconvolve(curves, build_deconvolver(aif, times, method))
        measured = {"cbf": 6000 * found.peak_per_s, "cbv": 100 * found.area_ratio}
        print(f"OSIPI, {method.name}")
        inside = 0
        for number in range(len(rows)):
            parts, is_inside = [], True
            for name, limits in (("cbf", OSIPI_CBF), ("cbv", OSIPI_CBV)):
                true, got = truth[name][number], measured[name][number]
                tolerance = limits["atol"] + limits["rtol"] * true
                margin = tolerance - abs(got - true)
                is_inside &= margin >= 0
                parts.append(
                    f"{name.upper()} {got:6.2f} for {true:5.1f}, tolerance {tolerance:5.2f}, margin {margin:5.2f}"
                )
            inside += is_inside
            print(f"  {number + 1:2d}: {'; '.join(parts)}")
        r = np.corrcoef(measured["cbf"], truth["cbf"])[0, 1]
        print(f"  ** inside {inside}/{len(rows)}, r of CBF {r:.4f}")


def report_digital(data: Path) -> None:
    """The digital slice: maps per label and core."""
    phantom = io.loadmat(data / "ctp" / "phantom.mat")
    series, labels = phantom["ctp"], phantom["brain"]
    times, given = np.arange(float(len(series))), phantom["aif"].ravel() - phantom["aif"].ravel()[:N_BASELINE].mean()
    automatic = find_arterial_input(series, times, labels > 0, n_baseline_frames=N_BASELINE)
    print(f"automatic artery: r with the given {np.corrcoef(automatic.scaled_aif, given)[0, 1]:.6f}, area ratio "
          f"{np.trapezoid(automatic.scaled_aif) / np.trapezoid(given):.4f}, {len(automatic.aif_voxels)} voxels, "
          f"{automatic.vof_reason}")  # fmt: skip
    mask = np.isin(labels, tuple(TISSUE_LABELS))
    for name, aif in (("given", given), ("automatic", automatic.scaled_aif)):
        for method in METHODS if name == "given" else METHODS[:1]:
            settings = PerfusionSettings(
                method, haematocrit_large=TRACER_UNITS.haematocrit_large,
                haematocrit_small=TRACER_UNITS.haematocrit_small, density_g_ml=TRACER_UNITS.density_g_ml,
            )  # fmt: skip
            deconvolver = build_deconvolver(aif, times, method, n_baseline_frames=N_BASELINE)
            maps = perfusion_maps(series, deconvolver, settings, mask=mask)
            print(f"digital slice, {name} artery, {method.name}")
            _print_labels(maps, phantom, mask)
            if method.name != "standard":
                _print_core(maps, phantom, mask, (aif, times, settings))


def _print_labels(maps: PerfusionMaps, phantom: Mapping[str, np.ndarray], mask: np.ndarray) -> None:
    """Bias, correlation and slope of every map in every label."""
    regions = {name: phantom["brain"] == label for label, name in TISSUE_LABELS.items()} | {"all": mask}
    for region, inside in regions.items():
        parts = []
        for name in ("cbf", "cbv", "mtt"):
            got, true = getattr(maps, name)[inside], phantom[name][inside].astype(float)
            keep = np.isfinite(got) & (true > 0)
            got, true = got[keep], true[keep]
            slope, r = np.polyfit(true, got, 1)[0], np.corrcoef(true, got)[0, 1]
            bias = got.mean() - true.mean()
            parts.append(
                f"{name.upper()} {true.mean():6.2f} bias {bias:+6.2f} ({100 * bias / true.mean():+5.1f} %) r {r:.3f} "
                f"slope {slope:5.2f}"
            )
        print(f"  {region:15s} ({inside.sum():5d}): {'; '.join(parts)}")


def _print_core(
    maps: PerfusionMaps,
    phantom: Mapping[str, np.ndarray],
    mask: np.ndarray,
    how: tuple[np.ndarray, np.ndarray, PerfusionSettings],
) -> None:
    """Core at the nominal and at the calibrated threshold."""
    healthy = np.isin(phantom["brain"], HEALTHY_LABELS)
    truth = mask & (phantom["cbf"] < 0.3 * phantom["cbf"][healthy].mean())
    aif, times, settings = how
    sample = sample_tissue(maps, phantom["ctp"], healthy, mask, 0.3)
    found = calibrate_threshold(aif, times, sample, settings)
    for name, threshold in (("nominal", 0.3), ("calibrated", found.on_maps)):
        core = mask & (maps.cbf < threshold * maps.cbf[healthy].mean())
        dice = 2 * (core & truth).sum() / (core.sum() + truth.sum())
        print(f"  ** core, {name} {threshold:.3f}: {core.sum()} voxels for {truth.sum()}, Dice {dice:.3f}")


def report_delay() -> None:
    """Tmax and CBF behind a late artery, by frame interval and dispersion."""
    for method in METHODS:
        for interval_s in (1.0, 1.5, 2.0):
            times = np.arange(0, 60, interval_s)
            deconvolver = build_deconvolver(gamma_variate(times), times, method)
            plain = None
            for dispersion_s in (0.0, 1.5, 3.0):
                curves = [tissue(times, 0.010, 4.0, delay, dispersion_s=dispersion_s) for delay in range(7)]
                found = deconvolve(np.stack(curves, axis=1), deconvolver)
                plain = found.peak_per_s[0] if plain is None else plain
                change = 100 * (found.peak_per_s / found.peak_per_s[0] - 1)
                tmax = " ".join(f"{one:g}" for one in found.peak_time_s)
                print(
                    f"{method.name}, frames {interval_s:g} s, dispersion {dispersion_s:g} s: Tmax {tmax} s, "
                    f"CBF within {np.abs(change).max():.2f} % of that without delay, "
                    f"{100 * (found.peak_per_s[0] / plain - 1):+.1f} % by dispersion, "
                    f"{100 * (found.peak_per_s[0] / 0.010 - 1):+.1f} % from the truth"
                )


def report_vessels(data: Path) -> None:
    """Every real pair, accepted or refused."""
    folders = sorted((data / "ctp" / "isles2018-aif").iterdir())
    reasons: Counter[str] = Counter()
    scalings, qualities = [], []
    for folder in folders:
        aif, vof = np.load(folder / "aif_isles.npy"), np.load(folder / "vof_isles.npy")
        found = arterial_input_of(aif, vof, np.arange(len(aif), dtype=float))
        reasons[found.reason or found.vof_reason or "accepted and scaled"] += 1
        if found.reason or found.vof_reason:
            print(f"  {folder.name}: {found.reason or found.vof_reason}: {found.detail}")
        else:
            scalings.append(found.scaling)
        qualities.append(found.quality)
    low, middle, high = np.percentile(scalings, [0, 50, 100])
    print(
        f"** {len(folders)} pairs: {dict(reasons)}; scaling {low:.2f} to {high:.2f}, median {middle:.2f}, "
        f"{sum(one == 1 for one in scalings)} at 1; quality {min(qualities):.2f} to {max(qualities):.2f}"
    )


def report_cohort(seed: int) -> None:
    """Core, regions and sides of the synthetic patients."""
    for noise_hu in NOISE_HU:
        for is_moving in (False, True):
            runs = []
            for number in range(len(LESIONS)):
                phantom = make_patient(number, noise_hu, is_moving, seed=seed)
                found = run_chain(phantom, SeriesSettings(), CoreSettings())
                runs.append(_Scores(number, phantom, found))
                print(runs[-1].text(), flush=True)
            title = f"noise {noise_hu:g} HU, {'moving' if is_moving else 'still'}"
            for name in ("nominal", "calibrated"):
                print(f"** {title}, {name}: {_summary(runs, name)}", flush=True)


class _Scores:
    """One patient against its truth."""

    def __init__(self, number: int, phantom, found: Found) -> None:
        lesion = LESIONS[number]
        self.name = "healthy" if lesion is None else f"{lesion.side} {lesion.name}"
        self.side = None if lesion is None else lesion.side
        self.found = found
        voxel_ml = abs(float(np.linalg.det(phantom.affine[:3, :3]))) / 1000
        self.true_ml = float(phantom.truth.core.sum() * voxel_ml)
        self.true_late_ml = float((phantom.truth.core | phantom.truth.penumbra).sum() * voxel_ml)
        self.shares = true_regions(phantom)
        self.cores = {"nominal": found.nominal, "calibrated": found.calibrated}
        self.dice = {}
        if found.nominal is not None:
            truth = true_core(phantom, found.series)
            for name, core in self.cores.items():
                self.dice[name] = 2 * (core.core & truth).sum() / max(1, core.core.sum() + truth.sum())

    def calls(self, name: str) -> list[tuple[bool, bool]]:
        """Truth and call of every covered region."""
        if self.cores[name] is None:
            return []
        called = called_regions(self.cores[name])
        return [(share > CORE_RULE, called[region] > CORE_RULE) for region, share in self.shares.items()]

    def text(self) -> str:
        """One line."""
        series, core = self.found.series, self.found.nominal
        if core is None:
            return f"  {self.name}: refused, {series.reason}: {series.detail}"
        other, arterial = self.found.calibrated, series.arterial
        return (
            f"  {self.name}: core {self.true_ml:.1f} ml, nominal {core.core_ml:.1f} (Dice {self.dice['nominal']:.2f}), "
            f"at {self.found.threshold:.3f} {other.core_ml:.1f} (Dice {self.dice['calibrated']:.2f}); "
            f"Tmax > 6 s {core.hypoperfused_ml:.0f} of {self.true_late_ml:.0f} ml, "
            f"on the other side {core.other_side_hypoperfused_ml:.1f} ml; side {core.affected_side}; "
            f"AIF scaling {arterial.scaling:.2f}, quality {arterial.quality:.2f}; normal CBF {core.reference_cbf:.1f}; "
            f"registration off by {self.found.registration_error_mm:.1f} mm {' '.join(series.notes)}"
        )


def _summary(runs: Sequence[_Scores], name: str) -> str:
    """Bias and limits of agreement of the core, regions, sides, and what healthy brains show."""
    used = [one for one in runs if one.cores[name] is not None]
    ill, healthy = [one for one in used if one.side], [one for one in used if not one.side]
    differences = np.array([one.cores[name].core_ml - one.true_ml for one in ill])
    spread = 1.96 * differences.std(ddof=1)
    bias = differences.mean()
    calls = [call for one in used for call in one.calls(name)]
    affected, normal = [call for truth, call in calls if truth], [call for truth, call in calls if not truth]
    late = np.array([one.cores[name].hypoperfused_ml - one.true_late_ml for one in ill])
    return (
        f"{len(used)}/{len(runs)} accepted; core bias {bias:+.1f} ml, "
        f"limits {bias - spread:+.1f} to {bias + spread:+.1f} ml, "
        f"Dice {np.mean([one.dice[name] for one in ill]):.2f}; Tmax > 6 s bias {late.mean():+.1f} ml; regions: "
        f"sensitivity {_proportion(sum(affected), len(affected))}, specificity "
        f"{_proportion(len(normal) - sum(normal), len(normal))}; side right "
        f"{sum(one.cores[name].affected_side == one.side for one in ill)}/{len(ill)}; core in healthy brains at most "
        f"{max((one.cores[name].core_ml for one in healthy), default=0):.1f} ml"
    )


def _proportion(count: int, n: int) -> str:
    """A share with its Wilson interval."""
    interval = Proportion(count, n).confidence_interval(0.95)
    return f"{count}/{n} = {count / n:.2f} ({interval.lower:.2f}-{interval.upper:.2f})"


def main() -> None:
    """The parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("osipi", "digital", "delay", "vessels", "cohort")
    parser.add_argument("data", type=Path)
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    parser.add_argument("--seed", type=int, default=700)
    arguments = parser.parse_args()
    if "osipi" in arguments.parts:
        report_osipi(arguments.data)
    if "digital" in arguments.parts:
        report_digital(arguments.data)
    if "delay" in arguments.parts:
        report_delay()
    if "vessels" in arguments.parts:
        report_vessels(arguments.data)
    if "cohort" in arguments.parts:
        report_cohort(arguments.seed)


if __name__ == "__main__":
    main()
