"""What a network costs on a CPU: our path beside MONAI's sliding window, other ways of torch, OpenVINO and the floor.

    python -m tests.benchmarks.bench_inference networks DATA [--threads 1] [--turns 3]
    python -m tests.benchmarks.bench_inference patients DATA [--threads 1] [--turns 3]

DATA is the folder of the shared real data. Every way is asked in turns in one process; CPU and wall seconds are medians
without the first turn. Peak memory is what the process held at most while asked (Linux), above what it held before.
Differences are those of probabilities from torch's plain layers in float32, which differ from float64 by 4e-6; the
whole grid is shown at once but to MONAI's windows of 64 x 80 x 64, in which means are others and so is the answer.

``networks``: ``dwi-unet`` and ``region-net`` on a real scan each, without the flip. The floor is the time of matrix
products of the sizes that the convolutions of 3 x 3 x 3 have (im2col: voxels x 27 channels, by 27 channels x filters),
in blocks that stay in the cache; the peak is that of one large product. OpenVINO takes part where it is installed; its
report of use is shut off. ``patients``: a whole CT and a whole diffusion patient with plain layers and with ours, and
peak memory on large grids: diffusion resampled to 512 x 512 x 40, CT to 1 mm.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from unittest import mock

import nibabel as nib
import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from scipy import ndimage

from cohorts.images.nifti import nifti_bytes
from cohorts.images.scan import read_scan
from flows.cases.case import StepSettings
from flows.cases.native_scan import prepare
from flows.run import steps
from flows.sources.density_ratio import DensityRatioSource
from flows.sources.dwi_unet import DwiUnetSource
from models import inference
from models.inference import Network, probabilities, ready
from models.networks.unet import PRESETS, build_unet, load_state
from models.weights import find_weights, load_weights
from tasks.diffusion.adc import adc_on_grid
from tasks.segmentation import N_DWI_CHANNELS, N_REGION_CHANNELS, dwi_channels, region_channels
from tasks.space.network_grid import network_grid, to_network_grid
from tasks.space.resample import Grid
from tests.benchmarks.bench_patient import CT, DWI, MAPS, case_of

N_CLASSES = {"dwi-unet": 6, "region-net": 11}
FLOOR_ROWS = 4096
LARGE = (512, 512, 40)
Ways = dict[str, Callable[[], np.ndarray]]


def inputs(data: Path) -> dict[str, np.ndarray]:
    """What each network is given of a real scan, (C, X, Y, Z) float32."""
    found = {}
    for name, path, kind in (("dwi-unet", DWI["isles9"].format("dwi"), "dwi"), ("region-net", CT[0], "ncct")):
        image = read_scan((data / path).read_bytes(), path, kind, forms="sform")
        scan = prepare(image, "dwi" if kind == "dwi" else "ct")
        brain, affine = scan.brain_mask, image.affine
        grid = network_grid(brain, affine)
        values = to_network_grid(image.values, affine, grid)
        inside = to_network_grid(brain.astype(np.float32), affine, grid) > 0.5
        if kind == "dwi":
            path = DWI["isles9"].format("adc")
            stored = read_scan((data / path).read_bytes(), path, "adc", forms="sform")
            whole = Grid(scan.shape, affine)
            adc = adc_on_grid(image.values, whole, brain, stored=(stored.values, stored.affine)).values
            found[name] = dwi_channels(values, to_network_grid(adc, affine, grid), inside)
        else:
            to_template = scan.registration.moving_to_fixed @ grid.affine
            found[name] = region_channels(values, inside, to_template, "ct")
    return found


def plain(name: str) -> torch.nn.Module:
    """A shipped network with torch's own layers."""
    n_channels = {"dwi-unet": N_DWI_CHANNELS, "region-net": N_REGION_CHANNELS}[name]
    network = build_unet("small", n_channels, N_CLASSES[name])
    load_state(network, load_weights(find_weights(name)))
    return network.eval()


def openvino_way(network: torch.nn.Module, given: torch.Tensor, n_threads: int) -> Callable[[], np.ndarray]:
    """OpenVINO in float32; of its own accord it takes bfloat16 where the CPU has it."""
    sys.modules["openvino_telemetry"] = None  # it reports its import to its makers
    import openvino

    model = openvino.convert_model(network, example_input=given)
    model.reshape(list(given.shape))
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": n_threads, "NUM_STREAMS": "1"}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    return lambda: torch.from_numpy(np.array(request.infer({0: given.numpy()})[0])).softmax(1)[0].numpy()


def ways(name: str, channels: np.ndarray, n_threads: int) -> Ways:
    """Every way to ask a network; the first is the reference."""
    network = plain(name)
    given = torch.from_numpy(channels[None])
    ours = ready(copy.deepcopy(network))
    window = SlidingWindowInferer((64, 80, 64), sw_batch_size=1, overlap=0.25)
    frozen = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(network, given)))
    last = copy.deepcopy(network).to(memory_format=torch.channels_last_3d)
    given_last = given.contiguous(memory_format=torch.channels_last_3d)
    pair = torch.cat((given, given)).contiguous(memory_format=torch.channels_last_3d)
    found: Ways = {
        "torch, plain layers": lambda: network(given).softmax(1)[0].numpy(),
        "ours": lambda: ours(given_last).softmax(1)[0].numpy(),
        "ours, as asked": lambda: probabilities(Network(ours, find_weights(name).window), channels),
        "ours, two patients at once": lambda: ours(pair).softmax(1)[0].numpy(),
        "torch, channels last": lambda: last(given_last).softmax(1)[0].numpy(),
        "torch, traced and frozen": lambda: frozen(given).softmax(1)[0].numpy(),
        "MONAI sliding window": lambda: window(given, network).softmax(1)[0].numpy(),
    }
    if find_spec("openvino"):
        found["OpenVINO f32"] = openvino_way(network, given, n_threads)
    return found


def floor_products(name: str, shape: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Voxels, depth and filters of each convolution's matrix product."""
    widths = PRESETS["small"].widths
    voxels = [int(np.prod([size >> level for size in shape])) for level in range(len(widths))]
    products, before = [], {"dwi-unet": N_DWI_CHANNELS, "region-net": N_REGION_CHANNELS}[name]
    for level, width in enumerate(widths):
        products += [(voxels[level], 27 * before, width), (voxels[level], 27 * width, width)]
        before = width
    for level, width in enumerate(widths[:-1]):
        products += [(voxels[level], 54 * width, width), (voxels[level], 27 * width, width)]
    return products


def floor_way(products: list[tuple[int, int, int]]) -> Callable[[], None]:
    """All matrix products, a block of rows after the other."""
    made = [(n, torch.randn(FLOOR_ROWS, k), torch.randn(k, m), torch.empty(FLOOR_ROWS, m)) for n, k, m in products]

    def multiply() -> None:
        for n, rows, weights, out in made:
            for start in range(0, n, FLOOR_ROWS):
                count = min(FLOOR_ROWS, n - start)
                torch.mm(rows[:count], weights, out=out[:count])

    return multiply


def peak_mib() -> float:
    """The most that this process has held since it was last forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def forget_peak() -> float:
    """Forget it, and say what is held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_mib()


def report_networks(data: Path, n_threads: int, n_turns: int) -> None:
    """A table for each network."""
    for name, channels in inputs(data).items():
        asked = ways(name, channels, n_threads)
        products = floor_products(name, channels.shape[1:])
        floor, square = floor_way(products), torch.randn(2048, 2048)
        asked_all = asked | {"floor": floor, "peak": lambda square=square: square @ square}
        seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in asked_all}
        answers, peaks = {}, {}
        with torch.inference_mode():
            for _ in range(1 + n_turns):
                for way, ask in asked_all.items():
                    before = forget_peak()
                    cpu, wall = time.process_time(), time.perf_counter()
                    answer = ask()
                    seconds[way].append((time.process_time() - cpu, time.perf_counter() - wall))
                    peaks[way] = peak_mib() - before
                    answers[way] = answer if way in asked else None
        gflop = sum(2 * n * k * m for n, k, m in products) / 1e9
        cpu_s = {way: median(one[0] for one in values[1:]) for way, values in seconds.items()}
        wall_s = {way: median(one[1] for one in values[1:]) for way, values in seconds.items()}
        peak_s = cpu_s["peak"] * gflop / (2 * 2048**3 / 1e9)
        print(f"{name}, {channels.shape}, {n_threads} threads: {gflop:.1f} GFLOP, floor {cpu_s['floor']:.3f} CPU s, "
              f"at the rate of one large product {peak_s:.3f}")  # fmt: skip
        reference = answers["torch, plain layers"]
        for way in asked:
            n_scans = 2 if "two" in way else 1
            other = answers[way]
            print(f"    {way:27s} {cpu_s[way] / n_scans:6.3f} CPU s, {wall_s[way] / n_scans:6.3f} s, "
                  f"{cpu_s[way] / n_scans / cpu_s['floor']:5.2f} x floor, {peaks[way]:5.0f} MiB, difference "
                  f"{np.abs(other - reference).max():.1e}, argmax of {(other.argmax(0) != reference.argmax(0)).sum()} "
                  "voxels", flush=True)  # fmt: skip


def resampled(path: Path, shape: tuple[int, ...] | None, folder: Path) -> Path:
    """A scan on a larger grid; 1 mm without a shape."""
    image = nib.load(path)
    values = np.asarray(image.dataobj, np.float32)
    sizes = np.asarray(image.header.get_zooms()[:3])
    factors = sizes if shape is None else np.asarray(shape) / values.shape
    affine = image.affine @ np.diag([*(1 / factors), 1.0])
    (folder / path.name).write_bytes(nifti_bytes(ndimage.zoom(values, factors, order=1), affine))
    return folder / path.name


def report_patients(data: Path, n_turns: int) -> None:
    """Whole patients in turns, then large ones."""
    dwi = {name: data / DWI["isles9"].format(name) for name in ("dwi", "adc")}
    unet = DwiUnetSource(name="a", kind="dwi_unet")
    regions = DensityRatioSource(name="b", kind="density_ratio", registration="network")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def measure(source: object, files: dict[str, Path]) -> tuple[float, float, float]:
            steps_settings = StepSettings(source.kind, MAPS, source.settings)
            forget_peak()
            out = Path(tempfile.mkdtemp(dir=folder))  # nothing is committed there yet
            record = steps.run_case(case_of("sub-p", source.step, files), steps_settings, out)
            assert record.status == "ok", record.reason
            return record.cpu_seconds, record.seconds, peak_mib()

        for title, source, files in (("DWI", unet, dwi), ("CT", regions, {"ncct": data / CT[0]})):
            rows: dict[str, list[tuple[float, float, float]]] = {"plain": [], "ours": []}
            for _ in range(1 + n_turns):
                for way, taken in rows.items():
                    inference.loaded.cache_clear()
                    with mock.patch.object(inference, "ready", torch.nn.Module.eval if way == "plain" else ready):
                        taken.append(measure(source, files))
            for way, taken in rows.items():
                cpu_s, wall_s, mib = (median(one) for one in zip(*taken[1:], strict=True))
                print(f"{title} patient, {way:6s} {cpu_s:.2f} CPU s, {wall_s:.2f} s, {mib:.0f} MiB", flush=True)
        inference.loaded.cache_clear()
        large = {name: resampled(path, LARGE, folder) for name, path in dwi.items()}
        print("DWI of 512 x 512 x 40: {:.2f} CPU s, {:.2f} s, {:.0f} MiB".format(*measure(unet, large)), flush=True)
        fine = {"ncct": resampled(data / CT[0], None, folder)}
        print("CT of 1 mm: {:.2f} CPU s, {:.2f} s, {:.0f} MiB".format(*measure(regions, fine)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["networks", "patients"])
    parser.add_argument("data", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.what == "networks":
        report_networks(arguments.data, arguments.threads, arguments.turns)
    else:
        report_patients(arguments.data, arguments.turns)


if __name__ == "__main__":
    main()
