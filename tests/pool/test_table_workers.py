"""Tables that several processes answer: the same rows, versions and digests as one process writes."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin import cli
from adapterhub_fin.errors import BadRecipe, BadText, Refused

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def store(
    encoder: Path, save_adapter: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ahf.Registry]:
    """A registry with three versions of one name."""
    registry = ahf.Registry(tmp_path_factory.mktemp("workers"))
    for year in (2011, 2012, 2013):
        save_adapter("t/tone", encoder, registry, until=f"{year}-01-01")
    yield registry


@pytest.fixture
def news(tmp_path: Path) -> Path:
    """A table of 90 dated rows of many lengths."""
    path = tmp_path / "news.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["published", "text"])
        for n in range(90):
            writer.writerow([f"{2011 + n % 4}-06-{1 + n % 28:02}", f"Firm {n}: {'profit rose ' * (n % 7)}."])
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_same(one: Path, other: Path) -> None:
    """Compare two tables: texts must be equal, and numbers within 1e-5."""
    for row, twin in zip(table(one), table(other), strict=True):
        assert row.keys() == twin.keys()
        for name, cell in row.items():
            if name.startswith(("predicted_score", "e0")):
                assert float(cell) == pytest.approx(float(twin[name]), abs=1e-5)
            else:
                assert cell == twin[name]


def test_two_processes_write_what_one_writes(store: ahf.Registry, encoder: Path, news: Path, tmp_path: Path) -> None:
    adapter = ahf.load("t/tone@2", base=encoder, registry=store)
    outs = [tmp_path / f"{workers}.csv" for workers in (1, 2)]
    for workers, out in zip((1, 2), outs, strict=True):
        assert adapter.predict_table(news, out, workers=workers, batch_size=8) == 90
    check_same(*outs)
    assert {row["reference"] for row in table(outs[1])} == {"t/tone@2"}
    embedded = [tmp_path / f"e{workers}.csv" for workers in (1, 2)]
    for workers, out in zip((1, 2), embedded, strict=True):
        done = ahf.embed_table(
            "t/tone", news, out, time="published", timezone="UTC", base=encoder, registry=store, workers=workers
        )
        assert done.rows == 90
    check_same(*embedded)
    assert len({row["digest"] for row in table(embedded[1])}) == 3


def test_a_row_that_cant_be_read_is_named_and_nothing_is_written(
    store: ahf.Registry, encoder: Path, news: Path, tmp_path: Path
) -> None:
    rows = news.read_text(encoding="utf-8").splitlines()
    rows[60] = "2013-01-01,"
    news.write_text("\n".join(rows), encoding="utf-8")
    adapter, out = ahf.load("t/tone@2", base=encoder, registry=store), tmp_path / "out.csv"
    with pytest.raises(BadText, match="61"):
        adapter.predict_table(news, out, workers=2)
    assert not out.exists()


def test_a_killed_process_is_one_sentence(
    store: ahf.Registry, encoder: Path, news: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, killed = ProcessPoolExecutor.submit, list[int]()

    def kill(self: Any, *given: Any, **named: Any) -> Any:
        future = submit(self, *given, **named)
        if not killed:
            killed.append(next(iter(self._processes)))
            os.kill(killed[0], signal.SIGKILL)
        return future

    monkeypatch.setattr(ProcessPoolExecutor, "submit", kill)
    adapter, out = ahf.load("t/tone@2", base=encoder, registry=store), tmp_path / "out.csv"
    with pytest.raises(Refused, match="was killed, most likely for lack of memory: give fewer workers"):
        adapter.predict_table(news, out, workers=2)
    assert not out.exists()


def test_pipes_that_are_closed_already_are_the_same_sentence(
    store: ahf.Registry, encoder: Path, news: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the executor closes them between two rows, while it notices that a process has died."""
    submit, given_out = ProcessPoolExecutor.submit, list[Any]()

    def closed(self: Any, *given: Any, **named: Any) -> Any:
        if given_out:
            raise OSError("handle is closed")
        given_out.append(submit(self, *given, **named))
        return given_out[0]

    monkeypatch.setattr(ProcessPoolExecutor, "submit", closed)
    adapter, out = ahf.load("t/tone@2", base=encoder, registry=store), tmp_path / "out.csv"
    with pytest.raises(Refused, match="was killed, most likely for lack of memory"):
        adapter.predict_table(news, out, workers=2)
    assert not out.exists()


def test_what_processes_cant_do_is_said(store: ahf.Registry, encoder: Path, news: Path, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    adapter = ahf.load("t/tone@2", base=encoder, registry=store)
    with pytest.raises(BadRecipe, match="workers=0 isn't a number of processes"):
        adapter.predict_table(news, tmp_path / "out.csv", workers=0)
    model = AutoModel.from_pretrained(encoder)
    model.config.name_or_path = ""
    own = ahf.load("t/tone@2", base=model, tokenizer=AutoTokenizer.from_pretrained(encoder), registry=store)
    with pytest.raises(Refused, match="other processes can't read"):
        own.predict_table(news, tmp_path / "out.csv", workers=2)


def test_the_commands_take_workers(
    store: ahf.Registry, encoder: Path, news: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("AHF_HOME", str(store.root))
    given = ["--table", str(news), "--base", str(encoder), "--workers", "2"]
    assert run(["predict", "t/tone@1", *given, "--out", str(tmp_path / "out.parquet")]) == 0
    assert "90 rows in" in capsys.readouterr().err
    dated = ["--as-of-row", "--time", "published", "--timezone", "UTC", "--out", str(tmp_path / "features.parquet")]
    assert run(["embed", "t/tone", *given, *dated]) == 0
    assert run(["predict", "t/tone@1", "--base", str(encoder), "--workers", "2", "A text."]) == 2
    assert run(["embed", "t/tone@1", "--base", str(encoder), "--workers", "2", "A text."]) == 2


def run(words: list[str]) -> int:
    with pytest.raises(SystemExit) as leave:
        cli.main(words)
    return int(leave.value.code or 0)
