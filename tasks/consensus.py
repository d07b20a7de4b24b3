"""One reading from several by a rule, region by region.

``majority``: affected where more readers say so than not; an equal number leaves the region open, to be settled by a
further reader. ``any``: where at least one says so. ``all``: where every one does. Readers who could not read the scan
have no vote; where they are at least as many as the others, the consensus is that it cannot be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

ConsensusRule = Literal["majority", "any", "all"]
Place = TypeVar("Place")


@dataclass(frozen=True)
class Consensus(Generic[Place]):
    """What readers agreed on; ``affected`` is None where the scan cannot be read, and lacks the regions in ``open``."""

    affected: Mapping[Place, bool] | None
    open: tuple[Place, ...] = ()


def consensus(readings: Sequence[Mapping[Place, bool] | None], rule: ConsensusRule) -> Consensus[Place]:
    """Combine the readings of one scan.

    Parameters
    ----------
    readings : of at least two readers: region -> whether it is affected, all of the same regions; None of a reader who
        could not read the scan
    rule : ``majority``, ``any`` or ``all``

    Raises
    ------
    ValueError
        There are fewer than two readings, or they are of different regions.

    Examples
    --------
    >>> consensus([{"m1": True, "m2": False}, {"m1": True, "m2": True}], "majority")
    Consensus(affected={'m1': True}, open=('m2',))
    """
    votes = [reading for reading in readings if reading is not None]
    if len(readings) < 2:
        raise ValueError(f"readings must be of at least two readers, got {len(readings)}. Wait for the others.")
    if any(vote.keys() != votes[0].keys() for vote in votes):
        raise ValueError("readings must be of the same regions. Give all regions of both sides.")
    if 2 * len(votes) <= len(readings):
        return Consensus(None)
    affected, undecided = {}, []
    for place in votes[0]:
        n_yes, n = sum(vote[place] for vote in votes), len(votes)
        if rule == "majority" and 2 * n_yes == n:
            undecided.append(place)
        else:
            affected[place] = {"majority": 2 * n_yes > n, "any": n_yes > 0, "all": n_yes == n}[rule]
    return Consensus(affected, tuple(undecided))
