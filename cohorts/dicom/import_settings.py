"""``import.toml`` of the cohort folder: what a site's series are, where their attributes do not say it or say it wrong.

``[[choose]]`` says what series of some description, kernel or thickness are, the first rule that fits deciding;
``[[declare]]`` says what was taken out of their headers. Patterns are compared with the whole text, capitals or not;
``*`` stands for any letters and ``?`` for one.
"""

from __future__ import annotations

import fnmatch
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from cohorts.dicom.attributes import text_of
from cohorts.dicom.headers import Frame, Header
from cohorts.dicom.recognise import Recognition
from cohorts.folder.problems import did_you_mean
from cohorts.folder.source import Part

FILE = "import.toml"
NEVER = "never"
#: Kinds that a rule may give to a CT volume; of the others it chooses among those recognised as such.
_GIVEN = ("ncct", "cta")
Chosen = Literal["ncct", "cta", "ctp", "dwi", "dwi-b0", "adc", "never"]


class ImportSettingsError(ValueError):
    """An ``import.toml`` that cannot be used; the message names every problem."""


class _Pattern(Part):
    """Which series a rule is about."""

    description: str | None = Field(None, min_length=1, description="Series Description, such as *H31s*")
    kernel: str | None = Field(None, min_length=1, description="Convolution Kernel, such as H3?s")

    def _fits_texts(self, header: Header) -> bool:
        """Whether description and kernel are of this form."""
        pairs = ((self.description, "SeriesDescription"), (self.kernel, "ConvolutionKernel"))
        return all(
            pattern is None
            or fnmatch.fnmatchcase(text_of(header.dataset, keyword).strip().casefold(), pattern.casefold())
            for pattern, keyword in pairs
        )


class ChooseRule(_Pattern):
    """What series of a form are; earlier rules are preferred to later ones."""

    modality: Chosen = Field(description="ncct, cta, ctp, dwi, dwi-b0 or adc; never: it is not listed")
    thickness_mm: tuple[float, float] | None = Field(None, description="Slice thickness from, to, mm")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.description is None and self.kernel is None and self.thickness_mm is None:
            raise ValueError("must have description, kernel or thickness_mm. Add what the series have in common.")
        if self.thickness_mm is not None and not 0 <= self.thickness_mm[0] <= self.thickness_mm[1]:
            raise ValueError(f"thickness_mm must be from, to in mm, got {list(self.thickness_mm)}. Correct it.")
        return self

    def fits(self, header: Header, frame: Frame) -> bool:
        """Whether a series is of this form."""
        if self.thickness_mm is not None and not self.thickness_mm[0] <= frame.thickness_mm <= self.thickness_mm[1]:
            return False
        return self._fits_texts(header)


class DeclareRule(_Pattern):
    """What is known of series whose headers do not say it any more."""

    b_values_s_per_mm2: tuple[float, ...] = Field(
        (), description="b-value of all volumes, or of each volume in the order of acquisition"
    )
    frame_interval_s: float | None = Field(None, gt=0, description="Time from frame to frame of a dynamic series")

    @model_validator(mode="after")
    def _declares_something(self) -> Self:
        if self.description is None and self.kernel is None:
            raise ValueError("must have description or kernel. Add what the series have in common.")
        if not self.b_values_s_per_mm2 and self.frame_interval_s is None:
            raise ValueError("must have b_values_s_per_mm2 or frame_interval_s. Add what is known.")
        if any(value < 0 for value in self.b_values_s_per_mm2):
            raise ValueError("b_values_s_per_mm2 must be >= 0 s/mm2. Correct them.")
        return self

    def fits(self, header: Header) -> bool:
        """Whether a series is of this form."""
        return self._fits_texts(header)


class ImportSettings(Part):
    """All of ``import.toml``; without the file nothing is declared."""

    #: Which examination is listed: the one with most kinds of scan, or the first.
    examination: Literal["fullest", "earliest"] = "fullest"
    choose: tuple[ChooseRule, ...] = ()
    declare: tuple[DeclareRule, ...] = ()

    def rule_of(self, header: Header, frame: Frame) -> int | None:
        """Place of the first rule that fits a series, from 0."""
        return next((place for place, rule in enumerate(self.choose) if rule.fits(header, frame)), None)

    def recognised(self, recognition: Recognition, rule: int | None) -> Recognition:
        """What a series is once a rule has spoken: free of doubt, or nothing that is ever listed."""
        if rule is None or recognition.refusal:
            return recognition
        wanted = self.choose[rule].modality
        if wanted == NEVER:
            return replace(recognition, unfit=(f"never_by_rule_{rule + 1}", *recognition.unfit))
        if wanted in _GIVEN and recognition.kind in ("ct", *_GIVEN):
            return Recognition(wanted, f"rule {rule + 1} of {FILE}")
        if wanted == recognition.kind:
            return replace(recognition, unfit=(), doubts=())
        return recognition


def read_import_settings(cohort: Path) -> ImportSettings:
    """Read ``import.toml`` of a cohort folder; the defaults where there is none.

    Raises
    ------
    ImportSettingsError
        It cannot be read, or a rule is broken; all of them are named.
    """
    path = cohort / FILE
    if not path.exists():
        return ImportSettings()
    try:
        return ImportSettings.model_validate(tomllib.loads(path.read_text("utf-8-sig")))
    except ValidationError as error:
        raise ImportSettingsError(f"{FILE} must hold rules that can be used. " + " ".join(_explained(error))) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        text = str(error).rstrip(".")
        raise ImportSettingsError(f"{FILE} must be TOML that can be read, got: {text}. Correct or delete it.") from None


def _explained(error: ValidationError) -> list[str]:
    """Every broken rule with its place, in words."""
    found = []
    keys = [*ImportSettings.model_fields, *ChooseRule.model_fields, *DeclareRule.model_fields]
    for details in error.errors(include_url=False):
        place = " ".join(str(step + 1) if isinstance(step, int) else str(step) for step in details["loc"])
        text = details["msg"].removeprefix("Value error, ").rstrip(".")
        if details["type"] == "extra_forbidden":
            text = f"must be a key that is known. {did_you_mean(str(details['loc'][-1]), keys)}".rstrip(". ")
        found.append(f"{place}: {text}.")
    return found
