"""Describe a way to make one opinion of several texts; this module imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from adapterhub_fin.plugin import Description

_HERE: Final = "adapterhub_fin_markets.signals.aggregate"


@dataclass(frozen=True, kw_only=True)
class Aggregate(Description):
    """Describe how a window's texts become one opinion: the target is built from its options.

    It has `shares(answers) -> (3,)`, the weights of SELL, HOLD and BUY, which sum to one. With `estimates` it also has
    `estimate(answers) -> float`, for heads that answer with a number. `shares_together` and `estimates_together` are
    optional: see `AggregateImplementation`.
    """

    kind: ClassVar[str] = "aggregate"
    estimates: bool = False  # whether it takes a regression's estimates too


AGGREGATES: Final = (
    Aggregate(
        name="confidence",
        summary="Votes for each text's direction, weighted by its confidence.",
        target=f"{_HERE}:Confidence",
    ),
    Aggregate(name="mean", summary="Mean of probabilities or of estimates.", target=f"{_HERE}:Mean", estimates=True),
    Aggregate(name="majority", summary="Votes for each text's direction, all alike.", target=f"{_HERE}:Majority"),
    Aggregate(
        name="decay",
        summary="Mean of probabilities or of estimates, in which older texts fade by a half-life.",
        target=f"{_HERE}:Decay",
        options=f"{_HERE}:DecayOptions",
        estimates=True,
    ),
)
