"""Texts of headers that may be copied: terms that are known, and patterns that machines write. No free text passes.

Kernels and models are typed by people on some consoles, with a patient's name in them; so a word counts only where it
is a vendor's.
"""

from __future__ import annotations

import re

#: PS3.3 C.7.3.1.1.2 and C.8.11.5.1.2 (positions of a patient that lies).
PATIENT_POSITIONS = frozenset((
    "HFP", "HFS", "HFDR", "HFDL", "HFV", "HFI", "FFDR", "FFDL", "FFP", "FFS", "LFP", "LFS", "RFP", "RFS", "AFDR",
    "AFDL", "PFDR", "PFDL",
))  # fmt: skip
MODALITIES = frozenset(("CT", "MR"))
#: Siemens (H31s, J40s, Br36d, Hr40f, Qr40s, I30f; with a strength behind), Canon (FC08, FC21-H, FL01), Hitachi (22).
_KERNEL = re.compile(r"[HJBITU]\d{2,3}[a-z]{0,2}|[BHQUS][a-z]\d{2,3}[a-z]{0,2}|F[CL]\d{2}(?:-?[A-Z])?|[1-9]\d?|AIDR3D")
#: GE's and United Imaging's words, and Philips's letters.
_KERNEL_WORDS = frozenset((
    "STANDARD", "STND", "STD", "SOFT", "BONE", "BONEPLUS", "DETAIL", "LUNG", "EDGE", "CHEST", "CHST", "ULTRA",
    "PLUS", "HD", "BRAIN", "HEAD", "SHARP", "SMOOTH", "VSHARP", "VSOFT", "MEDIUM", "SAFIRE", "ADMIRE", "ASIR", "VEO",
    "IMR", "A", "B", "C", "D", "E", "F", "L", "EB", "EC", "SA", "SB", "SC", "UA", "UB", "UC", "CB", "YA", "YB", "YC",
    "YD", "YE", "XCA", "XCB", "XCC",
))  # fmt: skip
#: Families of scanners, by vendors' product pages, and the words that follow them.
_MODEL_WORDS = frozenset((
    # CT
    "SOMATOM", "DEFINITION", "DRIVE", "FORCE", "FLASH", "EDGE", "AS", "AS+", "GO", "GO.TOP", "GO.UP", "GO.ALL",
    "GO.NOW", "GO.SIM", "CONFIDENCE", "PERSPECTIVE", "SCOPE", "SENSATION", "EMOTION", "SPIRIT", "VOLUME", "ZOOM",
    "DUO", "OPEN", "X.CITE", "X.CEED", "NAEOTOM", "ALPHA", "BIOGRAPH", "LIGHTSPEED", "BRIGHTSPEED", "DISCOVERY",
    "REVOLUTION", "OPTIMA", "HISPEED", "HIGHSPEED", "PROSPEED", "VCT", "QX/I", "NX/I", "FX/I", "CT/I", "ULTRA",
    "PRO", "PLUS", "PRO16", "APEX", "ELITE", "EVO", "MAXIMA", "FRONTIER", "ASCEND", "GSI", "HD", "RT", "XT", "XTE",
    "POWER", "ASTEION", "AQUILION", "ACTIVION", "ALEXION", "ONE", "PRIME", "SP", "CX", "CXL", "LB",
    "GENESIS", "LIGHTNING", "PRECISION", "VISION", "MULTI", "SUPER4", "BRILLIANCE", "BIG", "BORE", "ICT",
    "INGENUITY", "INCISIVE", "IQON", "SPECTRAL", "CT", "MX8000", "IDT", "GEMINI", "TF", "CORE", "FLEX", "VEREOS",
    "ACCESS", "SUPRIA", "SCENARIA", "VIEW", "ECLOS", "UCT", "NEUVIZ", "ANATOM", "INSITUM", "CERETOM", "BODYTOM",
    "OMNITOM",
    # MR
    "MAGNETOM", "AVANTO", "AVANTOFIT", "SKYRA", "SKYRAFIT", "PRISMA", "PRISMAFIT", "FIT", "VERIO", "AERA", "TRIO",
    "TRIOTIM", "SYMPHONY", "SYMPHONYTIM", "ESPREE", "ESSENZA", "SONATA", "HARMONY", "ALLEGRA", "AMIRA", "ALTEA",
    "LUMINA", "SOLA", "SOLAFIT", "VIDA", "VIDAFIT", "TERRA", "SEMPRA", "MAX", "TIM", "DOT", "SIGNA", "GENESIS_SIGNA",
    "HDX", "HDXT", "EXCITE", "ARCHITECT", "ARTIST", "EXPLORER", "PIONEER", "PREMIER", "VOYAGER", "CREATOR", "PET/MR",
    "ACHIEVA", "DSTREAM", "INGENIA", "INTERA", "AMBITION", "ELITION", "PANORAMA", "VANTAGE", "TITAN", "ATLAS",
    "ORIAN", "GALAN", "EXCELART", "UMR", "ECHELON", "OVAL", "SMART", "OASIS", "PHILIPS", "SIEMENS", "GE", "MEDICAL",
    "SYSTEMS", "TOSHIBA", "CANON", "HITACHI", "-",
))  # fmt: skip
#: Numbers of rows or slices, field strengths, and type numbers of the families above.
_MODEL_NUMBER = re.compile(
    r"(?:1|2|4|6|8|10|12|16|20|24|32|40|48|50|64|80|96|128|160|256|320|384|512|560|640|750|760|770|780|790|850|860|960)"
    r"|(?:0\.[2-9]+|1\.0|1\.2|1\.5|3\.0|[137])[Tt]?|(?:CT|MR)\d{3}[WS]?|\(20[0-3]\d\)",
    re.IGNORECASE,
)


def kernel_of(text: str) -> str | None:
    r"""A convolution kernel as it is known, its parts joined by a space; None where a part of it is not.

    >>> [kernel_of(text) for text in ("H31s", "J40s\\3", "STANDARD", "FC08", "YB", "H31s Quixote", "MRN7781234")]
    ['H31s', 'J40s 3', 'STANDARD', 'FC08', 'YB', None, None]
    """
    parts = re.split(r"[\s\\,]+", text.strip())
    is_known = all(_KERNEL.fullmatch(part) or part.upper() in _KERNEL_WORDS for part in parts)
    return " ".join(parts) if is_known and len(parts) <= 3 else None


def model_of(text: str) -> str | None:
    """The known words of a model's name; None where there is none.

    >>> [model_of(text) for text in ("SOMATOM Definition AS+", "SOMATOM of Dr Quixote", "Quixote")]
    ['SOMATOM Definition AS+', 'SOMATOM', None]
    """
    words = text.split()
    known = [word for word in words if word.upper() in _MODEL_WORDS or _MODEL_NUMBER.fullmatch(word)]
    has_family = any(word.upper() in _MODEL_WORDS - {"-"} for word in known)
    return " ".join(known) if has_family else None


def position_of(text: str) -> str | None:
    """A position of the patient that the standard defines."""
    return text.strip() if text.strip() in PATIENT_POSITIONS else None


def modality_of(text: str) -> str | None:
    """A modality that is imported."""
    return text.strip() if text.strip() in MODALITIES else None
