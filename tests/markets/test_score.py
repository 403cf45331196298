"""Predictions are joined with what came later, scored by era, and nothing that began before counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.errors import Corrupted, LookAhead
from adapterhub_fin.plugin import BadCorpus, BadRecipe
from adapterhub_fin_markets.cli.score import command
from adapterhub_fin_markets.features.stored import write_features
from adapterhub_fin_markets.features.table import compute_features
from adapterhub_fin_markets.features.targets import direction_targets
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.stored import prices_digest, write_prices
from adapterhub_fin_markets.prices.tables import read_prices
from adapterhub_fin_markets.scoring.eras import EraScores, rank_ic, rows_by_era, score_rows
from adapterhub_fin_markets.scoring.intervals import mean_interval
from adapterhub_fin_markets.scoring.placebo import compare_shifts, shifted_rows
from adapterhub_fin_markets.scoring.score import score
from adapterhub_fin_markets.signals.table import Signals, write_signals
from adapterhub_fin_markets.testing import random_bars

CASES = int(os.environ.get("AHF_CASES", "0"))  # of each property, where `make properties` asks for more
DAY, TICK = np.timedelta64(1, "D"), np.timedelta64(1, "us")
NAMES = ("AAA", "BBB", "CCC", "DDD")


def days(count: int, hour: int = 21) -> np.ndarray:
    """Instants a day apart, from a Monday on."""
    return np.datetime64("2024-01-01", "us") + np.arange(count) * DAY + np.timedelta64(hour, "h")


def long(at: np.ndarray, seed: int = 0, **columns: Any) -> pd.DataFrame:
    """A table with a row for each instant and ticker, of random numbers by the names of the columns."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"time": np.repeat(at, len(NAMES)), "ticker": list(NAMES) * len(at)})
    frame["time"] = frame["time"].dt.tz_localize("UTC")
    for name, of in columns.items():
        frame[name] = rng.normal(size=len(frame)) if of is None else of
    return frame


def tables(count: int = 28, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions at a close, and targets of the same decisions, which begin 17.5 hours later and last a day."""
    at = days(count) + TICK
    predicted, targets = long(at, seed, score=None), long(at, seed + 1, value=None)
    targets["begins_at"] = targets["time"] + pd.Timedelta(hours=17.5)
    targets["ends_at"] = targets["begins_at"] + pd.Timedelta(days=1)
    return predicted, targets


def panel(bars: int = 60, seed: int = 0) -> Prices:
    starts = days(bars, 14)
    made = random_bars(seed, bars, len(NAMES))
    return Prices(tickers=NAMES, starts_at=starts, closes_at=starts + np.timedelta64(7, "h"), calendar="24/7", **made)


def made_signals(prices: Prices, seed: int = 0) -> Signals:
    at = np.repeat(prices.closes_at + TICK, len(NAMES))
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=len(at))
    rows = len(at)
    return Signals(
        at=at,
        ticker=np.tile(np.arange(len(NAMES), dtype=np.int32), len(prices)),
        tickers=NAMES,
        signal=np.sign(scores.round(0)).astype(np.int8),
        score=scores,
        confidence=np.full(rows, np.nan),
        actionable=np.ones(rows, bool),
        probabilities=np.full((rows, 3), np.nan),
        texts=[()] * rows,
        text_at=np.full(rows, np.datetime64("NaT"), "M8[us]"),
        known_at=at - TICK,
        adapters=[()] * rows,
    )


def test_each_era_is_scored_on_its_own_rows() -> None:
    predicted, targets = tables()
    made = score(predicted, targets, metrics=["rank_ic"])
    assert made["rank_ic"].scores.eras == ("2024-W01", "2024-W02", "2024-W03", "2024-W04")
    for week, of in enumerate(made["rank_ic"].scores.scores):
        rows = slice(week * 7 * 4, (week + 1) * 7 * 4)
        assert of == pytest.approx(rank_ic(predicted["score"][rows], targets["value"][rows]))
    by_day = score(predicted, targets, metrics=["rank_ic"], era="day")["rank_ic"]
    assert by_day.scores.eras[0] == "2024-01-01" and len(by_day.scores.eras) == 28
    low, high = by_day.mean.interval or (0, 0)
    assert low < by_day.scores.mean < high and by_day.mean.block is not None
    assert score(predicted, targets, metrics=["rank_ic"], era="month")["rank_ic"].scores.eras == ("2024-01",)


def test_weeks_are_those_of_iso_8601() -> None:
    at = np.datetime64("2018-12-20", "us") + np.arange(0, 1000, 3) * DAY
    predicted, targets = long(at, score=None), long(at, value=None)
    targets["begins_at"] = targets["time"] + pd.Timedelta(hours=1)
    eras = score(predicted, targets, metrics=["rank_ic"])["rank_ic"].scores.eras
    assert list(eras) == sorted({day.item().strftime("%G-W%V") for day in at.astype("M8[D]")})


def test_eras_of_a_column_stand_in_the_order_of_time() -> None:
    predicted, targets = tables()
    predicted["round"] = np.repeat(["era2", "era1", "era10", "era9"], 28)
    made = score(predicted, targets, metrics=["rank_ic"], era="round")
    assert made["rank_ic"].scores.eras == ("era2", "era1", "era10", "era9")
    predicted["round"] = np.tile(["a", "b"], 56)
    with pytest.raises(BadCorpus, match="the eras a and b overlap in time"):
        score(predicted, targets, era="round")


@settings(max_examples=CASES or 25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.booleans())
def test_a_later_era_changes_no_earlier_score(seed: int, weeks: int, neutral: bool) -> None:
    predicted, targets = tables(seed=seed % 1000)
    meta, factors = long(days(28), seed % 7, score=None), long(days(28), seed % 5, one=None, two=None)
    meta["time"] = predicted["time"]
    beside: dict[str, Any] = {"meta": meta, "factors": factors if neutral else None}
    metrics = ["rank_ic", "numerai_corr", "contribution", *([] if neutral else ["mcc"])]
    before = score(predicted, targets, metrics=metrics, **beside)
    rng, rows = np.random.default_rng(seed), weeks * 7 * 4
    for frame, names in ((predicted, ["score"]), (targets, ["value"]), (meta, ["score"]), (factors, ["one", "two"])):
        frame.loc[rows:, names] = 9 * rng.normal(size=(len(frame) - rows, len(names)))
    after = score(predicted.drop(index=rows + 5), targets, metrics=metrics, **beside)
    for metric in metrics:
        assert np.array_equal(before[metric].scores.scores[:weeks], after[metric].scores.scores[:weeks])
    assert not np.array_equal(before["rank_ic"].scores.scores, after["rank_ic"].scores.scores)


@settings(max_examples=CASES or 25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_next_target_begins_after_the_decision(seed: int) -> None:
    """A table whose times are those of first prices, at any hours: each decision has the first row that is later."""
    rng = np.random.default_rng(seed)
    starts = np.sort(rng.choice(np.arange(200), 40, replace=False)) * np.timedelta64(1, "h") + days(1)[0]
    at = np.sort(rng.choice(np.arange(200), 30, replace=False)) * np.timedelta64(1, "h") + days(1)[0]
    predicted, targets = long(at, 1, score=None), long(starts, 2, value=np.repeat(np.arange(40.0), 4))
    holes = rng.choice(len(targets), 20, replace=False)
    targets.loc[holes, "value"] = np.nan
    from adapterhub_fin_markets.scoring.joined import join_tables
    from adapterhub_fin_markets.scoring.options import ScoreOptions

    try:
        rows = join_tables(predicted, targets, None, None, {}, {}, ScoreOptions(next=True))
    except BadCorpus:
        assert at.min() >= starts.max()
        return
    for row in range(len(rows.target)):
        first = int(np.flatnonzero(starts > rows.predictions.at[row])[0])
        assert rows.target[row] == first
        assert first * 4 + rows.predictions.ticker[row] not in holes
    assert rows.facts["rows"] + rows.facts["without_target"] == len(predicted)


@pytest.mark.parametrize("early", [pd.Timedelta(0), pd.Timedelta(microseconds=-1), pd.Timedelta(days=-1)])
def test_a_target_that_begins_at_the_decision_or_before_is_refused(early: pd.Timedelta) -> None:
    predicted, targets = tables()
    targets.loc[9, "begins_at"] = targets.loc[9, "time"] + early
    with pytest.raises(
        LookAhead, match=r"row 10: BBB is decided at 2024-01-03T21:00:00.000001Z, .* row 10\) begins at"
    ):
        score(predicted, targets)
    targets.loc[9, "begins_at"] = targets.loc[9, "time"] + pd.Timedelta(microseconds=1)
    assert score(predicted, targets).facts["rows"] == 112


def test_a_table_without_beginnings_begins_at_its_time() -> None:
    predicted, targets = tables()
    targets = targets.drop(columns=["begins_at", "ends_at"])
    with pytest.raises(LookAhead, match="so do 111 others: name the column"):
        score(predicted, targets)
    following = score(predicted, targets, next=True)
    assert following.facts["without_target"] == 4
    shifted = targets.assign(value=targets["value"].shift(-4), begins_at=targets["time"].shift(-4)).iloc[:-4]
    assert np.array_equal(
        following["numerai_corr"].scores.scores, score(predicted, shifted)["numerai_corr"].scores.scores
    )


def test_dates_are_decided_at_their_end_and_begin_at_their_start() -> None:
    predicted, targets = tables()
    for frame in (predicted, targets):
        frame["time"] = frame["time"].dt.strftime("%Y-%m-%d")
    targets["begins_at"] = targets["time"]
    with pytest.raises(LookAhead, match=r"decided at 2024-01-02T04:59:59.999999Z, .* begins at 2024-01-01T05:00"):
        score(predicted, targets, timezone="America/New_York")
    targets["begins_at"] = [*targets["time"][4:], *["2024-01-29"] * 4]
    made = score(predicted, targets, timezone="America/New_York")
    assert (made.facts["rows"], made.facts["first"]) == (112, "2024-01-02T04:59:59.999999Z")


def test_what_was_not_known_before_its_decision_is_refused() -> None:
    predicted, targets = tables()
    predicted["known_at"] = predicted["time"] - pd.Timedelta(microseconds=1)
    assert score(predicted, targets).facts["rows"] == 112
    predicted.loc[5, "known_at"] = predicted.loc[5, "time"]
    with pytest.raises(LookAhead, match=r"row 6: BBB is decided at .* by what was not known before; so are 0 others"):
        score(predicted, targets)


def test_factors_are_those_that_were_known_before() -> None:
    predicted, targets = tables()
    factors = predicted.rename(columns={"score": "same"})
    with pytest.raises(BadCorpus, match=r"row 1: AAA has no same at .* 4 of 112 rows lack one"):
        score(predicted, targets, metrics=["rank_ic"], factors=factors)  # those of the instant itself don't count
    made = score(predicted, targets, metrics=["rank_ic"], factors=factors, leave_out=True)
    assert (made.facts["left_out"], made.facts["neutralised_against"]) == (4, ["same"])
    with pytest.raises(BadCorpus, match="mcc scores directions, which neutralised"):
        score(predicted, targets, metrics=["mcc"], factors=factors, leave_out=True)
    before = factors.assign(known_at=factors["time"] - pd.Timedelta(microseconds=1), other=factors["same"] ** 2)
    explained = {"metrics": ["rank_ic"], "era": "day", "leave_out": True}
    with pytest.raises(BadCorpus, match="no era has a score: era 2024-01-01: the factors explain all"):
        score(predicted, targets, factors=before.assign(more=before["same"] ** 3), **explained)


def test_features_of_a_file_are_factors(tmp_path: Path) -> None:
    prices = panel()
    write_features(compute_features(prices, ["return_1", "range_1"]), tmp_path / "features.parquet")
    made = score(made_signals(prices), prices, factors=tmp_path / "features.parquet", metrics=["rank_ic"])
    assert made.facts["neutralised_against"] == ["return_1", "range_1"]


def test_prices_give_the_target_from_the_first_fill_on(tmp_path: Path) -> None:
    prices = panel()
    signals = made_signals(prices)
    made, truth = score(signals, prices, metrics=["rank_ic", "mcc"], horizon=2), direction_targets(prices, 2)
    there = np.isfinite(truth.targets)
    assert made.facts["rows"] == there.sum() and made.facts["without_target"] == (~there).sum()
    assert made.facts["universe"] == "the universe was chosen in hindsight" and made.facts["horizon"] == 2
    weeks = (truth.decided_at.astype("M8[D]").astype(int) + 3) // 7
    rows = (weeks == weeks[30])[:, None] & there
    predicted = signals.score.reshape(there.shape)
    era = truth.decided_at[30].item().strftime("%G-W%V")
    number = made["rank_ic"].scores.eras.index(era)
    assert made["rank_ic"].scores.scores[number] == pytest.approx(rank_ic(predicted[rows], truth.targets[rows]))
    plain = score(signals, prices, metrics=["rank_ic"], horizon=2, unscaled=True)
    assert plain["rank_ic"].scores.scores[number] == pytest.approx(rank_ic(predicted[rows], truth.returns[rows]))


@settings(max_examples=CASES or 25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_decision_has_the_first_fill_that_is_later(seed: int) -> None:
    """Decisions at any instant, between closes too: the fill is the first open strictly later of that ticker."""
    from adapterhub_fin_markets.scoring.predictions import Predictions
    from adapterhub_fin_markets.scoring.targets import targets_of_prices

    rng = np.random.default_rng(seed)
    prices = panel(80, seed % 97)
    holes = rng.random(prices.open.shape) < 0.02
    for name in ("open", "high", "low", "close", "volume"):
        getattr(prices, name)[holes] = np.nan
    at = prices.starts_at[0] + np.sort(rng.integers(0, 80 * 24 * 60, 300)) * np.timedelta64(1, "m")
    at[::7] = rng.choice(prices.starts_at, len(at[::7]))
    at[1::7] = rng.choice(prices.closes_at, len(at[1::7])) + TICK
    ticker = rng.integers(0, 4, 300)
    zeros = np.zeros(300)
    targets = targets_of_prices(Predictions("it", at, NAMES, ticker, zeros, zeros), prices, 1, unscaled=False)
    rows = np.flatnonzero(np.isfinite(targets.value))
    assert len(rows)
    for row in rows:
        opens = prices.starts_at[np.isfinite(prices.open[:, ticker[row]])]
        assert targets.begins_at[row] == opens[opens > at[row]][0]


def test_overlapping_targets_leave_fewer_independent_eras() -> None:
    predicted, targets = tables()
    assert score(predicted, targets, era="day").facts["independent_eras"] == 28
    targets["ends_at"] = targets["begins_at"] + pd.Timedelta(days=3)
    overlapping = score(predicted, targets, era="day")
    assert overlapping.facts["independent_eras"] == 10 and (overlapping["numerai_corr"].mean.block or 0) >= 3
    targets = targets.drop(columns="ends_at")
    assert score(predicted, targets, era="day").facts["independent_eras"] is None
    assert score(predicted, targets, era="day", horizon=3).facts["independent_eras"] == 10


def test_blocks_are_as_long_as_targets_overlap() -> None:
    scores = np.random.default_rng(0).normal(size=60)
    assert (mean_interval(scores, 1, resamples=200, level=0.95, seed=0).block or 9) < 5
    assert mean_interval(scores, 20, resamples=200, level=0.95, seed=0).block == 20
    few = mean_interval(scores[:7], 1, resamples=200, level=0.95, seed=0)
    assert (few.interval, few.reason) == (None, "7 eras: it needs at least 8")


def test_a_placebo_compares_with_shifts_in_time() -> None:
    predicted, targets = tables()
    skilled = predicted.assign(score=predicted["score"] + 2 * targets["value"])
    made = score(skilled, targets, metrics=["rank_ic"], placebo=200)["rank_ic"].placebo
    assert made is not None and made.shifts == 27 and made.p_value == pytest.approx(1 / 28)
    none = score(predicted, targets, metrics=["rank_ic"], placebo=20)["rank_ic"].placebo
    assert none is not None and none.shifts == 20 and none.p_value > 0.05


def test_slow_signals_without_skill_are_not_taken_for_skill() -> None:
    """Signals and targets that change slowly, neither knowing of the other: p-values are about uniform."""
    days_, codes = 120, np.repeat(np.arange(120) // 20, 4)
    groups, names, ticker = rows_by_era(codes, 6), list("abcdef"), np.tile(np.arange(4), days_)
    values = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        noise, returns = rng.normal(size=(days_, 4)), rng.normal(size=(days_ + 5, 4))
        signal = np.zeros((days_, 4))
        for day in range(1, days_):
            signal[day] = 0.9 * signal[day - 1] + noise[day]
        target = np.stack([returns[day : day + 5].sum(0) for day in range(days_)])
        scored = partial(scores_of, names, groups, signal.ravel(), target.ravel())
        values.append(compare_shifts(scored(slice(None)), ticker, scored, count=19, seed=seed).p_value)
    assert 0.4 < np.mean(values) < 0.6 and np.mean(np.array(values) <= 0.1) <= 0.2


def scores_of(names: Any, groups: Any, signal: np.ndarray, target: np.ndarray, rows: Any) -> EraScores:
    return score_rows(rank_ic, names, groups, [signal[rows], target])


def test_a_shift_that_does_as_well_counts() -> None:
    predicted, targets = tables()
    same = predicted.assign(score=np.tile([1.0, 2.0, 3.0, 4.0], 28))
    made = score(same, targets, metrics=["rank_ic"], placebo=9)["rank_ic"].placebo
    assert made is not None and made.p_value == 1


def test_shifts_move_each_ticker_by_the_same_time() -> None:
    ticker = np.array([0, 1, 0, 0, 1, 0, 2])
    assert shifted_rows(ticker, 1).tolist() == [5, 4, 0, 2, 1, 3, 6]
    assert shifted_rows(ticker, 3).tolist() == [2, 1, 3, 5, 4, 0, 6]


@settings(max_examples=CASES or 40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.integers(1, 50))
def test_a_shift_takes_each_prediction_once_and_leaves_it_its_ticker(tickers: list[int], shift: int) -> None:
    ticker = np.unique(tickers, return_inverse=True)[1]
    rows = shifted_rows(ticker, shift % max(np.bincount(ticker).max(), 2))
    assert sorted(rows.tolist()) == list(range(len(ticker))) and np.array_equal(ticker[rows], ticker)


def test_an_era_without_a_score_is_named_or_counted() -> None:
    predicted, targets = tables()
    predicted.loc[28:55, "score"] = 1.0
    with pytest.raises(BadCorpus, match="rank_ic has no value: era 2024-W02: all predictions are equal"):
        score(predicted, targets, metrics=["rank_ic"])
    made = score(predicted, targets, metrics=["rank_ic"], leave_out=True)["rank_ic"]
    assert made.scores.undefined == {"2024-W02": "all predictions are equal"} and len(made.scores.eras) == 3
    targets.loc[56:83, "value"] = np.nan
    assert score(predicted, targets, leave_out=True).facts["eras_without_target"] == ["2024-W03"]
    with pytest.raises(BadCorpus, match="1 rows: it needs at least 2"):
        score(predicted.iloc[[0, 4]], targets, era="day")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.iloc[::-1], r"row 8 comes before row 4, of the same ticker, in time: sort"),
        (lambda p: pd.concat([p, p.iloc[-1:]]), r"row 113 has DDD at .* again, after row 112: keep one"),
        (lambda p: p.iloc[:0], "has no rows"),
        (
            lambda p: p.assign(ticker=p["ticker"].replace("BBB", "ZZZ")),
            "has predictions of ZZZ, of which the",
        ),
        (lambda p: p.assign(score=1.0), "all predictions are equal"),
        (lambda p: p.assign(score=p["score"].where(p.index != 3)), "row 4 has no score"),
        (lambda p: p.drop(columns="score"), "no column of score"),
        (lambda p: p.assign(ticker=p["ticker"].replace("BBB", " ")), "row 2 has no ticker"),
        (lambda p: p.assign(time=p["time"].dt.tz_localize(None)), "row 1: time has no zone: name it"),
        (
            lambda p: p.assign(time=[str(at)[: None if row else 19] for row, at in enumerate(p["time"])]),
            "time of row 2 has a zone and that of row 1 none",
        ),
        (lambda p: p.assign(time=p["time"] + pd.Timedelta(hours=1)), "no prediction of the table has a target"),
        (lambda p: p.assign(time="soon"), "row 1: time 'soon' is not a time"),
    ],
)
def test_bad_predictions_are_one_sentence(change: Any, message: str) -> None:
    predicted, targets = tables()
    with pytest.raises(BadCorpus, match=message):
        score(change(predicted), targets)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["sharpe"]}, "metrics"),
        ({"era": "round"}, "has no column 'round'"),
        ({"metrics": ["contribution"]}, "give a table of its predictions"),
        ({"columns": {"score": "alpha"}}, "has no column 'alpha' to read as score"),
        ({"horizons": 3}, "horizon"),
        ({"timezone": "Mars/Base"}, "there is no time zone 'Mars/Base'"),
    ],
)
def test_bad_options_are_one_sentence(options: dict[str, Any], message: str) -> None:
    predicted, targets = tables()
    if "timezone" in options:
        predicted["time"] = predicted["time"].dt.tz_localize(None)
    with pytest.raises((BadCorpus, BadRecipe), match=message):
        score(predicted, targets, **options)


def test_contributions_are_to_a_meta_model() -> None:
    predicted, targets = tables()
    meta = predicted.assign(score=np.arange(112) % 7)
    made = score(predicted, targets, metrics=["contribution"], meta=meta)
    assert score(meta, targets, metrics=["contribution"], meta=meta)["contribution"].scores.scores == pytest.approx(0)
    ours = targets.assign(value=(targets["value"] > 0) * 1.0)
    one, four = (score(predicted, ours, metrics=["contribution"], meta=meta, quarters=q) for q in (False, True))
    assert four["contribution"].scores.scores == pytest.approx(4 * one["contribution"].scores.scores)
    with pytest.raises(BadCorpus, match="not all from 0 to 1"):
        score(predicted, targets, metrics=["contribution"], meta=meta, quarters=True)
    with pytest.raises(BadCorpus, match=r"has no prediction of the meta model at .* 4 of 112"):
        score(predicted, targets, metrics=["contribution"], meta=meta.iloc[4:])
    assert made.facts["left_out"] == 0


def test_signals_made_with_look_ahead_are_scored_and_marked(tmp_path: Path) -> None:
    prices = panel()
    write_prices(prices, tmp_path / "prices.parquet")
    honest = made_signals(prices)
    mark = "look-ahead is allowed: 9 texts were answered by a version that may know their future"
    facts = {**honest.facts, "allow_lookahead": True, "marks": [mark]}
    late = replace(honest, known_at=honest.at + DAY, facts=facts)
    write_signals(late, tmp_path / "late.parquet")
    arguments = [str(tmp_path / "late.parquet"), "--against", str(tmp_path / "prices.parquet"), "--metric", "rank_ic"]
    record = json.loads(CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False).stdout)
    strict = score(honest, read_prices(tmp_path / "prices.parquet"), metrics=["rank_ic"])
    assert record["strict"] is False and record["marks"] == [mark] and strict.facts["strict"] is True
    assert record["metrics"]["rank_ic"]["mean"] == strict["rank_ic"].scores.mean
    text = CliRunner().invoke(command, arguments, catch_exceptions=False, color=True).stdout
    assert f"\x1b[31mLOOK-AHEAD: {mark}" in text
    ignored = replace(honest, facts={**honest.facts, "include_base": False})
    assert score(ignored, prices, metrics=["rank_ic"]).facts["strict"] is False


def test_files_are_scored_by_the_command(tmp_path: Path) -> None:
    prices = panel()
    write_prices(prices, tmp_path / "prices.parquet")
    write_signals(made_signals(prices), tmp_path / "signals.parquet")
    arguments = [str(tmp_path / "signals.parquet"), "--against", str(tmp_path / "prices.parquet")]
    arguments += ["--metric", "rank_ic,mcc", "--placebo", "9", "--horizon", "2"]
    ran = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False)
    record = json.loads(ran.stdout)
    assert record["predictions"] == "signals.parquet" and list(record["metrics"]) == ["rank_ic", "mcc"]
    assert record["metrics"]["rank_ic"]["placebo"]["shifts"] == 9 and record["against"] == "prices.parquet"
    assert (
        record["prices"] == prices_digest(read_prices(tmp_path / "prices.parquet"))
        and record["signals"] == made_signals(prices).digest
    )
    text = CliRunner().invoke(command, arguments, catch_exceptions=False).stdout
    assert "over eras" in text and f"{record['metrics']['mcc']['mean']:.4f}" in text
    assert "universe" in text and "chosen in hindsight" in text


def test_a_refusal_is_one_line(tmp_path: Path) -> None:
    predicted, targets = tables()
    predicted.to_csv(tmp_path / "predictions.csv", index=False)
    targets.drop(columns="begins_at").to_csv(tmp_path / "targets.csv", index=False)
    done = run_ahf("score", str(tmp_path / "predictions.csv"), "--against", str(tmp_path / "targets.csv"))
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("ahf: predictions.csv, row 1: AAA is decided at 2024-01-01T21:00:00.000001Z")
    assert done.stderr.count("\n") == 1 and "--next" in done.stderr


def run_ahf(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `ahf` in a process of its own."""
    return subprocess.run([str(Path(sys.executable).with_name("ahf")), *arguments], capture_output=True, text=True)


def test_altered_signals_are_refused(tmp_path: Path) -> None:
    prices = panel()
    write_signals(made_signals(prices), tmp_path / "signals.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "signals.parquet")
    forged = table.set_column(3, "score", pa.array(np.arange(len(table), dtype=float)))
    pyarrow.parquet.write_table(forged, tmp_path / "signals.parquet")
    with pytest.raises(Corrupted):
        score(tmp_path / "signals.parquet", prices)


def test_csv_files_with_other_names_and_separators(tmp_path: Path) -> None:
    predicted, targets = tables()
    made = score(predicted, targets, metrics=["rank_ic"])
    predicted = predicted.rename(columns={"score": "pred", "ticker": "Symbol", "time": "Date"})
    predicted.to_csv(tmp_path / "predictions.csv", sep=";", index=False)
    targets.rename(columns={"value": "fwd"}).to_csv(tmp_path / "targets.tsv", sep="\t", index=False)
    arguments = [str(tmp_path / "predictions.csv"), "--against", str(tmp_path / "targets.tsv"), "--metric", "rank_ic"]
    ran = CliRunner().invoke(
        command,
        [*arguments, "--column", "score=pred", "--target-column", "value=fwd", "--json"],
        catch_exceptions=False,
    )
    assert [*json.loads(ran.stdout)["metrics"]["rank_ic"]["eras"].values()] == made["rank_ic"].scores.scores.tolist()
