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
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

import pydicom

from cohorts.dicom.attributes import number_of, text_of
from cohorts.dicom.patient_header import PatientHeader
from cohorts.dicom.terms import kernel_of, modality_of, model_of, position_of
from cohorts.folder.tsv import PREFIX

#: Sixty bits: two of a million patients share a pseudonym with a probability below 10^-6.
PSEUDONYM_LETTERS = 12
SERIES_LETTERS = 8
TOKEN_LETTERS = 16
#: Dates move back by one day to ten years, chosen here; back, so that no date lies in the future.
LONGEST_SHIFT_DAYS = 3652
#: Parts of a name shorter than this are too common in other words to be searched for.
SHORTEST_TOKEN = 3

#: Attributes that may be written: DICOM keyword -> BIDS name, factor to the BIDS unit, and the largest value that a
#: scanner writes: a larger one may be a patient's number. All else stays behind.
ALLOWED_NUMBERS = {
    "KVP": ("KVP", 1.0, 200.0),
    "MagneticFieldStrength": ("MagneticFieldStrength", 1.0, 15.0),
    "EchoTime": ("EchoTime", 1e-3, 1000.0),  # ms in DICOM, s in BIDS
    "SliceThickness": ("SliceThickness", 1.0, 100.0),
}
#: Terms and names of machines: DICOM keyword -> BIDS name, and what of it is known.
ALLOWED_TEXTS = {
    "Modality": ("Modality", modality_of),
    "ManufacturerModelName": ("ManufacturersModelName", model_of),
    "ConvolutionKernel": ("ConvolutionKernel", kernel_of),
    "PatientPosition": ("PatientPosition", position_of),
}
#: Manufacturers by the first word that they write, so that no free text is copied.
MANUFACTURERS = ("CANON", "FUJIFILM", "GE", "HITACHI", "NEUSOFT", "PHILIPS", "SAMSUNG", "SIEMENS", "TOSHIBA", "UIH")
IDENTITY_KEYWORDS = ("PatientName", "PatientID", "AccessionNumber", "PatientBirthDate")


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

    @property
    def fingerprint(self) -> str:
        """Tells keys apart, and says nothing else of them."""
        return self.token("fingerprint", "")

    def token(self, purpose: str, text: str) -> str:
        """Sixteen letters that stand for a text: the same for the same text, and nothing without the key."""
        return self._letters(purpose, text, TOKEN_LETTERS)

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


def identity_of(dataset: pydicom.Dataset) -> str:
    """The text that stands for the patient of a data set, see ``PatientHeader.identity``."""
    return PatientHeader.of(dataset).identity


def allowed_attributes(dataset: pydicom.Dataset) -> dict[str, object]:
    """The attributes of a series that may be written, under their BIDS names and units.

    A text in which a part of the patient's identity occurs is left out, whatever attribute it stands in.
    """
    found: dict[str, object] = {}
    for keyword, (name, factor, largest) in ALLOWED_NUMBERS.items():
        number = number_of(dataset, keyword)
        if 0 <= number <= largest:
            found[name] = number * factor
    for keyword, (name, known_of) in ALLOWED_TEXTS.items():
        text = known_of(text_of(dataset, keyword))
        if text:
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


def _occurs(tokens: frozenset[str], value: object) -> bool:
    """Whether a text holds one of the tokens."""
    return isinstance(value, str) and any(token in value.upper() for token in tokens)
