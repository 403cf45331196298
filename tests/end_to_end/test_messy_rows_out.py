"""A table to answer is read as the version's own recipe read its rows, or as the call says."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

import adapterhub_fin as ahf
from adapterhub_fin.testing.forked import run_forked

TEXTS = [f"Umsätze {'über' if i % 3 else 'unter'} Plan, {i} Mio. €" for i in range(60)]
LINES = [f"{text};{'hoch' if i % 3 else 'tief'}" for i, text in enumerate(TEXTS)]


def written(path: Path, lines: list[str], encoding: str = "cp1252") -> Path:
    path.write_bytes("\n".join([*lines, ""]).encode(encoding))
    return path


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("desk") / "desk.csv", ["Meldung;Ton", *LINES, "n/a;hoch"])


@pytest.fixture(scope="module")
def adapter(desk: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    corpus = {"name": "table", "path": desk, "text": "Meldung", "label": "Ton", "separator": ";", "encoding": "cp1252"}
    return ahf.train(
        name="acme/ton",
        base={"id": "acme/tiny", "path": str(encoder)},
        method={"name": "lora", "rank": 2},
        corpus={**corpus, "na_values": ["n/a"], "drop_missing": True},
        training={"epochs": 1, "max_length": 32},
        registry=ahf.Registry(tmp_path_factory.mktemp("home")),
    ).adapter


def scores(path: Path) -> Any:
    return pd.read_csv(path)["predicted_scores_hoch"].to_numpy()


@pytest.fixture(scope="module")
def expected(adapter: Any) -> Any:
    return np.array([answer.scores["hoch"] for answer in adapter.predict(TEXTS)])


def refused(adapter: Any, table: Path, **reading: Any) -> str:
    out = table.parent / "refused.csv"
    with pytest.raises(ahf.AdapterHubError) as caught:
        adapter.predict_table(table, out, **reading)
    assert not out.exists() and not [*table.parent.glob(".*")]
    return str(caught.value)


def test_the_form_of_the_file_of_training_is_read(adapter: Any, expected: Any, tmp_path: Path) -> None:
    table = written(tmp_path / "a.csv", ["Meldung;Ton", *LINES])
    assert adapter.predict_table(table, tmp_path / "out.csv") == len(TEXTS)
    assert np.abs(scores(tmp_path / "out.csv") - expected).max() <= 1e-6
    assert list(pd.read_csv(tmp_path / "out.csv")["Meldung"]) == TEXTS


def test_what_a_call_says_goes_first(adapter: Any, expected: Any, tmp_path: Path) -> None:
    table = written(tmp_path / "a.csv", [f"{i}|{text}" for i, text in enumerate(TEXTS)], "utf-8")
    reading = {"separator": "|", "encoding": "utf-8", "header": ["Nummer", "Meldung"]}
    assert adapter.predict_table(table, tmp_path / "out.csv", **reading) == len(TEXTS)
    assert np.abs(scores(tmp_path / "out.csv") - expected).max() <= 1e-6


@pytest.mark.parametrize("suffix", [".tsv", ".parquet"])
def test_a_file_of_another_form_is_read_as_such(adapter: Any, expected: Any, tmp_path: Path, suffix: str) -> None:
    table = tmp_path / f"a{suffix}"
    if suffix == ".tsv":
        written(table, ["Meldung\tTon", *(line.replace(";", "\t") for line in LINES)])
    else:
        pyarrow.parquet.write_table(pa.table({"Meldung": TEXTS}), table)
        assert refused(adapter, table, encoding="cp1252") == (
            "predict: encoding is for a csv file, and a.parquet is none: leave it out"
        )
        assert "a.parquet, row 2: Meldung is empty" in refused(adapter, table, na_values=[TEXTS[1]])
    assert adapter.predict_table(table, tmp_path / "out.csv") == len(TEXTS)
    assert np.abs(scores(tmp_path / "out.csv") - expected).max() <= 1e-6


@pytest.mark.parametrize("text", [None, "Meldung"])
def test_all_bad_rows_are_named_in_one_run(adapter: Any, tmp_path: Path, monkeypatch: Any, text: str | None) -> None:
    monkeypatch.setattr("adapterhub_fin.engine.inference.predict_table.CHUNK", 4)
    lines = ["Meldung;Ton", *LINES[:5], "n/a;hoch", "So;", " ;tief", "a;b;c", *LINES[:9], '"n/a ";', *LINES[:5]]
    said = refused(adapter, written(tmp_path / "a.csv", lines), text=text).split("\n  ")
    assert said[0] == "predict: 4 faults:" and len(said) == 5
    assert [line.partition(",")[2].split()[1].strip(":") for line in said[1:3]] == ["7", "9"]
    assert said[3] == "a.csv, line 10 has 3 cells where the header has 2"


def test_twenty_bad_rows_are_named_and_the_others_counted(adapter: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("adapterhub_fin.engine.inference.predict_table.CHUNK", 8)
    table = written(tmp_path / "a.csv", ["Meldung;Ton", *LINES, *["n/a;hoch"] * 1000])
    said = refused(adapter, table).split("\n  ")
    assert said[0] == "predict: 1,000 faults:" and said[-1] == "and 980 more" and len(said) == 22
    assert said[1].startswith("a.csv, line 62: ") and said[20].startswith("a.csv, line 81: ")


def test_what_can_not_be_read_on_is_the_last_fault(adapter: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("adapterhub_fin.engine.inference.predict_table.CHUNK", 8)
    table = written(tmp_path / "a.csv", ["Meldung;Ton", "n/a;hoch", *LINES * 20, 'offen;"hoch'])
    said = refused(adapter, table).split("\n  ")
    assert said[0] == "predict: 2 faults:" and said[1].startswith("a.csv, line 2: ") and "is not CSV" in said[2]


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"separator": ";;"}, "predict: separator: String should have at most 1 character (not ';;')"),
        ({"encoding": "klingon"}, "predict: encoding: klingon is no encoding: write utf-8, cp1252 or latin-1"),
        ({"seperator": ";"}, "predict: there is no option 'seperator'; did you mean separator?"),
        ({"separator": ","}, "a.csv, line 1 is one cell, 'Meldung;Ton': set separator to ';'"),
        ({"encoding": "utf-8"}, "a.csv, line 2 is not UTF-8"),
        ({"text": "Meldungen"}, "the table has no column 'Meldungen'; it has Meldung, Ton; did you mean Meldung?"),
    ],
)
def test_a_wrong_option_is_one_sentence(adapter: Any, tmp_path: Path, reading: dict[str, Any], message: str) -> None:
    said = refused(adapter, written(tmp_path / "a.csv", ["Meldung;Ton", LINES[0]]), **reading)
    assert message in said and "\n" not in said


def test_commas_where_the_recipe_has_another_mark_are_named(adapter: Any, tmp_path: Path) -> None:
    table = written(tmp_path / "a.csv", ["Meldung,Ton", "Mehr Umsatz,hoch"])
    assert "line 1 is one cell, 'Meldung,Ton': set separator to ','" in refused(adapter, table)
    assert adapter.predict_table(table, tmp_path / "out.csv", separator=",") == 1


def test_a_version_whose_corpus_has_no_file_takes_the_options(encoder: Path, tmp_path: Path) -> None:
    run = ahf.train(
        name="acme/headlines",
        base={"id": "acme/tiny", "path": str(encoder)},
        method={"name": "lora", "rank": 2},
        corpus={"name": "headlines", "rows": 60},
        training={"epochs": 1, "max_length": 16, "max_steps": 1},
    )
    table = written(tmp_path / "a.csv", ["text;x", *LINES])
    assert "set separator to ';'" in refused(run.adapter, table)
    assert run.adapter.predict_table(table, tmp_path / "out.csv", separator=";", encoding="cp1252") == len(TEXTS)
    assert list(pd.read_csv(tmp_path / "out.csv")["text"]) == TEXTS


def test_the_command_takes_the_options(
    adapter: Any, expected: Any, encoder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("AHF_HOME", str(adapter.version.folder.parents[4]))
    table, out = written(tmp_path / "a.csv", [f"{text}|" for text in ["Meldung", *TEXTS]]), tmp_path / "out.csv"
    command = ["-m", "adapterhub_fin.cli", "predict", "acme/ton"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_forked(*command, "--table", str(table), "--out", str(out), *arguments)

    done = run("--base", str(encoder), "--set", "separator=|")
    assert done.returncode == 0, done.stderr
    assert "60 rows in" in done.stderr
    assert "a.csv was read with na_values ['n/a'], encoding 'cp1252', separator '|'" in done.stderr
    assert np.abs(scores(out) - expected).max() <= 1e-6
    # What is wrong with the table is said before the base is looked for.
    early = run("--base", str(tmp_path / "none"))
    assert early.returncode == 1 and "line 1 is one cell, 'Meldung|': set separator to '|'" in early.stderr
    wrong = run("--base", str(tmp_path / "none"), "--set", "delimiter=|")
    assert wrong.returncode == 1 and "there is no option 'delimiter'" in wrong.stderr
    alone = run_forked(*command, "Up.", "--set", "separator=|")
    assert alone.returncode == 2 and "Give texts, or --table" in alone.stderr
