"""Windows of texts: what each decision reads, one at a time and many at once."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.plugin import build_contribution
from adapterhub_fin_markets.signals import rows as windows_of
from adapterhub_fin_markets.signals.aggregate import Aggregating, Answers
from adapterhub_fin_markets.signals.answering import Answered
from adapterhub_fin_markets.signals.decisions import window_starts
from adapterhub_fin_markets.signals.description import Aggregate
from adapterhub_fin_markets.signals.options import SignalOptions
from adapterhub_fin_markets.signals.rows import Opinions, read_windows
from adapterhub_fin_markets.signals.texts import DatedTexts

CASES = int(os.environ.get("AHF_CASES", "60"))
START = np.datetime64("2020-01-01", "us")
VERSIONS: tuple[Any, ...] = (SimpleNamespace(digest="sha256:b"), SimpleNamespace(digest="sha256:a"), None)


class OneByOne:
    """An aggregate without the methods for many windows, which records what it was given."""

    def __init__(self, build: Any) -> None:
        self._build = build
        self.seen: list[tuple[int, float]] = []

    def shares(self, answers: Answers) -> Any:
        self.seen.append((len(answers.score), float(answers.age[-1])))
        return self._build.shares(answers)

    def estimate(self, answers: Answers) -> float:
        self.seen.append((len(answers.score), float(answers.age[-1])))
        return float(self._build.estimate(answers))


def invented(count: int, tickers: int, seed: int, estimates: bool) -> tuple[DatedTexts, Answered]:
    """Return texts of ten days at random, some at the same instant, answered by one of two versions or by none."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.integers(0, 240, count)) * np.timedelta64(3_600_000_000, "us")
    probabilities = rng.dirichlet((1, 1, 1), count) if not estimates else np.full((count, 3), np.nan)
    score = rng.normal(size=count) if estimates else probabilities[:, 2] - probabilities[:, 0]
    texts = DatedTexts(
        inputs=[],
        input_digests=[],
        input=np.arange(count),
        available_at=START + at,
        ticker=rng.integers(0, tickers, count).astype(np.int32),
        tickers=tuple(f"T{number}" for number in range(tickers)),
        digests=[f"sha256:text-{number}" for number in range(count)],
    )
    chosen = [VERSIONS[number] for number in rng.integers(0, 3, count)]
    digests = {version.digest: version for version in chosen if version is not None}
    return texts, Answered(probabilities, score, chosen, {}, estimates, digests)


def by_hand(
    texts: DatedTexts, answered: Answered, build: Any, at: Any, starts: Any, options: SignalOptions
) -> dict[str, list[Any]]:
    """Return the opinions' columns by a loop over decisions, tickers and texts."""
    columns: dict[str, list[Any]] = {name: [] for name in ("texts", "adapters", "text_at", "without", "score", "sure")}
    read: set[int] = set()
    for decided, since in zip(at, starts, strict=True):
        for ticker in range(len(texts.tickers)):
            window = [
                row
                for row in range(len(texts))
                if texts.ticker[row] == ticker and since <= texts.available_at[row] < decided
            ]
            read |= set(window)
            usable = [row for row in window if answered.versions[row] is not None]
            heard = [row for row in usable if answered.estimates or answered.confidence[row] >= options.min_confidence]
            columns["texts"].append(tuple(texts.digests[row] for row in usable))
            columns["adapters"].append(tuple(sorted({answered.versions[row].digest for row in usable})))  # type: ignore[union-attr]
            columns["text_at"].append(max((texts.available_at[row] for row in usable), default=np.datetime64("NaT")))
            columns["without"].append(bool(window) and not usable)
            age = (decided - texts.available_at[heard]) / np.timedelta64(1, "s")
            given_ = Answers(
                answered.probabilities[heard], answered.score[heard], answered.confidence[heard], np.asarray(age)
            )
            if not heard:
                columns["score"].append(0.0)
                columns["sure"].append(0.0)
            elif answered.estimates:
                columns["score"].append(build.estimate(given_))
                columns["sure"].append(np.nan)
            else:
                shares = build.shares(given_)
                columns["score"].append(shares[2] - shares[0])
                columns["sure"].append(shares[1] if np.sort(shares)[1] > shares.max() - 1e-9 else shares.max())
    columns["unread"] = [len(texts) - len(read)]
    return columns


def check(made: Opinions, expected: dict[str, list[Any]], tickers: int, at: np.ndarray) -> None:
    assert list(made.texts) == expected["texts"] and list(made.adapters) == expected["adapters"]
    assert np.array_equal(made.text_at, np.array(expected["text_at"], "M8[us]"), equal_nan=True)
    assert made.without_version.tolist() == expected["without"] and [made.unread] == expected["unread"]
    assert made.score == pytest.approx(expected["score"], abs=1e-12)
    assert made.confidence == pytest.approx(expected["sure"], abs=1e-12, nan_ok=True)
    assert made.at.tolist() == np.repeat(at, tickers).tolist() and made.ticker.tolist() == [*range(tickers)] * len(at)


@settings(max_examples=CASES, deadline=None)
@given(
    count=st.integers(1, 120),
    tickers=st.integers(1, 4),
    seed=st.integers(0, 999),
    window=st.sampled_from(["session", "1d", "4d", "5h"]),
    name=st.sampled_from(["confidence", "majority", "mean", "decay"]),
    estimates=st.booleans(),
    least=st.sampled_from([0.0, 0.5, 0.99]),
    part=st.sampled_from([1, 7, windows_of.PART]),
)
def test_many_windows_at_once_are_each_by_hand(
    count: int, tickers: int, seed: int, window: str, name: str, estimates: bool, least: float, part: int
) -> None:
    if estimates:
        name, least = {"confidence": "mean", "majority": "decay"}.get(name, name), 0.0
    texts, answered = invented(count, tickers, seed, estimates)
    options = SignalOptions(window=window, min_confidence=least, bound=0.2 if estimates else 0.0)
    at = START + np.arange(1, 10) * np.timedelta64(20, "h") + np.timedelta64(1, "us")
    at[2] = texts.available_at[0]  # a decision at a text's own instant doesn't read it
    at = np.unique(at)
    starts = window_starts(window, at)
    build = build_contribution(Aggregate, name, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows_of, "PART", part)
        made = read_windows(texts, answered, Aggregating(name, build, {}), at, starts, options)
    check(made, by_hand(texts, answered, build, at, starts, options), tickers, at)
    alone = OneByOne(build)
    again = read_windows(texts, answered, Aggregating(name, alone, {}), at, starts, options)
    for column in ("signal", "score", "confidence", "probabilities"):
        assert np.array_equal(getattr(made, column), getattr(again, column), equal_nan=True), column
    sign = np.sign(made.score) if estimates else made.signal
    assert np.array_equal(made.signal, np.where(np.abs(made.score) > options.bound, sign, 0) if estimates else sign)


def test_an_aggregate_that_takes_one_window_sees_them_in_the_order_of_the_decisions() -> None:
    texts, answered = invented(80, 3, 1, False)
    at = START + np.arange(1, 11) * np.timedelta64(1, "D")
    alone = OneByOne(build_contribution(Aggregate, "mean", {}))
    read_windows(texts, answered, Aggregating("mean", alone, {}), at, window_starts("1d", at), SignalOptions())
    expected = []
    for decided in at:
        for ticker in range(3):
            ages = [
                (decided - instant) / np.timedelta64(1, "s")
                for row, instant in enumerate(texts.available_at)
                if texts.ticker[row] == ticker
                and decided - np.timedelta64(1, "D") <= instant < decided
                and answered.versions[row] is not None
            ]
            expected += [(len(ages), float(ages[-1]))] if ages else []
    assert alone.seen == expected and len(expected) > 20
