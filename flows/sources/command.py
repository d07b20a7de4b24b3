"""``command``: a program or container of others, run once per patient, as one would run DeepISLES or TotalSegmentator.

It reads copies of the patient's scans and writes a lesion mask, or a table of results, into a folder of its own. A
study file would thereby run code, so that it runs only where ``--allow-commands`` says so. No shell is involved: an
argument stays one argument, whatever it holds. What the program answers to ``version`` is part of the address of its
results.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import Field, StringConstraints, model_validator

from cohorts.folder.problems import printable
from cohorts.folder.source import CONTRASTS, Gives, ImageName, LesionSource, MapUse, OnScanSource
from cohorts.folder.stated_rows import read_stated_of
from cohorts.folder.stated_source import StatedSource
from cohorts.folder.true_dates import days_between, without_dates
from cohorts.images.mask import read_mask
from cohorts.store.findings import Findings, ScanFacts
from cohorts.store.stated_findings import StatedFindings, StatedResult
from flows.cases.case import OpenCase, Outcome, excluded
from flows.cases.command import (
    PLACEHOLDER,
    CommandFailedError,
    Scratch,
    filled,
    one_file,
    run_command,
    scratch_folder,
    version_of_command,
)
from flows.cases.drawn_on_scan import BRAIN_MARGIN_MM, LEAST_SHARE_IN_BRAIN
from flows.cases.given_mask import measured_mask
from flows.sources.interface import Method
from tasks.lesion import LesionMeasures
from tasks.scoring import RegionEvidence, Score
from tasks.scoring import Rule as RegionJudge
from tasks.space.axis_order import SAME_VOXEL

#: Kept as it is written, blanks included.
Argument = Annotated[str, StringConstraints(strip_whitespace=False)]
OUT = "out"
#: What a case keeps of itself and what a command may be told, besides its inputs.
TOLD = (OUT, "participant", "cpus")
#: Largest file that is read back, bytes.
LARGEST_OUTPUT = 2**30


class CommandSource(OnScanSource, LesionSource, StatedSource):
    """A program run on the scans of every patient; its mask, or its table, is the result."""

    about: ClassVar[str] = "a program or container of others, run on every patient's scans (--allow-commands)"
    findings: ClassVar[type[Findings]] = StatedFindings
    is_foreign: ClassVar[bool] = True
    needed: ClassVar[Mapping[str, Any]] = {
        "command": ["apptainer", "run", "/opt/deepisles.sif", "--dwi", "{dwi}", "--adc", "{adc}", "--out", "{out}"],
        "inputs": ["dwi", "adc"],
        "version": ["apptainer", "run", "/opt/deepisles.sif", "--version"],
        "mask": "lesion_msk.nii.gz",
    }

    kind: Literal["command"]
    command: tuple[Argument, ...] = Field(
        min_length=1,
        description="Program and arguments; {dwi} is the scan of modality dwi, {out} the folder to write to",
    )
    version: tuple[Argument, ...] = Field(min_length=1, description="Program and arguments that print the version")
    inputs: tuple[str, ...] = Field(("dwi",), min_length=1, description="Modalities that it reads, all of them needed")
    mask: str | None = Field(
        None, description="Lesion mask that it writes into {out}: a name, or a pattern such as *.nii.gz"
    )
    table: str | None = Field(None, description="Table of results that it writes into {out}, in place of a mask")
    image: ImageName | None = Field(None, description="What the first input is; by default what its rows are called")
    version_text: str = Field("", description="What version must print; default: whatever it prints")
    wall_limit_s: float = Field(1800, gt=0, le=86400, description="Seconds after which it is ended")
    cpus: int = Field(1, ge=1, le=256, description="Cores that it may use; fewer others run beside it")
    memory_mib: int = Field(2000, ge=1, description="Memory that it takes; fewer others run beside it")
    gpu: bool = Field(False, description="It goes to a worker with a GPU, where there is one")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        problems = []
        if (self.mask is None) == (self.table is None):
            problems.append("either mask or table must be given: name the one file that counts")
        if self.table is not None and not self.gives:
            problems.append("columns must lead to a score, regions, a probability or a volume")
        for name, part in (("mask", self.mask), ("table", self.table)):
            parts = PurePosixPath("x" if part is None else part).parts
            if part is not None and (not parts or parts[0] == "/" or ".." in parts):
                problems.append(f"{name} must lie in the folder {{out}}, got {part!r}")
            elif any("**" in one and one != "**" for one in parts):
                problems.append(f"{name} must have ** alone between /, got {part}")
        known = (*self.inputs, *TOLD)
        for place in [found for part in self.command for found in PLACEHOLDER.findall(part) if found not in known]:
            problems.append(f"command must name inputs ({', '.join(known)}) in braces, got {{{place}}}")
        for name, program in (("command", self.command[0]), ("version", self.version[0])):
            if "/" in program and not program.startswith("/"):
                problems.append(f"{name} must begin with a program of the path or an absolute path, got {program}")
        if len(set(self.inputs)) < len(self.inputs):
            problems.append("inputs must name each modality once")
        if self.image is None and self.mask is not None and self.inputs[0] not in CONTRASTS:
            problems.append(f"image must be given where the first input is not {', '.join(CONTRASTS)}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def scans(self) -> tuple[str, ...]:
        """Its inputs."""
        return self.inputs

    @property
    def stem(self) -> str:
        """What it finds is called after the source: two programs may read the same scans."""
        return self.name

    @property
    def step(self) -> str:
        """As records name it."""
        return f"command-{re.sub(r'[^a-z0-9-]', '-', self.name)}"

    @property
    def settings(self) -> dict[str, Any]:
        """What is run and read, and the limits of what is no mask of the scan; not what it may take."""
        settings = {name: value for name, value in super().settings.items() if name not in self.limits}
        return settings | {
            "least_share_in_brain": LEAST_SHARE_IN_BRAIN,
            "brain_margin_mm": BRAIN_MARGIN_MM,
            "same_voxel": SAME_VOXEL,
        }

    @property
    def program(self) -> tuple[str, ...]:
        """As declared."""
        return self.command

    @property
    def asks(self) -> tuple[str, ...]:
        """As declared."""
        return self.version

    def answered(self, version: str) -> Self:
        """With the version that its program says, if the study wants no other."""
        if self.version_text not in ("", version):
            raise ValueError(
                f"version must print {printable(self.version_text)}, got {version}. Install that version, or correct "
                "version_text."
            )
        return self.model_copy(update={"version_text": version})

    @property
    def limits(self) -> dict[str, Any]:
        """What a case may take."""
        names = ("wall_limit_s", "cpus", "memory_mib", "gpu")
        return {name: getattr(self, name) for name in names}

    @property
    def weights(self) -> Mapping[str, str]:
        """Of the regions that come onto its scan, where it draws a lesion."""
        return super().weights if self.draws else {}

    @property
    def draws(self) -> bool:
        """Whether it writes a mask."""
        return self.mask is not None

    @property
    def brings_regions(self) -> bool:
        """A table alone brings none."""
        return self.draws

    @property
    def gives(self) -> frozenset[Gives]:  # type: ignore[override]  # by what is declared, not by kind
        """A lesion; or what the columns of its table hold."""
        return LesionSource.gives if self.draws else StatedSource.gives.fget(self)  # type: ignore[attr-defined]

    @property
    def image_kind(self) -> ImageName:
        """What its first input is."""
        return self.image or cast(ImageName, self.inputs[0])

    @property
    def gated_as(self) -> Any:
        """As the scan; of a table no scan is read here."""
        return super().gated_as if self.draws else None

    @property
    def rule_name(self) -> str:
        """Of shares of a lesion, or of what the table states."""
        return self.rule if self.draws else StatedSource.rule_name.fget(self)  # type: ignore[attr-defined]

    def rule_choices(self, declared: Mapping[str, RegionJudge]) -> Mapping[str, RegionJudge]:
        """Of a lesion, any; of a table its own."""
        return {**self.rules, **declared} if self.draws else StatedSource.rule_choices(self, declared)

    def evidence(self, found: StatedFindings, use: MapUse) -> Iterator[RegionEvidence]:  # type: ignore[override]
        """Shares of the lesion, or what the table states."""
        yield from (LesionSource if self.draws else StatedSource).evidence(self, found, use)

    def lesion(self, found: Findings) -> LesionMeasures | None:
        """As measured; a table draws none."""
        return found.lesion if self.draws else None

    def lesion_columns(self, found: StatedFindings) -> Mapping[str, Any]:
        """The volumes that a table states."""
        return {} if self.draws else StatedSource.lesion_columns(self, found)

    def score(self, found: StatedFindings) -> Score | None:
        """What a table states."""
        return None if self.draws else StatedSource.score(self, found)

    def low_score_probability(self, found: StatedFindings) -> float | None:
        """What a table states."""
        return None if self.draws else StatedSource.low_score_probability(self, found)

    @property
    def phrase(self) -> str:
        """What was run on what."""
        program = PurePosixPath(self.command[0]).name
        version = f" ({self.version_text})" if self.version_text else ""
        return f"the program {printable(program)}{version} on {' and '.join(self.inputs)}"

    def measure(self, case: OpenCase) -> Outcome:
        """Run the command on one patient's scans, and read what it wrote.

        Raises
        ------
        ImageProblemError
            Its mask or the scan cannot be used.
        """
        if missing := [modality for modality in self.inputs if case.file(modality) is None]:
            detail = (
                f"{self.name} must have all of its inputs, got no {' and no '.join(missing)}. List them in scans.tsv."
            )
            return excluded(case.case, "scan_of_command_missing", detail, StatedFindings(), {})
        if self.draws:
            case.image(case.first, self.image_kind, self.forms)  # a scan that cannot be read is no fault of the program
        try:
            with scratch_folder() as scratch:
                answered = version_of_command(self.version)
                if answered != self.version_text:
                    detail = f"version must be that of the run ({self.version_text}), got {answered}. Run again."
                    raise CommandFailedError("command_version_differs", detail)
                run_command(self._arguments(case, scratch), scratch, self.wall_limit_s, self.cpus)
                path = one_file(scratch, cast(str, self.mask or self.table))
                if path.stat().st_size > LARGEST_OUTPUT:
                    detail = f"{path.name} must have at most {LARGEST_OUTPUT // 2**20} MiB. Look at what is written."
                    raise CommandFailedError("command_output_missing", detail)
                return self._drawn(case, path.read_bytes(), path.name) if self.draws else self._stated(case, path)
        except CommandFailedError as error:
            known = StatedFindings(stated=StatedResult(version=self.version_text))
            status = "excluded" if error.reason == "command_output_missing" else "failed"
            return Outcome(status, error.reason, without_dates(str(error)), known)

    def _arguments(self, case: OpenCase, scratch: Scratch) -> list[str]:
        """The command with the places of copies of the scans, whose names are ours."""
        places = {OUT: str(scratch.out), "participant": case.case.participant_id, "cpus": str(self.cpus)}
        for modality in self.inputs:
            suffix = ".nii.gz" if case.contents[modality][:2] == b"\x1f\x8b" else ".nii"
            path = scratch.inputs / f"{case.case.participant_id}_{re.sub(r'[^A-Za-z0-9-]', '-', modality)}{suffix}"
            path.write_bytes(case.contents[modality])
            places[modality] = str(path)
        return filled(self.command, places)

    def _drawn(self, case: OpenCase, content: bytes, name: str) -> Outcome:
        """The outcome of a mask."""
        mask = read_mask(content, name, forms=self.forms, may_be_empty=True)
        stated = StatedResult(version=self.version_text)
        scans = {"mask": ScanFacts.of(mask)}
        known = StatedFindings(stated=stated, scans=scans)
        return measured_mask(case, mask, name, case.first, self, known)

    def _stated(self, case: OpenCase, path: Any) -> Outcome:
        """The outcome of a table."""
        row = read_stated_of(path, self, case.case.participant_id)
        said = row.result
        is_of_today = said.run_on is not None and abs(days_between(said.run_on[:10], date.today().isoformat())) <= 1
        stated = said.model_copy(
            update={"version": said.version or self.version_text, "run_on": said.run_on if is_of_today else None}
        )  # another day is not that of this run, and may be the patient's
        return Outcome(
            "ok" if row.reason is None else "excluded", row.reason, row.detail, StatedFindings(stated=stated)
        )


METHOD = Method(CommandSource, memory_mib=700)
