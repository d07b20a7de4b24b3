"""Temporary."""
from __future__ import annotations
class RegionDensity: pass
DENSITY_RULES: dict = {}
