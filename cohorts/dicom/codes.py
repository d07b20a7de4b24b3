"""Codes of what is sent back: DICOM's and SNOMED CT's where there is one, else the project's own scheme.

The ten regions have no codes that say "as ASPECTS draws it", so they are a private scheme, ``99ASPECTS``; each object
that uses it says what it is (Coding Scheme Identification Sequence).
"""

from __future__ import annotations

import uuid

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes

from tasks.anatomy import SHORT_CODES

SCHEME = "99ASPECTS"
MANUFACTURER = "aspects-cohort"
RESEARCH_ONLY = "Research use only; never a diagnosis"

BRAIN_CODE = codes.SCT.Brain
VOLUME = codes.SCT.Volume
MILLILITRE = CodedConcept("mL", "UCUM", "milliliter")
POINTS = CodedConcept("{score}", "UCUM", "score")
#: SNOMED CT, a procedure: the assessment that the report is of.
ASSESSMENT = CodedConcept("1290003007", "SCT", "Assessment using Alberta Stroke Program Early CT Score")
INFARCT_CODE = CodedConcept("55641003", "SCT", "Infarct")
PRESENT = CodedConcept("52101004", "SCT", "Present")
ABSENT = CodedConcept("272519000", "SCT", "Absent")
SIDES = {"left": codes.SCT.Left, "right": codes.SCT.Right}


def own(value: str, meaning: str) -> CodedConcept:
    """A code of the project's scheme."""
    return CodedConcept(value, SCHEME, meaning)


SCORE = own("aspects", "ASPECTS")
CORE_CODE = own("ischaemic_core", "Ischaemic core")
HYPOPERFUSION = own("hypoperfusion", "Hypoperfused tissue")
BY_RULE = own("rule_based", "Rule-based image analysis")
INTENDED_USE = own("intended_use", "Intended use")
RESEARCH_USE = own("research_only", RESEARCH_ONLY)
NOT_JUDGED = own("not_judged", "Not judged")


def region_code(side: str, region: str) -> CodedConcept:
    """A region of one hemisphere; its code has the region's short one, for older readers know 16 characters.

    >>> code = region_code("left", "internal_capsule")
    >>> code.value, code.meaning
    ('left_IC', 'Left internal capsule (IC), ASPECTS')
    """
    short = SHORT_CODES.get(region, "")
    words = short if short == region.upper() else f"{region.replace('_', ' ')} ({short})" if short else region
    return own(f"{side}_{short or region}", f"{side.capitalize()} {words}, ASPECTS")


def own_scheme() -> CodingSchemeIdentificationItem:
    """What the private scheme is, as every object that uses it must say."""
    return CodingSchemeIdentificationItem(
        SCHEME, name="Regions and findings of ASPECTS", responsible_organization=MANUFACTURER
    )


def derived_uid(*parts: str) -> str:
    """A UID that depends on these texts alone: the same results are the same object, so that none is stored twice.

    >>> derived_uid("a", "b") == derived_uid("a", "b") != derived_uid("ab")
    True
    """
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, chr(0).join(parts)).int}"  # PS3.5 B.2
