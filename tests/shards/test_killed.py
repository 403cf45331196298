"""A pass that was killed at any moment goes on, to the same bytes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.errors import Refused, WriteFailed
from adapterhub_fin.testing.fresh import CALM

SCRIPT = Path(__file__).with_name("tokenize_killed.py")


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", ["exact", "near", "trained"])
def test_killed_at_each_call_it_goes_on_to_the_same_bytes(
    rows: list[dict[str, Any]], written: Callable[..., Path], decoder: Path, tmp_path: Path, case: str
) -> None:
    recipe = {
        "files": str(written(rows[: 80 if case == "exact" else 25])),
        "until": "2013-12-31",
        "tokenizer": {"train": 270, "sample": 2000} if case == "trained" else str(decoder),
        "shard_tokens": {"exact": 2500, "near": 800, "trained": 300}[case],
        "filters": {"duplicates": "near" if case == "near" else "exact", "min_characters": 40},
    }
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    command = [sys.executable, str(SCRIPT), str(tmp_path / "recipe.json"), str(tmp_path / "shards")]
    command.append({"exact": "1", "near": "5", "trained": "4"}[case])
    done = subprocess.run(command, env={**os.environ, **CALM}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert all(len(line) == 3 for line in lines), done.stdout + done.stderr
    assert len({digest for _, _, digest in lines}) == 1, done.stdout
    if case == "exact":
        names = {"never", "write", "replace", "sync", "remove", "fsync", "commit", "encode", "copy"}
        assert {name for name, _, _ in lines} == names and len(lines) > 30
    assert {finished for _, finished, _ in lines} >= {"0", "1", "2", "3"}


def test_a_process_that_is_killed_whenever_goes_on_to_the_same_bytes(
    rows: list[dict[str, Any]], written: Callable[..., Path], decoder: Path, tmp_path: Path
) -> None:
    """The command itself, killed again and again as soon as it has finished another shard."""
    files = written(
        [{**row, "text": f"{row['text']} {number} {copy}"} for copy in range(30) for number, row in enumerate(rows)]
    )
    arguments = ["--files", str(files), "--until", "2030-01-01", "--tokenizer", str(decoder)]
    arguments += ["--set", "shard_tokens=200000", "--set", "filters.duplicates=exact"]
    command = [sys.executable, "-m", "adapterhub_fin.cli", "tokenize"]
    environment = {**os.environ, **CALM}
    subprocess.run([*command, str(tmp_path / "once"), *arguments], env=environment, check=True, capture_output=True)
    folder, kills = tmp_path / "killed", 0
    while not (folder / "index.json").exists():
        before = len([*folder.glob("shard-*.json")])
        running = subprocess.Popen([*command, str(folder), *arguments], env=environment, stderr=subprocess.DEVNULL)
        while running.poll() is None and len([*folder.glob("shard-*.json")]) == before:
            time.sleep(0.001)
        if running.poll() is None and kills < 2:
            running.send_signal(signal.SIGKILL)
            kills += 1
        running.wait()
    assert kills == 2 and folder_bytes(folder) == folder_bytes(tmp_path / "once")


def test_a_damaged_shard_of_an_unfinished_pass_is_written_again(
    rows: list[dict[str, Any]], written: Callable[..., Path], decoder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    from adapterhub_fin.engine.data.shards import tokenizing_run as pass_

    recipe = {"files": written(rows), "until": "2030-01-01", "tokenizer": decoder, "shard_tokens": 3000}
    ahf.tokenize(recipe, tmp_path / "once")
    folder = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(pass_, "write_index", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ahf.tokenize(recipe, folder)
    data = bytearray((folder / "shard-00001.bin").read_bytes())
    data[5] ^= 1
    (folder / "shard-00001.bin").write_bytes(data)
    ahf.tokenize(recipe, folder)
    assert folder_bytes(folder) == folder_bytes(tmp_path / "once")


def test_two_processes_don_t_write_one_folder(
    rows: list[dict[str, Any]], written: Callable[..., Path], decoder: Path, tmp_path: Path
) -> None:
    from filelock import FileLock

    (tmp_path / "shards").mkdir()
    with (
        FileLock(str(tmp_path / "shards" / ".lock"), is_singleton=False),
        pytest.raises(Refused, match="is being written by another"),
    ):
        ahf.tokenize({"files": written(rows), "until": "2030-01-01", "tokenizer": decoder}, tmp_path / "shards")


@pytest.mark.parametrize("duplicates", ["none", "exact"])
def test_on_a_full_disk_one_sentence_says_what_to_do_and_the_pass_goes_on(
    rows: list[dict[str, Any]], written: Callable[..., Path], decoder: Path, tmp_path: Path, duplicates: str
) -> None:
    """Without copies the ids fill the disk; with them, the database of texts, whose errors are its own."""
    filters = {"duplicates": duplicates}
    recipe = {"files": written(rows), "until": "2030-01-01", "tokenizer": decoder, "filters": filters}
    ahf.tokenize(recipe, tmp_path / "once")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, hard))
    try:
        with pytest.raises(WriteFailed, match=r"can't be written \(.*\): .*, and run the same again to go on"):
            ahf.tokenize(recipe, tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    ahf.tokenize(recipe, tmp_path / "full")
    assert folder_bytes(tmp_path / "full") == folder_bytes(tmp_path / "once")
