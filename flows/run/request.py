"""What was asked for, and how a command line is refused: all that the command needs before it does anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.engine.cluster import TlsFiles
from flows.engine.devices import GpuChoice
from flows.engine.limits import available_cpus, default_workers, memory_bytes

if TYPE_CHECKING:
    from flows.engine.slurm import SlurmProfile
    from flows.run.commands import Commands

WORK = "work"


class UsageError(ValueError):
    """An option or argument that the cohort, or its own rule, does not allow: another command line is the remedy."""


class PreflightError(ValueError):
    """A folder or file that cannot be used as it is: the command line is right, what it names must be fixed."""


@dataclass(frozen=True)
class RunRequest:
    """What was asked for on the command line."""

    cohort: Path
    out: Path
    labels: tuple[str, ...] = ()
    n_cpus: int = 0
    work_dir: Path | None = None
    dask_address: str | None = None
    allow_insecure: bool = False
    tls: TlsFiles | None = None  # for dask_address
    profile: SlurmProfile | None = None  # workers are jobs of SLURM
    gpu: GpuChoice = "try"
    allow_commands: bool = False
    is_scheduled: bool = False  # a flow run of serve's own Prefect server is at work here
    command: str = ""

    @property
    def workers(self) -> int:
        """Local workers: as asked, or one per core where memory feeds so many."""
        return self.workers_for(None)

    def workers_for(self, n_cases: int | None) -> int:
        """Local workers for so many cases: as asked, or no more than these are worth; None: however many there are."""
        return self.n_cpus or default_workers(available_cpus(), memory_bytes(), n_cases)

    @property
    def workers_text(self) -> str:
        """Where steps are computed, in words."""
        if self.profile is not None:
            return f"at most {self.profile.jobs} jobs of SLURM with {self.profile.workers} each"
        return self.dask_address or f"{self.workers} on this machine"

    @property
    def commands(self) -> Commands:
        """Whether programs that the study declares are run."""
        return "run" if self.allow_commands else "refuse"

    @property
    def work(self) -> Path:
        """Folder for what may be deleted between runs."""
        folder = self.work_dir or self.out / WORK
        try:
            return folder.resolve()
        except RuntimeError:  # links in a circle: making the folder names them
            return folder.absolute()
