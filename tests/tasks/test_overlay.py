"""The scoring function of Deep-ASPECTS on maps worked by hand."""

import numpy as np
import pytest

from tasks.overlay import OVERLAY_THRESHOLDS, STORED_STEPS, overlay
from tasks.scoring import BUILT_IN_RULES, RegionEvidence

AT = {threshold: at for at, threshold in enumerate(OVERLAY_THRESHOLDS)}


def laid(*probabilities):
    """One region of that many voxels."""
    stored = np.rint(np.array(probabilities) * STORED_STEPS).astype(np.uint8).reshape(1, 1, -1)
    return overlay(stored, np.full(stored.shape, 3), [3])[0]


def test_counts_at_every_threshold_and_the_mean():
    """A threshold belongs to what is above."""
    found = laid(0.0, 0.04, 0.05, 0.3, 0.5, 0.949, 0.95, 1.0)
    assert [found.n_above[AT[one]] for one in (0.05, 0.1, 0.3, 0.35, 0.5, 0.55, 0.95)] == [6, 5, 5, 4, 4, 3, 3]
    assert found.mean_probability == pytest.approx((0 + 0.04 + 0.05 + 0.3 + 0.5 + 0.95 + 0.95 + 1) / 8)


def test_regions_are_told_apart_and_one_out_of_view_is_null():
    labels = np.array([[[0, 1, 1, 20, 20, 7]]])
    stored = np.array([[[200, 200, 0, 100, 100, 200]]], np.uint8)  # label 7 is none of the map
    first, missing, last = overlay(stored, labels, [1, 5, 20])
    assert (first.n_above[AT[0.5]], first.mean_probability) == (1, 0.5)
    assert (missing.n_above, missing.mean_probability) == ((0,) * 19, None)
    assert (last.n_above[AT[0.5]], last.n_above[AT[0.55]], last.mean_probability) == (2, 0, 0.5)


def test_one_voxel_affects_a_region_as_in_the_paper_and_a_share_does_not():
    n_above = laid(0.6, *[0.0] * 9).n_above[AT[0.5]]
    evidence = RegionEvidence("left", "m1", "fraction", n_above / 10, n_lesion_voxels=n_above)
    assert BUILT_IN_RULES["any"].judge(evidence)
    assert not BUILT_IN_RULES["danet"].judge(evidence)  # more than a tenth
    assert not BUILT_IN_RULES["wei"].judge(evidence)


def test_other_grids_are_refused():
    with pytest.raises(ValueError, match=r"labels must lie on the grid of the probabilities, \(1, 1, 2\), got"):
        overlay(np.zeros((1, 1, 2), np.uint8), np.zeros((1, 2, 1), int), [1])
