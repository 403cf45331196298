"""Features in parquet: what is read is what was written, and another file is refused."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from adapterhub_fin.plugin import BadCorpus
from adapterhub_fin_markets.cli.market import command
from adapterhub_fin_markets.features.stored import KEY, read_features, write_features
from adapterhub_fin_markets.features.table import Features, compute_features
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.stored import prices_digest, write_prices
from adapterhub_fin_markets.testing import random_bars

STARTS = np.datetime64("2020-01-01", "us") + np.arange(90) * np.timedelta64(1, "D")
PRICES = Prices(
    tickers=("a", "b", "c"),
    starts_at=STARTS,
    closes_at=STARTS + np.timedelta64(21, "h"),
    calendar="24/7",
    **random_bars(0, 90, 3),
)


@pytest.fixture
def table() -> Features:
    return compute_features(PRICES, "rsi_14 macd return_60")


def test_what_is_read_is_what_was_written(table: Features, tmp_path: Path) -> None:
    write_features(table, tmp_path / "features.parquet")
    read = read_features(tmp_path / "features.parquet")
    assert read.names == table.names and read.tickers == table.tickers and read.lookbacks == table.lookbacks
    assert read.prices_digest == prices_digest(PRICES) and read.calendar == "24/7"
    assert (read.at == table.at).all() and (read.known_at == table.known_at).all()
    for name in table:
        assert np.array_equal(read[name], table[name], equal_nan=True), name
    assert [path.name for path in tmp_path.iterdir()] == ["features.parquet"]


def test_another_file_is_refused(table: Features, tmp_path: Path) -> None:
    path = tmp_path / "features.parquet"
    write_features(table, path)
    whole = pyarrow.parquet.read_table(path)
    held = json.loads(whole.schema.metadata[KEY])
    undigested = {name: fact for name, fact in held.items() if name != "digest"}
    for altered, message in (
        (whole.replace_schema_metadata(None), "is no table of features"),
        (whole.drop_columns(["macd"]), "has the columns at, ticker"),
        (whole.slice(1), "does not hold each of its 3 tickers"),
        (whole.set_column(3, "rsi_14", whole["rsi_14"].cast("float32")), "rsi_14 is of type float"),
        (whole.take(list(range(267, 270)) + list(range(267))), "not ordered by time"),
        (whole.set_column(3, "rsi_14", pc.multiply(whole["rsi_14"], 1.0000001)), "holds other features than when"),
        (
            whole.set_column(2, "known_at", pc.subtract(whole["known_at"], timedelta(days=1))),
            "holds other features than when",
        ),
        (whole.replace_schema_metadata({KEY: json.dumps({**held, "lookbacks": {}})}), "holds other features than when"),
        (whole.replace_schema_metadata({KEY: json.dumps(undigested)}), "holds other features than when"),
    ):
        pyarrow.parquet.write_table(altered, path)
        with pytest.raises(BadCorpus, match=message):
            read_features(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(BadCorpus, match="can't be read|can be read"):
        read_features(path)


def test_the_command_writes_what_python_computes(tmp_path: Path) -> None:
    write_prices(PRICES, tmp_path / "prices.parquet")
    out = tmp_path / "features.parquet"
    given = ["features", str(tmp_path / "prices.parquet"), "--names", "rsi_14, macd", "--out", str(out), "--json"]
    ran = CliRunner().invoke(command, given)
    assert ran.exit_code == 0, ran.output
    printed = json.loads(ran.output)
    assert printed["features"] == ["rsi_14", "macd"] and printed["times"] == 90 and printed["tickers"] == 3
    read = read_features(out)
    assert read.prices_digest == printed["prices"]
    assert np.array_equal(read["macd"], compute_features(PRICES, "macd")["macd"], equal_nan=True)
    plain = CliRunner().invoke(command, given[:-1])
    assert plain.exit_code == 0 and "rsi_14 macd" in plain.output


def test_a_folder_that_is_not_there_is_told_before_prices_are_read(table: Features, tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text("no table")
    out = tmp_path / "none" / "features.parquet"
    ran = CliRunner().invoke(command, ["features", str(tmp_path / "prices.csv"), "--out", str(out)])
    assert isinstance(ran.exception, BadCorpus)
    assert str(ran.exception) == f"features can't be written to {out}: there is no folder {out.parent}; make it first"
    with pytest.raises(BadCorpus, match="there is no folder"):
        write_features(table, out)
    write_features(table, tmp_path / "features.parquet")
    assert read_features(tmp_path / "features.parquet").names == table.names
