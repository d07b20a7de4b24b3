"""Which GPUs this process may use, asked of the driver: PyTorch would take seconds to say it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Literal

GpuChoice = Literal["require", "try", "none"]
#: Dask's name for a GPU that a worker offers.
GPU = "GPU"
LIST_LIMIT_S = 20.0
DRIVER = Path("/proc/driver/nvidia/gpus")
_UUID = re.compile(r"\b(?:GPU|MIG)-[0-9a-zA-Z/-]+")


def visible_devices(driver: Path = DRIVER) -> tuple[str, ...]:
    """Ids of the CUDA devices that this process may use, as ``CUDA_VISIBLE_DEVICES`` takes them; none without a driver.

    A given ``CUDA_VISIBLE_DEVICES`` is obeyed as by CUDA: devices after the first unknown one are hidden.
    """
    present = _listed() or _of_driver(driver)
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return present
    chosen: list[str] = []
    for name in (part.strip() for part in wanted.split(",")):
        is_number = name.isdigit() and int(name) < len(present)
        is_id = name.startswith(("GPU-", "MIG-")) and any(device.startswith(name) for device in present)
        if not (is_number or is_id):
            break
        chosen.append(name)
    return tuple(dict.fromkeys(chosen))


def _listed() -> tuple[str, ...]:
    """Ids as ``nvidia-smi -L`` lists them; a GPU that is cut into instances (MIG) is named by these."""
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=LIST_LIMIT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    devices: list[str] = []
    cut: set[str] = set()
    whole = ""
    for line in listing.splitlines():
        found = _UUID.search(line)
        if found is None:
            continue
        if found.group().startswith("MIG"):
            cut.add(whole)
        else:
            whole = found.group()
        devices.append(found.group())
    return tuple(device for device in devices if device not in cut)


def _of_driver(driver: Path) -> tuple[str, ...]:
    """Ids as the kernel's driver tells them."""
    found = (_UUID.search(path.read_text()) for path in sorted(driver.glob("*/information")))
    return tuple(match.group() for match in found if match is not None)
