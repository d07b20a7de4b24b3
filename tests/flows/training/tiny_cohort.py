"""A cohort folder of phantom patients whose infarct is drawn on their diffusion scan, two with one on every side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cohorts.images.nifti import nifti_bytes
from cohorts.phantom.native_scans import ADC_STORED, scan_bytes
from models.anatomy.template import load_label_map
from tasks.phantoms.head import Acquisition, head_pose, scan_grid
from tasks.phantoms.scans import Infarct, simulate_diffusion
from tasks.space.resample import Grid, resample_labels
from tests.once_per_run import once_per_run
from tests.tasks.head_phantom import head

SHAPE, SPACING_MM = (88, 104, 28), (2.2, 2.2, 5.5)
#: Participant -> region of its infarct, of the right in even rows and of the left in odd ones; "" has none. By the
#: digests of their names 1, 4 and 10 train, 2 and 3 validate, 12 and 22 test.
PATIENTS = {
    "sub-1": "m2", "sub-2": "m5", "sub-3": "insula", "sub-4": "lentiform", "sub-10": "", "sub-12": "m5", "sub-22": "m1",
}  # fmt: skip
#: Without ADC: b = 0 is there in its place, or nothing.
WITH_B0, ALONE = "sub-3", "sub-4"
STUDY = """\
[study]
name = "Phantoms"

[[source]]
name = "manual"
kind = "native_mask"
registration = "affine"
"""
OPTIONS = ("--preset", "tiny", "--gpu", "none", "--n-cpus", "2")
LICENCE = "Phantoms, no patient: for tests"


@once_per_run
def scans(number: int, region: str):
    """b = 1000, b = 0, ADC, the drawn infarct and the affine of one patient."""
    label_map = load_label_map("classic")
    side = ("right", "left")[number % 2]
    label = next((one.index for one in label_map.table.labels if (one.side, one.region) == (side, region)), None)
    mask = np.zeros(label_map.labels.shape, bool) if label is None else np.asarray(label_map.labels == label)
    pose = head_pose((number % 5 - 2.0, number % 3, 2.0 - number % 4), (number, -140.0, 200.0))
    grid = scan_grid(pose, SHAPE, SPACING_MM)
    infarct = Infarct(mask, np.asarray(label_map.affine), 6.0, 0.6)
    series = simulate_diffusion(head(), Acquisition(grid, pose, number), infarct)
    drawn = resample_labels(mask.astype(np.uint8), infarct.affine, Grid(SHAPE, grid.affine), np.linalg.inv(pose))
    return series.b1000, series.b0, series.adc, drawn.astype(np.uint8), grid.affine


@dataclass(frozen=True)
class TinyCohort:
    """A cohort folder."""

    folder: Path

    def arguments(self, out: Path, *options: str) -> list[str]:
        """Of the command."""
        own = ("--cohort", str(self.folder), "--cohort-licence", LICENCE)
        return ["train", "dwi-unet", str(out), *own, *OPTIONS, *options]

    def write_row(self, participant: str, modality: str, content: bytes) -> Path:
        """Add one file and its row."""
        path = self.folder / f"{participant}_{modality}.nii.gz"
        path.write_bytes(content)
        with (self.folder / "scans.tsv").open("a") as file:
            file.write(f"{participant}\t{modality}\t{path.name}\n")
        return path

    def write_patient(self, participant: str, like: str = "", **changed: bytes | None) -> None:
        """Add a participant; ``changed`` replaces the file of a modality, None leaves it out."""
        with (self.folder / "participants.tsv").open("a") as file:
            file.write(f"{participant}\n")
        name = like or participant
        high, low, adc, drawn, affine = scans(int(name.removeprefix("sub-")), PATIENTS[name])
        files: dict[str, bytes | None] = {
            "dwi": scan_bytes(high, affine),
            "dwi-lesion": nifti_bytes(drawn, affine),
            "adc": scan_bytes(adc * ADC_STORED, affine) if name not in (WITH_B0, ALONE) else None,
            "dwi-b0": scan_bytes(low, affine) if name == WITH_B0 else None,
        }
        for modality, content in {**files, **{key.replace("_", "-"): one for key, one in changed.items()}}.items():
            if content is not None:
                self.write_row(participant, modality, content)


def write_tiny_cohort(folder: Path) -> TinyCohort:
    """Write the folder."""
    folder.mkdir(parents=True)
    tiny = TinyCohort(folder)
    (folder / "cohort.toml").write_text(STUDY)
    (folder / "participants.tsv").write_text("participant_id\n")
    (folder / "scans.tsv").write_text("participant_id\tmodality\tpath\n")
    for participant in PATIENTS:
        tiny.write_patient(participant)
    return tiny
