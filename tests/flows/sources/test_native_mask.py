"""A lesion drawn on a scan in native space: its volume, its place, and every mask that is not of its scan."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from flows.cases.case import Case, StepSettings
from flows.run.steps import examine, run_case
from flows.sources.native_mask import NativeMaskSource
from flows.sources.registry import METHODS
from reports.pages.remedies import REMEDIES
from tests.flows.scan_phantom import CLASSIC, REGIONS, VASCULAR, case, ct
from tests.flows.sources.patient import image, mirrored, nifti, reordered
from tests.flows.sources.test_conformance import _evidence

STEP = "native-dwi-lesion"


def _settings(**changes):
    source = NativeMaskSource(name="manual", kind="native_mask", registration="affine", **changes)
    return StepSettings(source.kind, (CLASSIC, VASCULAR), source.settings)


def _case(folder, mask=None, scan=None):
    mask = nifti(*image("dwi-lesion")) if mask is None else mask
    files = {"dwi-lesion": mask, "dwi": nifti(*image("dwi")) if scan is None else scan}
    return case(folder, files, STEP)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def record(out):
    return run_case(_case(out / "cases"), _settings(), out)


def test_the_volume_is_that_of_the_voxels_and_the_lesion_lies_in_its_regions(record):
    mask, affine = image("dwi-lesion")
    assert (record.status, record.reason) == ("ok", None)
    lesion = record.payload.lesion
    assert lesion.n_voxels == mask.sum()
    assert lesion.volume_ml == pytest.approx(mask.sum() * 1.8 * 1.8 * 5 / 1000, rel=1e-5)
    assert lesion.side == "right"
    assert list(record.payload.scans) == ["dwi", "dwi-lesion"]  # the scan that the mask lies on comes first
    assert set(record.payload.quality) == {"dwi"}
    source = NativeMaskSource(name="manual", kind="native_mask")
    filled = {key for key, one in _evidence(source, record, CLASSIC).items() if one.value > 0.5}
    assert filled == {("right", region) for region in REGIONS}
    np.testing.assert_allclose(affine, image("dwi")[1])


def test_the_mask_is_kept_on_the_grid_of_the_scan_whatever_order_its_own_file_has(record, out, tmp_path):
    mask, affine = image("dwi-lesion")
    turned = run_case(_case(tmp_path / "cases", nifti(*reordered(mask, affine))), _settings(), tmp_path)
    assert turned.payload.lesion == record.payload.lesion
    assert turned.payload.counts == record.payload.counts
    for one, folder in ((record, out), (turned, tmp_path)):
        (path,) = (folder / item["path"] for item in one.outputs if item["path"].endswith("_label-lesion_mask.nii.gz"))
        kept = nib.load(path)
        np.testing.assert_array_equal(np.asarray(kept.dataobj), mask)
        np.testing.assert_allclose(kept.affine, affine, atol=1e-4)


def test_an_empty_mask_says_that_there_is_no_lesion(tmp_path):
    mask, affine = image("dwi-lesion")
    record = run_case(_case(tmp_path, nifti(np.zeros_like(mask), affine)), _settings(), tmp_path)
    assert record.status == "ok"
    assert (record.payload.lesion.volume_ml, record.payload.lesion.side) == (0, "none")
    assert sum(record.payload.counts[CLASSIC.sha256].n_lesion) == 0
    assert any(item["path"].endswith("_label-lesion_mask.nii.gz") for item in record.outputs)


def _floats(values, affine):
    return gzip.compress(nib.Nifti1Image(values.astype(np.float32), affine).to_bytes(), mtime=0)


def _bad_masks():
    mask, affine = image("dwi-lesion")
    shifted, coarse = affine.copy(), affine.copy()
    shifted[2, 3] += 4  # of slices of 5 mm
    coarse[:3, 0] *= 1.5
    return {
        "labels": (nifti(mask * 3, affine), "mask_values_not_binary", r"got 3 in \d+ voxels"),
        "fractions": (_floats(mask * 0.4, affine), "mask_values_not_binary", r"got 0.4 in \d+ voxels"),
        "no numbers": (_floats(np.where(mask, np.nan, 0), affine), "mask_not_finite", "that are not numbers"),
        "4D": (_floats(np.stack([mask, mask], 3), affine), "wrong_dimensions", "got 120x132x32x2. Give the 3-D mask"),
        "shape": (
            nifti(mask[:, :, 1:], affine),
            "mask_not_on_scan",
            r"120x132x32 of .*, got 120x132x31 of .*\(LPS\)\.",
        ),
        "shifted": (nifti(mask, shifted), "mask_not_on_scan", "lie up to 0.8 voxels apart"),
        "stretched": (nifti(mask, coarse), "mask_not_on_scan", "got 120x132x32 of 2.7 x 1.8 x 5 mm"),
        "mirrored": (nifti(*mirrored(mask, affine)), "mask_not_on_scan", "voxels apart. Save it with the grid"),
        "outside": (nifti(np.roll(mask, 60, axis=0), affine), "lesion_outside_scan", "of the lesion within 5 mm of it"),
    }


@pytest.mark.parametrize(
    "name", ["labels", "fractions", "no numbers", "4D", "shape", "shifted", "stretched", "mirrored", "outside"]
)
def test_a_mask_that_is_none_of_its_scan_ends_with_a_reason(name, tmp_path):
    content, reason, words = _bad_masks()[name]
    outcome = examine(_case(tmp_path, content), _settings())
    assert (outcome.status, outcome.reason) == ("excluded", reason)
    assert " must " in outcome.detail
    with pytest.raises(ValueError, match=words):
        raise ValueError(outcome.detail)
    assert reason in REMEDIES
    assert outcome.findings.lesion is None


def test_a_mask_without_its_scan_and_a_scan_that_is_none_end_with_a_reason(tmp_path):
    whole = _case(tmp_path)
    alone = examine(Case("sub-1", STEP, whole.files[:1]), _settings())
    assert (alone.status, alone.reason) == ("excluded", "scan_of_mask_missing")
    assert "got none of modality 'dwi'" in alone.detail
    assert alone.findings.scans["dwi-lesion"].shape == (120, 132, 32)
    flat = examine(
        _case(tmp_path / "flat", scan=nifti(np.full((120, 132, 32), 1, np.uint8), image("dwi")[1])), _settings()
    )
    assert (flat.status, flat.reason) == ("excluded", "constant_image")
    assert {"scan_of_mask_missing", "constant_image"} <= set(REMEDIES)


def test_a_mask_drawn_on_ct_is_measured_and_judged_as_ct(tmp_path):
    hu, affine = ct()
    mask = np.zeros(hu.shape, np.uint8)
    mask[40:44, 60:66, 16:18] = 1
    files = {"ct-lesion": nifti(mask, affine), "ct-plain": nifti(hu.astype(np.float32), affine)}
    changes = {"modality": "ct-lesion", "scan": "ct-plain", "image": "ncct"}
    record = run_case(case(tmp_path, files, "native-ct-lesion"), _settings(**changes), tmp_path)
    assert record.status == "ok"
    assert record.payload.lesion.volume_ml == pytest.approx(4 * 6 * 2 * 1.8 * 1.8 * 5 / 1000, rel=1e-5)
    assert record.payload.quality["ct-plain"]["noise_hu"] == pytest.approx(3, abs=0.3)
    source = METHODS["native_mask"].source(name="a", kind="native_mask", **changes)
    assert (source.gated_as, source.lies_on, source.stem) == ("ct", "ct-plain", "native-ct-lesion")
    assert Path(record.outputs[-1]["path"]).name == "sub-1_ct-lesion_label-lesion_mask.nii.gz"


def test_a_study_says_what_a_scan_of_another_name_is_and_names_two_rows():
    with pytest.raises(ValueError, match="image must be given where scan is not dwi, ncct, cta, got scan 'mr'"):
        NativeMaskSource(name="a", kind="native_mask", scan="mr")
    with pytest.raises(ValueError, match="modality and scan must differ, got 'dwi' for both"):
        NativeMaskSource(name="a", kind="native_mask", modality="dwi")
