"""The page of a training says what its card says, loads nothing, and shows names as text."""

from __future__ import annotations

import re

from reports.figures.learning_curves import learning_curves
from reports.pages.training import TrainingView, training_page

METRICS = [
    {"split": "test", "stratum": "with an infarct", "metric": "dice", "n": 40, "median": 0.8712, "lower": 0.84,
     "upper": 0.9},
    {"split": "test", "stratum": "with an infarct", "metric": "volume_error_ml", "n": 40, "median": -0.5, "lower": None,
     "upper": None},
    {"split": "test", "stratum": "with an infarct", "metric": "false_ml", "n": 40, "median": 0.31, "lower": 0.2,
     "upper": 0.5},
    {"split": "test", "stratum": "no infarct", "metric": "false_ml", "n": 0, "median": None, "lower": None,
     "upper": None},
]  # fmt: skip
CARD = {
    "method": "dwi-unet", "preset": "small", "profile": "corrected", "n_steps": 4000, "hours": 3.5, "device": "cpu",
    "sha256": "ab" * 32, "interval": "95% percentile bootstrap", "metrics": METRICS,
    "operating_point": {"threshold": 0.45, "chosen_on": "90 patients", "criterion": "highest mean Dice"},
    "data": [
        {"kind": "anatomy", "folder": "<b>heads</b>", "n": {"train": 2, "validation": 1, "test": 1},
         "licences": [{"title": "Apache License"}], "anatomies": [
            {"name": "head_2", "split": "test", "sha256": "c" * 64, "ventricles_ml": 46.25},
            {"name": "head_1", "split": "train", "sha256": "d" * 64, "ventricles_ml": 9.0},
        ]},
        {"kind": "lesion", "folder": "masks", "n": {"train": 700, "validation": 120, "test": 180},
         "licences": "none was found or given"},
    ],
    "plan": {"learning_rate": 0.002, "patch": [80, 96, 80]}, "recipe": {"fade": 0.7}, "made_with": {"torch": "2"},
    "known_limits": ["Only synthetic patients."],
}  # fmt: skip
LOG = [{"step": 50, "loss": 2.0, "seconds": 9.0}, {"step": 100, "loss": 1.5, "seconds": 18.0},
       {"step": 100, "dice": 0.4, "false_ml": 3.0, "volume_error_ml": 1.0}]  # fmt: skip


def page():
    return training_page(TrainingView(CARD, LOG, "20261129-080000_abcdef01", "0.1.0"))


def test_the_page_says_what_the_card_says():
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page().split("</style>")[1]))
    for said in (
        "0.871 0.840 to 0.900", "−0.50", "0.31 0.20 to 0.50", "above 0.45, chosen on 90 patients: highest mean Dice",
        "no infarct 0 – – –", "masks none was found or given 700 120 180", "Apache License",
        "1004 files compared", "Only synthetic patients.", "80 to 96 to 80", "3.50 on cpu",
    ):  # fmt: skip
        assert said in text, said
    assert text.index("head_1 dddddddddddd") < text.index("head_2 cccccccccccc Test 46.2")


def test_the_page_loads_nothing_and_shows_names_as_text():
    html = page()
    assert "<b>heads</b>" not in html
    assert "&lt;b&gt;heads&lt;/b&gt;" in html
    assert "default-src 'none'" in html
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', html) == []
    assert "Synthetic data." in html
    assert page() == html


def test_curves_show_every_point_and_say_where_there_is_none():
    drawn = learning_curves(LOG, name="curves")
    assert drawn.svg.count("no value yet") == 0
    empty = learning_curves([], name="curves")
    assert empty.svg.count("no value yet") == 3
    assert "Loss on training patients" in drawn.svg
    assert learning_curves(LOG, name="curves").svg == drawn.svg
