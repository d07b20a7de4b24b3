"""The digital phantom of the IBSI and its published values: Zwanenburg 2016 (arXiv 1612.07003), sections 3 and 5.1."""

from __future__ import annotations

import numpy as np

#: Slices from below, rows along y, columns along x; 0 lies outside the region. Voxels of 2 mm.
SLICES = """
    1 4 4 1 1    1 4 4 1 1    1 4 4 0 0    1 4 4 0 0
    1 4 6 1 1    1 1 6 1 1    1 1 1 1 1    1 1 1 1 1
    4 1 6 4 1    0 1 3 1 1    1 1 0 1 1    1 1 1 1 1
    4 4 6 4 1    4 4 6 1 1    1 1 6 1 1    1 1 6 1 1
"""
SPACING_MM = (2.0, 2.0, 2.0)

#: Values of the three-dimensional forms; matrices of several directions are described one by one and averaged.
SHAPE = {
    "MeshVolume": 556, "VoxelVolume": 592, "SurfaceArea": 388, "SurfaceVolumeRatio": 0.698, "Sphericity": 0.843,
    "Maximum3DDiameter": 13.1, "MajorAxisLength": 11.4, "MinorAxisLength": 9.31, "LeastAxisLength": 8.54,
    "Elongation": 0.816, "Flatness": 0.749,
}  # fmt: skip
FIRSTORDER = {
    "Mean": 2.15, "Variance": 3.05, "Skewness": 1.08, "Median": 1, "Minimum": 1, "10Percentile": 1, "90Percentile": 4,
    "Maximum": 6, "InterquartileRange": 3, "Range": 5, "MeanAbsoluteDeviation": 1.55,
    "RobustMeanAbsoluteDeviation": 1.11, "Energy": 567, "RootMeanSquared": 2.77, "Entropy": 1.27, "Uniformity": 0.512,
}  # fmt: skip
EXCESS_KURTOSIS = -0.355
GLCM = {
    "MaximumProbability": 0.503, "JointAverage": 2.14, "SumSquares": 3.1, "JointEntropy": 2.4,
    "DifferenceAverage": 1.43, "DifferenceVariance": 3.06, "DifferenceEntropy": 1.56, "SumAverage": 4.29,
    "SumEntropy": 1.92, "JointEnergy": 0.303, "Contrast": 5.32, "Id": 0.677, "Idn": 0.851, "Idm": 0.618, "Idmn": 0.898,
    "InverseVariance": 0.0604, "Correlation": 0.157, "Autocorrelation": 5.06, "ClusterTendency": 7.07,
    "ClusterShade": 16.6, "ClusterProminence": 145, "Imc1": -0.157, "Imc2": 0.52,
}  # fmt: skip
GLRLM = {
    "ShortRunEmphasis": 0.705, "LongRunEmphasis": 3.06, "LowGrayLevelRunEmphasis": 0.603,
    "HighGrayLevelRunEmphasis": 9.7, "ShortRunLowGrayLevelEmphasis": 0.352, "ShortRunHighGrayLevelEmphasis": 8.54,
    "LongRunLowGrayLevelEmphasis": 2.39, "LongRunHighGrayLevelEmphasis": 17.6, "GrayLevelNonUniformity": 21.8,
    "GrayLevelNonUniformityNormalized": 0.43, "RunLengthNonUniformity": 26.9, "RunLengthNonUniformityNormalized": 0.513,
    "RunPercentage": 0.68, "GrayLevelVariance": 3.46, "RunVariance": 0.574, "RunEntropy": 2.43,
}  # fmt: skip
GLSZM = {
    "SmallAreaEmphasis": 0.255, "LargeAreaEmphasis": 550, "LowGrayLevelZoneEmphasis": 0.253,
    "HighGrayLevelZoneEmphasis": 15.6, "SmallAreaLowGrayLevelEmphasis": 0.0256, "SmallAreaHighGrayLevelEmphasis": 2.76,
    "LargeAreaLowGrayLevelEmphasis": 503, "LargeAreaHighGrayLevelEmphasis": 1490, "GrayLevelNonUniformity": 1.4,
    "GrayLevelNonUniformityNormalized": 0.28, "SizeZoneNonUniformity": 1, "SizeZoneNonUniformityNormalized": 0.2,
    "ZonePercentage": 0.0676, "GrayLevelVariance": 2.64, "ZoneVariance": 331, "ZoneEntropy": 2.32,
}  # fmt: skip
GLDM = {
    "SmallDependenceEmphasis": 0.045, "LargeDependenceEmphasis": 109, "LowGrayLevelEmphasis": 0.693,
    "HighGrayLevelEmphasis": 7.66, "SmallDependenceLowGrayLevelEmphasis": 0.00963,
    "SmallDependenceHighGrayLevelEmphasis": 0.736, "LargeDependenceLowGrayLevelEmphasis": 102,
    "LargeDependenceHighGrayLevelEmphasis": 235, "GrayLevelNonUniformity": 37.9, "DependenceNonUniformity": 4.86,
    "DependenceNonUniformityNormalized": 0.0657, "GrayLevelVariance": 3.05, "DependenceVariance": 22.1,
    "DependenceEntropy": 4.4,
}  # fmt: skip
NGTDM = {"Coarseness": 0.0296, "Contrast": 0.584, "Busyness": 6.54, "Complexity": 13.5, "Strength": 0.763}
PUBLISHED = {
    f"original_{one}_{name}": value
    for one, values in {
        "shape": SHAPE, "firstorder": FIRSTORDER, "glcm": GLCM, "glrlm": GLRLM, "glszm": GLSZM, "gldm": GLDM,
        "ngtdm": NGTDM,
    }.items()
    for name, value in values.items()
}  # fmt: skip


def phantom():
    """(5, 4, 4) arrays of values and labels."""
    rows = np.array([line.split() for line in SLICES.strip().splitlines()], int)
    values = rows.reshape(4, 4, 5).transpose(2, 0, 1)  # (y, slice, x) -> (x, y, slice)
    return values.astype(np.float32), (values > 0).astype(np.int16)
