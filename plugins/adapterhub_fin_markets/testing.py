"""Provide the contract tests of a feature and of an aggregate: a class with a name is a complete test file.

    from adapterhub_fin_markets.testing import AggregateContract, FeatureContract

    class TestSkew(FeatureContract):
        name = "acme-skew"

    class TestLoudest(AggregateContract):
        name = "acme-loudest"

The plugin must be installed. Prices are made up with a seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from adapterhub_fin.plugin import build_contribution, contribution
from adapterhub_fin_markets.features.description import Feature
from adapterhub_fin_markets.prices.panel import COLUMNS
from adapterhub_fin_markets.signals.aggregate import Answers, checked_shares
from adapterhub_fin_markets.signals.description import Aggregate

BARS, TICKERS = 240, 4
PRICES = ("open", "high", "low", "close")


class FeatureContract:
    """Test that a feature looks back no further than it says, never forward, and at one ticker at a time."""

    name: ClassVar[str]
    scale_free: ClassVar[bool] = True  # whether another currency, or a later adjustment, changes nothing
    by_ticker: ClassVar[bool] = True  # whether a ticker's values depend on its own bars alone

    @property
    def description(self) -> Feature:
        """Return the feature's description. Raises UnknownName if it isn't installed."""
        return contribution(Feature, self.name)

    def test_summary_is_one_sentence(self) -> None:
        summary = self.description.summary
        assert summary.endswith(".") and "\n" not in summary and 10 <= len(summary) <= 120, summary

    def test_reads_columns_of_a_panel(self) -> None:
        unknown = set(self.description.columns) - set(COLUMNS)
        assert not unknown, f"{self.name} reads {sorted(unknown)}; a panel has {', '.join(COLUMNS)}"
        assert self.description.columns and self.description.lookback >= 0

    def test_returns_one_number_a_bar(self) -> None:
        values = self._values(random_bars())
        assert isinstance(values, np.ndarray) and values.shape == (BARS, TICKERS), f"return {(BARS, TICKERS)}"
        assert values.dtype == np.float64, f"return float64, not {values.dtype}"
        assert not np.isinf(values).any(), "return NaN where the feature is undefined"
        assert np.isfinite(values[self.description.lookback :]).any(), "the feature is NaN on 240 ordinary bars"

    def test_leaves_its_input_alone(self) -> None:
        bars = random_bars()
        copies = {column: array.copy() for column, array in bars.items()}
        self._values(bars)
        for column, array in bars.items():
            assert np.array_equal(array, copies[column], equal_nan=True), f"{column} was written to"

    def test_its_first_rows_are_nan(self) -> None:
        lookback = self.description.lookback
        assert np.isnan(self._values(random_bars())[:lookback]).all(), f"NaN is expected before bar {lookback}"

    def test_a_missing_bar_is_in_no_value_that_needs_it(self) -> None:
        bars, lookback = random_bars(), self.description.lookback
        for array in bars.values():
            array[100, 1] = np.nan
        values = self._values(bars)
        assert np.isnan(values[100 : 101 + lookback, 1]).all(), f"bars 100 to {100 + lookback} need bar 100: return NaN"
        assert np.isfinite(values[101 + lookback :, 1]).any(), "the feature never comes back after a missing bar"

    def test_later_bars_change_no_earlier_value(self) -> None:
        before = self._values(random_bars())
        for row in range(1, BARS, 7):
            bars = random_bars()
            for column, array in random_bars(seed=1).items():
                bars[column][row:] = array[row:] * 3.7
            after = self._values(bars)
            assert np.array_equal(before[:row], after[:row], equal_nan=True), (
                f"a bar from {row} on changed a value before {row}: the feature looks ahead"
            )

    def test_bars_long_past_no_longer_count(self) -> None:
        """Check that ten times the lookback lets averages that fade, such as Wilder's, forget old bars."""
        length = 10 * self.description.lookback
        bars, others = random_bars(bars=50 + length), random_bars(seed=1, bars=50 + length)
        before = self._values(bars)
        for column, array in others.items():
            bars[column][:49] = array[:49] * 1.5
        apart = np.abs(self._values(bars)[-1] - before[-1])
        assert (apart <= 0.01 * np.nanstd(before)).all(), (
            f"bars more than {length} back changed a value: the feature reads further back than its lookback says"
        )

    def test_the_scale_of_prices_does_not_matter(self) -> None:
        if not self.scale_free:
            return
        before = self._values(random_bars())
        for factor in (2.0**-20, 0.001, 1024.0, 7777.7):
            bars = random_bars()
            for column in PRICES:
                bars[column] *= factor
            assert np.allclose(before, self._values(bars), rtol=1e-7, atol=1e-9, equal_nan=True), (
                f"prices times {factor} give other values: divide the feature by a price of the same bar"
            )

    def test_tickers_do_not_mix(self) -> None:
        if not self.by_ticker:
            return
        together = self._values(random_bars())
        for ticker in range(TICKERS):
            one = {column: np.ascontiguousarray(array[:, [ticker]]) for column, array in random_bars().items()}
            assert np.allclose(together[:, [ticker]], self._values(one), rtol=1e-12, equal_nan=True), (
                f"ticker {ticker} alone has other values than among others"
            )

    def _values(self, bars: dict[str, np.ndarray]) -> np.ndarray:
        values: np.ndarray = self.description.load()(**{column: bars[column] for column in self.description.columns})
        return values


class AggregateContract:
    """Test that an aggregate makes shares of SELL, HOLD and BUY, whatever the order of a window's texts."""

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}

    @property
    def description(self) -> Aggregate:
        """Return the aggregate's description. Raises UnknownName if it isn't installed."""
        return contribution(Aggregate, self.name)

    def test_summary_is_one_sentence(self) -> None:
        summary = self.description.summary
        assert summary.endswith(".") and "\n" not in summary and 10 <= len(summary) <= 120, summary

    def test_returns_three_shares(self) -> None:
        for count in (1, 2, 7):
            checked_shares(self.name, self._shares(random_answers(count)))

    def test_leaves_its_input_alone(self) -> None:
        answers, copy = random_answers(5), random_answers(5)
        self._shares(answers)
        for column in ("probabilities", "score", "confidence", "age"):
            assert np.array_equal(getattr(answers, column), getattr(copy, column)), f"{column} was written to"

    def test_the_order_of_texts_does_not_matter(self) -> None:
        answers, order = random_answers(6), np.array([3, 0, 5, 1, 4, 2])
        columns = (answers.probabilities, answers.score, answers.confidence, answers.age)
        again = Answers(*(column[order] for column in columns))
        assert np.allclose(self._shares(answers), self._shares(again), atol=1e-9), "texts in another order differ"

    def test_texts_that_agree_are_followed(self) -> None:
        for direction in range(3):
            answers = random_answers(4)
            answers.probabilities[:] = np.where(np.arange(3) == direction, 0.8, 0.1)
            answers.confidence[:] = 0.8
            answers.score[:] = answers.probabilities[:, 2] - answers.probabilities[:, 0]
            assert self._shares(answers).argmax() == direction, "all texts say one thing, and the aggregate another"

    def test_estimates_are_a_number(self) -> None:
        if not self.description.estimates:
            return
        nan = np.full((5, 3), np.nan)
        answers = Answers(nan, np.linspace(0.1, 0.5, 5), nan[:, 0], np.arange(1.0, 6))
        estimate = build_contribution(Aggregate, self.name, self.options).estimate(answers)
        assert 0.1 <= estimate <= 0.5, "five estimates from .1 to .5 became another number"

    def test_many_windows_are_each_as_alone(self) -> None:
        built = build_contribution(Aggregate, self.name, self.options)
        windows = [random_answers(5, seed) for seed in range(4)]
        columns = ("probabilities", "score", "confidence", "age")
        many = Answers(*(np.stack([getattr(window, column) for window in windows]) for column in columns))
        for together, of_one in (("shares_together", "shares"), ("estimates_together", "estimate")):
            if hasattr(built, together):
                alone = np.array([getattr(built, of_one)(window) for window in windows])
                at_once = getattr(built, together)(many)
                assert np.allclose(at_once, alone, rtol=0, atol=1e-9), f"{together} and {of_one} differ"

    def _shares(self, answers: Answers) -> np.ndarray:
        shares: np.ndarray = build_contribution(Aggregate, self.name, self.options).shares(answers)
        return shares


def random_answers(texts: int, seed: int = 0) -> Answers:
    """Return invented answers to so many texts: arrays of (texts,), probabilities (texts, 3)."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet((1, 1, 1), texts)
    age = np.sort(rng.uniform(1, 86_400, texts))[::-1].copy()
    return Answers(probabilities, probabilities[:, 2] - probabilities[:, 0], probabilities.max(1), age)


def random_bars(seed: int = 0, bars: int = BARS, tickers: int = TICKERS) -> dict[str, np.ndarray]:
    """Return the five columns of invented bars, (bars, tickers) each."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (bars, tickers)), 0))
    opened = close * np.exp(rng.normal(0, 0.01, close.shape))
    top, bottom = np.maximum(opened, close), np.minimum(opened, close)
    high, low = top * (1 + rng.exponential(0.005, close.shape)), bottom / (1 + rng.exponential(0.005, close.shape))
    return {"open": opened, "high": high, "low": low, "close": close, "volume": rng.lognormal(12, 0.7, close.shape)}
