"""What travels to a worker and back: cases, settings and outcomes of steps, small and JSON-able."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cohorts.store.records import StepKey, digest_of

#: What a scan's sidecar is called among a case's files.
SIDECAR_OF = "{}.json"
#: Version of each kind of step; raise it when the step's numbers can change.
STEP_CODES: Mapping[str, str] = {
    "mask": "measure/2",
    "density_ratio": "ratio/2",
    "dwi_threshold": "threshold/2",
    "ctp_core": "perfusion/1",
    "cbf_map": "cbf-map/1",
}


@dataclass(frozen=True)
class MapReference:
    """A label map as settings name it: where to load it and the digest it must have."""

    location: str
    sha256: str


@dataclass(frozen=True)
class StepSettings:
    """Settings of one measurement.

    Attributes
    ----------
    kind : kind of its sources, a key of ``STEP_CODES``
    maps : label maps to measure with
    parameters : what its sources declare besides, JSON-able
    """

    kind: str
    maps: tuple[MapReference, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Digest; a map's location does not matter, its content does."""
        maps = sorted(reference.sha256 for reference in self.maps)
        return digest_of({"kind": self.kind, "maps": maps, "parameters": dict(self.parameters)})

    def to_json(self) -> dict[str, Any]:
        """As it travels."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> StepSettings:
        """As it arrives."""
        return cls(body["kind"], tuple(MapReference(**item) for item in body["maps"]), body["parameters"])


@dataclass(frozen=True)
class CaseFile:
    """One file of a case; ``path`` is absolute on the worker's file system."""

    modality: str
    path: str
    sha256: str


@dataclass(frozen=True)
class Case:
    """What one step reads of one participant: the file that must be there first, then those that may be."""

    participant_id: str
    step: str
    files: tuple[CaseFile, ...]

    @property
    def prefix(self) -> str:
        """BIDS entities of the step's files."""
        return f"{self.participant_id}_{self.files[0].modality}"

    @property
    def input_sha256(self) -> str:
        """Digest of the one file, or of all by modality."""
        if len(self.files) == 1:
            return self.files[0].sha256
        return digest_of({file.modality: file.sha256 for file in self.files})

    def to_json(self) -> dict[str, Any]:
        """As it travels."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Case:
        """As it arrives."""
        return cls(body["participant_id"], body["step"], tuple(CaseFile(**item) for item in body["files"]))


@dataclass(frozen=True)
class Outcome:
    """How the examination of a case ended.

    Attributes
    ----------
    status : ok, excluded or failed
    reason, detail : None where the case is fine
    payload : JSON-able numbers; of a refused case what was measured before the refusal
    files : name -> content of what the step writes
    """

    status: str
    reason: str | None = None
    detail: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


def excluded(case: Case, reason: str, detail: str, payload: Mapping[str, Any], files: Mapping[str, bytes]) -> Outcome:
    """A scan that cannot be used; the detail names its file."""
    return Outcome("excluded", reason, f"{Path(case.files[0].path).name}: {detail}", payload, files)


def step_key(case: Case, settings: StepSettings) -> StepKey:
    """What the result of ``case`` depends on."""
    return StepKey(case.step, STEP_CODES[settings.kind], case.input_sha256, settings.sha256)
