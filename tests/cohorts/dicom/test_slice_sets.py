"""AISD and CPAISD in their published shape: masks come to lie on the voxels of their slices, tilt included."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from cohorts.dicom.slice_sets import adopt_aisd, adopt_cpaisd
from flows.sources.registry import read_cohort
from tests.cohorts.dicom.made import COLUMNS, ROWS, write_slice

N_SLICES = 5
TILT = np.radians(7)  # as the public scans have; a tilted stack starts no dcm2niix


def _slice_hu(place):
    """Air, a brain, something that tells slices apart, and a lesion of 60 HU that moves to the left with the slices."""
    values = np.full((ROWS, COLUMNS), -1000.0)
    values[4:20, 3:17] = 20 + 10 * np.random.default_rng(place).random((16, 14)).round()
    values[9:13, 5 + place : 8 + place] = 60
    return values


def _write(folder, place, **attributes):
    tilted = {"ImageOrientationPatient": [1, 0, 0, 0, round(np.cos(TILT), 6), round(-np.sin(TILT), 6)]}
    pixels = _slice_hu(place) + 1024
    write_slice(folder, place, pixels, (-20, -15, 40 + 5 * place), InstanceNumber=1, **tilted, **attributes)
    return next(folder.glob(f"*_{place:03d}.dcm"))


def _loaded(folder, name):
    image = nib.load(next(folder.rglob(f"*_{name}.nii.gz")))
    return np.asarray(image.dataobj), image.affine


def _check_lesion(folder, name="ncct-lesion"):
    """The mask has the scan's grid and covers what is bright in it."""
    scan, affine = _loaded(folder, "ncct")
    mask, of_mask = _loaded(folder, name)
    np.testing.assert_allclose(of_mask, affine)
    assert mask.shape == scan.shape
    inside = scan[mask == 1]
    assert inside.mean() > 50  # 60 HU, less what interpolation between tilted slices takes
    assert 0.7 < mask.sum() / (N_SLICES * 12) < 1.3  # 12 pixels a slice
    return mask


def test_aisd_finds_the_slice_of_every_mask_by_its_picture(tmp_path):
    source = tmp_path / "aisd"
    for place in range(N_SLICES):
        _write(source / "dicom-1" / "0091454" / "CT", place)
        picture = (_slice_hu(place).clip(0, 100) * 2.55).astype(np.uint8)
        for kind, values in (("image", picture), ("mask", (_slice_hu(place) == 60) * np.uint8(255))):
            path = source / kind / "0091454" / f"{N_SLICES - place:03d}.png"  # counted from the top
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)
    (source / "mask" / "0091455").mkdir()
    assert adopt_aisd(source, tmp_path / "cohort") == {"ncct": 1, "ncct-lesion": 1}
    mask = _check_lesion(tmp_path / "cohort")
    centres = np.array([np.argwhere(mask[:, :, z])[:, 0].mean() for z in range(1, N_SLICES - 1)])
    assert (np.diff(centres) > 0.5).all() or (np.diff(centres) < -0.5).all()  # it moves with the slices
    report = (tmp_path / "cohort" / "init_report.tsv").read_text()
    assert "0091455\tsub-0091455\tncct\tit has no DICOM slices" in report
    cohort = read_cohort(tmp_path / "cohort")
    assert [problem.reason for problem in cohort.problems] == ["participant_without_scan"]
    assert [source.kind for source in cohort.config.source] == ["native_mask", "density_ratio"]


def test_aisd_refuses_pictures_that_show_no_slice(tmp_path):
    source = tmp_path / "aisd"
    for place in range(N_SLICES):
        _write(source / "dicom-1" / "1" / "CT", place)
        for kind in ("image", "mask"):
            path = source / kind / "1" / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(place).integers(0, 255, (ROWS, COLUMNS), np.uint8)).save(path)
    with pytest.raises(ValueError, match="must have images that a source can score"):
        adopt_aisd(source, tmp_path / "cohort")


def test_cpaisd_has_core_and_penumbra_and_the_sets_split(tmp_path):
    source = tmp_path / "cpaisd"
    for place in range(N_SLICES):
        folder = source / "dataset" / "val" / "study7" / f"{place:08x}"
        _write(folder, place).rename(folder / "raw.dcm")
        labels = (_slice_hu(place) == 60).astype(np.uint8)
        labels[9, :] *= 2  # a quarter of the lesion is penumbra
        np.savez(folder / "mask.npz", mask=labels)
        np.savez(folder / "image.npz", image=_slice_hu(place))
    counts = adopt_cpaisd(source, tmp_path / "cohort")
    assert counts == {"ncct": 1, "ncct-core": 1, "ncct-lesion": 1}
    whole = _check_lesion(tmp_path / "cohort")
    core, _ = _loaded(tmp_path / "cohort", "ncct-core")
    assert 0.6 < core.sum() / whole.sum() < 0.9
    cohort = read_cohort(tmp_path / "cohort")
    assert cohort.participants["split"].tolist() == ["val"]
    assert cohort.problems == ()
    assert [source.name for source in cohort.config.source] == ["ncct-lesion", "ncct-core", "ncct-ratio"]


def test_another_folder_is_refused(tmp_path):
    for adopt, text in ((adopt_aisd, "must hold image, mask"), (adopt_cpaisd, "must hold train, val or test")):
        with pytest.raises(FileNotFoundError, match=text):
            adopt(tmp_path, tmp_path / "cohort")
