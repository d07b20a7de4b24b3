"""A cohort to be read: small CT whose halves differ, so that a page that shows them the wrong way round is seen."""

from __future__ import annotations

import nibabel as nib
import numpy as np

RIGHT_HU, LEFT_HU = 30, 60
SHAPE, AFFINE = (40, 48, 8), np.array([[-4.0, 0, 0, 78], [0, 4, 0, -94], [0, 0, 8, -20], [0, 0, 0, 1]])
STUDY = """\
[study]
name = "Read <b>me</b>"
synthetic = true

[[source]]
name = "ratio"
kind = "density_ratio"

[[source]]
kind = "readings"
"""


def head_hu():
    """A skull around a brain of two halves: the patient's right has ``RIGHT_HU``."""
    x, y, z = np.indices(SHAPE)
    world_x = AFFINE[0, 0] * x + AFFINE[0, 3]
    radius = np.sqrt((world_x / 70) ** 2 + ((4.0 * y - 94) / 85) ** 2 + ((8.0 * z - 28) / 60) ** 2)
    values = np.where(radius < 0.9, np.where(world_x > 0, RIGHT_HU, LEFT_HU), np.where(radius < 1, 900, -1000))
    return values.astype(np.int16)


def write_reading_cohort(folder, n_participants=4, pictures="radiological"):
    """Participants 1 to n, the last of them without a scan; returns the folder."""
    (folder / "scans").mkdir(parents=True)
    (folder / "cohort.toml").write_text(STUDY.replace("[study]", f'[study]\npictures = "{pictures}"'))
    ids = [f"sub-secret{number}" for number in range(1, n_participants + 1)]
    (folder / "participants.tsv").write_text("participant_id\n" + "".join(f"{one}\n" for one in ids))
    rows = ["participant_id\tmodality\tpath"]
    for number, one in enumerate(ids[:-1]):
        values = head_hu()
        values[20, 24, 0] += number  # no two files are the same
        image = nib.Nifti1Image(values, AFFINE)
        image.set_qform(AFFINE, 1)
        nib.save(image, folder / "scans" / f"{one}_ncct.nii.gz")
        rows.append(f"{one}\tncct\tscans/{one}_ncct.nii.gz")
    (folder / "scans.tsv").write_text("\n".join(rows) + "\n")
    return folder
