"""What travels to a worker and back, and what a worker has of a case: files, settings, outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar, cast

from cohorts.images.grid import FormRule
from cohorts.images.scan import ScanImage, read_scan
from cohorts.store.findings import Findings
from cohorts.store.records import StepKey, digest_of

#: What a scan's sidecar is called among a case's files.
SIDECAR_OF = "{}.json"

T = TypeVar("T")


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
    kind : kind of its sources, a key of ``flows.sources.registry.METHODS``
    maps : label maps to measure with
    parameters : what its sources declare besides, JSON-able
    code : digest of the code that measures (``flows.sources.code``)
    weights_sha256 : digest of the trained weights; None without any
    limits : what a case may take; no part of the address of its result
    """

    kind: str
    maps: tuple[MapReference, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    weights_sha256: str | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Digest of what was declared; a map's location does not matter, its content does."""
        maps = sorted(reference.sha256 for reference in self.maps)
        return digest_of({"kind": self.kind, "maps": maps, "parameters": dict(self.parameters)})

    def to_json(self) -> dict[str, Any]:
        """As it travels."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> StepSettings:
        """As it arrives."""
        return cls(**{**body, "maps": tuple(MapReference(**item) for item in body["maps"])})


@dataclass(frozen=True)
class CaseFile:
    """One file of a case; ``path`` is absolute on the worker's file system."""

    modality: str
    path: str
    sha256: str

    @property
    def name(self) -> str:
        """For messages."""
        return Path(self.path).name


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
    findings : what was measured; of a refused case, until the refusal
    files : name -> content of what the step writes
    """

    status: str
    reason: str | None = None
    detail: str | None = None
    findings: Findings = field(default_factory=Findings)
    files: Mapping[str, bytes] = field(default_factory=dict)


def excluded(case: Case, reason: str, detail: str, findings: Findings, files: Mapping[str, bytes]) -> Outcome:
    """A scan that cannot be used; the detail names its file."""
    return Outcome("excluded", reason, f"{case.files[0].name}: {detail}", findings, files)


class SharedWork:
    """What the measurements of one participant have in common, made once: images, brains, registrations, series.

    One object serves the cases of one participant and goes with them, so memory is bounded by one participant.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[Any, ...], Any] = {}

    def once(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """What ``make`` gives, made at the first call with this key; a failure is not kept."""
        if key not in self._made:
            self._made[key] = make()
        return cast(T, self._made[key])


def shared_by_participant(cases: Iterable[Case]) -> Iterator[SharedWork]:
    """What each case shares with those beside it: one object for the cases of a participant, who stand together."""
    for _, own in groupby(cases, key=lambda case: case.participant_id):
        shared = SharedWork()
        for _ in own:
            yield shared


@dataclass(frozen=True, eq=False)
class OpenCase:
    """A case on its worker: the contents of its files, the label maps, and what is shared with other measurements.

    Attributes
    ----------
    case : names the files
    contents : modality -> bytes of its file
    maps : label maps to measure with, that of the first source in front
    shared : of this participant
    """

    case: Case
    contents: Mapping[str, bytes]
    maps: tuple[MapReference, ...]
    shared: SharedWork = field(default_factory=SharedWork)

    @property
    def first(self) -> CaseFile:
        """The file that must be there."""
        return self.case.files[0]

    def file(self, modality: str) -> CaseFile | None:
        """The file of a modality, where there is one."""
        return next((file for file in self.case.files if file.modality == modality), None)

    def content(self, modality: str) -> bytes | None:
        """Bytes of the file of a modality, where there is one."""
        return self.contents.get(modality)

    def image(self, file: CaseFile, kind: str, forms: FormRule) -> ScanImage:
        """Read one file as what it is declared to be: ``ncct``, ``cta``, ``ctp``, ``dwi``, ``adc``, ``dwi-b0``, ..."""
        key = ("image", file.sha256, kind, forms)
        return self.shared.once(key, lambda: read_scan(self.contents[file.modality], file.name, kind, forms=forms))


def step_key(case: Case, settings: StepSettings) -> StepKey:
    """What the result of ``case`` depends on."""
    return StepKey(case.step, settings.code, case.input_sha256, settings.sha256, settings.weights_sha256)
