"""Features of regions: equal to the extractor of pyradiomics and to published values; null with a reason otherwise."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from radiomics.featureextractor import RadiomicsFeatureExtractor
from scipy import ndimage

from tasks.radiomics.feature_lists import FEATURE_CLASSES, FEATURE_LISTS, class_of
from tasks.radiomics.features import MOST_GREY_LEVELS, FeatureSettings, RegionFeatures, describe_regions
from tests.tasks.radiomics import ibsi
from tests.tasks.radiomics.extractor import by_extractor, largest_difference

ALL = FEATURE_LISTS["pyradiomics3_107"]
SPACING_MM = (0.9, 1.1, 4.0)
BIN_WIDTH = 5.0


def _scan(seed=3, shape=(40, 34, 12)):
    """Texture with gaps between grey levels, and twenty ragged regions that touch, some in pieces and some hollow."""
    rng = np.random.default_rng(seed)
    values = ndimage.gaussian_filter(rng.normal(0, 40, shape), 1).astype(np.float32) + rng.choice([0, 30], shape)
    seeds = rng.random((20, 3)) * shape
    places = np.moveaxis(np.indices(shape), 0, -1)[..., None, :]
    nearest = ((places - seeds) ** 2).sum(axis=-1).argmin(axis=-1) + 1
    return values, np.where(rng.random(shape) < 0.9, nearest, 0).astype(np.int16)


def _described(values, labels, indices=range(1, 21), names=ALL, window=None):
    return describe_regions(values, labels, SPACING_MM, indices, FeatureSettings(names, BIN_WIDTH, window))


def test_twenty_regions_are_described_as_by_the_extractor():
    values, labels = _scan()
    expected = by_extractor(values, labels, SPACING_MM, range(1, 21), bin_width=BIN_WIDTH)
    assert largest_difference(_described(values, labels), expected) < 1e-9


def test_a_window_sets_values_beyond_it_to_its_ends():
    values, labels = _scan(5)
    expected = by_extractor(np.clip(values, -10, 40), labels, SPACING_MM, (4, 9), bin_width=BIN_WIDTH)
    assert largest_difference(_described(values, labels, (4, 9), window=(-10.0, 40.0)), expected) < 1e-9


def test_stored_integers_are_described_as_by_the_extractor():
    values, labels = _scan(4)
    values = np.rint(values).astype(np.int16)
    expected = by_extractor(values, labels, SPACING_MM, (2, 7), bin_width=BIN_WIDTH)
    assert largest_difference(_described(values, labels, (2, 7)), expected) < 1e-9


@pytest.mark.real_data
def test_regions_of_a_real_ct_are_described_as_by_the_extractor(real_data):
    folder = real_data / "ncct-aspects" / "sub001"
    labels = np.rint(np.asarray(nib.load(folder / "im_aligned_stripped_seg.nii.gz").dataobj)).astype(np.int16)
    image = nib.load(folder / "im_aligned.nii.gz")
    (box,) = ndimage.find_objects(
        (labels > 0).astype(np.uint8)
    )  # the extractor takes seven times as long on the whole image
    values = np.asarray(image.dataobj, np.float32)[box]
    spacing = tuple(float(size) for size in image.header.get_zooms()[:3])
    expected = by_extractor(values, labels[box], spacing, range(1, 21), bin_width=BIN_WIDTH)
    found = describe_regions(values, labels[box], spacing, range(1, 21), FeatureSettings(ALL, BIN_WIDTH))
    assert largest_difference(found, expected) < 1e-9


def test_the_digital_phantom_has_its_published_values():
    values, labels = ibsi.phantom()
    found = describe_regions(values, labels, ibsi.SPACING_MM, [1], FeatureSettings(ALL, 1))[1].values
    n = np.count_nonzero(labels)
    assert n == 74
    # what pyradiomics is known to define differently: axes by n instead of n - 1 voxels, kurtosis with its 3
    own = dict(found) | {name: found[name] * np.sqrt(n / (n - 1)) for name in found if name.endswith("AxisLength")}
    rounded = {name: float(f"{own[name]:.3g}") for name in ibsi.PUBLISHED}
    assert rounded == ibsi.PUBLISHED
    assert found["original_firstorder_Kurtosis"] - 3 == pytest.approx(ibsi.EXCESS_KURTOSIS, abs=5e-4)
    assert found["original_firstorder_TotalEnergy"] == pytest.approx(567 * 8)
    # by hand: from before the first row to behind the last are 4 voxels, from the first slice to the last are 3
    assert found["original_shape_Maximum2DDiameterRow"] == pytest.approx(np.hypot(8, 6))


def test_regions_without_features_have_a_reason_and_the_others_are_kept():
    values, labels = _scan()
    expected = _described(values, labels)
    values, labels = values.copy(), labels.copy()
    for index in (2, 3):
        labels[labels == index] = 0
    labels[0, 0, 0], labels[5, 4:9, 3] = 2, 3
    values[labels == 4] = 30.0
    values[tuple(np.argwhere(labels == 5)[7])] = np.nan
    values[tuple(np.argwhere(labels == 6)[0])] = BIN_WIDTH * (MOST_GREY_LEVELS + 50)
    labels[labels == 7] = 0
    found = _described(values, labels)
    reasons = {index: one.reason for index, one in found.items() if one.reason}
    assert reasons == {
        2: "region_too_small", 3: "region_too_small", 4: "region_uniform", 5: "region_not_finite",
        6: "too_many_grey_levels", 7: "region_absent",
    }  # fmt: skip
    assert all(found[index].values == {} and " must " in found[index].detail for index in reasons)
    untouched = set(range(8, 21)) - {int(one) for one in np.unique(_scan()[1][5, 4:9, 3])} - {int(_scan()[1][0, 0, 0])}
    assert len(untouched) > 9
    for index in untouched:
        assert found[index].values == expected[index].values


@pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning")
def test_features_that_a_region_of_lone_voxels_lacks_are_null_and_the_others_kept():
    values, labels = _scan()
    labels = np.zeros_like(labels)
    labels[::3, ::3, ::3] = 1
    found = _described(values, labels, (1,))
    expected = by_extractor(values, labels, SPACING_MM, (1,), bin_width=BIN_WIDTH)
    lacking = {name for name, value in found[1].values.items() if value is None}
    assert lacking == {name for name, value in expected[1].items() if np.isnan(value)}
    assert {class_of(name) for name in lacking} == {"glcm"}
    kept = {1: {name: value for name, value in expected[1].items() if name not in lacking}}
    assert largest_difference({1: RegionFeatures({name: found[1].values[name] for name in kept[1]})}, kept) < 1e-9


def test_a_mirrored_scan_has_the_same_features_on_the_other_side():
    values, labels = _scan()
    found, mirrored = _described(values, labels), _described(values[::-1], labels[::-1])
    # where voxels touch by an edge alone, pyradiomics' cubes are cut the same way on either side, not mirrored
    cut = {f"original_shape_{name}" for name in ("MeshVolume", "SurfaceArea", "SurfaceVolumeRatio", "Sphericity")}
    for index, one in found.items():
        for name, value in one.values.items():
            assert mirrored[index].values[name] == pytest.approx(value, rel=0.05 if name in cut else 1e-9), name


def test_named_lists_are_those_of_pyradiomics():
    values, labels = _scan()
    extractor = RadiomicsFeatureExtractor()
    known = list(by_extractor(values, labels, SPACING_MM, [1], bin_width=5)[1])
    assert list(ALL) == known
    assert set(map(class_of, ALL)) == set(FEATURE_CLASSES) == set(extractor.enabledFeatures)
    older = FEATURE_LISTS["pyradiomics2_105"]
    counts = {one: sum(class_of(name) == one for name in older) for one in FEATURE_CLASSES}
    assert counts == {"shape": 13, "firstorder": 18, "glcm": 23, "gldm": 14, "glrlm": 16, "glszm": 16, "ngtdm": 5}
    assert set(FEATURE_LISTS["tao2024_3"]) < set(older)


def test_only_what_is_asked_for_is_computed():
    values, labels = _scan()
    names = FEATURE_LISTS["tao2024_3"]
    few, all_of_them = _described(values, labels, (3,), names)[3].values, _described(values, labels, (3,))[3].values
    assert few == {name: all_of_them[name] for name in names}


def test_bad_arguments_say_what_is_wrong():
    values, labels = _scan()
    with pytest.raises(ValueError, match=r"labels must have the shape of values, \(39, 34, 12\), got \(40, 34, 12\)"):
        _described(values[1:], labels)
    with pytest.raises(ValueError, match=r"bin_width must be > 0, got 0"):
        FeatureSettings(ALL, 0)
    with pytest.raises(ValueError, match=r"window must have low < high, got \(80, 0\)"):
        FeatureSettings(ALL, 5, (80, 0))
    with pytest.raises(ValueError, match="must be features of pyradiomics, got 'original_glcm_Sharpness'"):
        FeatureSettings(("original_glcm_Sharpness",), 5)
    with pytest.raises(ValueError, match=r"must be named original_CLASS_NAME, .* got 'Mean'"):
        FeatureSettings(("Mean",), 5)
