"""Tables of prices are checked and stored by commands, as they are written and where they stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from adapterhub_fin_markets.cli.market import command
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.tables import read_prices


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tickers in a German vendor's tables; the second has a low of zero."""
    prices = tmp_path / "prices"
    prices.mkdir()
    for ticker, low in (("AAA", "9,00"), ("BBB", "0,00")):
        lines = ["Datum;Open;High;Low;Close;Volume"]
        for day in range(1, 29):
            lines.append(f"{day:02}.02.2023;10,00;1.011,00;{low if day == 7 else '9,00'};10,50;1.000")
        (prices / f"{ticker}.csv").write_text("\n".join(lines) + "\n")
    return prices


def written(folder: Path) -> list[str]:
    return [str(folder), "--calendar", "24/7", "--date-format", "%d.%m.%Y", "--decimal", ",", "--column", "time=Datum"]


def test_a_folder_is_checked_file_by_file(folder: Path) -> None:
    ran = CliRunner().invoke(command, ["check", *written(folder), "--json"])
    assert ran.exit_code == 1
    [finding] = json.loads(ran.output)["findings"]
    assert (finding["kind"], finding["ticker"]) == ("not-positive", "BBB")


def test_what_is_repaired_is_stored_with_its_count(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "prices.parquet"
    arguments = ["store", *written(folder), "--currency", "EUR", "--out", str(out), "--json"]
    refused = CliRunner().invoke(command, arguments)
    assert isinstance(refused.exception, BadPrices) and not out.exists()
    ran = CliRunner().invoke(command, [*arguments, "--repair", "not-positive"])
    stored = json.loads(ran.output)
    assert stored["repaired"] == {"not-positive": 1} and stored["bars"] == 2 * 28 - 1
    assert stored["universe"] == "the universe was chosen in hindsight"
    prices = read_prices(out)
    assert prices.tickers == ("AAA", "BBB") and prices.high[0, 0] == 1011 and prices.currency == "EUR"
    text = CliRunner().invoke(command, [*arguments[:-1], "--repair", "not-positive"]).output
    assert "1 not-positive" in text and stored["digest"] in text


def test_features_are_computed_of_a_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "BBB.csv").unlink()
    out = tmp_path / "features.parquet"
    arguments = ["features", *written(folder), "--names", "return_1", "--out", str(out), "--json"]
    ran = CliRunner().invoke(command, arguments)
    assert json.loads(ran.output)["tickers"] == 1 and out.exists()


def test_a_column_without_its_name_is_refused(folder: Path) -> None:
    ran = CliRunner().invoke(command, ["check", str(folder), "--column", "close"])
    assert ran.exit_code == 2 and "--column close must read OURS=THEIRS" in ran.output
