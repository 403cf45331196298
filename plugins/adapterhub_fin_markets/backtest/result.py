"""Hold what a backtest gave, and what must be said of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapterhub_fin import YankedVersion
from adapterhub_fin_markets.backtest.admission import Refusal
from adapterhub_fin_markets.backtest.comparisons import Comparisons
from adapterhub_fin_markets.backtest.judging import Judgement
from adapterhub_fin_markets.backtest.ledger import Ledger
from adapterhub_fin_markets.backtest.measures import PeriodMeasures
from adapterhub_fin_markets.backtest.orders import Orders
from adapterhub_fin_markets.backtest.recipe import BacktestRecipe
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.signals.table import Signals


@dataclass(frozen=True)
class Mark:
    """Hold what a reader must know of a result; red where it may have known the future."""

    sentence: str
    red: bool = False


@dataclass(frozen=True)
class KnownBy:
    """Say by when an input was known, at the latest, and where that comes from."""

    what: str
    until: str  # an instant of UTC as text
    source: str


@dataclass(frozen=True, eq=False)
class BacktestResult:
    """Hold a backtest: what it was given, its ledger, and what its numbers are worth.

    Rows of the arrays are the bars of `prices`, of which the first one is that before the first decision.
    """

    recipe: BacktestRecipe
    prices: Prices  # the bars from before the first decision to the last one's fill
    signals: Signals  # those of the span
    orders: Orders
    ledger: Ledger
    measures: PeriodMeasures
    comparisons: Comparisons
    judgement: Judgement
    refusals: tuple[Refusal, ...]  # signals that knew too much; without --allow-lookahead there is none
    marks: tuple[Mark, ...]
    known_by: tuple[KnownBy, ...]
    yanked: tuple[YankedVersion, ...] = ()  # versions that were yanked since, with the signals that they answered

    @property
    def at(self) -> np.ndarray:
        """Return the closes at which returns are measured, (periods,): all but that before the first decision."""
        return self.ledger.at[1:]

    @property
    def returns(self) -> np.ndarray:
        """Return the return of equity over each period, (periods,)."""
        return self.ledger.returns[1:]

    @property
    def refused(self) -> Mapping[str, int]:
        """Return the number of rows that were refused by reason: signals, and texts that no version could answer."""
        counts = Counter({f"text: {why}": rows for why, rows in self.signals.facts.get("refused", {}).items()})
        counts.update(refusal.reason for refusal in self.refusals)
        return dict(counts)

    @property
    def strict(self) -> bool:
        """Say whether nothing in it can have known the future."""
        return not any(mark.red for mark in self.marks)

    def record(self) -> dict[str, Any]:
        """Return the result as plain JSON values, without its tables."""
        return {
            "name": self.recipe.name,
            "strict": self.strict,
            "marks": [{"sentence": mark.sentence, "red": mark.red} for mark in self.marks],
            "first": f"{self.at[0]}Z",
            "last": f"{self.at[-1]}Z",
            "signals": len(self.signals),
            "tickers": len(self.signals.tickers),
            "measures": self.measures.document(),
            **self.judgement.record(),
            "comparisons": self.comparisons.document(),
            "refused": dict(self.refused),
            "unfilled": dict(self.ledger.unfilled),
            "unfilled_tickers": {reason: dict(of) for reason, of in self.ledger.unfilled_tickers.items()},
            "yanked": [version.record() for version in self.yanked],
            "known_by": [item.__dict__ for item in self.known_by],
            "recipe": self.recipe.document(),
            "recipe_digest": self.recipe.digest(),
        }
