"""An adapter answers rows as well as texts: those it was trained on, conversations, tables, and files of them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
from transformers import AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.inference.predict_table import CHUNK, predict_table
from adapterhub_fin.testing.forked import run_forked

ROWS: list[dict[str, Any]] = [
    {"title": f"Firm {i}", "body": f"{'rose' if i % 3 else 'fell'} on day {i}." if i % 5 else None, "tone": i % 3 and 1}
    for i in range(90)
]
TEXTS = ["\n".join(filter(None, (row["title"], row["body"]))) for row in ROWS]


@pytest.fixture(scope="module")
def adapter(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    registry = ahf.Registry(tmp_path_factory.mktemp("home"))
    run = ahf.train(
        name="acme/rows",
        base={"id": "acme/tiny", "path": str(encoder)},
        method={"name": "lora", "rank": 2},
        corpus={"data": ROWS, "text": ["title", "body"], "label": "tone"},
        training={"epochs": 1, "max_length": 32},
        registry=registry,
    )
    return run.adapter


@pytest.fixture(scope="module")
def expected(adapter: Any) -> Any:
    return adapter.logits(TEXTS)


@pytest.mark.parametrize(
    "form",
    [list, tuple, pd.DataFrame, pl.DataFrame, pa.Table.from_pylist, datasets.Dataset.from_list, iter],
    ids=["list", "tuple", "pandas", "polars", "pyarrow", "datasets", "iterator"],
)
def test_rows_are_answered_as_their_texts(adapter: Any, expected: Any, form: Any) -> None:
    assert np.abs(adapter.logits(form(ROWS)) - expected).max() <= 1e-6
    assert [answer.label for answer in adapter.predict(form(ROWS))] == [a.label for a in adapter.predict(TEXTS)]
    assert np.abs(adapter.embed(form(ROWS)) - adapter.embed(TEXTS)).max() <= 1e-6


def test_a_row_with_text_is_answered_by_it(adapter: Any, expected: Any) -> None:
    assert np.abs(adapter.logits([{"text": text, "other": 1} for text in TEXTS]) - expected).max() <= 1e-6


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"title": "A"}], "predict: row 0 has no title or body or text or messages; it has title"),
        ([*ROWS, {"title": " ", "body": None}], "predict: row 90: title and body is empty"),
        ([{"text": 5}], "row 0: text is of the type int"),
        ([{"role": "user", "content": "Hi"}], "is one turn of a conversation"),
        ([{"messages": []}], "row 0: messages is a conversation without a turn"),
        ([["a"]], "text 0 is of the type list"),
        ("text", "takes a list"),
        ({"text": "a"}, "a mapping"),
    ],
)
def test_a_row_that_can_not_be_read_is_named(adapter: Any, rows: Any, message: str) -> None:
    with pytest.raises(ahf.BadText) as caught:
        adapter.predict(rows)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl", "rows.parquet"])
@pytest.mark.parametrize("out", ["out.csv", "out.jsonl", "out.parquet"])
def test_a_file_is_answered_row_by_row(adapter: Any, tmp_path: Path, name: str, out: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("adapterhub_fin.engine.inference.predict_table.CHUNK", 32)
    frame = pd.DataFrame(ROWS)
    if name.endswith(("csv", "tsv")):
        frame.to_csv(tmp_path / name, index=False, sep="\t" if name.endswith("tsv") else ",")
    elif name.endswith("jsonl"):
        (tmp_path / name).write_text("".join(f"{json.dumps(row)}\n" for row in ROWS), encoding="utf-8")
    else:
        pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / name)
    assert predict_table(adapter, tmp_path / name, tmp_path / out) == len(ROWS)
    answers = adapter.predict(TEXTS)
    read = {"out.csv": pd.read_csv, "out.jsonl": lambda p: pd.read_json(p, lines=True), "out.parquet": pd.read_parquet}
    table = read[out](tmp_path / out)
    assert list(table["predicted_label"].astype(str)) == [answer.label for answer in answers]
    assert np.allclose(table["predicted_score"], [answer.score for answer in answers], atol=1e-6)
    assert np.allclose(table["predicted_scores_1"], [answer.scores["1"] for answer in answers], atol=1e-6)
    assert set(table["reference"]) == {"acme/rows@1"} and list(table["title"]) == [row["title"] for row in ROWS]
    assert {path.name for path in tmp_path.iterdir()} == {name, out}


def test_cells_are_read_as_in_training(adapter: Any) -> None:
    """Tokens are joined, and whatever stands for a missing cell is left out."""
    texts = ["Firm 1\nrose", "Firm 2"]
    for missing in (None, float("nan"), pd.NA, pd.NaT):
        rows = [{"title": ["Firm", "1"], "body": np.array(["rose"])}, {"title": "Firm 2", "body": missing}]
        assert np.abs(adapter.logits(rows) - adapter.logits(texts)).max() <= 1e-6
    frame = pd.DataFrame({"title": ["Firm 1", "Firm 2"], "body": ["rose", None]}, dtype="string")
    assert np.abs(adapter.logits(frame) - adapter.logits(texts)).max() <= 1e-6


def test_a_table_without_rows_gives_one_that_can_be_read(adapter: Any, tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "none.parquet")
    assert adapter.predict_table(tmp_path / "none.parquet", tmp_path / "out.parquet") == 0
    assert list(pd.read_parquet(tmp_path / "out.parquet").columns) == ["text", "reference"]


@pytest.mark.parametrize("out", ["out.csv", "out.jsonl", "out.parquet"])
def test_rows_with_other_columns_lose_none(adapter: Any, tmp_path: Path, out: str, monkeypatch: Any) -> None:
    rows = [{"text": "Up."}, {"text": "Down.", "b": 3}, {"text": "Up.", "c": None}]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    predict_table(adapter, tmp_path / "rows.jsonl", tmp_path / out)
    read = {"out.csv": pd.read_csv, "out.jsonl": lambda p: pd.read_json(p, lines=True), "out.parquet": pd.read_parquet}
    table = read[out](tmp_path / out)
    assert list(table["b"].fillna(0)) == [0, 3, 0] and "c" in table
    monkeypatch.setattr("adapterhub_fin.engine.inference.predict_table.CHUNK", 1)
    with pytest.raises(ahf.BadCorpus, match="line 2 has a column 'b', which the first rows lack"):
        predict_table(adapter, tmp_path / "rows.jsonl", tmp_path / f"again-{out}")


def test_columns_of_text_can_be_named(adapter: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("headline,x\nFirm 1,1\nFirm 2,2\n", encoding="utf-8")
    predict_table(adapter, tmp_path / "a.csv", tmp_path / "b.csv", text="headline")
    with (tmp_path / "b.csv").open(encoding="utf-8") as file:
        labels = [row["predicted_label"] for row in csv.DictReader(file)]
    assert labels == [answer.label for answer in adapter.predict(["Firm 1", "Firm 2"])]
    with pytest.raises(ahf.BadRecipe, match="no column 'body'; it has headline, x"):
        predict_table(adapter, tmp_path / "a.csv", tmp_path / "c.csv", text=["headline", "body"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("text\nUp.\n \nDown.\n", "rows.csv, line 3: text is blank"),
        ("text\n" + "Up.\n" * (CHUNK + 10) + " \n", f"rows.csv, line {CHUNK + 12}: text is blank"),
        ("text,x\nUp.,1\nDown.\n", "rows.csv, line 3 has 1 cells where the header has 2"),
        ("text,reference\nUp.,1\n", "the table has a column 'reference' already"),
        ("words\nUp.\n", "rows.csv, line 2 has no title or body or text"),
    ],
)
def test_a_bad_row_stops_it_and_leaves_no_file(adapter: Any, tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "rows.csv").write_text(rows, encoding="utf-8")
    (tmp_path / "out.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(ahf.AdapterHubError) as caught:
        predict_table(adapter, tmp_path / "rows.csv", tmp_path / "out.csv")
    assert message in str(caught.value)
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"rows.csv", "out.csv"}


def test_other_files_are_refused(adapter: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\nUp.\n", encoding="utf-8")
    with pytest.raises(ahf.BadRecipe, match="give the output another suffix"):
        predict_table(adapter, tmp_path / "a.csv", tmp_path / "a.xlsx")
    with pytest.raises(ahf.BadCorpus, match="isn't a .csv"):
        predict_table(adapter, tmp_path / "a.xlsx", tmp_path / "b.csv")
    with pytest.raises(ahf.WriteFailed, match="can't be written"):
        predict_table(adapter, tmp_path / "a.csv", tmp_path / "none" / "b.csv")


def test_the_command_answers_a_table(adapter: Any, encoder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("AHF_HOME", str(adapter.version.folder.parents[4]))
    (tmp_path / "a.csv").write_text("headline\nFirm 1\n", encoding="utf-8")
    ahf_command = ["-m", "adapterhub_fin.cli", "predict", "acme/rows", "--base", str(encoder)]
    table = ["--table", str(tmp_path / "a.csv"), "--text", "headline", "--out", str(tmp_path / "b.jsonl"), "--json"]
    done = run_forked(*ahf_command, *table)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 1 and json.loads(done.stdout)["reference"] == "acme/rows@1"
    assert json.loads((tmp_path / "b.jsonl").read_text())["predicted_label"] in {"0", "1"}
    wrong = run_forked(*ahf_command, "Up.", *table)
    assert wrong.returncode == 2 and "Give texts, or --table" in wrong.stderr


def talk(number: int) -> dict[str, Any]:
    question = f"Firm {number} {'rose' if number % 3 else 'fell'}?"
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "So."}]
    return {"messages": messages, "label": "up" if number % 3 else "down"}


TALKS = [talk(number) for number in range(90)]
TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"


@pytest.mark.parametrize("template", [None, TEMPLATE])
def test_conversations_are_classified(encoder: Path, tmp_path: Path, template: str | None) -> None:
    """In training and in answers a conversation is the text that the tokenizer's template makes of it."""
    base = Path(shutil.copytree(encoder, tmp_path / "base"))
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(base)
    run = ahf.train(
        name="acme/talks",
        base={"id": "acme/tiny", "path": str(base)},
        method={"name": "lora", "rank": 2},
        corpus={"data": TALKS, "columns": ["messages"], "label": "label"},
        training={"epochs": 1, "max_length": 64},
    )
    talks = [{"messages": talk["messages"]} for talk in TALKS]
    answers = run.adapter.logits(talks)
    if template is not None:
        texts = [tokenizer.apply_chat_template(talk["messages"], tokenize=False) for talk in talks]
        ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
        assert run.adapter.head.encode_inputs(talks, tokenizer, 64)[0]["input_ids"] == ids[0]
    assert np.abs(answers - run.adapter.logits(talks[::-1]).flip(0)).max() <= 1e-5
    assert run.adapter.predict(talks)[0].label in {"up", "down"}
