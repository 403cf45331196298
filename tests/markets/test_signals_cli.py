"""The command that writes signals: a table by its columns, a corpus by its name, and one line for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin import cli
from adapterhub_fin_markets.signals.table import read_signals


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "news.csv"
    lines = ["at,headline,body,symbol"]
    lines += [
        f"2018-03-{1 + row // 4:02}T{6 * (row % 4):02}:30:00Z,Arlo {row},profit {'rose' if row % 3 else 'fell'},"
        f"{('AAA', 'BBB')[row % 2]}"
        for row in range(20)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def run(capsys: Any, *arguments: Any) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as leave:
        cli.main([str(each) for each in arguments])
    out, err = capsys.readouterr()
    return int(leave.value.code or 0), out, err


def test_a_table_by_its_columns(dated_tone: Any, table: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "signals.parquet"
    columns = ("--table", table, "--text", "headline", "--text", "body", "--time", "at")
    code, printed, err = run(
        capsys, "signals", "acme/tone", *columns, "--ticker", "symbol", "--as-of-row", "--out", out, "--json"
    )
    assert code == 0, err
    facts, read = json.loads(printed), read_signals(out)
    assert facts["rows"] == len(read) == 10 and facts["digest"] == read.digest and read.tickers == ("AAA", "BBB")
    assert facts["sell"] + facts["hold"] + facts["buy"] == 10 and facts["texts"] == 20
    assert [each["reference"] for each in facts["versions"].values()] == ["acme/tone@2"]
    assert read.facts["corpus"]["options"]["text"] == ["headline", "body"]
    code, printed, _ = run(capsys, "signals", "acme/tone", *columns, "--ticker", "SPY", "--ticker", "GLD", "--out", out)
    assert code == 0 and "acme/tone@2" in printed and "until 2017-12-31T00:00:00Z" in printed
    assert read_signals(out).tickers == ("GLD", "SPY")


def test_a_corpus_and_its_refusals(dated_tone: Any, table: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "signals.parquet"
    given = ("--corpus", "news", "--set", f"path={table}", "--set", "text=body", "--set", "published=at")
    assert run(capsys, "signals", "acme/tone@2", *given, "--ticker", "SPY", "--calendar", "XNYS", "--out", out)[0] == 0
    assert read_signals(out).facts["calendar"] == "XNYS"
    code, _, err = run(capsys, "signals", "acme/tone@3", *given, "--ticker", "SPY", "--out", out)
    assert code == 1 and "none of 20 texts may be answered" in err and err.count("\n") == 1
    code, printed, _ = run(
        capsys, "signals", "acme/tone@3", *given, "--ticker", "SPY", "--out", out, "--allow-lookahead"
    )
    assert code == 0 and "look-ahead is allowed: 20 texts" in printed
    assert read_signals(out).facts["marks"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give --table FILE"),
        (("--corpus", "news", "--time", "at"), "--text and --time are for --table"),
        (("--table", "news.csv"), "--table needs --time COLUMN"),
        (("--corpus", "news", "--as-of-row", "--as-of", "2020-01-01"), "give one"),
        (("--corpus", "news", "--half-life", "2"), "--half-life is for --aggregate decay"),
        (("--corpus", "news", "--direction", "up"), "--direction reads LABEL=SELL"),
    ],
)
def test_usage(arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: Any) -> None:
    code, _, err = run(capsys, "signals", "acme/tone", *arguments, "--out", tmp_path / "signals.parquet")
    assert code == 2 and message in err


def test_what_can_not_be_made(dated_tone: Any, table: Path, tmp_path: Path, capsys: Any) -> None:
    columns = ("--table", table, "--text", "body", "--time", "at", "--ticker", "symbol")
    code, _, err = run(capsys, "signals", "acme/tone", *columns, "--out", tmp_path / "none" / "signals.parquet")
    assert code == 1 and "there is no folder" in err
    code, _, err = run(
        capsys, "signals", "acme/tone", *columns, "--aggregate", "medain", "--out", tmp_path / "s.parquet"
    )
    assert code == 1 and "did you mean median" not in err and "no aggregate is named 'medain'" in err
    code, _, err = run(capsys, "signals", "acme/none", *columns, "--out", tmp_path / "s.parquet")
    assert code == 1 and "there is no adapter named acme/none" in err
