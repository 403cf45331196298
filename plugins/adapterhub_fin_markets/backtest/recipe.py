"""Describe one backtest as one document: signals, prices, rules, span and report; nothing heavy is imported."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from pydantic import AliasChoices, Field, model_validator

from adapterhub_fin.plugin import Offset, Options, read_document
from adapterhub_fin_markets.backtest.regimes import RegimeOptions
from adapterhub_fin_markets.backtest.rules import Rules
from adapterhub_fin_markets.corpora.options import ClockSpan, DocumentsPart
from adapterhub_fin_markets.prices.choice import PricesChoice
from adapterhub_fin_markets.signals.options import SignalOptions


class SignalsChoice(SignalOptions):
    """Choose an adapter and the texts that it answers, or a table of signals and the texts that it was made of."""

    adapter: str | None = Field(
        None, description="The version that answers, by name, alias or number; of a table, what it is of."
    )
    path: Path | None = Field(None, description="A table of `ahf signals`, in place of an adapter.")
    texts: DocumentsPart = Field(
        description="The corpus of the dated texts, as in a recipe; a table's texts are dated by it anew."
    )
    labels: DocumentsPart | None = Field(
        None,
        description="Of a table that was fitted on a corpus of its own: that corpus of labelled texts, to fit it anew.",
    )

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if self.adapter is None and self.path is None:
            raise ValueError("give an adapter, or the path of a table of signals")
        making = self.model_fields_set - {"adapter", "path", "texts", "labels", "ticker", "include_base"}
        if self.path is not None and making:
            raise ValueError(f"a table of signals is made already: leave out {', '.join(sorted(making))}")
        if self.path is None and self.labels is not None:
            raise ValueError("labels are for a table: give the corpus in calibration, or in threshold")
        if {"calendar", "interval"} & self.model_fields_set or self.allow_lookahead:
            raise ValueError(
                "decisions are taken at the closes of the prices, and look ahead only by --allow-lookahead: leave out "
                "calendar, interval and allow_lookahead"
            )
        return self


def corpus_of(part: DocumentsPart) -> dict[str, Any]:
    """Return the corpus of a recipe's part, as `signals` takes it."""
    return {"name": part.name, **part.options.model_dump(exclude_unset=True)}


class Span(Options):
    """Bound the decisions that are tested, in UTC; the bars go on until the last of them is filled and valued."""

    since: date | None = Field(
        None, validation_alias=AliasChoices("from", "since"), description="First day of decisions; by default all."
    )
    until: date | None = Field(None, description="Day before which decisions end; by default all.")
    embargo: ClockSpan = Field(
        "0d", description="How long after an adapter's knowledge end decisions that it answered are refused."
    )
    regimes: RegimeOptions | None = Field(
        RegimeOptions(), description="Bull, bear and sideways markets, by past returns alone; null leaves them out."
    )

    @property
    def embargo_length(self) -> timedelta:
        """Return the embargo as a length of time."""
        start = datetime(1970, 1, 1, tzinfo=UTC)
        return Offset(self.embargo).after([start])[0] - start

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError(f"until ({self.until}) must be after from ({self.since})")
        return self


class ReportChoice(Options):
    """Say how the numbers are judged."""

    bootstrap: int = Field(2000, ge=100, le=100_000, description="Draws of the stationary bootstrap of an interval.")
    placebo: int = Field(200, ge=0, le=100_000, description="Circular shifts of the signals; 0 leaves them out.")
    seed: int = Field(0, ge=0, description="Seed of all that is drawn.")


class BacktestRecipe(Options):
    """Describe one backtest.

    Example:
        >>> recipe = BacktestRecipe.read("btc.yaml", ["rules.costs_bp=5"])
        >>> recipe.rules.costs_bp
        5.0
    """

    name: str | None = Field(None, min_length=1, description="What the backtest is called in reports and trials.")
    signals: SignalsChoice
    prices: PricesChoice
    rules: Rules = Field(default_factory=Rules)
    test: Span = Field(default_factory=Span)
    report: ReportChoice = Field(default_factory=ReportChoice)

    @classmethod
    def read(cls, source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> BacktestRecipe:
        """Read a recipe from a YAML file or a mapping, with `a.b=value` overrides. Raises BadRecipe by the key."""
        return read_document(cls, source, overrides, "backtest")

    def document(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values, from which `read` gives this recipe again."""
        left_out = {"signals": {"calendar", "interval", "allow_lookahead"}}
        return self.model_dump(mode="json", exclude_none=True, exclude=left_out)

    def digest(self) -> str:
        """Return the SHA-256 of what decides the equity: two recipes that differ in name or report alone are one."""
        content = self.model_dump(mode="json", exclude={"name", "report"})
        return f"sha256:{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}"
