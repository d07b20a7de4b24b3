"""Loaded by every local Dask worker as it starts (Dask's preload)."""

from __future__ import annotations

from flows.engine.limits import WORKER_OOM_SCORE, be_ended_first


def dask_setup(_worker: object) -> None:
    """Let a worker be ended before this command where memory runs out: its case is tried again."""
    be_ended_first(WORKER_OOM_SCORE)
