"""No bar is known before its close, the order of rows is nothing, and the future changes nothing earlier."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.plugin import Sessions, sessions
from adapterhub_fin_markets.prices.findings import KINDS
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.tables import read_prices

CASES = int(os.environ.get("AHF_CASES", "60"))  # of each property; `make properties` runs thousands
CALENDARS = ("XNYS", "XLON", "XTKS", "24/7", "weekdays")
REFUSED = [kind for kind in KINDS if kind not in ("mixed-zones", "missing-bars", "null-close", "outside-range")]
FORMS = ("date", "exchange midnight", "utc midnight", "open", "iso midnight", "milliseconds")
TABLES = st.builds(
    lambda *parts: parts,
    st.sampled_from(CALENDARS),
    st.integers(0, 480),  # the first session of 2022 and 2023 that is used
    st.lists(st.booleans(), min_size=3, max_size=30).filter(lambda kept: sum(kept) > 2),  # which have a bar
    st.integers(0, 2**32 - 1),
)


def listed(calendar: str) -> Sessions:
    return sessions(calendar, date(2022, 1, 1), date(2023, 12, 31))


def label(calendar: str, number: int, form: str) -> str:
    found = listed(calendar)
    day, zone = found.days[number], found.zone
    local = datetime.combine(day, time(), zone)
    return {
        "date": day.isoformat(),
        "exchange midnight": str(local.astimezone(UTC)),
        "iso midnight": local.isoformat(),
        "utc midnight": f"{day.isoformat()}T00:00:00Z",
        "open": found.opens[number].isoformat(),
        "milliseconds": local.isoformat(" ", "milliseconds"),
    }[form]


def table(calendar: str, first: int, kept: list[bool], seed: int) -> tuple[pd.DataFrame, list[int]]:
    """Return bars of two tickers with gaps, each labelled in a form of its own, and the sessions that they are of."""
    draw = np.random.default_rng(seed)
    rows, numbers = [], []
    for offset, there in enumerate(kept):
        number = min(first + offset, len(listed(calendar).days) - len(kept) + offset)
        for ticker in "AB" if there else "":
            close = 50.0 * np.exp(draw.normal(0, 0.3))
            spread = np.exp(np.abs(draw.normal(0, 0.02, 2)))
            rows.append(
                {
                    "Date": label(calendar, number, str(draw.choice(FORMS))),
                    "Ticker": ticker,
                    "Open": close,
                    "High": close * spread[0],
                    "Low": close / spread[1],
                    "Close": close,
                    "Volume": float(draw.integers(1, 10**6)),
                }
            )
            numbers.append(number)
    return pd.DataFrame(rows), numbers


def read(frame: pd.DataFrame, calendar: str, **options: Any) -> Prices:
    return read_prices(frame, calendar=calendar, **options)


def equal(one: Prices, other: Prices, rows: int | None = None) -> None:
    for name in ("starts_at", "closes_at", "open", "high", "low", "close", "volume", "days"):
        np.testing.assert_array_equal(getattr(one, name)[:rows], getattr(other, name)[:rows], err_msg=name)


@settings(max_examples=CASES, deadline=None)
@given(TABLES)
def test_a_bar_is_dated_at_the_close_of_its_session_however_it_is_written(drawn: Any) -> None:
    calendar = drawn[0]
    frame, numbers = table(*drawn)
    prices = read(frame, calendar, allow=REFUSED)
    found = listed(calendar)
    tick = timedelta(microseconds=1) if calendar == "weekdays" else timedelta(0)
    for number, ticker, close in zip(numbers, frame["Ticker"], frame["Close"], strict=True):
        row = number - min(numbers)
        assert prices.days is not None and str(prices.days[row]) == found.days[number].isoformat()
        expected = (found.closes[number] + tick).replace(tzinfo=None)
        assert prices.closes_at[row] == np.datetime64(expected, "us")
        assert prices.close[row, "AB".index(ticker)] == close
    assert len(prices) == max(numbers) - min(numbers) + 1
    assert np.isfinite(prices.close).sum() == len(frame)


@settings(max_examples=CASES, deadline=None)
@given(TABLES, st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_rows_changes_nothing(drawn: Any, shuffler: Any, twice: bool) -> None:
    frame, _ = table(*drawn)
    if twice:  # a copy of one row, and a row that contradicts another
        wrong = frame.iloc[[0]].assign(Close=1.0, Low=1.0)
        frame = pd.concat([frame, frame.iloc[[-1]], wrong], ignore_index=True)
    order = list(range(len(frame)))
    shuffler.shuffle(order)
    one, other = (read(rows, drawn[0], repair=["duplicate-bar"], allow=REFUSED) for rows in (frame, frame.iloc[order]))
    equal(one, other)
    assert [finding.record() for finding in one.findings] == [finding.record() for finding in other.findings]
    assert one.repairs == other.repairs and one.flags.keys() == other.flags.keys()


@settings(max_examples=CASES, deadline=None)
@given(TABLES, st.integers(1, 29), st.sampled_from([0.0, -1.0, 0.01, 0.5, 1.3, 100.0]), st.booleans())
def test_another_future_changes_no_earlier_bar(drawn: Any, cut: int, factor: float, repaired: bool) -> None:
    frame, numbers = table(*drawn)
    later = np.array(numbers) >= numbers[min(cut, len(numbers) - 1)]
    moved = frame.copy()
    moved.loc[later, ["Open", "High", "Low", "Close"]] *= factor
    repair = ["not-positive", "high-below-low", "hundredfold", "duplicate-bar", "no-session"] if repaired else []
    if repaired and factor <= 0 and min(np.array(numbers)[later]) == min(numbers):
        return  # no bar is left, which is refused
    one, other = (read(rows, drawn[0], repair=repair, allow=REFUSED) for rows in (frame, moved))
    equal(one, other, numbers[min(cut, len(numbers) - 1)] - min(numbers))


@settings(max_examples=CASES, deadline=None)
@given(
    st.sampled_from(CALENDARS),
    st.integers(0, 480),
    st.integers(0, 1439),
    st.sampled_from(["1min", "5min", "1h", "4h"]),
    st.sampled_from(["Asia/Tokyo", "America/New_York", "UTC", None]),
)
def test_a_shorter_bar_is_over_before_it_is_known(
    calendar: str, number: int, minute: int, interval: str, zone: str | None
) -> None:
    found = listed(calendar)
    start = found.opens[number] + timedelta(minutes=minute)
    if start >= found.closes[number]:
        return
    local = start if zone is None else pd.Timestamp(start).tz_convert(zone)
    prices = read(pd.DataFrame({"time": [local.isoformat()], "close": [1.0]}), calendar, interval=interval)
    length = timedelta(minutes=int(interval[:-1]) * 60 if interval.endswith("h") else int(interval[:-3]))
    tick = timedelta(microseconds=1) if calendar == "weekdays" else timedelta(0)
    expected = min(start + length, found.closes[number] + tick).replace(tzinfo=None)
    assert prices.closes_at.tolist() == [expected] and prices.starts_at.tolist() == [start.replace(tzinfo=None)]
