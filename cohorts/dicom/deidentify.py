"""No identity on the way out: pseudonyms from a keyed hash, shifted dates, and an allow-list of attributes.

The key is a file of random bytes that lives outside the cohort. With it the same patient gets the same pseudonym and
the same shift of dates in every import, so intervals survive; without it neither can be computed backwards or forwards.
What is not on the allow-list is never written. (PS3.15 E.2, Retain Longitudinal Temporal Information With Modified
Dates.)
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pydicom

from cohorts.dicom.attributes import number_of, text_of
from cohorts.folder.tsv import PREFIX

KEY_BYTES = 32
#: Sixty bits: two of a million patients share a pseudonym with a probability below 10^-6.
PSEUDONYM_LETTERS = 12
SERIES_LETTERS = 8
#: Dates move back by one day to ten years, chosen here; back, so that no date lies in the future.
LONGEST_SHIFT_DAYS = 3652
#: Parts of a name shorter than this are too common in other words to be searched for.
SHORTEST_TOKEN = 3

#: Attributes that may be written: DICOM keyword -> (BIDS name, factor to the BIDS unit). All else stays behind.
ALLOWED_NUMBERS = {
    "KVP": ("KVP", 1.0),
    "MagneticFieldStrength": ("MagneticFieldStrength", 1.0),
    "EchoTime": ("EchoTime", 1e-3),  # ms in DICOM, s in BIDS
    "SliceThickness": ("SliceThickness", 1.0),
}
#: Codes and names of machines; letters, digits and a few signs only, as a defined term has them.
ALLOWED_TEXTS = {
    "Modality": "Modality",
    "ManufacturerModelName": "ManufacturersModelName",
    "ConvolutionKernel": "ConvolutionKernel",
    "PatientPosition": "PatientPosition",
}
#: Manufacturers by the first word that they write, so that no free text is copied.
MANUFACTURERS = ("CANON", "FUJIFILM", "GE", "HITACHI", "NEUSOFT", "PHILIPS", "SAMSUNG", "SIEMENS", "TOSHIBA", "UIH")
IDENTITY_KEYWORDS = ("PatientName", "PatientID", "AccessionNumber", "PatientBirthDate")

_DEFINED_TERM = re.compile(r"[A-Za-z0-9 .+/_-]{1,32}")


class KeyFileError(ValueError):
    """A key file that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Pseudonymiser:
    """Everything that depends on the key."""

    key: bytes

    def __repr__(self) -> str:
        return "Pseudonymiser(key=...)"

    def participant_id(self, identity: str) -> str:
        """The patient's pseudonym, ``sub-`` and twelve letters or digits."""
        return PREFIX + self._letters("participant", identity, PSEUDONYM_LETTERS)

    def series_id(self, series: str) -> str:
        """Eight letters or digits that name a series in file names and reports."""
        return self._letters("series", series, SERIES_LETTERS)

    def shift(self, identity: str) -> timedelta:
        """How far the dates of a patient are moved; the same for all of them."""
        number = int.from_bytes(self._digest("dates", identity)[:8], "big")
        return -timedelta(days=1 + number % LONGEST_SHIFT_DAYS)

    def shifted(self, moment: datetime | None, identity: str) -> str | None:
        """A moment moved by the patient's shift, as ISO 8601 to the second; None stays None."""
        if moment is None:
            return None
        try:
            return (moment + self.shift(identity)).isoformat(timespec="seconds")
        except OverflowError:
            return None

    def _digest(self, purpose: str, text: str) -> bytes:
        return hmac.new(self.key, f"{purpose}\0{text}".encode(), hashlib.sha256).digest()

    def _letters(self, purpose: str, text: str, count: int) -> str:
        return base64.b32encode(self._digest(purpose, text)).decode().lower()[:count]


def read_key(path: Path, cohort: Path) -> Pseudonymiser:
    """Read the key file; make it where there is none.

    Parameters
    ----------
    path : the key file, outside the cohort folder
    cohort : the cohort folder

    Raises
    ------
    KeyFileError
        The file lies inside the cohort folder, cannot be read or made, or holds less than 32 bytes in hexadecimal.
    """
    if path.resolve().is_relative_to(cohort.resolve()):
        raise KeyFileError("key file must lie outside the cohort folder, got a path inside it. Choose another folder.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    except OSError as error:
        raise KeyFileError(
            f"key file must be writable the first time: {error.strerror}. Choose another folder."
        ) from None
    else:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except (OSError, ValueError):
        raise KeyFileError(
            "key file must be readable hexadecimal text. Restore it: a new key gives new pseudonyms."
        ) from None
    if len(key) < KEY_BYTES:
        raise KeyFileError(f"key file must hold at least {KEY_BYTES} bytes, got {len(key)}. Restore it.")
    return Pseudonymiser(key)


def identity_of(dataset: pydicom.Dataset) -> str:
    """The text that stands for one patient: identifier and its issuer, else name and birth date, else the study.

    It is an identity: it goes into the keyed hash and nowhere else.
    """
    patient = text_of(dataset, "PatientID").strip()
    if patient:
        return f"id\0{text_of(dataset, 'IssuerOfPatientID').strip()}\0{patient}"
    name = text_of(dataset, "PatientName").strip().upper()
    if name:
        return f"name\0{name}\0{text_of(dataset, 'PatientBirthDate').strip()}"
    return f"study\0{text_of(dataset, 'StudyInstanceUID').strip()}"


def allowed_attributes(dataset: pydicom.Dataset) -> dict[str, object]:
    """The attributes of a series that may be written, under their BIDS names and units.

    A text in which a part of the patient's identity occurs is left out, whatever attribute it stands in.
    """
    found: dict[str, object] = {}
    for keyword, (name, factor) in ALLOWED_NUMBERS.items():
        number = number_of(dataset, keyword)
        if number == number:  # not NaN
            found[name] = number * factor
    for keyword, name in ALLOWED_TEXTS.items():
        text = text_of(dataset, keyword).strip()
        if _DEFINED_TERM.fullmatch(text):
            found[name] = text
    made_by = text_of(dataset, "Manufacturer").upper()
    found["Manufacturer"] = next((name for name in MANUFACTURERS if made_by.startswith(name)), "other")
    tokens = identity_tokens(dataset)
    return {name: value for name, value in found.items() if not _occurs(tokens, value)}


def identity_tokens(dataset: pydicom.Dataset) -> frozenset[str]:
    """Upper-case parts of the patient's identity that must not occur in anything written."""
    texts = [text_of(dataset, keyword).upper() for keyword in IDENTITY_KEYWORDS]
    parts = [part for text in texts for part in (text, *re.split(r"[\s^=,]+", text))]
    return frozenset(part for part in parts if len(part) >= SHORTEST_TOKEN)


def holds_identity(record: Mapping[str, object], tokens: frozenset[str]) -> bool:
    """Whether a part of an identity occurs among the texts of a record."""
    return any(_occurs(tokens, value) for value in record.values())


def _occurs(tokens: frozenset[str], value: object) -> bool:
    """Whether a text holds one of the tokens."""
    return isinstance(value, str) and any(token in value.upper() for token in tokens)
