"""Whether one identifier stands for one person: evidence from all of a patient's files, contradictions, likely twins.

An identifier alone is no identity: anonymisers write one for everybody, numbers are given twice, and one person has
several spellings. So what else the files say of their patient is compared. Everything compared and kept is a keyed
hash; only kinds of evidence and how many values there are come out of here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations

from cohorts.dicom.deidentify import Pseudonymiser
from cohorts.dicom.patient_header import PatientHeader, is_placeholder

#: Ages and dates are rounded, and dates may have been moved with the patient's own shift only.
SAME_BIRTH_DAYS = 366.0
#: What two participants may share if they are one person, and where evidence has it.
_SHARED = {
    "the same name and birth date": "people",
    "identifiers that differ in zeros, punctuation or issuer alone": "bare_ids",
    "one study": "studies",
}
#: What more participants than this share was written for everybody, and tells nothing of anybody.
MOST_SHARING = 50
_Token = Callable[[str, str], str]


@dataclass(frozen=True)
class Evidence:
    """What the files of one participant say of their patient, as keyed hashes.

    Attributes
    ----------
    births : (birth date, year of birth); the date "" where only the year counts
    sexes, studies, bare_ids : one hash per value
    names : year of birth or "", and the words of the name, of each spelling
    people : two words of a name with a birth date; the same for one person under two identifiers
    birth_ranges : first and last day between which an age puts the birth; held, never kept
    is_named : whether the identifier or the name stands for a person and not for everybody
    """

    births: frozenset[tuple[str, str]] = frozenset()
    sexes: frozenset[str] = frozenset()
    names: frozenset[tuple[str, ...]] = frozenset()
    people: frozenset[str] = frozenset()
    bare_ids: frozenset[str] = frozenset()
    studies: frozenset[str] = frozenset()
    birth_ranges: frozenset[tuple[float, float]] = frozenset()
    is_named: bool = False

    def __or__(self, other: Evidence) -> Evidence:
        """Both together."""
        return Evidence(*(getattr(self, one.name) | getattr(other, one.name) for one in fields(Evidence)))

    @property
    def is_confirmed(self) -> bool:
        """Whether anything but the identifier says who this is."""
        return bool(self.names or self.births or self.sexes or self.birth_ranges)

    @property
    def has_birth_date(self) -> bool:
        """Whether there is a whole birth date, and not one that may be written for everybody."""
        return any(date for date, _ in self.births)

    @property
    def contradictions(self) -> dict[str, int]:
        """Kinds of evidence that no one person can give, and how many values there are of each."""
        found: dict[str, int] = {}
        years, dates = {year for _, year in self.births}, {date for date, _ in self.births} - {""}
        if len(years) > 1 or len(dates) > 1:
            found["birth dates"] = max(len(years), len(dates))
        if len(self.sexes) > 1:
            found["sexes"] = len(self.sexes)
        if any(_are_others(*pair) for pair in combinations(sorted(self.names), 2)):
            found["names"] = len({name[1:] for name in self.names})
        latest_first = max((first for first, _ in self.birth_ranges), default=0.0)
        earliest_last = min((last for _, last in self.birth_ranges), default=0.0)
        if latest_first - earliest_last > SAME_BIRTH_DAYS:
            found["ages"] = len(self.birth_ranges)
        return found

    @property
    def spellings(self) -> int:
        """Names that differ and may be one person's, such as before and after a marriage."""
        spellings = {name[1:] for name in self.names}
        return len(spellings) if any(not _is_part(*pair) for pair in combinations(spellings, 2)) else 0


@dataclass(frozen=True)
class Finding:
    """Something that a coordinator has to look at: participants, what was found, and what to do."""

    kind: str
    participant_ids: tuple[str, ...]
    text: str
    remedy: str

    @property
    def cells(self) -> dict[str, object]:
        """As a row of the table of findings."""
        return {
            "finding": self.kind,
            "participant_ids": ", ".join(self.participant_ids),
            "found": self.text,
            "what_to_do": self.remedy,
        }


def evidence_of(headers: Iterable[PatientHeader], participant_id: str, pseudonymiser: Pseudonymiser) -> Evidence:
    """Take together what the files of one participant say."""
    found = Evidence()
    for header in headers:
        found |= _evidence_of(header, participant_id, pseudonymiser.token)
    return found


def _evidence_of(header: PatientHeader, participant_id: str, token: _Token) -> Evidence:
    """What one file says. Hashes that are kept are the participant's own, so that nobody sees who shares a birthday."""

    def own(kind: str, text: str) -> str:
        return token(f"{participant_id} {kind}", text) if text else ""

    (date, year), day = header.born, header.birth_digits
    words = header.name_words
    pairs: list[tuple[str, ...]] = [*combinations(words, 2)] or [words]
    bare_id = "" if is_placeholder(header.patient_id) else header.bare_id
    return Evidence(
        births=frozenset([(own("date", date), own("year", year))] if year else []),
        sexes=frozenset([own("sex", header.sex_code)] if header.sex_code else []),
        names=frozenset([(own("year", year), *(_script(word) + own("name", word) for word in words))] if words else []),
        people=frozenset(token("person", "\0".join((day, *pair))) for pair in pairs if day and words),
        bare_ids=frozenset([token("bare id", bare_id)] if bare_id else []),
        studies=frozenset([token("study", header.study_uid)] if header.study_uid else []),
        birth_ranges=frozenset([header.birth_range] if header.birth_range else []),
        is_named=bool(bare_id or words),
    )


def twins(evidence: Mapping[str, Evidence]) -> Iterator[Finding]:
    """Participants that are likely one person: name and birth date, identifier or study are the same.

    Parameters
    ----------
    evidence : of every participant, of this import and of those before
    """
    groups: list[tuple[set[str], list[str]]] = []
    for kind, attribute in _SHARED.items():
        owners: dict[str, set[str]] = defaultdict(set)
        for participant_id, own in evidence.items():
            for value in getattr(own, attribute):
                owners[value].add(participant_id)
        for ids in owners.values():
            together = _without_others(ids, evidence) if 1 < len(ids) <= MOST_SHARING else set()
            if together:
                groups = _joined(groups, together, kind)
    for names, kinds in sorted((sorted(ids), kinds) for ids, kinds in groups):
        yield Finding(
            "likely_one_person",
            tuple(names),
            f"{len(names)} participants have {' or '.join(kinds)}",
            f"If they are one person, import again with --same-person {'='.join(names)}.",
        )


def _joined(groups: list[tuple[set[str], list[str]]], ids: set[str], kind: str) -> list[tuple[set[str], list[str]]]:
    """Groups with one more, which takes in those that it shares a participant with; with the kinds of evidence."""
    kinds = [kind]
    apart = []
    for others, known in groups:
        if ids.isdisjoint(others):
            apart.append((others, known))
        else:
            ids = ids | others
            kinds = [one for one in _SHARED if one in {*kinds, *known}]
    return [*apart, (ids, kinds)]


def _without_others(ids: set[str], evidence: Mapping[str, Evidence]) -> set[str]:
    """Participants that share something and are not known to have other names and birth dates than all others."""

    def may_be_one(first: str, second: str) -> bool:
        people = evidence[first].people, evidence[second].people
        return not all(people) or not people[0].isdisjoint(people[1])

    return {one for one in ids if any(may_be_one(one, other) for other in ids - {one})}


def _are_others(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    """Whether two names are of two people: no word in common, or some, and no year of birth of both confirms them."""
    (year, *words), (other_year, *other_words) = first, second
    if _is_part(words, other_words) or _scripts(words).isdisjoint(_scripts(other_words)):
        return False
    return not set(words) & set(other_words) or not year or year != other_year


def _is_part(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether one name has all words of the other."""
    return set(first) <= set(second) or set(second) <= set(first)


def _script(word: str) -> str:
    """Latin letters or others, which cannot be compared with each other."""
    return "l" if word.isascii() else "o"


def _scripts(words: Sequence[str]) -> set[str]:
    return {word[0] for word in words}
