"""Blood and brain by the literature: what makes a flow of plasma per volume a flow of blood per mass of tissue."""

from __future__ import annotations

BRAIN_DENSITY_G_PER_ML = 1.04  # ICRU report 44 (1989); others take 1.05, which lowers CBF and CBV by 1 %
#: Haematocrit of large and small vessels (Calamante et al., J Cereb Blood Flow Metab 1999;19:701-735).
LARGE_VESSEL_HAEMATOCRIT, SMALL_VESSEL_HAEMATOCRIT = 0.45, 0.25
HAEMATOCRIT_RATIO = (1 - LARGE_VESSEL_HAEMATOCRIT) / (1 - SMALL_VESSEL_HAEMATOCRIT)
