"""A tiny cohort on the template's own space, and the command run as people run it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests import once_per_run
from tests.flows.forked import Forker

#: 2 mm grid over the whole brain, neither cubic nor RAS: (x, y, z) voxels, x runs from right to left.
SHAPE = (78, 94, 70)
AFFINE = np.array([[-2.0, 0, 0, 77], [0, 2, 0, -110], [0, 0, 2, -60], [0, 0, 0, 1]])
#: Centres of boxes, RAS mm, and their half widths: left and right MCA territory, deep and cortical, some of both.
BOXES = [
    ((-26, 2, 0), 6),
    ((26, 2, 0), 8),
    ((-50, -4, 34), 14),
    ((50, -4, 34), 16),
    ((-44, -40, 20), 18),
    ((44, 30, 2), 12),
    ((-13, 11, 9), 4),
    ((40, 0, 2), 20),
]
STUDY = """\
outcome = "mrs"

[study]
name = "Tiny"
bootstrap_resamples = 200

[[source]]
name = "lesion-classic"
kind = "mask"

[[source]]
name = "lesion-territory"
kind = "mask"
regions = "territory"

[[clinical]]
column = "nihss"
read_as = "integer"
minimum = 0
maximum = 42

[[clinical]]
column = "mrs"
read_as = "integer"

[severity]
column = "nihss"
"""


def box_mask(centre_mm: tuple[float, float, float], half_width_mm: float) -> np.ndarray:
    """Voxels whose centre lies within a box around a point of template space."""
    voxels = np.indices(SHAPE).reshape(3, -1)
    world = AFFINE[:3, :3] @ voxels + AFFINE[:3, 3:]
    inside = np.all(np.abs(world - np.reshape(centre_mm, (3, 1))) <= half_width_mm, axis=0)
    return inside.reshape(SHAPE).astype(np.uint8)


@dataclass
class TinyCohort:
    """A cohort folder that tests change, and its output folder."""

    folder: Path
    out: Path

    def write_mask(self, number: int, centre_mm: tuple[float, float, float], half_width_mm: float) -> Path:
        """Write the mask of one participant."""
        path = self.folder / "masks" / f"sub-{number:02d}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nib.Nifti1Image(box_mask(centre_mm, half_width_mm), AFFINE)
        image.set_sform(AFFINE, 4)
        image.set_qform(AFFINE, 4)
        nib.save(image, path)
        return path

    def write_tables(self, n: int, *, nihss: dict[int, object] | None = None) -> None:
        """Write participants and scans 1 to ``n``."""
        rows = ["participant_id\tnihss\tmrs"]
        rows += [f"sub-{k:02d}\t{(nihss or {}).get(k, (k * 5) % 30)}\t{k % 7}" for k in range(1, n + 1)]
        (self.folder / "participants.tsv").write_text("\n".join(rows) + "\n")
        rows = ["participant_id\tmodality\tspace\tpath"]
        rows += [f"sub-{k:02d}\tlesion\tMNI152\tmasks/sub-{k:02d}.nii.gz" for k in range(1, n + 1)]
        (self.folder / "scans.tsv").write_text("\n".join(rows) + "\n")

    def aspects(
        self, *arguments: str, expect: int | None = 0, is_fresh: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run the command and check its exit code; a fresh one starts as people start it, with its own server."""
        environment = {**os.environ, "COLUMNS": "120"}
        if is_fresh:
            command = [sys.executable, "-m", "flows", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment, check=False)
        else:
            done = forker().run(arguments, environment)
        assert expect is None or done.returncode == expect, done.stdout + done.stderr
        return done

    def run(self, *options: str, expect: int | None = 0, is_fresh: bool = False) -> subprocess.CompletedProcess[str]:
        """Run the cohort into its output folder, on one worker: to start another costs more than it saves."""
        n_workers = () if "--n-cpus" in options or "--dask" in options else ("--n-cpus", "1")
        arguments = ("run", str(self.folder), str(self.out), *n_workers, *options)
        return self.aspects(*arguments, expect=expect, is_fresh=is_fresh)

    @property
    def latest(self) -> Path:
        """Folder of the latest results."""
        return (self.out / "results" / "latest").resolve()


@pytest.fixture(scope="module")
def tiny(tiny_of_module: TinyCohort) -> TinyCohort:
    """Eight participants with box-shaped lesions; a module that changes them gives each test a copy."""
    return tiny_of_module


@pytest.fixture(scope="module")
def tiny_of_module(tmp_path_factory: pytest.TempPathFactory) -> TinyCohort:
    """Eight participants with box-shaped lesions."""
    return write_tiny_cohort(tmp_path_factory.mktemp("tiny"))


def write_tiny_cohort(folder: Path) -> TinyCohort:
    """Write eight participants with box-shaped lesions."""
    cohort = TinyCohort(folder / "cohort", folder / "out")
    for number, (centre_mm, half_width_mm) in enumerate(BOXES, start=1):
        cohort.write_mask(number, centre_mm, half_width_mm)
    cohort.write_tables(len(BOXES))
    (cohort.folder / "cohort.toml").write_text(STUDY)
    return cohort


@cache
def forker() -> Forker:
    """The process of which commands are copies; one for each worker of a run of the tests."""
    folder = (once_per_run.FOLDER or Path(tempfile.mkdtemp())) / f"forker-{os.getpid()}"
    return Forker(folder)


@pytest.fixture(scope="session", autouse=True)
def _forker_ends() -> Iterator[None]:
    yield
    if forker.cache_info().currsize:
        forker().close()


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
