"""Progress: a rate that is never 0 while something is finished."""

from __future__ import annotations

import pytest

from flows.engine.progress import rate_text


@pytest.mark.parametrize(("per_s", "text"), [(23.6, "24/s"), (1.0, "1/s"), (0.27, "16/min"), (0.0, "0/min")])
def test_a_slow_rate_is_told_per_minute(per_s: float, text: str) -> None:
    assert rate_text(per_s) == text
