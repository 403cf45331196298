"""The example for Ray: the bytes of one process, with other ways to map here, and with Ray where it is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.testing.fresh import CALM

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_tokenize.py"
Rows = list[dict[str, Any]]


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def recipe(files: Path, tokenizer: Path) -> dict[str, Any]:
    filters = {"duplicates": "near", "min_characters": 20}
    return {
        "files": str(files),
        "until": "2013-12-31",
        "tokenizer": str(tokenizer),
        "shard_tokens": 2500,
        "filters": filters,
    }


@pytest.mark.parametrize("batch", [1, 300, 10_000])
def test_batches_that_are_encoded_ahead_give_the_same_bytes(
    rows: Rows, written: Callable[..., Path], decoder: Path, tmp_path: Path, monkeypatch: Any, batch: int
) -> None:
    """Whatever is read ahead, and whoever encodes it; what is encoded is sent to a process as a pickle."""
    import pickle

    from adapterhub_fin.engine.data.shards import row_steps

    def ahead(encode: Any, batches: Iterable[Any]) -> Iterator[Any]:
        sent = pickle.loads(pickle.dumps(encode))
        with ThreadPoolExecutor(3) as pool:
            yield from pool.map(sent, list(batches))

    rows = [*rows, *({**row, "text": f"{row['text']} and"} for row in rows)]
    given = recipe(written(rows), decoder)
    once = ahf.tokenize(given, tmp_path / "once")
    assert {"copies of an earlier text", "near-duplicates of an earlier text"} <= once.record["left_out"].keys()
    monkeypatch.setattr(row_steps, "BATCH", batch)
    ahf.tokenize(given, tmp_path / "ahead", mapped=ahead)
    assert folder_bytes(tmp_path / "ahead") == folder_bytes(tmp_path / "once")


def test_a_mapped_pass_that_breaks_off_is_taken_up_by_a_plain_one(
    rows: Rows, written: Callable[..., Path], decoder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    from adapterhub_fin.engine.data.shards import row_steps

    def breaks(encode: Any, batches: Iterable[Any]) -> Iterator[Any]:
        """All texts are read ahead, and the workers are lost after a few batches."""
        for number, texts in enumerate(list(batches)):
            if number == 9:
                raise RuntimeError("the workers are lost")
            yield encode(texts)

    given = recipe(written(rows), decoder)
    ahf.tokenize(given, tmp_path / "once")
    monkeypatch.setattr(row_steps, "BATCH", 1000)
    with pytest.raises(RuntimeError, match="the workers are lost"):
        ahf.tokenize(given, tmp_path / "lost", mapped=breaks)
    assert next((tmp_path / "lost").glob("shard-*.json"), None) is not None
    ahf.tokenize(given, tmp_path / "lost")
    assert folder_bytes(tmp_path / "lost") == folder_bytes(tmp_path / "once")


@pytest.mark.timeout(600)
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray isn't installed: pip install ray")
def test_two_workers_of_ray_give_the_bytes_of_one_process(
    rows: Rows, written: Callable[..., Path], decoder: Path, tmp_path: Path
) -> None:
    given = recipe(written([{**row, "text": f"{row['text']} {copy}"} for copy in range(200) for row in rows]), decoder)
    ahf.tokenize({**given, "shard_tokens": 500_000}, tmp_path / "once")
    (tmp_path / "rows.yaml").write_text(json.dumps(given))
    command = [sys.executable, str(EXAMPLE), str(tmp_path / "ray"), str(tmp_path / "rows.yaml")]
    subprocess.run([*command, "--set", "shard_tokens=500000"], check=True, env={**os.environ, **CALM})
    assert folder_bytes(tmp_path / "ray") == folder_bytes(tmp_path / "once")
