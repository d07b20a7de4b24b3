"""Who a file says that it shows: the patient module as it was written, and what of it is evidence.

These are identities. They are held while an import runs, and never printed or written; see ``identity`` for what of
them is kept.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property

import pydicom

from cohorts.dicom.attributes import text_of

#: Words that anonymisers, consoles and people write in place of a name or a number.
PLACEHOLDERS = frozenset((
    "ANON", "ANONIMO", "ANONYM", "ANONYME", "ANONYMISED", "ANONYMISIERT", "ANONYMIZE", "ANONYMIZED", "ANONYMOUS",
    "ANONYMUS", "BLANK", "CASE", "DE", "DEFAULT", "DEID", "DEIDENTIFIED", "DELETED", "DESCONOCIDO", "DUMMY", "EMPTY",
    "HEAD", "HIDDEN", "ID", "IDENTIFIED", "INCONNU", "N", "NA", "NAME", "NN", "NO", "NOID", "NOMBRE", "NONAME",
    "NONE", "NOT", "NULL", "PACIENTE", "PAT", "PATIENT", "PATIENTID", "PATIENTNAME", "PHANTOM", "PRIVATE",
    "PSEUDONYM", "REDACTED", "REMOVED", "STROKE", "STUDY", "SUBJECT", "TEST", "UNBEKANNT", "UNK", "UNKNOWN",
    "VERBORGEN",
))  # fmt: skip
TITLES = frozenset((
    "DR", "PROF", "MR", "MRS", "MS", "MISS", "HERR", "FRAU", "SIR", "SR", "SRA", "JR", "MME",
))  # fmt: skip
EARLIEST_BIRTH = 1880
NO_BIRTH_DATES = ("19000101", "19010101", "99991231")
YEAR_DAYS = 365.25
#: An age of n years is written until the day before the next birthday.
_AGE_DAYS = {"D": 1.0, "W": 7.0, "M": 30.4375, "Y": YEAR_DAYS}
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_SEXES = {"M": "M", "F": "F", "W": "F"}
#: Letters without a decomposition, and those that stand for an umlaut.
_LETTERS = str.maketrans({"Ø": "O", "Æ": "A", "Œ": "O", "Ł": "L", "Đ": "D", "Þ": "TH", "ß": "SS"})
_UMLAUTS = re.compile(r"(?<=[AOU])E")


@dataclass(frozen=True)
class PatientHeader:
    """What one file says of its patient, as written; ``folder`` is the one directly inside the export."""

    patient_id: str = ""
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""
    age: str = ""
    study_date: str = ""
    study_uid: str = ""
    folder: str = ""

    @classmethod
    def of(cls, dataset: pydicom.Dataset, folder: str = "") -> PatientHeader:
        """Take it out of a data set."""
        return cls(
            **{name: text_of(dataset, keyword).strip() for name, keyword in PATIENT_KEYWORDS.items()}, folder=folder
        )

    @property
    def identity(self) -> str:
        """The text that stands for one patient: identifier and its issuer, else name and birth date, else the study.

        It is an identity: it goes into the keyed hash and nowhere else.
        """
        if self.patient_id:
            return f"id\0{self.issuer}\0{self.patient_id}"
        if not is_placeholder(self.name):
            return f"name\0{self.name.upper()}\0{self.birth_date}"
        return f"study\0{self.study_uid}"

    @cached_property
    def born(self) -> tuple[str, str]:
        """Birth date and year of birth, digits only; "" where not known, the date also where only its year may be."""
        return ("" if self.birth_digits.endswith("0101") else self.birth_digits), self.birth_digits[:4]

    @cached_property
    def birth_digits(self) -> str:
        """Birth date, digits only; "" where it is none that a patient can have."""
        digits = re.sub(r"\D", "", self.birth_date)
        try:
            moment = datetime.strptime(digits, "%Y%m%d")
        except ValueError:
            return ""
        return "" if moment.year < EARLIEST_BIRTH or digits in NO_BIRTH_DATES else digits

    @property
    def sex_code(self) -> str:
        """M or F; "" where it says another or none."""
        return _SEXES.get(self.sex[:1].upper(), "")

    @cached_property
    def name_words(self) -> tuple[str, ...]:
        """The words of a name, sorted, without accents, titles and initials; none where no person is named."""
        if is_placeholder(self.name):
            return ()
        found = {word for word in words_of(self.name) if len(word) > 1 and word not in TITLES}
        return () if found <= {*words_of(self.patient_id), *PLACEHOLDERS} else tuple(sorted(found))

    @property
    def bare_id(self) -> str:
        """The identifier without issuer, case, punctuation and leading zeros."""
        return "".join(words_of(self.patient_id)).lstrip("0")

    @property
    def birth_range(self) -> tuple[float, float] | None:
        """The days between which a patient of this age was born; None where the age is not known."""
        age = _AGE.fullmatch(self.age.upper())
        try:
            day = datetime.strptime(self.study_date, "%Y%m%d").date()
        except ValueError:
            return None
        if age is None:
            return None
        count, unit_days = int(age.group(1)), _AGE_DAYS[age.group(2)]
        return _day(day, (count + 1) * unit_days), _day(day, count * unit_days)


#: Field of ``PatientHeader`` -> attribute.
PATIENT_KEYWORDS = {
    "patient_id": "PatientID",
    "issuer": "IssuerOfPatientID",
    "name": "PatientName",
    "birth_date": "PatientBirthDate",
    "sex": "PatientSex",
    "age": "PatientAge",
    "study_date": "StudyDate",
    "study_uid": "StudyInstanceUID",
}


def words_of(text: str) -> list[str]:
    """Upper-case words of letters and digits, accents and umlauts taken away.

    >>> words_of("Müller^Ana-Zoë") == words_of("MUELLER^ANA ZOE")
    True
    """
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss").upper().translate(_LETTERS))
    bare = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return [_UMLAUTS.sub("", word) for word in re.split(r"[\W_]+", bare) if word]


def is_placeholder(text: str) -> bool:
    """Whether a name or identifier names nobody.

    >>> [is_placeholder(text) for text in ("", "Anonymous", "XXXX", "000", "NAME^P1", "A001", "999")]
    [True, True, True, True, False, False, False]
    """
    return all(word in _PLAIN_PLACEHOLDERS or not word.strip("0X") for word in words_of(text))


def _day(day: date, days_before: float) -> float:
    """A day so many days before, as a count of days."""
    return (day - timedelta(days=days_before)).toordinal()


_PLAIN_PLACEHOLDERS = frozenset(word for placeholder in PLACEHOLDERS for word in words_of(placeholder))
