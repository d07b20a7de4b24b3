"""The public cohort of the Stroke Outcome Optimization Project as a cohort folder, and the label tables of public maps.

The source is the folder layout of the public repository ``neurolabusc/StrokeOutcomeOptimizationProjectDemo``:
``participants.tsv``, ``lesions/sub-*_space-MNI152_label-lesion_mask.nii.gz`` and ``ArterialAtlas136.nii.gz`` with
``ArterialAtlas136.txt``.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, fields
from importlib.resources import files
from pathlib import Path

from cohorts.folder.adopting import check_empty, link_or_copy, write_rows
from cohorts.folder.source import NAME
from cohorts.folder.study import EligibilitySection
from tasks.anatomy import (
    ASPECTS_REGIONS,
    CORTICAL_REGIONS,
    DEEP_REGIONS,
    HEMISPHERES,
    SHORT_CODES,
    Label,
    LabelTable,
    Side,
)

SPACE = "MNI152"

#: The study population of Wei 2026 (doi 10.1093/braincomms/fcag053, Study population), as far as a mask can tell.
PAPER_CRITERIA = EligibilitySection(
    minimum_max_diameter_mm=15,  # Wei 2026 includes lesions with a maximum diameter > 1.5 cm: smaller ones are lacunar
    minimum_mca_share=0.5,  # Wei 2026 excludes other territories but names no share: most of the lesion must be MCA's
    # Wei 2026 excludes lesions that also involve ACA or PCA territory, without a share. Maps of these territories
    # agree by a Dice of about .8, so less than a fifth of the lesion beyond a border may be the map's doing.
    maximum_aca_share=0.2,
    maximum_pca_share=0.2,
    required_columns=(),
    maximum_volume_ml=500,  # chosen here: about one hemisphere; one public mask holds 860 ml
)

#: Order of the regions in the public volumetric map of Opt-AI (simonsf/Opt-AI-ASEPCTS), labels 1-10 right, 11-20 left.
OPT_AI_ORDER = ("caudate", "insula", "internal_capsule", "lentiform", *CORTICAL_REGIONS)

_MASK = re.compile(r"(sub-[A-Za-z0-9]+)_space-MNI152_label-lesion_mask\.nii(\.gz)?")
_DESCRIPTIONS: dict[str, dict[str, object]] = {
    "participant_id": {"Description": "Pseudonym"},
    "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
    "age": {"Description": "Age at stroke; above 89 published as 89+", "Units": "years"},
    "race": {"Description": "Race", "Levels": {"b": "Black", "w": "White"}},
    "acuteischaemicstroke": {"Description": "Acute ischaemic stroke", "Levels": {"1.0": "yes", "0.0": "no"}},
    "priorstroke": {"Description": "Stroke before this one", "Levels": {"1.0": "yes", "0.0": "no"}},
    "bmi": {"Description": "Body mass index", "Units": "kg/m2"},
    "nihss": {"Description": "National Institutes of Health Stroke Scale, 0 to 42", "Units": "points"},
    "gs_rankin_6isdeath": {"Description": "Modified Rankin scale, 0 to 5, 6 is death"},
}


def adopt_soop(source: Path, folder: Path, *, extra_maps: Mapping[str, tuple[Path, LabelTable]] | None = None) -> None:
    """Write the public cohort as a cohort folder.

    ``participants.tsv`` is copied as it is; every mask is hard-linked, or copied where the file system cannot link.

    Parameters
    ----------
    source : folder of the public data
    folder : a folder that does not exist or is empty
    extra_maps : name of a further source -> (label map, its table), copied to ``maps/`` and scored by the rule ``wei``

    Raises
    ------
    FileNotFoundError
        Part of the public data is not there, all of it named.
    FileExistsError
        The folder holds something.
    ValueError
        A file among the masks is not named like a mask, a source's name is not valid, or two maps have one file name.
    """
    extra_maps = extra_maps or {}
    needed = [source / "participants.tsv", source / "lesions", *(path for path, _ in extra_maps.values())]
    missing = [str(path) for path in needed if not path.exists()]
    if missing:
        raise FileNotFoundError(f"source must hold the public cohort, got no {', '.join(missing)}. Download it first.")
    check_empty(folder)
    masks = sorted(path for path in (source / "lesions").iterdir() if not path.name.startswith("."))
    strange = [path.name for path in masks if not _MASK.fullmatch(path.name)]
    if strange or not masks:
        found = ", ".join(strange[:5]) or "nothing"
        raise ValueError(f"lesions must hold sub-*_space-MNI152_label-lesion_mask.nii.gz, got {found}. Move it away.")

    check_maps(extra_maps)
    (folder / "lesions").mkdir(parents=True)
    rows = []
    for mask in masks:
        link_or_copy(mask, folder / "lesions" / mask.name)
        participant_id = mask.name.split("_")[0]
        rows.append((participant_id, "lesion", SPACE, f"lesions/{mask.name}"))
    write_rows(folder / "scans.tsv", ("participant_id", "modality", "space", "path"), rows)
    shutil.copyfile(source / "participants.tsv", folder / "participants.tsv")
    dictionary = json.dumps(_DESCRIPTIONS, indent=2, ensure_ascii=False)
    (folder / "participants.json").write_text(dictionary + "\n", encoding="utf-8")
    study = (files("cohorts") / "templates" / "soop_cohort.toml").read_text(encoding="utf-8") + _eligibility()
    for name, (path, table) in extra_maps.items():
        study += _add_map(folder, name, path, table)
    (folder / "cohort.toml").write_text(study, encoding="utf-8")


def arterial_label_table(text: str) -> LabelTable:
    """Label table of the arterial atlas from its own list (``ArterialAtlas136.txt``: ``index|code|name|territory``).

    The list names regions twice, by a code and in words, and the codes of labels 10, 12, 14 and 16 say left where the
    words and the image say right; the words are taken. Label 23 is misspelt ("anteior"), which would separate it from
    its twin. Labels 31 and 32 are ventricles, not brain; they stay in the table under that name.

    Raises
    ------
    ValueError
        A line has another form, or a region does not occur once per side.
    """
    labels = []
    problems = []
    for number, line in enumerate(filter(None, map(str.strip, text.splitlines())), start=1):
        parts = line.split("|")
        words = parts[2].replace("anteior", "anterior").split() if len(parts) == 4 else []
        if not words or words[-1] not in HEMISPHERES or not parts[0].isdecimal():
            problems.append(f"line {number} must be index|code|name with its side|territory, got {line!r}")
            continue
        side: Side = "left" if words[-1] == "left" else "right"
        region = "_".join(words[:-1])
        labels.append(Label(int(parts[0]), f"{side}_{region}", side, region, "other"))
    sides = {side: {label.region for label in labels if label.side == side} for side in HEMISPHERES}
    problems += [f"{region} must have both sides" for region in sorted(sides["left"] ^ sides["right"])]
    if problems:
        raise ValueError("; ".join(problems))
    return LabelTable(tuple(labels))


def check_maps(maps: Mapping[str, tuple[Path, LabelTable]]) -> None:
    """Refuse further label maps that could not stand in one study.

    Raises
    ------
    ValueError
        A source's name is not valid, or two maps have one file name.
    """
    wrong = [name for name in maps if not re.fullmatch(NAME, name)]
    if wrong:
        raise ValueError(f"maps must be named by {NAME}, got {', '.join(wrong)}. Rename the source.")
    if len({path.name for path, _ in maps.values()}) < len(maps):
        raise ValueError("maps must have different file names, got one twice. Rename a file.")


def map_arguments(texts: Iterable[str]) -> dict[str, tuple[Path, LabelTable]]:
    """Read every ``--map`` of the command line.

    Raises
    ------
    ValueError
        One is not of its form, a name is given twice, or they could not stand in one study.
    """
    maps: dict[str, tuple[Path, LabelTable]] = {}
    for name, found in map(map_argument, texts):
        if name in maps:
            raise ValueError(f"--map must name each source once, got {name} twice. Rename one.")
        maps[name] = found
    check_maps(maps)
    return maps


def map_argument(text: str) -> tuple[str, tuple[Path, LabelTable]]:
    """Read ``NAME=FILE`` or ``NAME=FILE:ORDER`` of the command line.

    ``ORDER`` names the regions of labels 1 to 10 (right) and 11 to 20 (left) by their short codes, such as
    ``C,I,IC,L,M1,M2,M3,M4,M5,M6``; it is never guessed, because public maps differ in it. Without it a ``.txt`` beside
    the file is read as the list of the arterial atlas.

    Raises
    ------
    ValueError
        Not of this form, or codes that are not the ten regions.
    """
    name, is_given, place = text.partition("=")
    file, has_order, order = place.partition(":")
    if not is_given or not file:
        raise ValueError(f"--map must be NAME=FILE or NAME=FILE:ORDER, got {text!r}.")
    path = Path(file)
    if has_order:
        regions = {code: region for region, code in SHORT_CODES.items()}
        codes = order.split(",")
        if sorted(codes) != sorted(regions):
            raise ValueError(f"--map ORDER must name {','.join(regions)} in the map's order, got {order!r}.")
        return name, (path, ordered_label_table([regions[code] for code in codes]))
    listing = path.with_name(path.name.split(".")[0] + ".txt")
    if not listing.is_file():
        raise ValueError(f"--map must give the order of the labels (NAME=FILE:ORDER), got {text!r} and no {listing}.")
    return name, (path, arterial_label_table(listing.read_text(encoding="utf-8")))


def ordered_label_table(order: Sequence[str]) -> LabelTable:
    """Label table of a map with labels 1-10 right and 11-20 left in another order of the ASPECTS regions.

    >>> [label.name for label in ordered_label_table(OPT_AI_ORDER).labels][1:3]
    ['right_insula', 'right_internal_capsule']
    """
    if sorted(order) != sorted(ASPECTS_REGIONS):
        raise ValueError(f"order must name {', '.join(ASPECTS_REGIONS)} once each, got {', '.join(order)}.")
    left, right = HEMISPHERES
    return LabelTable(
        tuple(
            Label(offset + place, f"{side}_{region}", side, region, "deep" if region in DEEP_REGIONS else "cortical")
            for side, offset in ((right, 0), (left, len(order)))
            for place, region in enumerate(order, start=1)
        )
    )


def write_label_table(table: LabelTable, path: Path) -> None:
    """Write a label table as the TSV that stands beside a label map."""
    write_rows(path, [field.name for field in fields(Label)], [astuple(label) for label in table.labels])


def _add_map(folder: Path, name: str, path: Path, table: LabelTable) -> str:
    """Copy a label map and its table to ``maps/``; return its section of cohort.toml."""
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    (folder / "maps").mkdir(exist_ok=True)
    shutil.copyfile(path, folder / "maps" / path.name)
    write_label_table(table, folder / "maps" / f"{stem}.tsv")
    return (
        f'\n[[source]]\nname = "{name}"\nkind = "mask"\nregions = "maps/{path.name}"\nrule = "wei"\n'
        f'laterality = "worst"\ndescription = "Lesion mask on {stem}"\n'
    )


def _eligibility() -> str:
    """Return the section of cohort.toml with the paper's criteria."""
    given = PAPER_CRITERIA.model_dump(exclude_defaults=True)
    return "\n[eligibility] # Wei 2026, Study population\n" + "".join(
        f"{key} = {value}\n" for key, value in given.items()
    )
