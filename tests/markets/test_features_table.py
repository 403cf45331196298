"""A table of features: named, dated, checked, and open to other packages."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adapterhub_fin as ahf
from adapterhub_fin import UnknownName
from adapterhub_fin.plugin import BadRecipe, PluginError
from adapterhub_fin_markets.features import market
from adapterhub_fin_markets.features.catalogue import FEATURES
from adapterhub_fin_markets.features.cross_section import across, rank, z_score
from adapterhub_fin_markets.features.description import Feature
from adapterhub_fin_markets.features.table import Features, compute_features
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.testing import FeatureContract, random_bars

CASES = int(os.environ.get("AHF_CASES", "0"))  # of each property, where `make properties` asks for more
NAMES = [feature.name for feature in FEATURES]
NAN = np.nan


def panel(columns: dict[str, np.ndarray]) -> Prices:
    times, tickers = columns["close"].shape
    starts = np.datetime64("2020-01-01T00:00:00", "us") + np.arange(times) * np.timedelta64(1, "D")
    names = tuple(f"t{number:03}" for number in range(tickers))
    closes = starts + np.timedelta64(21, "h")
    return Prices(tickers=names, starts_at=starts, closes_at=closes, calendar="24/7", **columns)


def test_sixteen_features_by_name() -> None:
    table = compute_features(panel(random_bars()), NAMES)
    assert table.names == tuple(NAMES) and len(NAMES) == 16
    assert table.stacked().shape == (240, 4, 16)
    assert table.lookbacks["macd"] == 33
    assert (table.known_at == table.at[:, None]).all() and table.known_at.dtype == np.dtype("datetime64[us]")
    assert table.prices_digest.startswith("sha256:")


def test_names_are_checked() -> None:
    prices = panel(random_bars())
    with pytest.raises(UnknownName, match="return_1"):
        compute_features(prices, ["return_11"])
    with pytest.raises(BadRecipe, match="named twice"):
        compute_features(prices, "macd macd")
    with pytest.raises(BadRecipe, match="no feature is named"):
        compute_features(prices, [])


def test_the_digest_is_that_of_the_bars() -> None:
    bars = random_bars()
    first = compute_features(panel(bars), "range_1").prices_digest
    assert compute_features(panel(random_bars()), "range_1").prices_digest == first
    bars["volume"][3, 2] += 1
    assert compute_features(panel(bars), "range_1").prices_digest != first


def test_constant_closes() -> None:
    flat = {name: np.full((100, 1), 7.0) for name in ("open", "high", "low", "close", "volume")}
    last = {name: column[-1, 0] for name, column in compute_features(panel(flat), NAMES).columns.items()}
    undefined = {"rsi_14", "bb_position", "dollar_volume_z20"}
    assert {name for name, value in last.items() if np.isnan(value)} == undefined
    assert {name: value for name, value in last.items() if name not in undefined | {"volume_ratio"}} == dict.fromkeys(
        set(NAMES) - undefined - {"volume_ratio"}, pytest.approx(0, abs=1e-12)
    )
    assert last["volume_ratio"] == 1


def test_closes_that_stay_where_they_are_after_moves() -> None:
    """Leave the RSI of a stable coin undefined: 0.0 would mean that it had only fallen."""
    close = np.concatenate([random_bars()["close"][:, :1], np.full((600, 1), 50.0)])
    assert market.rsi_14(close)[-1, 0] != 0
    assert np.isnan(market.rsi_14(close[240:])).all()


def test_one_row_and_no_row() -> None:
    one = compute_features(panel({name: column[:1] for name, column in random_bars().items()}), NAMES)
    assert {name for name in NAMES if np.isfinite(one[name]).all()} == {"range_1"}
    none = compute_features(panel({name: column[:0] for name, column in random_bars().items()}), NAMES)
    assert none.stacked().shape == (0, 4, 16)


def test_zero_volume() -> None:
    bars = random_bars()
    bars["volume"][100:130] = 0
    table = compute_features(panel(bars), NAMES)
    for name in ("volume_ratio", "vwap_distance", "dollar_volume_z20"):
        assert np.isnan(table[name][119:130]).all(), name
        assert np.isfinite(table[name][130:]).all() and np.isfinite(table[name][19:119]).all(), name
    assert (table["volume_ratio"][100:119] == 0).all()


def test_prices_of_zero_or_less_are_in_no_denominator() -> None:
    bars = random_bars()
    bars["close"][100] = -36.98
    bars["close"][150] = 0.0
    table = compute_features(panel(bars), NAMES)
    assert not np.isinf(table.stacked()).any()
    assert np.isnan(table["return_1"][[101, 151]]).all() and np.isfinite(table["return_1"][[102, 152]]).all()
    assert np.isnan(table["range_1"][[100, 150]]).all()


def test_infinite_and_missing_bars_are_missing() -> None:
    bars = random_bars()
    bars["close"][50, 1], bars["close"][60, 1] = np.inf, NAN
    table = compute_features(panel(bars), NAMES)
    for name, lookback in table.lookbacks.items():
        reads = next(feature.columns for feature in FEATURES if feature.name == name)
        if "close" in reads:
            assert np.isnan(table[name][50 : 51 + min(lookback, 9), 1]).all(), name
            assert np.isnan(table[name][60 : 61 + lookback, 1]).all(), name
        assert np.isfinite(table[name][lookback:, 0]).all(), f"{name}: another ticker"


@given(seed=st.integers(0, 2**32), holes=st.integers(0, 30), factor=st.floats(1e-6, 1e6), bars=st.integers(1, 90))
@settings(max_examples=CASES or 150, deadline=None)
def test_the_scale_of_a_history_changes_nothing(seed: int, holes: int, factor: float, bars: int) -> None:
    columns = with_holes(seed, holes, bars)
    scaled = {name: array * (1 if name == "volume" else factor) for name, array in columns.items()}
    before, after = (compute_features(panel(given), NAMES) for given in (columns, scaled))
    for name in NAMES:
        assert np.allclose(before[name], after[name], rtol=1e-7, atol=1e-8, equal_nan=True), name


@given(seed=st.integers(0, 2**32), holes=st.integers(0, 30), bars=st.integers(2, 90), data=st.data())
@settings(max_examples=CASES or 250, deadline=None)
def test_moving_a_future_bar_changes_no_earlier_cell(seed: int, holes: int, bars: int, data: Any) -> None:
    columns = with_holes(seed, holes, bars)
    row = data.draw(st.integers(1, bars - 1))
    moved = {name: array.copy() for name, array in columns.items()}
    column, ticker = data.draw(st.sampled_from(sorted(moved))), data.draw(st.integers(0, 1))
    moved[column][row, ticker] = data.draw(st.sampled_from([NAN, 1e-3, 1.0, 1e6]))
    before, after = (compute_features(panel(given), NAMES) for given in (columns, moved))
    for way in ("rank", "z-score", None):
        first, second = (across(table, way) if way else table for table in (before, after))
        for name in NAMES:
            assert np.array_equal(first[name][:row], second[name][:row], equal_nan=True), (name, way)


def with_holes(seed: int, holes: int, bars: int) -> dict[str, np.ndarray]:
    columns, rng = random_bars(seed, bars, 2), np.random.default_rng(seed + 1)
    for _ in range(holes):
        row, ticker = rng.integers(bars), rng.integers(2)
        for name in columns if rng.random() < 0.5 else [rng.choice(sorted(columns))]:
            columns[name][row : row + rng.integers(1, 4), ticker] = NAN
    return columns


def test_ranks_and_scores_of_a_row() -> None:
    values = np.array([[1.0, 3.0, 3.0, NAN], [NAN, 5.0, NAN, NAN], [2.0, 2.0, 2.0, 2.0], [0.1, 0.1, 0.1, 0.4]])
    assert rank(values)[0] == pytest.approx([0.5 / 3, 2 / 3, 2 / 3, NAN], nan_ok=True)
    assert np.isnan(rank(values)[1]).all() and (rank(values)[2] == 0.5).all()
    assert z_score(values)[0] == pytest.approx([-(2**0.5), 0.5**0.5, 0.5**0.5, NAN], nan_ok=True)
    assert np.isnan(z_score(values)[1:3]).all()
    assert z_score(values)[3, 3] == pytest.approx(3**0.5)


def test_a_rank_is_known_when_the_last_of_its_row_is() -> None:
    table = compute_features(panel(random_bars()), "return_1")
    known = table.known_at.copy()
    known[10, 2] += np.timedelta64(3, "h")
    table.columns["return_1"][20, 3] = NAN
    known[20, 3] += np.timedelta64(9, "h")  # of a cell that isn't there, nobody waits
    compared = across(replace(table, known_at=known), "rank")
    assert (compared.known_at[10] == known[10, 2]).all()
    assert (compared.known_at[11] == known[11]).all()
    assert (compared.known_at[20, :3] == known[20, 0]).all()


def test_a_table_s_shapes_are_checked() -> None:
    table = compute_features(panel(random_bars()), "return_1")
    with pytest.raises(ValueError, match="macd has shape"):
        replace(table, columns={"macd": table["return_1"][:3]})
    assert isinstance(table, Features) and list(table) == ["return_1"] and len(table) == 240


# What others bring


def half_range(high: np.ndarray, low: np.ndarray, close: np.ndarray) -> np.ndarray:
    return (high - low) / close / 2


def tomorrow(close: np.ndarray) -> np.ndarray:
    """Return today's return one row early: a planted fault."""
    return np.concatenate([market.return_1(close)[1:], np.full((1, close.shape[1]), NAN)])


def dear(close: np.ndarray) -> np.ndarray:
    return close.copy()


def always(close: np.ndarray) -> np.ndarray:
    """Return the close over the mean of all closes so far, which no lookback covers: a planted fault."""
    return close / (np.cumsum(close, 0) / np.arange(1, len(close) + 1)[:, None])


def short(close: np.ndarray) -> np.ndarray:
    return close[1:]


def endless(close: np.ndarray) -> np.ndarray:
    return np.full(close.shape, np.inf)


@pytest.fixture(autouse=True)
def third_party() -> None:
    """Register features as a third party's plugin does, for one test: what it registers is no other test's."""

    class Desk:
        @ahf.hookimpl
        def ahf_features(self) -> list[Feature]:
            def described(name: str, columns: tuple[str, ...], lookback: int = 0) -> Feature:
                target = f"test_features_desk:{name}"
                return Feature(name=name, summary="A desk's own.", target=target, columns=columns, lookback=lookback)

            return [
                described("half_range", ("high", "low", "close")),
                described("tomorrow", ("close",)),
                described("dear", ("close",)),
                described("always", ("close",)),
                described("short", ("close",)),
                described("endless", ("close",)),
                described("late", ("close",), lookback=3),
                described("odd", ("mid",)),
            ]

    import sys
    from types import ModuleType

    module = ModuleType("test_features_desk")
    functions = {
        "half_range": half_range,
        "tomorrow": tomorrow,
        "dear": dear,
        "always": always,
        "short": short,
        "endless": endless,
    }
    vars(module).update(functions, late=dear, odd=dear)
    sys.modules["test_features_desk"] = module
    ahf.register(Desk())


class TestHalfRange(FeatureContract):
    name = "half_range"


@pytest.mark.parametrize("name", NAMES)
def test_each_feature_keeps_the_contract(name: str) -> None:
    contract = type("One", (FeatureContract,), {"name": name})()
    for test in members(contract):
        getattr(contract, test)()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tomorrow", "looks ahead"),
        ("dear", "divide the feature by a price"),
        ("late", "bar 3"),
        ("always", "further back than its lookback"),
    ],
)
def test_the_contract_catches_a_planted_fault(name: str, message: str) -> None:
    contract = type("One", (FeatureContract,), {"name": name})()
    failures = []
    for test in members(contract):
        try:
            getattr(contract, test)()
        except AssertionError as error:
            failures.append(str(error))
    assert any(message in failure for failure in failures), failures


def members(contract: FeatureContract) -> list[str]:
    return [member for member in dir(contract) if member.startswith("test_")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("short", r"returned float64 \(239, 4\) and not float64 \(240, 4\)"),
        ("endless", "returned an infinite value"),
        ("late", "has a value before bar 3, its lookback"),
        ("odd", "reads 'mid': a panel has open, high"),
    ],
)
def test_a_feature_that_answers_wrongly_is_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(PluginError, match=message) as caught:
        compute_features(panel(random_bars()), name)
    assert re.search(f"feature '{name}'", str(caught.value))
