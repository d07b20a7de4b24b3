"""Names of features and named lists of them; pyradiomics' own names, such as ``original_firstorder_Mean``.

A name has three parts: the image that was described (``original``: the scan, unfiltered), the class, the feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

#: As pyradiomics calls its classes, and in its order.
FeatureClass = Literal["shape", "firstorder", "glcm", "gldm", "glrlm", "glszm", "ngtdm"]
FeatureList = Literal["pyradiomics3_107", "pyradiomics2_105", "tao2024_3"]

#: A region's own value, or held against the same region of the other side, which Tao 2024 argues for and does not do.
FeatureMode = Literal["absolute", "contralateral_diff", "ratio"]

FEATURE_CLASSES: tuple[FeatureClass, ...] = get_args(FeatureClass)
FEATURE_MODES: tuple[FeatureMode, ...] = get_args(FeatureMode)

#: Class -> what pyradiomics 3.1 computes unless it is told otherwise.
_OF_CLASS: Mapping[FeatureClass, str] = {
    "shape": """
        Elongation Flatness LeastAxisLength MajorAxisLength Maximum2DDiameterColumn Maximum2DDiameterRow
        Maximum2DDiameterSlice Maximum3DDiameter MeshVolume MinorAxisLength Sphericity SurfaceArea SurfaceVolumeRatio
        VoxelVolume""",
    "firstorder": """
        10Percentile 90Percentile Energy Entropy InterquartileRange Kurtosis Maximum MeanAbsoluteDeviation Mean Median
        Minimum Range RobustMeanAbsoluteDeviation RootMeanSquared Skewness TotalEnergy Uniformity Variance""",
    "glcm": """
        Autocorrelation ClusterProminence ClusterShade ClusterTendency Contrast Correlation DifferenceAverage
        DifferenceEntropy DifferenceVariance Id Idm Idmn Idn Imc1 Imc2 InverseVariance JointAverage JointEnergy
        JointEntropy MCC MaximumProbability SumAverage SumEntropy SumSquares""",
    "gldm": """
        DependenceEntropy DependenceNonUniformity DependenceNonUniformityNormalized DependenceVariance
        GrayLevelNonUniformity GrayLevelVariance HighGrayLevelEmphasis LargeDependenceEmphasis
        LargeDependenceHighGrayLevelEmphasis LargeDependenceLowGrayLevelEmphasis LowGrayLevelEmphasis
        SmallDependenceEmphasis SmallDependenceHighGrayLevelEmphasis SmallDependenceLowGrayLevelEmphasis""",
    "glrlm": """
        GrayLevelNonUniformity GrayLevelNonUniformityNormalized GrayLevelVariance HighGrayLevelRunEmphasis
        LongRunEmphasis LongRunHighGrayLevelEmphasis LongRunLowGrayLevelEmphasis LowGrayLevelRunEmphasis RunEntropy
        RunLengthNonUniformity RunLengthNonUniformityNormalized RunPercentage RunVariance ShortRunEmphasis
        ShortRunHighGrayLevelEmphasis ShortRunLowGrayLevelEmphasis""",
    "glszm": """
        GrayLevelNonUniformity GrayLevelNonUniformityNormalized GrayLevelVariance HighGrayLevelZoneEmphasis
        LargeAreaEmphasis LargeAreaHighGrayLevelEmphasis LargeAreaLowGrayLevelEmphasis LowGrayLevelZoneEmphasis
        SizeZoneNonUniformity SizeZoneNonUniformityNormalized SmallAreaEmphasis SmallAreaHighGrayLevelEmphasis
        SmallAreaLowGrayLevelEmphasis ZoneEntropy ZonePercentage ZoneVariance""",
    "ngtdm": "Busyness Coarseness Complexity Contrast Strength",
}

_ALL = tuple(f"original_{one}_{name}" for one, names in _OF_CLASS.items() for name in names.split())
#: Came with pyradiomics 2.1, which kept the volume of version 2.0 as VoxelVolume (its pull request 427).
_SINCE_2_1 = ("original_shape_MeshVolume", "original_glcm_MCC")

#: Named list -> its features, in pyradiomics' order. The numbers are today's, whatever version a list is named after.
FEATURE_LISTS: Mapping[FeatureList, tuple[str, ...]] = {
    "pyradiomics3_107": _ALL,
    #: Tao 2024 counts 105, as versions 2.0 had: 13 + 18 + 23 + 14 + 16 + 16 + 5.
    "pyradiomics2_105": tuple(name for name in _ALL if name not in _SINCE_2_1),
    #: Tao 2024, Table 2: what t-test and lasso left.
    "tao2024_3": (
        "original_firstorder_Mean",
        "original_firstorder_RootMeanSquared",
        "original_glrlm_HighGrayLevelRunEmphasis",
    ),
}


def class_of(name: str) -> FeatureClass:
    """The class of a feature.

    Raises
    ------
    ValueError
        The name has none.

    >>> class_of("original_glcm_Contrast")
    'glcm'
    """
    for one in FEATURE_CLASSES:
        if name.startswith(f"original_{one}_"):
            return one
    raise ValueError(
        f"a feature must be named original_CLASS_NAME, CLASS one of {', '.join(FEATURE_CLASSES)}, got {name!r}."
    )


def held_against(value: float, other: float, mode: Literal["contralateral_diff", "ratio"]) -> float | None:
    """A region's value held against that of the other side; None of a ratio to 0.

    >>> held_against(30, 40, "contralateral_diff"), held_against(30, 40, "ratio"), held_against(30, 0, "ratio")
    (-10, 0.75, None)
    """
    if mode == "contralateral_diff":
        return value - other
    return value / other if other else None
