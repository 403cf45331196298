"""A corpus may be a table in memory: the same rows as from a file, by their digest, for as long as they are needed."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapterhub_fin as ahf
from adapterhub_fin.plugin.memory import MemoryRows, digests_in, memory_rows, restored
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.testing.forked import run_forked
from adapterhub_fin_plugins.corpora.options import TableOptions
from adapterhub_fin_plugins.corpora.table import Table

ROWS: list[dict[str, Any]] = [
    {"text": f"Firm {i} {'rose' if i % 3 else 'fell'} on day {i}.", "label": "up" if i % 3 else "down", "size": i / 7}
    for i in range(90)
]
TABLES: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "pyarrow": pa.Table.from_pylist,
    "datasets": datasets.Dataset.from_list,
    "dicts": list,
    "tuple": tuple,
}


def table(choice: CorpusChoice) -> Any:
    return Table(TableOptions(**choice.options)).load().table


@pytest.mark.parametrize("library", TABLES)
def test_every_table_gives_the_rows_of_the_file(library: str, tmp_path: Path) -> None:
    choice = CorpusChoice.read({"data": TABLES[library](ROWS), "label": "label", "features": ["size"]})
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    file = CorpusChoice.read(
        {"name": "table", "path": str(tmp_path / "data.jsonl"), "label": "label", "features": ["size"]}
    )
    ours, theirs = table(choice), table(file)
    assert ours.remove_columns("origin").to_dict() == theirs.remove_columns("origin").to_dict()
    assert ours["origin"][0] == "data:1"
    assert choice.options["data"] == CorpusChoice.read({"data": list(ROWS), "label": "label"}).options["data"]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_times_of_pandas_are_never_read_early(unit: str, zone: str | None) -> None:
    at = pd.Timestamp("2021-06-30 16:05:01.123456789", tz=zone).as_unit(unit)  # type: ignore[arg-type]
    choice = CorpusChoice.read(
        {"data": pd.DataFrame({"text": ["Up."], "at": [at]}), "available_at": "at", "timezone": "UTC"}
    )
    (read,) = table(choice)["available_at"]
    exact = at if zone else at.tz_localize("UTC")
    assert read >= exact and read - exact.floor("us").to_pydatetime() <= pd.Timedelta("1us")


def test_cells_of_many_kinds_are_plain() -> None:
    cells = {
        "na": pd.NA, "nat": pd.NaT, "nan": float("nan"), "i": np.int64(3), "f": np.float32(0.5), "b": np.bool_(True),
        "d": Decimal("1.5"), "day": date(2021, 6, 30), "at": datetime(2021, 6, 30, 16, 5, tzinfo=UTC),
        "list": np.array([1, 2]), "nested": {"a": [pd.NaT]},
    }  # fmt: skip
    assert MemoryRows.of([cells]).rows[0] == {
        "na": None, "nat": None, "nan": None, "i": 3, "f": 0.5, "b": True, "d": 1.5, "day": "2021-06-30",
        "at": "2021-06-30T16:05:00+00:00", "list": [1, 2], "nested": {"a": [None]},
    }  # fmt: skip


def test_class_numbers_of_a_data_set_become_names() -> None:
    features = datasets.Features({"text": datasets.Value("string"), "y": datasets.ClassLabel(names=["down", "up"])})
    data = datasets.Dataset.from_dict({"text": ["a", "b"], "y": [1, 0]}, features=features)
    assert list(table(CorpusChoice.read({"data": data, "label": "y"}))["label"]) == ["up", "down"]


@given(
    st.lists(
        st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()),
        min_size=1,
    )
)
def test_what_is_written_is_what_is_read(rows: list[dict[str, Any]]) -> None:
    try:
        made = MemoryRows.of(rows)
    except UnicodeEncodeError:
        return  # half of a surrogate pair can't be stored
    assert made.rows == rows and MemoryRows.read(made.text) == made


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "no rows"),
        ([1], "row 1 of the corpus from memory is int"),
        ([{"text": b"x"}], "row 1, text is bytes"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "names the column 'a' twice"),
        (pd.Series([1]), "corpus"),
    ],
)
def test_what_is_no_table_is_refused(data: Any, message: str) -> None:
    with pytest.raises(ahf.AdapterHubError, match=message):
        CorpusChoice.read({"name": "table", "data": data})


def test_an_error_does_not_print_the_table() -> None:
    with pytest.raises(ahf.BadRecipe) as caught:
        ahf.Recipe.read({"name": "acme/tone", "corpus": {"name": "table", "data": pd.Series(range(10_000))}})
    assert len(str(caught.value)) < 500


def test_rows_that_nobody_holds_are_forgotten() -> None:
    choice = CorpusChoice.read({"data": [{"text": "only here"}]})
    digest = str.__str__(choice.options["data"])
    assert memory_rows(digest).rows == [{"text": "only here"}]
    del choice
    gc.collect()
    with pytest.raises(ahf.BadCorpus, match="came from memory.*corpus=TABLE"):
        memory_rows(digest)


def recipe(encoder: Path, **keys: Any) -> dict[str, Any]:
    return {
        "name": "acme/memory",
        "base": {"id": "acme/tiny", "path": str(encoder)},
        "method": {"name": "lora", "rank": 2},
        "training": {"epochs": 2, "max_length": 32},
        **keys,
    }


def test_a_table_is_trained_on_and_measured(encoder: Path) -> None:
    """The version is that of the same rows in a file, but for where they came from, which it says."""
    run = ahf.train(recipe(encoder), corpus={"data": pd.DataFrame(ROWS), "label": "label"})
    options = run.version.manifest.corpus.options  # type: ignore[union-attr]
    assert options["data"].startswith("sha256:") and options["path"] is None
    again = ahf.evaluate(run.reference, {"data": pl.DataFrame(ROWS), "label": "label"}, base=encoder, resamples=10)
    assert again.metrics == pytest.approx(run.metrics)
    gc.collect()
    with pytest.raises(ahf.BadCorpus, match="came from memory"):
        ahf.evaluate(run.reference, base=encoder, resamples=10)
    assert not [*run.version.folder.parents[4].glob("runs/*/rows-*")]


KILLED = """
import os, sys, json
import adapterhub_fin as ahf
from adapterhub_fin.engine.training import run_folder
seal = run_folder.seal
def stop(*given):
    seal(*given)
    os._exit(9)
run_folder.seal = stop
from adapterhub_fin.engine.training import trainer
trainer.seal = stop
recipe = json.loads(sys.argv[1])
ahf.train(recipe, corpus={"data": json.loads(sys.argv[2]), "label": "label"})
"""


def test_another_process_resumes_a_run_without_the_table(encoder: Path, home: Path) -> None:
    arguments = [json.dumps(recipe(encoder)), json.dumps(ROWS)]
    done = run_forked("-c", KILLED, *arguments)
    assert done.returncode == 9, done.stderr[-2000:]
    (folder,) = (home / "runs").iterdir()
    resumed = run_forked("-m", "adapterhub_fin.cli", "train", str(folder / "recipe.yaml"), "--resume", "--json")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    whole = ahf.train(recipe(encoder, name="acme/whole"), corpus={"data": ROWS, "label": "label"})
    mine = ahf.Registry().resolve(json.loads(resumed.stdout)["reference"])
    ours = {file.path: file.sha256 for file in mine.manifest.files}
    assert ours == {file.path: file.sha256 for file in whole.version.manifest.files}


def test_altered_rows_are_not_taken_for_those_of_a_run(tmp_path: Path) -> None:
    rows = MemoryRows.of([{"text": "Up."}])
    (tmp_path / "run").mkdir()
    rows.write(tmp_path / "run")
    (file,) = (tmp_path / "run").iterdir()
    digest = str.__str__(rows)
    del rows
    gc.collect()
    assert restored({"data": digest}, tmp_path) == [digest]
    file.write_text('{"text":"Down."}', encoding="utf-8")
    gc.collect()
    assert restored({"data": digest}, tmp_path) == []


@pytest.mark.parametrize("data", [["a", "b"], {"a": 1}, 5, "/some/where"])
def test_an_option_of_another_corpus_may_be_called_data(data: Any) -> None:
    choice = CorpusChoice.model_validate({"name": "desk", "data": data})
    assert choice.options == {"data": data} and [*digests_in({"data": data})] == []


def test_rows_are_held_as_long_as_anybody_holds_them() -> None:
    first, second = MemoryRows.of([{"text": "twice"}]), MemoryRows.of([{"text": "twice"}])
    digest = str.__str__(first)
    del second
    gc.collect()
    assert memory_rows(digest) is first


def test_a_file_that_was_half_written_is_passed_over(tmp_path: Path) -> None:
    rows = MemoryRows.of([{"text": "Up."}, {"text": "Down."}])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        rows.write(tmp_path / name)
    (half,) = (tmp_path / "a").iterdir()
    half.write_bytes(half.read_bytes()[:20])
    digest = str.__str__(rows)
    del rows
    gc.collect()
    assert restored({"data": digest}, tmp_path) == [digest]
