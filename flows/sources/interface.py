"""What a kind of source says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from cohorts.folder.source import Source
from flows.cases.case import OpenCase, Outcome

#: What a case takes at least whose regions a network draws, PyTorch among it: a CT of 512 x 512 x 33 voxels took
#: 1,246 MiB and 12 CPU s.
REGION_NETWORK_MIB, REGION_NETWORK_CPU_S = 1500, 600.0


class Measured(Protocol):
    """A source that can be measured; every computed kind is one."""

    def measure(self, case: OpenCase) -> Outcome:
        """Read and measure one case on a worker; arrays stay there.

        Raises
        ------
        ImageProblemError
            The image cannot be used; the case ends with this reason.
        """


@dataclass(frozen=True)
class Method:
    """One kind of source, and what running it takes.

    Attributes
    ----------
    source : the kind: declaration, measuring, evidence for the tables, words
    also_code : project modules that decide its numbers, besides the one of ``source`` and what that imports
    also_files : files of the project that it reads unasked, by their path
    cpu_limit_s : CPU seconds after which a case is ended; many times what the slowest case takes; ``cpu_limit_of`` with
        regions drawn by a network
    memory_mib : peak of a worker that measures an ordinary case; likewise ``memory_of``
    wants_gpu : goes to a worker with a GPU where there is one
    """

    source: type[Source]
    also_code: tuple[str, ...] = ()
    also_files: tuple[str, ...] = ()
    cpu_limit_s: float = 120.0
    memory_mib: int = 700
    wants_gpu: bool = False

    @property
    def kind(self) -> str:
        """As ``cohort.toml`` names it."""
        return self.source.kind_name()

    def cpu_limit_of(self, parameters: Mapping[str, Any]) -> float:
        """CPU seconds after which a case with these settings is ended."""
        return max(self.cpu_limit_s, REGION_NETWORK_CPU_S) if _asks_region_network(parameters) else self.cpu_limit_s

    def memory_of(self, parameters: Mapping[str, Any]) -> int:
        """Peak of a worker that measures an ordinary case with these settings, MiB."""
        return max(self.memory_mib, REGION_NETWORK_MIB) if _asks_region_network(parameters) else self.memory_mib

    def declared(self, parameters: Mapping[str, Any]) -> Measured:
        """A source with the settings of a measurement, on the worker."""
        known = {name: value for name, value in parameters.items() if name in self.source.model_fields}
        return cast(Measured, self.source.model_validate({"name": "measured", **known, "kind": self.kind}))


def _asks_region_network(parameters: Mapping[str, Any]) -> bool:
    """Whether regions are drawn by the network, with PyTorch."""
    return parameters.get("registration") == "network"
