"""What the words of a series say: its description as people write it, in the languages that stroke centres write.

Words are compared without accents, in capitals, with one space for whatever joins them. A description says more than a
protocol's name, which is often that of the whole examination.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

#: What a text says of contrast agent: none, an angiography, a later phase of one, or given for another purpose.
Told = Literal["native", "arterial", "late", "enhanced"]

LOCALIZER = re.compile(r"\b(LOCALI[SZ]\w*|SCOUT\w*|SURVEY|TOPOGRAM\w*|TOPO|SCANOGRAM\w*|SURVIEW|LOC|PILOT)\b")
MONITORING = re.compile(
    r"\b(MON|MONITORING|PRE ?MONITORING|BOLUS ?TRACK\w*|SMART ?PREP|TEST ?BOLUS|TRACKER|SURE ?START)\b"
)
PERFUSION = re.compile(
    r"PERFU[SZ]|PERFUUSIO|ПЕРФУЗ|灌注|灌流|관류|\bN?V?CTP\w*|\bV?PCT\b|\bDYN\w*4D|\b4D ?DYN\w*|\b4D ?CTP|\bCTP4D"
    r"|\bVOLUME SHUTTLE\b|\bJOG\b"
)
PROJECTION = re.compile(r"\b(T?MIP|MINIP|M I P|VRT?|SSD|VOLREN|3D RENDERING|PROJECTION IMAGE|MIP\w*)\b")
REFORMATTED = re.compile(
    r"\b(MPR\w*|MPVR|CPR|CURVED|REFORMAT\w*|RECONSTRU\w* MULTIPLAN\w*|COR|CORONAL\w*|KORONAR\w*|SAG|SAGITT?AL\w*)\b"
)
COMPUTED = re.compile(
    r"\b(SUBTR\w*|DSA|BONE ?(REMOV\w*|SUBTR\w*|LESS)|FUSION|FUSED|AVERAGE\w*|AVG|T?MEAN|TEMPORAL(?! (BONE|LOBE))|TAVG"
    r"|ADDITION|ADDED|MISMATCH|PENUMBRA|SUMMARY|RAPID|COLOU?R|PARAMETRIC|MAPS?|FLOW EXTRACTION)\b"
)
#: Images of one substance or of one photon energy, computed from two energies: their HU are no plain scan's.
DUAL_ENERGY = re.compile(
    r"\b(VNC\w*|VIRT\w*|VUE|MONO ?E\w*|MONO ?\+|MONO|VMI|\d{2,3} ?KEV|IODINE|IOD|JOD|IODE|YODO|LIQUID|BLOOD POOL"
    r"|Z ?EFF\w*|EFFECTIVE Z|RHO|ELECTRON DENSITY|CALCIUM|OVERLAY|WATER|MATERIAL\w*)\b"
)
ONE_ENERGY = re.compile(r"\b(SN)?(70|80|90|135|140|150) ?KVP?\b|\b(LOW|HIGH) ?KV\b")
OTHER_BODY = re.compile(
    r"\b(THORAX|TORAX|CHEST|LUNGE?|ABDO\w*|PELVI\w*|BECKEN|BASSIN|SPINE|WIRBEL\w*|COLUMNA|RACHIS|LWS|BWS|HWS"
    r"|[CLT] ?SPINE|HEART|CARDIAC|CORONAR(Y|IES)|LIVER|LEGS?|KNEE|HIP|FEMUR|FOOT|HAND|SHOULDER)\b"
)
HEAD_WORDS = re.compile(
    r"\b(HEAD|BRAIN|CRANI\w*|CRAN[EI]\w*|SKULL|SCHADEL|KOPF|CEREBR\w*|TETE|ENCEF\w*|HIRN|CCT|HOVED|HUVUD)"
)

_STRONG_NATIVE = re.compile(
    r"\b(NCCT|NECT|NATIV\w*|NON ?(CONTRAST\w*|ENHANCED|INJECTE\w*|CON|CE)|UNENHANCED|PLAIN|BLANCO|BLANKO|BASALE?"
    r"|(WITHOUT|WO|W/O|NO|OHNE|SANS|SIN|SENZA|SEM|ZONDER|UTEN|UDEN|UTAN|BEZ|FARA) ?(IV|I V)? ?"
    r"(CONTRAST\w*|KONTRAST\w*|KM|CM|MDC|PDC|INJECTION|INJ|IV|CIV|C))\b|平扫|單純|単純|비조영"
)
_WEAK_NATIVE = re.compile(r"\b(WITHOUT|WO|W/O|OHNE|SANS|SIN|SENZA|SEM|ZONDER|BEZ|PRE CONTRAST|PRE KM|SIMPLE|NC)\b")
_ARTERIAL = re.compile(
    r"\bCTA(?!BD|XIAL)\w*|ANGIO|\b(CAROT\w*|WILLIS\w*|ARTER\w*|COW|TSA|SUPRA ?AORT\w*|ARCH TO VERTEX|AORTIC ARCH)\b"
    r"|血管"
)
_LATE = re.compile(
    r"\b(CTV|VENO\w*|VENENPHASE|DELAY\w*|LATE|SPATE?|SPATPHASE|TARDI\w*|RETARD\w*|WASH ?OUT|EQUILIBR\w*"
    r"|(PHASE|PHASIS|PH|PHASENR) ?([2-9]|II|III|IV)|(2|3|4)(ND|RD|TH)? PHASE|(SECOND|THIRD|ZWEITE|DRITTE) PHASE)\b"
)
_ENHANCED = re.compile(
    r"\b(CE|CECT|ENHANCED|INJECTE\w*|(POST|WITH|W|MIT|AVEC|CON|COM|MED|MET|AFTER|NACH) ?"
    r"(CONTRAST\w*|KONTRAST\w*|KM|CM|MDC|CIV|PDC|IV|INJ\w*|GD))\b|(?<!\w)(C|KM|IV|CM) ?\+|\+ ?(C|KM|IV|CM)\b|增强|造影"
)
#: "C-" and "KM -" say without; a hyphen alone only joins.
_MINUS = re.compile(r"(?<![A-Z0-9])(C|KM|IV|CM)-(?![A-Z0-9])")
_UNBOUND = re.compile(r"[\s_\\^,;:.()\[\]-]+")


def words(*texts: str) -> str:
    """Capitals without accents, one space between words; what joins words in descriptions is a space.

    >>> words("Tête_sans-injection", "5.0")
    'TETE SANS INJECTION 5 0'
    """
    spread = unicodedata.normalize("NFKD", " ".join(texts))
    plain = "".join(letter for letter in spread if unicodedata.category(letter) != "Mn")
    text = unicodedata.normalize("NFC", plain).upper()
    return _UNBOUND.sub(" ", _MINUS.sub(" UNENHANCED ", text)).strip()


def contrast_told(text: str) -> Told | None:
    """What words say of contrast agent; None where they say nothing, or two things.

    >>> [contrast_told(words(text)) for text in ("CCT nativ 5.0 H31s", "CTA delayed", "Head 5.0")]
    ['native', 'late', None]
    """
    is_native = bool(_STRONG_NATIVE.search(text))
    given = _STRONG_NATIVE.sub(" ", text)  # so that NON ENHANCED is not also ENHANCED
    found: Told | None = None
    if _LATE.search(given):
        found = "late"
    elif _ARTERIAL.search(given):
        found = "arterial"
    elif _ENHANCED.search(given):
        found = "enhanced"
    if is_native:
        return None if found else "native"
    if found is None and _WEAK_NATIVE.search(text):
        return "native"
    return found
