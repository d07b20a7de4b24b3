"""Folders to train from: four heads of ellipsoids, already prepared, and a mask on every side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows.sources.code import ROOT, version_of
from flows.training.flow import CODE
from flows.training.inputs import kept_anatomy
from models.training.anatomies import save_anatomy
from models.training.items import examine_anatomy
from models.training.splits import Placed
from tests.models.training.tiny_anatomy import tiny_anatomy, write_labels, write_lesion

HEADS = {f"head_{number}": {"seed": number, "ventricle_mm": 7.0 + number} for number in range(4)}
#: Participants whose digests send them to train, validation, test and train.
MASKS = {"sub-1": 9.0, "sub-2": 9.5, "sub-12": 10.0, "sub-16": 7.0}
OPTIONS = ("--preset", "tiny", "--pool", "3", "--judged", "2", "--gpu", "none", "--n-cpus", "2")


@dataclass(frozen=True)
class TinyTraining:
    """Input and output folders."""

    folder: Path

    @property
    def anatomies(self) -> Path:
        """Label maps, with their licence."""
        return self.folder / "heads"

    @property
    def lesions(self) -> Path:
        """Masks."""
        return self.folder / "masks"

    def arguments(self, out: Path, *options: str) -> list[str]:
        """Of the command."""
        folders = ("--anatomies", str(self.anatomies), "--lesions", str(self.lesions))
        return ["train", "dwi-unet", str(out), *folders, *OPTIONS, *options]


def write_tiny_training(folder: Path) -> TinyTraining:
    """Write the input."""
    tiny = TinyTraining(folder)
    for name, about in HEADS.items():
        write_labels(tiny.anatomies / f"{name}.nii.gz", **about)
    (tiny.anatomies / "LICENSE").write_text("Made by a program\nNo rights reserved\n")
    for number, (name, radius_mm) in enumerate(MASKS.items()):
        write_lesion(tiny.lesions / f"{name}_mask.nii.gz", (15.0, 2.0 * number, 0.0), radius_mm)
    return tiny


def keep_prepared(tiny: TinyTraining, work: Path) -> None:
    """Put the prepared heads where the flow keeps them: a registration takes minutes, and these need none."""
    code = version_of(CODE["prepare"], ROOT).digest
    for name, about in HEADS.items():
        item = examine_anatomy(tiny.anatomies / f"{name}.nii.gz")
        kept = kept_anatomy(work, Placed(item, "train"), code)
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_anatomy(tiny_anatomy(name, **about), kept)
