"""Read each decision's window of texts, and make one opinion of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapterhub_fin_markets.prices.timing import TICK
from adapterhub_fin_markets.signals.aggregate import Aggregating, Answers, checked_shares, winners
from adapterhub_fin_markets.signals.answering import Answered
from adapterhub_fin_markets.signals.decisions import windows
from adapterhub_fin_markets.signals.lists import Lists
from adapterhub_fin_markets.signals.options import SignalOptions
from adapterhub_fin_markets.signals.texts import DatedTexts

NAT = np.datetime64("NaT", "us")
SECOND = np.timedelta64(1, "s")


@dataclass(frozen=True, eq=False)
class Opinions:
    """Hold one opinion a decision and ticker, ordered by (at, ticker); arrays are (rows,) unless said."""

    at: np.ndarray
    ticker: np.ndarray
    signal: np.ndarray
    score: np.ndarray
    confidence: np.ndarray
    probabilities: np.ndarray  # (rows, 3)
    text_at: np.ndarray
    texts: Lists
    adapters: Lists
    without_version: np.ndarray  # bool: the window has texts, and all of them are refused
    unread: int  # texts that no decision's window holds

    def known_at(self, answered: Answered, include_base: bool) -> np.ndarray:
        """Return when each row was known, (rows,): its texts, and the ends of the versions that answered them.

        That there is no text is known just before the decision.
        """
        ends = [answered.digests[digest].knows_until(include_base) for digest in self.adapters.names]
        learned = self.adapters.latest(np.array([end.replace(tzinfo=None) for end in ends], "datetime64[us]"))
        known_at: np.ndarray = np.where(np.isnat(self.text_at), self.at - TICK, np.fmax(self.text_at, learned))
        return known_at


def read_windows(
    texts: DatedTexts,
    answered: Answered,
    aggregate: Aggregating,
    at: np.ndarray,
    starts: np.ndarray,
    options: SignalOptions,
) -> Opinions:
    """Return the opinion of each decision `at` (decisions,) about each ticker, by the texts from `starts` on."""
    shape = (len(at), len(texts.tickers))
    opinions = _Opinions(shape, answered, aggregate, options)
    read = np.zeros(len(texts), bool)
    has_version = np.array([version is not None for version in answered.versions], np.bool_)
    reading: list[tuple[int, int, np.ndarray]] = []
    for ticker in range(len(texts.tickers)):
        own = np.flatnonzero(texts.ticker == ticker)
        first, end = windows(texts.available_at[own], at, starts)
        rows = np.flatnonzero(end > first).tolist()
        reading += [(decision, ticker, own[first[decision] : end[decision]]) for decision in rows]
    # In the order of the decisions: an aggregate that remembers windows remembers earlier ones alone.
    for decision, ticker, window in sorted(reading, key=lambda each: each[:2]):
        read[window] = True
        usable_rows = window[has_version[window]]
        if not len(usable_rows):
            opinions.without_version[decision, ticker] = True
            continue
        opinions.add(decision, ticker, usable_rows, texts.available_at[usable_rows], at[decision])
    return opinions.all(at, texts, int((~read).sum()))


class _Opinions:
    """Collect opinions by decision and ticker; those without a text are HOLD with confidence 0."""

    def __init__(self, shape: tuple[int, int], answered: Answered, aggregate: Aggregating, options: SignalOptions):
        self.answered, self.aggregate, self.options, self.shape = answered, aggregate, options, shape
        self.score, self.confidence = np.zeros(shape), np.zeros(shape)
        self.signal = np.zeros(shape, np.int8)
        self.probabilities = np.full((*shape, 3), np.nan)
        self.text_at = np.full(shape, NAT)
        self.without_version = np.zeros(shape, bool)
        self._rows: dict[int, np.ndarray] = {}
        self._confidence = answered.confidence
        digests = sorted(answered.digests)
        position = {digest: code for code, digest in enumerate(digests)}
        self._names = digests
        self._codes = np.array([-1 if each is None else position[each.digest] for each in answered.versions])

    def add(self, decision: int, ticker: int, rows: np.ndarray, available_at: np.ndarray, at: np.datetime64) -> None:
        """Add the opinion of texts, (texts,) rows, that a decision reads about a ticker."""
        where = (decision, ticker)
        self._rows[decision * self.shape[1] + ticker] = rows
        self.text_at[where] = available_at.max()
        confidence = self._confidence[rows]
        confident = self.answered.estimates | (confidence >= self.options.min_confidence)
        if not confident.any():
            return
        rows, confidence = rows[confident], confidence[confident]
        answers = Answers(
            probabilities=self.answered.probabilities[rows],
            score=self.answered.score[rows],
            confidence=confidence,
            age=(at - available_at[confident]) / SECOND,
        )
        if self.answered.estimates:
            estimate = float(self.aggregate.build.estimate(answers))
            self.score[where], self.confidence[where] = estimate, np.nan
            self.signal[where] = np.sign(estimate) if abs(estimate) > self.options.bound else 0
            return
        shares = checked_shares(self.aggregate.name, self.aggregate.build.shares(answers))
        best = int(winners(shares[None])[0])
        self.probabilities[where], self.score[where] = shares, shares[2] - shares[0]
        self.signal[where], self.confidence[where] = best - 1, shares[best]

    def all(self, at: np.ndarray, texts: DatedTexts, unread: int) -> Opinions:
        """Return the opinions of all decisions and tickers."""
        decisions, tickers = self.shape
        count = decisions * tickers
        versions = {row: np.unique(self._codes[rows]) for row, rows in self._rows.items()}
        return Opinions(
            at=np.repeat(at, tickers),
            ticker=np.tile(np.arange(tickers, dtype=np.int32), decisions),
            signal=self.signal.ravel(),
            score=self.score.ravel(),
            confidence=self.confidence.ravel(),
            probabilities=self.probabilities.reshape(count, 3),
            text_at=self.text_at.ravel(),
            texts=_lists(self._rows, count, texts.digests),
            adapters=_lists(versions, count, self._names),
            without_version=self.without_version.ravel(),
            unread=unread,
        )


def _lists(rows: Mapping[int, np.ndarray], count: int, names: Any) -> Lists:
    """Return so many rows of items, of which most may have none."""
    filled, counts = sorted(rows), np.zeros(count, np.int64)
    counts[filled] = [len(rows[row]) for row in filled]
    codes = np.concatenate([rows[row] for row in filled]) if filled else np.zeros(0, np.int64)
    return Lists(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), codes, names)
