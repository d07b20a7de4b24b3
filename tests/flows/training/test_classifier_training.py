"""``aspects train cta-radiomics``: heads of ellipsoids cannot be registered; described by hand they can be learned."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from models.classifier import load_classifier
from models.weights import find_weights
from tasks.anatomy import aspects_label_table
from tasks.radiomics.features import LEARNED
from tests.flows.conftest import forker
from tests.flows.training.tiny_training import keep_prepared, write_tiny_training

pytestmark = [pytest.mark.slow, pytest.mark.processes, pytest.mark.extended]
OPTIONS = ("--pool", "8", "--judged", "3", "--gpu", "none", "--n-cpus", "2", "--seed", "4")


def describe(path, number):
    """Regions of the left side lie 6 HU lower where they are affected, every second one in turn."""
    rng = np.random.default_rng(number)
    rows, shares = [], []
    for at, label in enumerate(aspects_label_table().labels):
        is_affected = label.side == "left" and (at + number) % 2 == 0
        values = rng.normal(30, 0.5, len(LEARNED.names)) - 6.0 * is_affected
        rows.append({"index": label.index, "coverage": 1.0, "fluid_share": 0.0, "reason": "", "values": list(values)})
        shares.append(0.5 * is_affected)
    path.write_text(json.dumps({"reason": "", "rows": rows, "shares": shares, "facts": {"anatomy": "made"}}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Run on heads that cannot be used, described by hand and run again: output and what was printed."""
    tiny = write_tiny_training(tmp_path_factory.mktemp("training"))
    out = tiny.folder / "out"
    keep_prepared(tiny, out / "work")
    folders = ("--anatomies", str(tiny.anatomies), "--lesions", str(tiny.lesions))
    command = ["train", "cta-radiomics", str(out), *folders, *OPTIONS]
    runs = [forker().run(command, dict(os.environ))]
    for path in out.glob("work/prepared-*/*/*.json"):
        describe(path, int(path.stem) + len(path.parent.name))
    runs.append(forker().run(command, dict(os.environ)))
    return out, runs


def test_too_few_that_can_be_used_are_refused_with_their_reasons(trained):
    _, (first, _) = trained
    assert first.returncode != 0
    said = " ".join((first.stdout + first.stderr).split())
    assert "5 patients or more of train must have an affected region and an image that can be used, got 0 of 8" in said
    assert "Draw more: --pool, --judged." in said


def test_it_goes_on_from_what_is_described_and_publishes_a_classifier(trained):
    out, (_, second) = trained
    assert second.returncode == 0, second.stdout + second.stderr
    card = json.loads((out / "cta-radiomics.json").read_text())
    found = load_classifier(find_weights("cta-radiomics", out))
    assert [[one.feature, one.mode] for one in found.columns] == card["classifier"]["columns"]
    assert {one.mode for one in found.columns} == {"contralateral_diff"}
    assert card["nested"]["area"]["value"] > 0.95
    assert card["n_patients"] == {"train": 8, "validation": 3, "test": 3}
    assert (card["has_patient_images"], card["state"]) == (False, "trained-here")
    page = (out / "report.html").read_text()
    assert "How well it tells affected regions" in page
    assert "auc, all regions: " in second.stdout


def test_a_dichotomy_is_learned_from_patients_of_both_kinds(tmp_path):
    """Heads of ellipsoids have no low score; with some that have, and are bright on one side, it trains."""
    tiny = write_tiny_training(tmp_path)
    out = tmp_path / "out"
    keep_prepared(tiny, out / "work")
    folders = ("--anatomies", str(tiny.anatomies), "--lesions", str(tiny.lesions))
    command = ["train", "dwi-dichotomy", str(out), *folders, *OPTIONS, "--preset", "tiny", "--steps", "3"]
    first = forker().run(command, dict(os.environ))
    said = " ".join((first.stdout + first.stderr).split())
    assert "5 patients or more of train must have a score of 6 or less, got 0 of 8. Draw more" in said
    for path in out.glob("work/prepared-*/*/*.npz"):
        is_low = int(path.stem) % 3 > 0
        slices = np.zeros((20, 80, 80), np.float16)
        slices[:, :40] = is_low
        np.savez_compressed(path, slices=slices, score=3 if is_low else 10)
    second = forker().run(command, dict(os.environ))
    assert second.returncode == 0, second.stdout + second.stderr
    card = json.loads((out / "dwi-dichotomy.json").read_text())
    assert card["n_low"] == {"train": 5, "validation": 2, "test": 2}
    assert (card["n_steps"], card["classifier"]["preset"]) == (3, "tiny")
    assert find_weights("dwi-dichotomy", out).sha256 == card["sha256"]
    assert "auc, patients: " in second.stdout
    assert "How well it tells a low score" in (out / "report.html").read_text()
