"""Changes of axes that only turn signs, as (4, 4) world matrices."""

from __future__ import annotations

import numpy as np

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK and DICOM count in LPS; its own inverse
MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])  # of the template's world: left <-> right
