"""What a worker can run: every kind of source, and the comparisons of lesions and of regions."""

from __future__ import annotations

from flows.run import lesion_overlap, region_overlap
from flows.sources.interface import Method
from flows.sources.registry import METHODS

#: What no study declares.
COMPARISONS = (lesion_overlap.METHOD, region_overlap.METHOD)
#: Kind, as settings name it -> its method.
STEP_METHODS: dict[str, Method] = {**METHODS, **{method.kind: method for method in COMPARISONS}}
