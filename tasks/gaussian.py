"""Numbers of the normal distribution, for robust statistics and for smoothing."""

from __future__ import annotations

MAD_TO_SIGMA = 1.4826  # median absolute deviation -> standard deviation
FWHM_PER_SIGMA = 2.3548  # full width at half maximum over standard deviation: 2 sqrt(2 ln 2)
