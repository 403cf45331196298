"""Test the table of signals: what it refuses, and that a file gives back what was written or nothing."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.errors import BadCorpus, Corrupted, LookAhead
from adapterhub_fin_markets.prices.timing import TICK
from adapterhub_fin_markets.signals.lists import Lists
from adapterhub_fin_markets.signals.table import Signals, read_signals, write_signals

CASES = int(os.environ.get("AHF_CASES", "25"))
DAY = np.timedelta64(1, "D")
NAT = np.datetime64("NaT", "us")


def signals(rows: int = 3, tickers: tuple[str, ...] = ("BTC", "ETH"), **changed: Any) -> Signals:
    width = len(tickers)
    at = np.repeat(np.datetime64("2022-12-01T00:00:00.000001", "us") + np.arange(rows) * DAY, width)
    total = len(at)
    columns: dict[str, Any] = {
        "at": at,
        "ticker": np.tile(np.arange(width, dtype=np.int32), rows),
        "tickers": tickers,
        "signal": np.resize(np.array([-1, 0, 1], np.int8), total),
        "score": np.linspace(-1, 1, total),
        "confidence": np.linspace(0, 1, total),
        "actionable": np.resize([True, False], total),
        "probabilities": np.tile([0.2, 0.3, 0.5], (total, 1)),
        "texts": [tuple(f"sha256:{row}-{item}" for item in range(row % 3)) for row in range(total)],
        "text_at": np.where(np.arange(total) % 3 > 0, at - 2 * TICK, NAT),
        "known_at": at - TICK,
        "adapters": [("sha256:a",) if row % 3 else () for row in range(total)],
        "facts": {"as_of": "row", "refused": {}},
    }
    return Signals(**{**columns, **changed})


@settings(max_examples=CASES, deadline=None)
@given(rows=st.integers(0, 5), tickers=st.sets(st.text("ABZ.é", min_size=1, max_size=3), min_size=1, max_size=4))
def test_a_file_gives_back_what_was_written(tmp_path_factory: Any, rows: int, tickers: set[str]) -> None:
    path = tmp_path_factory.mktemp("table") / "signals.parquet"
    made = signals(rows, tuple(sorted(tickers)))
    digest = write_signals(made, path)
    read = read_signals(path)
    assert read.digest == made.digest == digest
    assert read.facts == made.facts and read.tickers == made.tickers
    assert list(read.texts) == list(made.texts) and list(read.adapters) == list(made.adapters)
    for name in ("at", "ticker", "signal", "score", "confidence", "actionable", "probabilities", "text_at", "known_at"):
        written, back = getattr(made, name), getattr(read, name)
        assert written.dtype == back.dtype, name
        assert np.array_equal(written, back, equal_nan=written.dtype.kind in "fM"), name


def test_every_cell_and_fact_is_in_the_digest() -> None:
    made = signals()
    others: list[dict[str, Any]] = [
        {"at": np.concatenate([made.at[:-1], made.at[-1:] + TICK])},
        {"tickers": ("BTC", "XRP")},
        {"signal": -made.signal},
        {"score": made.score + 1e-12},
        {"confidence": np.full(len(made), np.nan)},
        {"actionable": ~made.actionable},
        {"probabilities": np.full((len(made), 3), np.nan)},
        {"texts": [(*row, "sha256:more") for row in made.texts]},
        {"texts": [("sha256:5-0s", "ha256:5-1") if row == 5 else each for row, each in enumerate(made.texts)]},
        {"text_at": made.text_at - TICK},
        {"known_at": made.known_at - TICK},
        {"adapters": [("sha256:b",)] * len(made)},
        {"facts": {"as_of": None}},
    ]
    digests = [made.digest, *(dataclasses.replace(made, **other).digest for other in others)]
    assert len(set(digests)) == len(digests)


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signals.parquet"
    write_signals(signals(), path)
    table = pyarrow.parquet.read_table(path)
    earlier = pa.array(signals().known_at - DAY, pa.timestamp("us", "UTC"))
    forged = table.set_column(table.column_names.index("known_at"), table.schema.field("known_at"), earlier)
    pyarrow.parquet.write_table(forged, path)
    with pytest.raises(Corrupted, match="other signals than when it was written"):
        read_signals(path)
    pyarrow.parquet.write_table(table.take(pa.array([1, 0, 2, 3, 4, 5])), path)
    with pytest.raises(Corrupted, match="not ordered"):
        read_signals(path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BadCorpus, match="no table of signals can be read"):
        read_signals(path)


def test_another_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    write_signals(signals(), path)
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table.replace_schema_metadata({}), path)
    with pytest.raises(BadCorpus, match="is no table of signals"):
        read_signals(path)
    pyarrow.parquet.write_table(table.drop_columns(["score"]), path)
    with pytest.raises(BadCorpus, match="has the columns at, ticker, signal, confidence"):
        read_signals(path)
    wrong = table.set_column(2, "signal", table["signal"].cast(pa.int64()))
    pyarrow.parquet.write_table(wrong, path)
    with pytest.raises(BadCorpus, match="signal is of type int64"):
        read_signals(path)
    with pytest.raises(BadCorpus, match="there is no folder"):
        write_signals(signals(), tmp_path / "none" / "signals.parquet")


def test_a_row_known_at_its_decision_is_look_ahead() -> None:
    at = signals().at
    with pytest.raises(LookAhead, match="signal 0 of BTC is decided at 2022-12-01T00:00:00.000001"):
        signals(known_at=at)
    assert len(signals(known_at=at, facts={"allow_lookahead": True})) == 6


def test_rows_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="each pair once"):
        signals(ticker=np.zeros(6, np.int32))
    with pytest.raises(ValueError, match="ascending and distinct"):
        signals(tickers=("ETH", "BTC"))
    with pytest.raises(ValueError, match="score has 2 rows"):
        signals(score=np.zeros(2))


@settings(max_examples=CASES, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["a", "b", "", "é"]), max_size=3).map(tuple)))
def test_lists_are_what_they_were_made_of(rows: list[tuple[str, ...]]) -> None:
    made = Lists.of(rows)
    assert list(made) == rows and len(made) == len(rows)
    assert made[1:3] == rows[1:3]
    assert made.arrow().to_pylist() == [list(row) for row in rows]
    instants = {
        name: np.datetime64(day, "us")
        for name, day in zip(made.names, ("2020-01-03", "2020-01-02", "2020-01-09", "2019-01-01"), strict=False)
    }
    latest = made.latest(np.array([instants[name] for name in made.names], "datetime64[us]"))
    expected = [max(instants[name] for name in row) if row else NAT for row in rows]
    assert np.array_equal(latest, np.array(expected, "datetime64[us]"), equal_nan=True)
