"""A seeded synthetic cohort as contract tables, for tests of the analysis, the lint and the document.

Severity drives lesion volume, volume drives region fractions, and the readers see the first source's regions with their
own bias and noise. Nothing here is patient data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from cohorts.folder.study import StudyConfig
from cohorts.tables.schemas import (
    EXCLUSIONS,
    GUARD_FLAGS,
    LESIONS,
    QUALITY_FIGURES,
    REGIONS,
    SCANS,
    SCORES,
    SEGMENTATION,
    Table,
    participants_table,
)
from flows.sources.registry import STUDY as STUDY_MODEL
from reports.statistics.inputs import ReportInput, RunInfo
from tasks.anatomy import ASPECTS_REGIONS, HEMISPHERES
from tasks.scoring import BUILT_IN_RULES, aspects_score

PANDAS_TYPE = {
    "string": "object",
    "int64": "Int64",
    "float64": "float64",
    "bool": "boolean",
    "date": "datetime64[s]",
    "grade": "object",
}

# One participant per entry, taken in this order from the front of the cohort; the first reason is the primary one.
EXCLUDED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("screening", "excluded", ("no_scan",)),
    ("screening", "excluded", ("no_scan", "all_missing")),
    ("screening", "excluded", ("not_listed",)),
    ("intake", "excluded", ("value_out_of_range",)),
    ("intake", "excluded", ("value_out_of_range", "dates_out_of_order")),
    ("intake", "failed", ("unreadable_file",)),
    ("intake", "failed", ("wrong_grid",)),
    ("scoring", "excluded", ("empty_mask",)),
    ("scoring", "excluded", ("empty_mask",)),
    ("scoring", "failed", ("worker_died",)),
)
READERS = {"reader:A": (0.02, 0.05, False), "reader:B": (0.10, 0.12, False), "reader:C": (0.01, 0.02, True)}
DETAIL = {
    "no_scan": "scans.tsv has no row of modality lesion for this participant. Add the scan.",
    "all_missing": "participants.tsv row holds only n/a. Fill in the row.",
    "not_listed": "scans.tsv names this participant, participants.tsv does not. Add the row.",
    "value_out_of_range": "nihss must be <= 42, got 60. Correct participants.tsv.",
    "dates_out_of_order": "scan_date must not be before onset_date, got 2020-01-02 and 2020-03-01. Correct the dates.",
    "unreadable_file": "lesion.nii.gz ends after 512 of 4096 bytes. Copy it again.",
    "wrong_grid": "mask must be on the 197x233x189 grid, got 91x109x91. Resample it to the template.",
    "empty_mask": "the mask holds no lesion voxel. Check the segmentation.",
    "worker_died": "the step scoring ended its worker twice. Give the worker more memory.",
    "lacunar": "maximum diameter must be > 15 mm, got 12.0 mm.",
    "territory": "share in MCA territory must be >= 0.5, got 0.2.",
}


def synthetic_config(**changes: object) -> StudyConfig:
    """Two mask sources, readers, four clinical columns; any key of ``cohort.toml`` may be replaced."""
    settings: dict[str, object] = {
        "study": {
            "name": "Synthetic cohort",
            "description": "Made by a seeded model.",
            "synthetic": True,
            "bootstrap_resamples": 200,
        },
        "source": [
            {"name": "mask-classic", "kind": "mask", "regions": "classic", "rule": "wei"},
            {"name": "mask-territory", "kind": "mask", "regions": "territory", "rule": "wei"},
            {"name": "readers", "kind": "readings"},
        ],
        "clinical": [
            {"column": "age", "read_as": "number", "label": "Age", "unit": "year"},
            {"column": "sex", "read_as": "category", "label": "Sex", "levels": {"F": "female", "M": "male"}},
            {"column": "diabetes", "read_as": "boolean", "label": "Diabetes"},
            {"column": "nihss", "read_as": "integer", "label": "NIHSS", "minimum": 0, "maximum": 42},
            {"column": "mrs", "read_as": "integer", "label": "90-day mRS", "minimum": 0, "maximum": 6},
            {"column": "onset_date", "read_as": "date", "label": "Onset"},
        ],
        "severity": {},
        "outcome": "mrs",
        "eligibility": {"minimum_max_diameter_mm": 15, "minimum_mca_share": 0.5},
    }
    settings.update(changes)
    return STUDY_MODEL.model_validate({key: value for key, value in settings.items() if value is not None})


def synthetic_input(
    n_participants: int = 120, *, seed: int = 7, config: StudyConfig | None = None, readers: bool = True
) -> ReportInput:
    """Contract tables of ``n_participants`` screened participants; at least 30.

    The first ten are excluded or failed as ``EXCLUDED`` says; small lesions and lesions outside MCA territory fail
    eligibility. Missing: NIHSS in one of 15 participants, mRS in one of 6, reader C in one of 10.
    """
    config = config or synthetic_config()
    rng = np.random.default_rng(seed)
    ids = [f"sub-{number:04d}" for number in range(1, n_participants + 1)]
    scored = np.arange(n_participants) >= len(EXCLUDED)
    nihss = np.minimum(rng.negative_binomial(1.3, 0.14, n_participants), 42)
    volume = np.exp(rng.normal(1.2 + 0.16 * nihss, 1.3))
    volume = np.clip(volume, 0.05, 420.0)
    diameter = np.clip(16 * volume ** (1 / 3) * rng.uniform(0.7, 1.3, n_participants), 3, 160)
    share = np.where(
        rng.random(n_participants) < 0.1, rng.uniform(0, 0.4, n_participants), rng.uniform(0.6, 1, len(ids))
    )
    left = rng.random(n_participants) < 0.5
    known_nihss = np.arange(n_participants) % 15 != 14
    age = np.round(rng.normal(69, 13, n_participants).clip(18, 99), 1)
    mrs = np.clip(np.round(nihss / 6 + rng.normal(1, 1.2, n_participants)), 0, 6).astype(int)

    exclusion_rows = [
        (ids[at], stage, reason, status, position == 0, DETAIL[reason])
        for at, (stage, status, reasons) in enumerate(EXCLUDED)
        for position, reason in enumerate(reasons)
    ]
    lacunar, outside = scored & (diameter <= 15), scored & (share < 0.5)
    for at in np.flatnonzero(lacunar | outside):
        reasons = ["lacunar"] * bool(lacunar[at]) + ["territory"] * bool(outside[at])
        exclusion_rows += [
            (ids[at], "eligibility", reason, "excluded", position == 0, DETAIL[reason])
            for position, reason in enumerate(reasons)
        ]
    exclusions = _frame(EXCLUSIONS, exclusion_rows)
    primary = exclusions[exclusions["is_primary"].astype(bool)].set_index("participant_id")
    eligible = scored & ~lacunar & ~outside
    grade = pd.cut(nihss, [-1, 7, 16, 42], labels=["mild", "moderate", "severe"])

    participants = pd.DataFrame(
        {
            "participant_id": ids,
            "site": np.where(np.arange(n_participants) % 3 == 0, "north", "south"),
            "split": None,
            "status": [primary["status"].get(key, "included") for key in ids],
            "stage": [primary["stage"].get(key) for key in ids],
            "reason": [primary["reason"].get(key) for key in ids],
            "is_listed": [primary["reason"].get(key) != "not_listed" for key in ids],
            "is_measured": scored,
            "is_examined": scored,
            "is_included": eligible,
            "severity": [str(g) if known else None for g, known in zip(grade, known_nihss, strict=True)],
            "age": age,
            "sex": np.where(rng.random(n_participants) < 0.45, "F", "M"),
            "diabetes": rng.random(n_participants) < 0.25,
            "nihss": [int(v) if known else None for v, known in zip(nihss, known_nihss, strict=True)],
            "mrs": [int(v) if at % 6 else None for at, v in enumerate(mrs)],
            "onset_date": "2024-05-01",
        }
    )
    given = ["severity", "age", "sex", "diabetes", "nihss", "mrs", "onset_date"]
    participants[given] = participants[given].astype(object)
    participants.loc[~participants["is_listed"], given] = None
    participants = _typed(participants_table(config.clinical), participants)
    lesion_rows: list[tuple[object, ...]] = [
        (
            *(ids[at], "lesion", volume[at], round(volume[at] * 1000), 1 + at % 4, diameter[at]),
            *(("left", volume[at], 0.0) if left[at] else ("right", 0.0, volume[at])),
            *(share[at], 0.5 * (1 - share[at]), 0.5 * (1 - share[at]), 0.0),
            *((share[at] * volume[at] / 500, 0.0) if left[at] else (0.0, share[at] * volume[at] / 500)),
            *(None, None, None),  # of CT perfusion
            *("ok", None),
        )
        for at in np.flatnonzero(scored)
    ]
    scan_rows: list[tuple[object, ...]] = [
        (
            *(key, "lesion", "MNI", f"{key}/lesion.nii.gz", None, 4096, "197x233x189", "1x1x1", "RAS", 1.0),
            *(None,) * (1 + len(QUALITY_FIGURES)),
            *((at % 9 == 0, at % 13 == 0, at % 5 == 0) if scored[at] else (None,) * len(GUARD_FLAGS)),
            *(("ok", None) if scored[at] else ("failed", primary["reason"].get(key))),
            None,
        )
        for at, key in enumerate(ids)
        if primary["reason"].get(key) != "no_scan"
    ]
    fractions = _fractions(rng, volume, left)
    region_rows: list[tuple[object, ...]] = []
    score_rows: list[tuple[object, ...]] = []
    sizes = 4000 + 2000 * np.arange(len(ASPECTS_REGIONS))
    for offset, mask in zip((0.0, 0.04), config.computed_sources, strict=False):
        gives_chances = offset > 0  # of every region, and of a low score
        voxels = np.floor(np.clip(fractions - offset * rng.random(fractions.shape), 0, 1) * sizes).astype(int)
        for at in np.flatnonzero(scored):
            affected = _affected(voxels[at] / sizes)
            for s, side in enumerate(HEMISPHERES):
                for r, region in enumerate(ASPECTS_REGIONS):
                    count, size = int(voxels[at, s, r]), int(sizes[r])
                    chance = 0.02 + 0.9 * count / size if gives_chances else None
                    measured = (
                        size,
                        count,
                        count / 1000,
                        count / size,
                        None,
                        chance,
                        None,
                        None,
                        affected[side, region],
                    )
                    region_rows.append((ids[at], mask.name, side, region, *measured, "wei", "none", "ok", None))
            row = _score_row(ids[at], mask.name, affected, "wei", None)
            low = float(1 / (1 + np.exp(row[4] - 6.5))) if gives_chances else None
            score_rows.append((*row[:8], low, *row[9:]))
    for source, (miss, add, assisted) in READERS.items() if readers and config.readings_source else ():
        for at in np.flatnonzero(scored):
            if source == "reader:C" and at % 10 == 0:
                continue
            affected = {
                (side, region): bool(
                    rng.random() > miss if true else (side == "left") == left[at] and rng.random() < add
                )
                for (side, region), true in _affected(fractions[at]).items()
            }
            region_rows += [
                (ids[at], source, side, region, *[None] * 8, flag, None, "none", "ok", None)
                for (side, region), flag in affected.items()
            ]
            score_rows.append(_score_row(ids[at], source, affected, None, assisted))
    return ReportInput(
        config=config,
        participants=participants,
        scans=_frame(SCANS, scan_rows),
        exclusions=exclusions,
        regions=_frame(REGIONS, region_rows),
        scores=_frame(SCORES, score_rows),
        lesions=_frame(LESIONS, lesion_rows),
        segmentation=_frame(SEGMENTATION, _segmentation_rows(ids, scored, volume)),
        map_names={source.name: config.regions_of(source) for source in config.computed_sources},
    )


def shuffled(data: ReportInput, seed: int = 3) -> ReportInput:
    """The same tables with their rows in another order."""
    tables = ("participants", "scans", "exclusions", "regions", "scores", "lesions", "segmentation")
    return replace(data, **{name: getattr(data, name).sample(frac=1, random_state=seed) for name in tables})


def synthetic_run() -> RunInfo:
    """Run facts with fixed values."""
    return RunInfo(
        run_id="20260102-030405_0123abcd",
        version="0.1.0",
        started_at="2026-01-02T03:04:05+00:00",
        code_digest="c" * 64,
        settings_digest="5" * 64,
        command="aspects run cohort out",
        packages={"numpy": "2.4.6", "pandas": "3.1.1"},
        warnings=("3 participants have no 90-day mRS",),
    )


def _segmentation_rows(ids: Sequence[str], scored: np.ndarray, volume: np.ndarray) -> list[tuple[object, ...]]:
    """A second lesion of everybody scored; every 20th pair has no lesion, and every 25th a candidate without one."""
    rng = np.random.default_rng(11)
    rows: list[tuple[object, ...]] = []
    for at, key in enumerate(ids):
        pair = (key, "lesion", "lesion-2", "lesion", None, None)
        dice, hd95, ml = float(rng.beta(8, 2)), float(rng.gamma(2, 3)), float(volume[at])
        if not scored[at]:
            rows.append((*pair, None, *[None] * 10, "excluded", "no_scan_of_this_modality"))
        elif at % 20 == 0:
            rows.append((*pair, "both_empty", None, None, None, 0.0, 0.0, None, 0, 0, 0, 0, "ok", None))
        elif at % 25 == 0:
            rows.append((*pair, "candidate_empty", 0.0, None, 0.0, -ml, ml, 0.0, 1, 0, 0, 0, "ok", None))
        else:
            rows.append((*pair, "both", dice, hd95, dice, ml * (dice - 0.8), ml, 1.0, 1, 1, 1, 0, "ok", None))
    return rows


def _frame(table: Table, rows: Sequence[tuple[object, ...]]) -> pd.DataFrame:
    """Rows in the order of the contract's columns as a typed frame."""
    return _typed(table, pd.DataFrame(rows, columns=list(table.names), dtype=object))


def _typed(table: Table, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the contract's types; null text is None."""
    typed = frame[list(table.names)].astype({column.name: PANDAS_TYPE[column.type] for column in table.columns})
    text = [column.name for column in table.columns if column.type == "string"]
    typed[text] = typed[text].where(typed[text].notna(), None)
    return typed


def _affected(fractions: np.ndarray) -> dict[tuple[str, str], bool]:
    """Rule wei on (side, region) fractions of one participant."""
    return {
        (str(side), region): BUILT_IN_RULES["wei"].is_affected(
            region=region, fraction=float(fractions[s, r]), n_lesion_voxels=int(fractions[s, r] > 0)
        )
        for s, side in enumerate(HEMISPHERES)
        for r, region in enumerate(ASPECTS_REGIONS)
    }


def _fractions(rng: np.random.Generator, volume: np.ndarray, left: np.ndarray) -> np.ndarray:
    """(n, side, region) lesion fractions: deep regions fill first, cortical ones with volume."""
    n = len(volume)
    reach = np.log1p(volume)[:, None] / 6
    raw = np.clip(reach + rng.normal(-0.35, 0.28, (n, len(ASPECTS_REGIONS))), 0, 1)
    fractions = np.zeros((n, 2, len(ASPECTS_REGIONS)))
    fractions[np.arange(n), np.where(left, 0, 1)] = raw
    return fractions


def _score_row(
    participant: str, source: str, affected: dict[tuple[str, str], bool], rule: str | None, assisted: bool | None
) -> tuple[object, ...]:
    """One row of the scores contract under laterality worst."""
    score = aspects_score(affected, laterality="worst")
    numbers = (score.left, score.right, score.score, score.scored_side)
    return (participant, source, *numbers, "worst", rule, None, assisted, "none", "ok", None)
