"""``aspects train``: what a training comes to, in a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from flows.training.flow import Trained, train_network
from flows.training.publishing import REPORT
from flows.training.request import TrainRequest
from models.training.classifier_judging import EVERY_REGION, PATIENTS

WHOLE = (EVERY_REGION, PATIENTS)
SHOWN = (("with an infarct", "dice"), ("with an infarct", "volume_error_ml"), ("no infarct", "false_ml"))


def run_training(request: TrainRequest, console: Console) -> int:
    """Train, and say what came of it.

    Returns
    -------
    Exit code.
    """
    trained = train_network(request, console)
    if trained.is_unchanged:
        console.print("Nothing changed since the weights were trained: nothing was done.", highlight=False)
    _show(trained, request, console)
    return 0


def _show(trained: Trained, request: TrainRequest, console: Console) -> None:
    """Metrics on the test patients, and where everything lies."""
    lines = _classifier_lines(trained.card) if "classifier" in trained.card else _network_lines(trained.card)
    lines += [f"Weights: {trained.weights}", f"Report:  {request.out / REPORT}"]
    if request.cohort is not None:
        lines.append(f"{request.work} holds patients' images: keep it where they may lie, and delete it when done.")
    if not trained.is_unchanged:
        lines.append("Took " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in trained.seconds.items()) + ".")
    console.print("On test patients:\n" + "\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _classifier_lines(card: Mapping[str, Any]) -> list[str]:
    """Of a classifier of regions, or of a dichotomy."""
    lines = []
    for one in card["metrics"]:
        if one["split"] == "test" and one["stratum"] in WHOLE and one["value"] is not None:
            interval = f" ({one['lower']:.3f} to {one['upper']:.3f})" if one["lower"] is not None else ""
            lines.append(f"  {one['metric']}, {one['stratum']}: {one['value']:.3f}{interval}, n = {one['n']} patients")
    point = card["operating_point"]
    what = "Cuts of each region" if "cuts" in point else f"Threshold {point['threshold']:g}"
    return [*lines, f"{what}, chosen on {point['chosen_on']}: {point['criterion']}."]


def _network_lines(card: Mapping[str, Any]) -> list[str]:
    """Of a network."""
    rows = {(one["split"], one["stratum"], one["metric"]): one for one in card["metrics"]}
    lines = []
    for stratum, metric in SHOWN:
        one = rows.get(("test", stratum, metric))
        if one is not None and one["median"] is not None:
            interval = f" ({one['lower']:.3f} to {one['upper']:.3f})" if one["lower"] is not None else ""
            name = f"{metric.removesuffix('_ml').replace('_', ' ')}{', ml' if metric.endswith('_ml') else ''}"
            lines.append(f"  {name}, {stratum}: median {one['median']:.3f}{interval}, n = {one['n']}")
    point = card["operating_point"]
    fewer = f" ({point['threshold_fewer']} without the ADC)" if "threshold_fewer" in point else ""
    return [*lines, f"Threshold {point['threshold']}{fewer}, chosen on {point['chosen_on']}."]
