"""When a bar starts and closes is never put too early: by its length, its label, its session and its gaps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from adapterhub_fin_markets.corpora.features import week_ends
from adapterhub_fin_markets.features.table import compute_features
from adapterhub_fin_markets.features.targets import direction_targets
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.stored import write_prices
from adapterhub_fin_markets.prices.tables import check_prices, read_prices


def frame(times: Any, ticker: str = "AAA") -> pd.DataFrame:
    close = 10 + np.arange(len(times)) ** 1.1
    return pd.DataFrame({"time": times, "Ticker": ticker, "open": close, "close": close})


def read(times: Any, calendar: str, **options: Any) -> Prices:
    return read_prices(frame(times), calendar=calendar, **options)


def minutes(moments: np.ndarray) -> list[str]:
    return [str(moment)[:16] for moment in moments]


HOURS = pd.date_range("2024-01-02T00:00Z", periods=6, freq="1h")


@pytest.mark.parametrize(
    ("times", "calendar", "interval", "of"),
    [
        (["2024-01-02", "2024-02-01", "2024-03-01"], "XNYS", "1d", "a month"),
        (["2024-01-01", "2024-02-01", "2024-03-01"], "24/7", "1d", "a month"),
        (["2024-01-05", "2024-01-12", "2024-01-19", "2024-01-26"], "XNYS", "1d", "a week"),
        (HOURS, "24/7", "15min", "1h"),
        (pd.date_range("2024-01-02T00:00Z", periods=5, freq="1D"), "24/7", "1h", "a day"),
        ([f"2024-01-0{day}T{hour}:30Z" for day in (2, 3, 4) for hour in (14, 16, 18, 20)], "XNYS", "1h", "2h"),
        ([f"2024-01-0{day}T14:30Z" for day in (2, 3, 4)], "XNYS", "1h", "a day"),
    ],
)
def test_bars_longer_than_their_interval_are_refused(times: Any, calendar: str, interval: str, of: str) -> None:
    with pytest.raises(BadPrices, match=f"AAA has no two bars that are {interval} apart: these look like bars of {of}"):
        read(times, calendar, interval=interval)
    assert "coarser-bars" in read(times, calendar, interval=interval, allow=["coarser-bars"]).flags


@pytest.mark.parametrize(
    ("times", "calendar", "interval"),
    [
        (["2024-01-02", "2024-02-01", "2024-03-01", "2024-06-03", "2024-06-04"], "XNYS", "1d"),  # over a week end
        (["2024-01-05", "2024-01-08", "2024-03-01"], "XNYS", "1d"),
        (["2024-01-02", "2024-02-01"], "XNYS", "1d"),
        ([*HOURS[:2], "2024-01-03T07:00Z", "2024-01-05T01:00Z"], "24/7", "1h"),
        ([f"2024-01-0{day}T14:30Z" for day in (2, 3, 4)], "XNYS", "12h"),  # a bar a session
        ([f"2024-01-0{day}T15:00Z" for day in (2, 3, 4)], "XNYS", "12h"),  # off the open
    ],
)
def test_few_bars_with_holes_are_no_longer_ones(times: Any, calendar: str, interval: str) -> None:
    read([str(time) for time in times], calendar, interval=interval)


def test_each_ticker_s_bars_are_looked_at_by_themselves() -> None:
    both = pd.concat(
        [
            frame(["2024-01-02", "2024-01-03", "2024-02-01", "2024-03-01"]),
            frame(["2024-01-02", "2024-02-01", "2024-03-01"], "FUND"),
        ]
    )
    with pytest.raises(BadPrices, match=r"FUND has no two bars .* refused in all: coarser-bars \(1\)"):
        read_prices(both, calendar="XNYS")


@pytest.mark.parametrize(
    ("times", "known"),
    [
        (["2024-01-01T16:00:00Z", "2024-01-02T16:00:00Z"], ["2024-01-02T16:00", "2024-01-03T16:00"]),
        (["2024-01-01", "2024-01-02T16:00:00Z"], ["2024-01-02T00:00", "2024-01-03T16:00"]),
        (["2024-01-01T00:00:00-05:00", "2024-01-02T00:00:00-05:00"], ["2024-01-02T06:00", "2024-01-03T06:00"]),
        (["2024-01-02T00:00:00+08:00", "2024-01-03T00:00:00+08:00"], ["2024-01-03T00:00", "2024-01-04T00:00"]),
        (["2024-01-01T23:59:59Z", "2024-01-02T23:59:59Z"], ["2024-01-02T23:59", "2024-01-03T23:59"]),
    ],
)
def test_a_day_that_does_not_begin_at_midnight_of_utc_is_known_when_it_is_over(
    times: list[str], known: list[str]
) -> None:
    prices = read(times, "24/7")
    assert minutes(prices.closes_at) == known
    begun = np.array([pd.to_datetime(time, utc=True).tz_localize(None) for time in times[1:]], "M8[us]")
    assert (prices.starts_at[1:] >= begun).all()
    assert minutes(read(["2024-01-01T23:59:59Z"], "24/7", label="end").closes_at) == ["2024-01-02T00:00"]


@pytest.mark.parametrize("written", ["zone", "utc"])
def test_a_day_of_25_hours_is_known_when_it_is_over(written: str) -> None:
    days = pd.date_range("2024-11-02", periods=3, tz="America/New_York")  # the clocks go back on the second
    closes_at = read(days if written == "zone" else days.tz_convert("UTC"), "24/7").closes_at
    over = np.array([(day + pd.DateOffset(days=1)).tz_convert("UTC").tz_localize(None) for day in days], "M8[us]")
    assert (closes_at >= over).all() and (closes_at - over <= np.timedelta64(1, "h")).all()


@pytest.mark.parametrize(
    ("zone", "calendar"),
    [
        ("Europe/Berlin", "24/7"),
        ("America/New_York", "24/7"),
        ("America/New_York", "XNYS"),
        ("Asia/Tokyo", "XTKS"),
        ("America/Chicago", "CMES"),
    ],
)
def test_a_midnight_is_its_date_in_a_file_and_in_a_frame(tmp_path: Path, zone: str, calendar: str) -> None:
    held = frame(pd.date_range("2024-03-05", periods=3, tz=zone))
    held.to_csv(tmp_path / "days.csv", index=False)
    held.to_parquet(tmp_path / "days.parquet")
    tables = [held, tmp_path / "days.csv", tmp_path / "days.parquet"]
    panels = [read_prices(table, calendar=calendar) for table in tables]
    for panel in panels:
        np.testing.assert_array_equal(panel.closes_at, panels[1].closes_at)
        assert [str(day) for day in panel.days] == ["2024-03-05", "2024-03-06", "2024-03-07"]


ENDS = [
    pd.Timestamp(f"2024-07-0{day} {time}", tz="America/New_York")
    for day, times in ((2, "10:30 11:30 12:30 13:30 14:30 15:30 16:00"), (3, "10:30 11:30 12:30 13:00"))
    for time in times.split()
]
CLOCK_HOURS = [pd.Timestamp(f"2024-07-02 {hour}:00", tz="America/New_York") for hour in range(10, 17)]


@pytest.mark.parametrize("hole", [False, True])
def test_the_last_bar_of_a_session_starts_where_the_one_before_ends(hole: bool) -> None:
    prices = read([end for end in ENDS if not (hole and end == ENDS[5])], "XNYS", interval="1h", label="end")
    starts = dict(zip(minutes(prices.closes_at), minutes(prices.starts_at), strict=True))
    assert starts["2024-07-02T20:00"] == "2024-07-02T19:30" and starts["2024-07-03T17:00"] == "2024-07-03T16:30"
    assert starts["2024-07-02T14:30"] == "2024-07-02T13:30"
    made = direction_targets(prices, 1, volatility=2)
    sold = made.label_known_at[minutes(prices.closes_at).index("2024-07-02T17:30"), 0]
    assert str(sold)[:16] == ("2024-07-03T13:30" if hole else "2024-07-02T19:30")


@pytest.mark.parametrize(
    ("calendar", "zone", "ends", "starts"),
    [
        ("XTKS", "Asia/Tokyo", "10:00 11:00 11:30 13:30 14:30 15:00", "09:00 10:00 11:00 12:30 13:30 14:30"),
        ("XHKG", "Asia/Hong_Kong", "10:30 11:30 12:00 14:00 15:00 16:00", "09:30 10:30 11:30 13:00 14:00 15:00"),
    ],
)
def test_the_last_bar_before_lunch_starts_where_the_one_before_ends(
    calendar: str, zone: str, ends: str, starts: str
) -> None:
    days = ["2024-03-05", "2024-03-06"]
    written, expected = ([pd.Timestamp(f"{d} {t}", tz=zone) for d in days for t in of.split()] for of in (ends, starts))
    prices = read(written, calendar, interval="1h", label="end")
    utc = pd.DatetimeIndex(expected).tz_convert("UTC").tz_localize(None)
    np.testing.assert_array_equal(prices.starts_at, utc.to_numpy())
    over = pd.DatetimeIndex(written).tz_convert("UTC").tz_localize(None)
    assert (prices.closes_at >= over.to_numpy()).all()


def test_ends_on_the_hour_by_the_clock_keep_their_length() -> None:
    prices = read(CLOCK_HOURS, "XNYS", interval="1h", label="end")
    times = ["13:30", "14:00", "15:00", "16:00", "17:00", "18:00", "19:00"]
    assert minutes(prices.starts_at) == [f"2024-07-02T{time}" for time in times]
    with pytest.raises(BadPrices, match="no session"):
        read(
            [*CLOCK_HOURS, pd.Timestamp("2024-07-02 16:30", tz="America/New_York")], "XNYS", interval="1h", label="end"
        )


@pytest.mark.parametrize(
    ("times", "calendar", "interval", "lacking"),
    [
        (pd.date_range("2024-01-01", periods=48, freq="1h", tz="UTC"), "24/7", "1h", slice(20, 26)),
        (pd.date_range("2024-01-01", periods=48, freq="1h", tz="UTC"), "weekdays", "1h", slice(20, 26)),
        (ENDS, "XNYS", "1h", slice(8, 9)),
    ],
)
def test_a_bar_that_is_missing_has_a_row_and_a_flag(times: Any, calendar: str, interval: str, lacking: slice) -> None:
    label: Any = "end" if times is ENDS else "start"
    whole = read(times, calendar, interval=interval, label=label)
    held = frame(times)
    prices = read_prices(held.drop(index=held.index[lacking]), calendar=calendar, interval=interval, label=label)
    for name in ("starts_at", "closes_at", "days"):
        np.testing.assert_array_equal(getattr(prices, name), getattr(whole, name))
    assert np.flatnonzero(np.isnan(prices.close[:, 0])).tolist() == list(range(len(held)))[lacking]
    assert [(found.kind, found.bars) for found in prices.findings] == [("missing-bars", lacking.stop - lacking.start)]
    returns = compute_features(prices, ["return_1"])["return_1"][:, 0]
    assert np.isnan(returns[lacking.start : lacking.stop + 1]).all() and np.isfinite(returns[lacking.stop + 1])


def test_lunch_is_no_gap_and_bars_off_the_grid_are_read() -> None:
    times = ["00:00", "00:30", "01:00", "01:30", "02:00", "03:30", "04:00"]
    tokyo = [f"2024-03-0{day}T{time}:00Z" for day in (5, 6) for time in times]
    prices = read(tokyo, "XTKS", interval="30min")
    assert len(prices) == len(tokyo) and not prices.findings
    shifted = pd.date_range("2024-01-01T00:30Z", periods=8, freq="1h").delete(4)
    prices = read(shifted, "24/7", interval="1h")
    assert len(prices) == 7 and not prices.findings


def test_a_week_ends_on_sunday_though_its_last_bars_are_missing() -> None:
    hours = pd.date_range("2024-01-01", periods=24 * 15, freq="1h", tz="UTC")
    held = frame(hours).drop(index=range(24 * 7 - 5, 24 * 7))
    prices = read_prices(held, calendar="24/7", interval="1h")
    assert minutes(prices.closes_at[week_ends(prices)]) == ["2024-01-08T00:00", "2024-01-15T00:00"]


@pytest.mark.parametrize(
    "calendar", ["XNYS", "24/7", "weekdays", "CMES", "us_futures", "XTKS", "XHKG", "XASX", "XNZE", "IEPA"]
)
def test_stored_days_are_read_back_as_they_were(tmp_path: Path, calendar: str) -> None:
    days = pd.bdate_range("2024-10-21", "2024-11-12").strftime("%Y-%m-%d")
    prices = read(days, calendar, repair=["no-session"])
    write_prices(prices, tmp_path / "stored.parquet")
    again = read_prices(tmp_path / "stored.parquet")
    for name in ("starts_at", "closes_at", "days", "close"):
        np.testing.assert_array_equal(getattr(again, name), getattr(prices, name))


def test_a_stored_day_from_noon_to_noon_is_read_back_as_it_was(tmp_path: Path) -> None:
    for day in ("2024-01-01T16:00:00Z", "2024-07-01T00:00:00-04:00"):
        prices = read([day], "24/7")
        write_prices(prices, tmp_path / "stored.parquet")
        np.testing.assert_array_equal(read_prices(tmp_path / "stored.parquet").closes_at, prices.closes_at)


@pytest.mark.parametrize(
    ("dates", "mixed"),
    [
        (("2020-01-02T00:00:00-05:00", "2020-01-03", "2020-01-06"), []),
        (("2020-01-02T05:00:00Z", "2020-01-03T00:00:00-05:00", "2020-01-06T05:00:00Z"), []),
        (("2020-01-02T05:00:00Z", "2020-01-03", "2020-01-06"), ["AAA"]),
        (("2020-01-02T05:00:00Z", "2020-01-03T00:00:00Z", "2020-01-06T00:00:00-05:00"), ["AAA"]),
    ],
)
def test_a_midnight_of_the_exchange_goes_with_either_form(dates: tuple[str, ...], mixed: list[str]) -> None:
    """Midnight in New York, written as such, is the date of both; another ticker's form is its own."""
    levels = {name: [10.0, 11.0, 12.0] * 2 for name in ("open", "high", "low", "close", "volume")}
    plain = ["2020-01-02", "2020-01-03", "2020-01-06"]
    table = pd.DataFrame({"date": [*dates, *plain], "ticker": ["AAA"] * 3 + ["BBB"] * 3, **levels})
    findings = check_prices(table, calendar="XNYS")
    assert [finding.ticker for finding in findings if finding.kind == "mixed-zones"] == mixed
