"""Read each decision's window of texts, and make one opinion of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

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
PART: Final = 1 << 20  # texts that are read at once: a long window reads each many times


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
    tickers, count = len(texts.tickers), len(at) * len(texts.tickers)
    every = _windows(texts, at, starts)
    unread = len(texts) - len(np.unique(every.rows))
    usable = every.of(np.array([version is not None for version in answered.versions], bool)[every.rows])
    text_at = np.full(count, NAT)
    text_at[usable.cell] = np.maximum.reduceat(texts.available_at[usable.rows], usable.first) if len(usable) else NAT
    without_version = np.zeros(count, bool)
    without_version[np.setdiff1d(every.cell, usable.cell, assume_unique=True)] = True
    decided_at = np.repeat(at, tickers)
    heard = usable
    if not answered.estimates:
        heard = usable.of(answered.confidence[usable.rows] >= options.min_confidence)
    return Opinions(
        at=decided_at,
        ticker=np.tile(np.arange(tickers, dtype=np.int32), len(at)),
        **_opinions(heard, texts, answered, aggregate, decided_at, options.bound),
        text_at=text_at,
        texts=Lists(usable.offsets(count), usable.rows, texts.digests),
        adapters=_adapters(usable, answered, count),
        without_version=without_version,
        unread=unread,
    )


@dataclass(frozen=True, eq=False)
class _Windows:
    """Hold the texts that cells read: cell `decision * tickers + ticker`, ascending, one text at least each."""

    cell: np.ndarray  # (windows,)
    size: np.ndarray  # (windows,): how many texts each reads
    rows: np.ndarray  # (items,): the rows of the texts, window by window

    def __len__(self) -> int:
        return len(self.cell)

    @property
    def first(self) -> np.ndarray:
        """Return where each window's texts begin among the items, (windows,)."""
        first: np.ndarray = np.cumsum(self.size) - self.size
        return first

    def of(self, marked: np.ndarray) -> _Windows:
        """Return the windows with the items that are marked, (items,); those that lose all of them are gone."""
        size = np.bincount(np.repeat(np.arange(len(self)), self.size)[marked], minlength=len(self))
        return _Windows(self.cell[size > 0], size[size > 0], self.rows[marked])

    def offsets(self, count: int) -> np.ndarray:
        """Return where the texts of each of so many cells begin, (count + 1,), as `Lists` have it."""
        sizes = np.zeros(count + 1, np.int64)
        sizes[self.cell + 1] = self.size
        return np.cumsum(sizes)

    def of_size(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield cells of so many texts, (windows,), and the rows of these, (windows, size): some at a time."""
        number, first = np.flatnonzero(self.size == size), self.first
        step = max(1, PART // size)
        for start in range(0, len(number), step):
            part = number[start : start + step]
            yield self.cell[part], self.rows[first[part][:, None] + np.arange(size)]


def _windows(texts: DatedTexts, at: np.ndarray, starts: np.ndarray) -> _Windows:
    """Return the texts that each decision reads about each ticker, in the order of the decisions."""
    by_ticker = np.argsort(texts.ticker, kind="stable")
    ends = np.searchsorted(texts.ticker[by_ticker], np.arange(len(texts.tickers)), "right")
    parts = []
    for ticker, own in enumerate(np.split(by_ticker, ends[:-1])):
        first, end = windows(texts.available_at[own], at, starts)
        decision = np.flatnonzero(end > first)
        begins = int(ends[ticker]) - len(own) + first[decision]
        parts.append((decision * len(texts.tickers) + ticker, begins, (end - first)[decision]))
    cell, begins, size = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.argsort(cell)
    cell, begins, size = cell[order], begins[order], size[order]
    item = np.arange(size.sum()) + np.repeat(begins - (np.cumsum(size) - size), size)
    return _Windows(cell, size, by_ticker[item])


def _opinions(
    heard: _Windows,
    texts: DatedTexts,
    answered: Answered,
    aggregate: Aggregating,
    decided_at: np.ndarray,
    bound: float,
) -> dict[str, np.ndarray]:
    """Return signal, score, confidence and probabilities of each cell; without a text it is HOLD, with confidence 0."""
    count = len(decided_at)
    signal, probabilities = np.zeros(count, np.int8), np.full((count, 3), np.nan)
    score, confidence = np.zeros(count), np.zeros(count)
    for cell, rows in _in_turn(
        heard, aggregate.build, "estimates_together" if answered.estimates else "shares_together"
    ):
        answers = Answers(
            probabilities=answered.probabilities[rows],
            score=answered.score[rows],
            confidence=answered.confidence[rows],
            age=(decided_at[cell][:, None] - texts.available_at[rows]) / SECOND,
        )
        if answered.estimates:
            estimate = _estimates(aggregate, answers)
            score[cell], confidence[cell] = estimate, np.nan
            signal[cell] = np.where(np.abs(estimate) > bound, np.sign(estimate), 0)
            continue
        shares = _shares(aggregate, answers)
        best = winners(shares)
        probabilities[cell], score[cell] = shares, shares[:, 2] - shares[:, 0]
        signal[cell], confidence[cell] = best - 1, shares[np.arange(len(best)), best]
    return {"signal": signal, "score": score, "confidence": confidence, "probabilities": probabilities}


def _in_turn(heard: _Windows, build: Any, together: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield cells, (windows,), with the rows of their texts, (windows, texts).

    An aggregate without the method `together` gets one window at a time, in the order of the decisions: one that
    remembers windows remembers earlier ones alone.
    """
    if hasattr(build, together):
        for size in np.unique(heard.size).tolist():
            yield from heard.of_size(size)
        return
    for cell, rows in zip(heard.cell, np.split(heard.rows, heard.first[1:]), strict=False):
        yield cell[None], rows[None]


def _shares(aggregate: Aggregating, answers: Answers) -> np.ndarray:
    """Return the checked shares of windows, (windows, 3)."""
    build, windows = aggregate.build, len(answers.score)
    if hasattr(build, "shares_together"):
        return checked_shares(aggregate.name, build.shares_together(answers), (windows,))
    return checked_shares(aggregate.name, build.shares(answers.alone))[None]


def _estimates(aggregate: Aggregating, answers: Answers) -> np.ndarray:
    """Return the estimates of windows, (windows,)."""
    if hasattr(aggregate.build, "estimates_together"):
        return np.asarray(aggregate.build.estimates_together(answers), np.float64)
    return np.array([float(aggregate.build.estimate(answers.alone))])


def _adapters(usable: _Windows, answered: Answered, count: int) -> Lists:
    """Return the digests of the versions that answered each cell's texts, each once, ascending."""
    names = sorted(answered.digests)
    position = {digest: code for code, digest in enumerate(names)}
    codes = np.array([-1 if each is None else position[each.digest] for each in answered.versions], np.int64)
    both = np.unique(np.repeat(usable.cell, usable.size) * len(names) + codes[usable.rows])
    cell, size = np.unique(both // max(len(names), 1), return_counts=True)
    return Lists(_Windows(cell, size, both).offsets(count), both % max(len(names), 1), names)
