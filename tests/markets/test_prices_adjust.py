"""Adjusted levels give total returns, whatever order splits and dividends come in, and are stored as they are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from adapterhub_fin.plugin import BadCorpus, corpus_options, load_corpus
from adapterhub_fin_markets.cli.market import command
from adapterhub_fin_markets.features.table import compute_features
from adapterhub_fin_markets.features.targets import direction_targets
from adapterhub_fin_markets.prices.adjust import adjust
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.instruments import Instruments, Spell, day
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.stored import write_prices
from adapterhub_fin_markets.prices.tables import check_prices, read_prices


def table(closes: list[float], *, first: str = "2024-01-16", **columns: Any) -> pd.DataFrame:
    """Return bars of one ticker on the sessions from `first` on, each at one price."""
    days = pd.bdate_range(first, periods=len(closes)).strftime("%Y-%m-%d")
    close = np.array(closes, dtype=float)
    levels = dict.fromkeys(("Open", "High", "Low", "Close"), close)
    return pd.DataFrame({"Date": days, **levels, "Volume": 100.0, **columns})


def read(frame: pd.DataFrame, **options: Any) -> Prices:
    return read_prices(frame, calendar="XNYS", **options)


def test_a_dividend_before_a_split_counts_on_the_shares_of_its_own_day() -> None:
    closes = [400.0, 400, 400, 399, 399, 399, 99.75, 99.75]
    raw = read(table(closes, Dividends=[0, 0, 0, 1.0, 0, 0, 0, 0], Splits=[0, 0, 0, 0, 0, 0, 4, 0]))
    assert raw.split_adjusted is False
    adjusted = adjust(raw)
    np.testing.assert_allclose(adjusted.close[:, 0], 99.75)  # what was paid is all that was lost
    assert adjusted.dividends is not None and adjusted.dividends[3, 0] == 0.25


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_split_on_a_day_without_a_close_is_reckoned_with_at_the_next(at: int) -> None:
    """Pay the dividend on the first bar after a split that has no bar of its own."""
    frame = table([400.0, 400, 400, 400, 99], Dividends=[0, 0, 0, 0, 1.0], Splits=np.eye(5)[at] * 4)
    frame.loc[at:3, ["Open", "High", "Low", "Close"]] = np.nan
    adjusted = adjust(read(frame, split_adjusted=False, allow=["missing-split"]))
    np.testing.assert_allclose(adjusted.close[~np.isnan(adjusted.close)], 99.0)


@pytest.mark.parametrize(
    ("before", "after", "ratio", "adjusted", "refused"),
    [
        (400, 104, 4, False, False),
        (104, 102, 4, True, False),
        (400, 100, 0.25, None, True),  # the ratio the wrong way round
        (400, 200, 4, None, True),  # the split applied in part
        (400, 1600, 4, None, True),  # twice
        (1, 14, 1 / 20, False, False),  # a reverse split, and a fall by 30 %
        (100, 80, 1.25, False, False),
        (100, 101, 1.25, True, False),
        (100, 90, 1.25, None, False),  # either a split and a rise by 12 %, or a fall by 10 %
        (100, 95, 1.05, None, False),
    ],
)
def test_levels_tell_whether_they_reckon_with_a_split(
    before: float, after: float, ratio: float, adjusted: bool | None, refused: bool
) -> None:
    frame = table([before] * 6 + [after] * 6, Splits=np.eye(12)[6] * ratio)
    assert [item.kind for item in check_prices(frame, calendar="XNYS") if item.refused] == ["wrong-split"] * refused
    prices = read(frame, allow=["wrong-split"])
    assert prices.split_adjusted is adjusted
    if adjusted is None:
        with pytest.raises(BadPrices, match="such as the table's of 2024-01-24: read them with split_adjusted=True or"):
            adjust(prices)
    else:
        assert adjust(prices).close[0, 0] == pytest.approx(before if adjusted else before / ratio)
    stated = adjust(read(frame, allow=["wrong-split", "two-adjustments"], split_adjusted=False))
    assert stated.split_adjusted and stated.close[0, 0] == pytest.approx(before / ratio)


def test_raw_levels_give_no_features_and_no_targets_until_they_are_adjusted(tmp_path: Path) -> None:
    frame = table([400.0] * 30 + [100.0] * 10, first="2024-04-01", Splits=np.eye(40)[30] * 4)
    raw = read(frame)
    for use in (lambda: compute_features(raw, ["return_1"]), lambda: direction_targets(raw)):
        with pytest.raises(
            BadPrices, match=r"adjust them first, with `adjust\(prices\)` or `ahf market store --adjust`"
        ):
            use()
    assert np.nanmax(np.abs(compute_features(adjust(raw), ["return_1"])["return_1"])) < 1e-12
    frame.to_csv(tmp_path / "raw.csv", index=False)
    asked = ["store", str(tmp_path / "raw.csv"), "--calendar", "XNYS", "--out", str(tmp_path / "a.parquet")]
    ran = CliRunner().invoke(command, ["features", *asked[1:]])
    assert isinstance(ran.exception, BadPrices) and not (tmp_path / "a.parquet").exists()
    ran = CliRunner().invoke(command, [*asked, "--adjust"])
    assert ran.exit_code == 0, ran.output
    stored = read_prices(tmp_path / "a.parquet")
    np.testing.assert_allclose(stored.close, 100)
    assert stored.split_adjusted and stored.dividend_adjusted
    ran = CliRunner().invoke(command, [*asked, "--split-adjusted"])
    assert isinstance(ran.exception, BadPrices) and "do not reckon with its split of 4:1" in str(ran.exception)
    with pytest.raises(BadPrices, match="said not to reckon with splits, and list none"):
        adjust(read(table([1.0, 1], Dividends=0.0), split_adjusted=False))


def test_adjusted_prices_are_read_as_they_were_written(tmp_path: Path) -> None:
    closes, paid = [100.0, 100, 100, 97, 97, 97, 97, 97], [0, 0, 0, 3.0, 0, 0, 0, 0]
    yahoo = table(closes, **{"Adj Close": [97.0] * 8, "Dividends": paid, "Stock Splits": 0.0})
    prices = read(yahoo, adjusted_as_of="2025-06-02")
    adjusted = adjust(prices)
    assert adjusted.adjusted_as_of == "2025-06-02" and adjusted.adj_close is None
    write_prices(adjusted, tmp_path / "a.parquet")
    stored = read_prices(tmp_path / "a.parquet")
    assert stored.findings == () and stored.dividend_adjusted and stored.adjusted_as_of == "2025-06-02"
    for name in ("open", "high", "low", "close", "volume", "dividends", "splits"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(adjusted, name), err_msg=name)
    with pytest.raises(BadPrices, match="are adjusted as of 2025-06-02 already"):
        adjust(stored)


def test_an_adjusted_close_beside_raw_levels_reckons_with_their_splits() -> None:
    """Raw levels, a split, a dividend on either side of it, and one adjusted close: the form of Tiingo."""
    closes, paid = [400.0, 400, 396, 396, 99, 99, 98, 98], [0, 0, 4.0, 0, 0, 0, 1.0, 0]
    columns: dict[str, Any] = {"adjClose": [98.0] * 8, "divCash": paid, "splitFactor": [1, 1, 1, 1, 4.0, 1, 1, 1]}
    prices = read(table(closes, **columns))
    assert prices.findings == () and prices.split_adjusted is False
    np.testing.assert_allclose(adjust(prices).close, 98.0)
    columns["adjClose"] = [98.0 * 99 / 98] * 6 + [98.0] * 2  # counts the first alone
    wrong = table(closes, **columns)
    with pytest.raises(BadPrices, match="pays a dividend of 1 on 2024-01-24 that its adjusted close leaves out"):
        read(wrong)
    repaired = read(wrong, repair=["missing-dividend"])
    assert repaired.adj_close is not None
    np.testing.assert_allclose(repaired.adj_close, 98.0)


def test_a_stored_file_says_what_was_repaired_and_flagged(tmp_path: Path) -> None:
    first = table([10.0, 11, 0, 0, 12, 11.5, 13], Ticker="A")
    second = table([20.0, 21, 22.5, 21, 0, 23, 22], Ticker="B").iloc[:6]
    prices = read(pd.concat([first, second]), repair=["not-positive"])
    assert prices.repairs == {"not-positive": 3}
    digest = write_prices(prices, tmp_path / "a.parquet")
    assert digest == write_prices(dataclasses.replace(prices, repairs={}, flags={}), tmp_path / "bare.parquet")
    stored = read_prices(tmp_path / "a.parquet")
    assert stored.repairs == prices.repairs
    assert np.argwhere(stored.flags["not-positive"]).tolist() == [[2, 0], [3, 0], [4, 1]]
    assert read_prices(tmp_path / "bare.parquet").repairs == {}
    later = table([5.0, 0, 6], first="2024-01-25", Ticker="C")
    write_prices(read(later, repair=["not-positive"]), tmp_path / "b.parquet")
    both = read_prices([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert both.repairs == {"not-positive": 4}
    assert np.argwhere(both.flags["not-positive"]).tolist() == [[2, 0], [3, 0], [4, 1], [8, 2]]
    names = Instruments([Spell("x", "A", day("2024-01-01"), day("2024-01-19")), Spell("y", "A", day("2024-01-19")),
                         Spell("b", "B", day("2024-01-01"))])  # fmt: skip
    renamed = read_prices(tmp_path / "a.parquet", instruments=names)
    assert renamed.tickers == ("b", "x", "y")
    assert np.argwhere(renamed.flags["not-positive"]).tolist() == [[2, 1], [3, 2], [4, 0]]


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("not-positive", "repaired, not-positive"),
        ("missing-split", "repaired with what came later, missing-split"),
        ("interpolated", None),
    ],
)
def test_rows_of_repaired_prices_say_so_or_are_refused(kind: str, note: str | None, tmp_path: Path) -> None:
    closes = 50 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.02, 35)))
    prices = dataclasses.replace(read(table(closes.tolist(), first="2024-04-01")), repairs={kind: 2})
    write_prices(prices, tmp_path / "a.parquet")
    name, options = corpus_options({"name": "market-features", "path": str(tmp_path / "a.parquet"),
                                    "features": ["return_5"], "every": "bar"})  # fmt: skip
    if note is None:
        with pytest.raises(BadCorpus, match="stored with interpolated bars emptied"):
            load_corpus(name, options)
    else:
        assert load_corpus(name, options).notes[note] == 2
