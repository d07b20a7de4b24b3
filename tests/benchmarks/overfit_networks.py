"""Whether every network of papers 2 and 3 can learn four synthetic patients by heart; parameters beside the papers'.

    python -m tests.benchmarks.overfit_networks POOL [--only NAME [NAME ...]] [--steps 150] [--size 128]

POOL holds synthetic patients; taken are the first four with an infarct of 10 ml and more that lowers density by 4 HU
and more. A network of ``ncct-overlap`` learns the eight slices of each that hold most infarct, by the loss of its
profile and AdamW, since SGD at the paper's rate takes thousands of steps; slices are enlarged to ``--size``, as a
third of 224 x 224 tells as much here. Printed are parameters, those of paper 2 (table 5), CPU seconds of a scan of 64
slices at 224 x 224, and Dice over the four before and after. DA-Net learns which of the twenty regions of each hold
more than a tenth of infarct; printed is the balanced accuracy.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.networks.build import build_network
from models.networks.da_net import DANET_PRESETS, build_danet, danet_loss
from models.networks.overlap import OVERLAP_PRESETS
from models.networks.slices import SliceNetwork
from models.training.losses import PaperLoss
from models.training.ncct import NCCT_TASK
from models.training.pool import PooledPatient, pooled_files, read_patient
from models.training.trainer import Plan, _Loss, computes_bfloat16
from tasks.anatomy import ASPECTS_REGIONS
from tasks.segmentation import INFARCT, STEP_MM

IN_PAPER_M = {"unet-b0": 42.1, "unet-b6": 42.1, "unet-plus-plus": 42.9, "linknet": 41.2, "transunet": 105.0}
LEAST_ML, LEAST_HU, N_PATIENTS, N_SLICES = 10.0, 4.0, 4, 8
SCAN_SLICES = 64
PATCH = (8, 32, 32)  # of DA-Net, voxels of 2 mm along z, y, x
AFFECTED = 0.10  # share of a region that is infarct: METHODS A.3


def patients_of(pool: Path) -> list[PooledPatient]:
    """The first four whose infarct is large and plain."""
    found: list[PooledPatient] = []
    for path in pooled_files(pool):
        one = read_patient(path)
        volume_ml = float((one.classes == INFARCT).sum()) * STEP_MM**3 / 1000
        if volume_ml >= LEAST_ML and float(one.facts["lowering_hu"]) >= LEAST_HU:
            found.append(one)
        if len(found) == N_PATIENTS:
            return found
    raise ValueError(f"{pool} must hold {N_PATIENTS} patients with a plain infarct, got {len(found)}. Draw more.")


def slab_of(patient: PooledPatient, window: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Channels and labels of what a network learns: the whole window, of slices the eight with most infarct."""
    depth = window[2] if window[2] > 2 * N_SLICES else N_SLICES
    labels = NCCT_TASK.labels(patient)
    per_slice = (labels == INFARCT).sum(axis=(0, 1))
    first = int(np.convolve(per_slice, np.ones(depth), "valid").argmax())
    x, y = ((size - wanted) // 2 for size, wanted in zip(labels.shape[:2], window[:2], strict=True))
    box = (slice(x, x + window[0]), slice(y, y + window[1]), slice(first, first + depth))
    channels = NCCT_TASK.channels(patient, None)[(slice(None), *box)]
    return torch.from_numpy(np.ascontiguousarray(channels[None])), torch.from_numpy(labels[box][None].astype(np.int64))


def dice(network: nn.Module, slabs: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Of all patients together, the network as it is when judging."""
    network.eval()
    with torch.inference_mode():
        found = [network(given).argmax(dim=1) == INFARCT for given, _ in slabs]
    network.train()
    truth = [labels == INFARCT for _, labels in slabs]
    hit = sum(float((a & b).sum()) for a, b in zip(found, truth, strict=True))
    total = sum(float(a.sum() + b.sum()) for a, b in zip(found, truth, strict=True))
    return 2 * hit / max(total, 1.0)


def overfit(name: str, patients: list[PooledPatient], n_steps: int, size: int) -> str:
    """One network of ``ncct-overlap``."""
    preset = OVERLAP_PRESETS[name]
    torch.manual_seed(0)
    network = build_network(name, NCCT_TASK.n_channels, NCCT_TASK.n_classes)
    if isinstance(network, SliceNetwork):
        network.size = size
    slabs = [slab_of(one, preset.window) for one in patients]
    is_paper = preset.profile == "as-paper"
    loss_of = PaperLoss(NCCT_TASK.foreground) if is_paper else _Loss(NCCT_TASK, Plan(), "cpu")
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    before, began = dice(network, slabs), time.process_time()
    for step in range(n_steps):
        given, labels = slabs[step % len(slabs)]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=computes_bfloat16("cpu")):
            logits = network(given)
        optimiser.zero_grad(set_to_none=True)
        loss_of(logits.float(), labels).backward()
        optimiser.step()
    seconds = time.process_time() - began
    return (
        f"{name} ({preset.about}): {_parameters_m(network):.2f} million parameters"
        f"{f' (paper {IN_PAPER_M[name]:g})' if name in IN_PAPER_M else ''}, {_scan_s(name):.1f} CPU s a scan, "
        f"Dice of four patients {before:.2f} -> {dice(network, slabs):.2f} in {n_steps} steps, {seconds:.0f} CPU s"
    )


def _parameters_m(network: nn.Module) -> float:
    return sum(one.numel() for one in network.parameters()) / 1e6


def _scan_s(name: str) -> float:
    """CPU seconds of the network on a scan, at the size that it has."""
    preset = OVERLAP_PRESETS[name]
    network = build_network(name, NCCT_TASK.n_channels, NCCT_TASK.n_classes).eval()
    depth = min(preset.window[2], SCAN_SLICES)
    given = torch.zeros(1, NCCT_TASK.n_channels, *preset.window[:2], depth)
    with torch.inference_mode():
        network(given)
        began = time.process_time()
        network(given)
    return (time.process_time() - began) * SCAN_SLICES / depth


def pairs_of(patients: list[PooledPatient]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Left and right patches (image, mask) of every region, the right ones flipped; whether affected; the masks."""
    sides: dict[str, list[np.ndarray]] = {"left": [], "right": []}
    affected = []
    for one in patients:
        channels = NCCT_TASK.channels(one, None)[0]
        for region in range(1, 1 + len(ASPECTS_REGIONS)):
            row = []
            for side, label in (("right", region), ("left", region + len(ASPECTS_REGIONS))):
                mask = one.territory == label
                middle = np.argwhere(mask).mean(axis=0).astype(int) if mask.any() else np.asarray(mask.shape) // 2
                box = tuple(
                    slice(low := int(np.clip(at - size // 2, 0, total - size)), low + size)
                    for at, size, total in zip(middle, PATCH[::-1], mask.shape, strict=True)
                )
                patch = np.stack([channels[box], mask[box]]).transpose(0, 3, 2, 1)  # z, y, x
                sides[side].append(patch[..., ::-1] if side == "right" else patch)
                row.append(float((one.classes[mask] == INFARCT).mean() > AFFECTED) if mask.any() else 0.0)
            affected.append(row[::-1])
    left, right = (torch.from_numpy(np.stack(sides[side]).astype(np.float32)) for side in ("left", "right"))
    return left, right, torch.tensor(affected), torch.stack([left[:, 1], right[:, 1]], dim=1)


def overfit_pairs(name: str, patients: list[PooledPatient], n_steps: int) -> str:
    """One network of DA-Net."""
    torch.manual_seed(0)
    network = build_danet(name)
    left, right, affected, masks = pairs_of(patients)
    n = DANET_PRESETS[name].n_channels
    share = float(affected.mean())
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    rng, began = np.random.default_rng(0), time.process_time()
    for _ in range(n_steps):
        at = torch.from_numpy(rng.permutation(len(affected))[:10])
        loss = danet_loss(network(left[at, :n], right[at, :n]), affected[at], masks[at], share)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    seconds = time.process_time() - began
    network.eval()
    with torch.inference_mode():
        called = network(left[:, :n], right[:, :n]).logits > 0
    is_affected = affected > 0.5
    balanced = float((called[is_affected].float().mean() + (~called[~is_affected]).float().mean()) / 2)
    return (
        f"{name}: {_parameters_m(network):.2f} million parameters, balanced accuracy over {affected.numel()} regions, "
        f"{int(is_affected.sum())} affected: {balanced:.2f} after {n_steps} steps, {seconds:.0f} CPU s"
    )


def main() -> None:
    """Every network, a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--only", nargs="+", choices=(*OVERLAP_PRESETS, *DANET_PRESETS))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--size", type=int, default=128)
    given = parser.parse_args()
    torch.set_num_threads(1)
    patients = patients_of(given.pool)
    for name in given.only or (*OVERLAP_PRESETS, *DANET_PRESETS):
        if name in DANET_PRESETS:
            print(overfit_pairs(name, patients, given.steps), flush=True)
        else:
            print(overfit(name, patients, given.steps, given.size), flush=True)


if __name__ == "__main__":
    main()
