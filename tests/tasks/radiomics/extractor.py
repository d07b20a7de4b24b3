"""pyradiomics' own extractor, called region by region as its users do: what the engine must equal."""

from __future__ import annotations

import logging

import numpy as np
import SimpleITK as sitk  # noqa: N813
from radiomics.featureextractor import RadiomicsFeatureExtractor


def by_extractor(values, labels, spacing_mm, indices, *, bin_width):
    """index -> name -> value."""
    logging.getLogger("radiomics").setLevel(logging.ERROR)
    extractor = RadiomicsFeatureExtractor(binWidth=bin_width)
    image, mask = (_itk(one, spacing_mm) for one in (values, labels))
    found = {index: extractor.execute(image, mask, label=index) for index in indices}
    return {
        index: {name: float(value) for name, value in one.items() if name.startswith("original_")}
        for index, one in found.items()
    }


def largest_difference(found, expected):
    """Of relative differences, over all regions and features of ``expected``."""
    worst = 0.0
    for index, values in expected.items():
        assert list(found[index].values) == list(values)
        for name, value in values.items():
            worst = max(worst, abs(found[index].values[name] - value) / max(abs(value), 1e-300))
    return worst


def _itk(values, spacing_mm):
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    image.SetSpacing(spacing_mm)
    return image
