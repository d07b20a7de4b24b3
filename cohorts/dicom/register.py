"""What a cohort folder remembers of its imports: which key filled it, who was declared one person, and the evidence.

All of it are keyed hashes and pseudonyms, so the file may lie in the cohort folder: without the key it says that two
participants share a name and birth date, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cohorts.dicom.deidentify import Pseudonymiser
from cohorts.dicom.identity import Evidence
from cohorts.dicom.key import KeyFileError
from cohorts.folder.true_dates import REGISTER_FILE
from cohorts.store.records import write_bytes

#: What an import of a version without a register left behind.
_EARLIER = "import_report.tsv"
_KEPT = ("births", "sexes", "names", "people", "bare_ids", "studies")


class RegisterError(ValueError):
    """A register that cannot be read."""


@dataclass(frozen=True)
class Register:
    """Fingerprint of the key ("" before the first import), declared persons, and evidence by participant."""

    fingerprint: str = ""
    same_person: Mapping[str, str] = field(default_factory=dict)
    evidence: Mapping[str, Evidence] = field(default_factory=dict)

    def check_key(self, pseudonymiser: Pseudonymiser) -> None:
        """Refuse another key than the one that the cohort folder was filled with.

        Raises
        ------
        KeyFileError
        """
        if self.fingerprint and self.fingerprint != pseudonymiser.fingerprint:
            raise KeyFileError(
                "key file must be the one that the cohort folder was filled with, got another key: every participant "
                "would be there twice, under two pseudonyms. Give the first key by --key, or import into a new cohort "
                "folder."
            )


def was_filled(cohort: Path) -> bool:
    """Whether an import has written into a cohort folder."""
    return (cohort / REGISTER_FILE).exists() or (cohort / _EARLIER).exists()


def read_register(cohort: Path) -> Register:
    """Read what a cohort folder remembers.

    Raises
    ------
    RegisterError
        It is not as an import wrote it.
    """
    try:
        content = json.loads((cohort / REGISTER_FILE).read_text("utf-8"))
        evidence = {name: _evidence(kept) for name, kept in content["evidence"].items()}
        return Register(str(content["key_fingerprint"]), dict(content["same_person"]), evidence)
    except FileNotFoundError:
        return Register()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RegisterError(
            f"{REGISTER_FILE} must be as an import wrote it: it tells who is who. Restore it from a copy."
        ) from None


def write_register(cohort: Path, register: Register) -> None:
    """Write it, whole or not at all."""
    content = {
        "key_fingerprint": register.fingerprint,
        "same_person": dict(sorted(register.same_person.items())),
        "evidence": {name: _cells(own) for name, own in sorted(register.evidence.items())},
    }
    text = json.dumps(content, separators=(",", ":")).replace('},"', '},\n"') + "\n"
    write_bytes(cohort / REGISTER_FILE, text.encode())


def _cells(evidence: Evidence) -> dict[str, object]:
    """Evidence as it is kept: no ages, and sorted."""
    kept: dict[str, object] = {name: sorted(getattr(evidence, name)) for name in _KEPT if getattr(evidence, name)}
    return kept | {"is_named": evidence.is_named}


def _evidence(kept: Mapping[str, Iterable[object]]) -> Evidence:
    """Evidence as it was kept."""
    found: dict[str, object] = {
        name: frozenset(tuple(value) if isinstance(value, list) else value for value in kept.get(name, ()))
        for name in _KEPT
    }
    return Evidence(**found, is_named=bool(kept["is_named"]))  # type: ignore[arg-type]
