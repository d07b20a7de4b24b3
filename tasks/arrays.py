"""The arrays of this project by the type of their elements, and two names that also say what they mean.

Shapes, units and missing values are said where an array is used.
"""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

#: Numbers to compute with: curves, times, coordinates, statistics.
FloatArray: TypeAlias = npt.NDArray[np.float64]
#: Values of voxels, and what is computed for every voxel.
Float32Array: TypeAlias = npt.NDArray[np.float32]
#: Indices and counts.
IntArray: TypeAlias = npt.NDArray[np.int64]
#: Yes or no of every case.
BoolArray: TypeAlias = npt.NDArray[np.bool_]
#: Floating point numbers of any precision.
FloatingArray: TypeAlias = npt.NDArray[np.floating[Any]]
#: Whole numbers of any size, such as labels.
IntegerArray: TypeAlias = npt.NDArray[np.integer[Any]]
#: Values as they are stored, of any type.
AnyArray: TypeAlias = npt.NDArray[Any]

#: Yes or no of every voxel.
Mask: TypeAlias = npt.NDArray[np.bool_]
#: (4, 4) matrix, voxel -> world or world -> world, RAS, mm.
Affine: TypeAlias = npt.NDArray[np.float64]

#: The type of elements that a function returns as it got it.
Element = TypeVar("Element", bound=np.generic)
