"""``aspects train``: what a training comes to, in a few lines."""

from __future__ import annotations

from rich.console import Console

from flows.training.flow import Trained, train_network
from flows.training.publishing import REPORT
from flows.training.request import TrainRequest

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
    rows = {(one["split"], one["stratum"], one["metric"]): one for one in trained.card["metrics"]}
    lines = []
    for stratum, metric in SHOWN:
        one = rows.get(("test", stratum, metric))
        if one is not None and one["median"] is not None:
            interval = f" ({one['lower']:.3f} to {one['upper']:.3f})" if one["lower"] is not None else ""
            name = f"{metric.removesuffix('_ml').replace('_', ' ')}{', ml' if metric.endswith('_ml') else ''}"
            lines.append(f"  {name}, {stratum}: median {one['median']:.3f}{interval}, n = {one['n']}")
    point = trained.card["operating_point"]
    fewer = f" ({point['threshold_fewer']} without the ADC)" if "threshold_fewer" in point else ""
    lines += [f"Threshold {point['threshold']}{fewer}, chosen on {point['chosen_on']}."]
    lines += [f"Weights: {trained.weights}", f"Report:  {request.out / REPORT}"]
    if request.cohort is not None:
        lines.append(f"{request.work} holds patients' images: keep it where they may lie, and delete it when done.")
    if not trained.is_unchanged:
        lines.append("Took " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in trained.seconds.items()) + ".")
    console.print("On test patients:\n" + "\n".join(lines), highlight=False, markup=False, soft_wrap=True)
