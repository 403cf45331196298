"""Shards: the rows are those that are read at once, whatever was killed, changed or damaged before."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin.engine.data.corpus import corpus_digest
from adapterhub_fin.errors import BadCorpus
from adapterhub_fin.plugin import corpus_options, load_corpus
from adapterhub_fin.plugin.interfaces import Rows
from adapterhub_fin_markets.corpora.documents import Document, DocumentSource, Unit, folder_units
from adapterhub_fin_markets.corpora.shards import Shards


class Lines(DocumentSource):
    """One document a line; `none` is left out, `bad` is a fault."""

    name, version, slices = "lines", 1, ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key: Mapping[str, Any] = {}
        self.read_names: list[str] = []

    def units(self) -> Sequence[Unit]:
        return folder_units(self.folder, "*", [".txt"])

    def read(self, unit: Unit, notes: dict[str, int]) -> Iterator[Document]:
        self.read_names.append(unit.name)
        for number, line in enumerate(unit.path.read_text("utf-8").splitlines()):
            if line == "none":
                notes["left out"] = notes.get("left out", 0) + 1
            elif line == "bad":
                raise BadCorpus(f"{unit.name}, line {number} is bad")
            else:
                yield Document(line, datetime(2024, 1, 1, tzinfo=UTC), unit.name, f"{unit.name}:{number}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(8):
        lines = [f"text {number} {line} " + "x" * 40 for line in range(5)]
        (texts / f"{number}.txt").write_text("\n".join([*lines[:2], "none", *lines[2:], "none"]))
    return texts


def rows(folder: Path, size: int = 300) -> tuple[list[str], dict[str, int], list[str], int]:
    source = Lines(folder)
    tables, notes = Shards(source, source.units(), True, size).read()
    return [text for table in tables for text in table["text"]], notes, source.read_names, len(tables)


def test_all_rows_are_there_in_order_with_their_notes_and_are_read_once(folder: Path) -> None:
    texts, notes, names, shards = rows(folder)
    assert [text[:8] for text in texts] == [f"text {number} {line}" for number in range(8) for line in range(5)]
    assert notes == {"left out": 16} and shards > 5 and len(names) == 8
    assert rows(folder) == (texts, notes, [], shards)


def test_a_new_file_is_read_alone_and_a_changed_one_with_those_after_it(folder: Path) -> None:
    rows(folder, size=10_000)
    (folder / "8.txt").write_text("text 8 0")
    texts, _, names, _ = rows(folder, size=10_000)
    assert names == ["8.txt"] and texts[-1] == "text 8 0" and len(texts) == 41
    (folder / "8.txt").write_text("text 8 changed")
    assert rows(folder, size=10_000)[0][-1] == "text 8 changed"
    (folder / "0.txt").unlink()
    texts, notes, names, _ = rows(folder, size=10_000)
    assert len(names) == 8 and len(texts) == 36 and notes == {"left out": 14}


def test_folders_whose_files_look_alike_have_shards_of_their_own(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "others"
    shutil.copytree(folder, other)
    for path in sorted(other.iterdir()):
        status = path.stat()
        path.write_text(path.read_text().replace("text", "else"))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    first = rows(folder)
    assert all(text.startswith("else") for text in rows(other)[0])
    assert rows(folder) == (first[0], first[1], [], first[3]), "the other folder's shards replaced none"


def test_a_file_that_a_link_leads_to_is_the_one_that_is_read(folder: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("old.txt", "new.txt")]
    for path in files:
        path.write_text(f"text {path.stem}")
        os.utime(path, (0, 0))
    link = folder / "9.txt"
    link.symlink_to(files[0])
    assert rows(folder)[0][-1] == "text old"
    link.unlink()
    link.symlink_to(files[1])
    assert rows(folder)[0][-1] == "text new"


def test_a_damaged_shard_is_read_again(folder: Path, tmp_path: Path) -> None:
    before = rows(folder)
    [path] = (tmp_path / "cache").rglob("00002.arrow")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    texts, notes, names, shards = rows(folder)
    assert (texts, notes, shards) == (before[0], before[1], before[3]) and names and names[0] != "0.txt"


def test_all_faults_are_named_and_what_was_right_is_kept(folder: Path) -> None:
    (folder / "5.txt").write_text("bad")
    (folder / "7.txt").write_text("bad")
    with pytest.raises(BadCorpus, match=r"(?s)2 faults:.*5\.txt, line 0 is bad.*7\.txt, line 0 is bad"):
        rows(folder)
    (folder / "5.txt").write_text("good")
    (folder / "7.txt").write_text("good")
    texts, _, names, _ = rows(folder)
    assert texts[-1] == "good" and len(texts) == 32 and "0.txt" not in names


def test_two_threads_that_want_the_same_shards_read_them_once(folder: Path) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(rows(folder))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({repr(each[0]) for each in found}) == 1 and sum(len(each[2]) for each in found) == 8


def test_reading_that_is_killed_at_any_call_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "statements"
    folder.mkdir()
    for number in range(12):
        (folder / f"202401{number + 10}.txt").write_text(f"The Committee decided {number}. " + "x" * 80)
    script = Path(__file__).with_name("shards_killed.py")
    done = subprocess.run(
        [sys.executable, script, folder, tmp_path / "killed"], capture_output=True, text=True, timeout=120
    )
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(lines) > 15, done.stderr
    assert {call for call, _ in lines} == {"never", "sync", "replace", "write", "stream"}
    assert len({result for _, result in lines}) == 1, done.stdout


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    folder = tmp_path / "statements"
    folder.mkdir()
    peaks = []
    for files in (10, 70):
        for number in range(files):
            day = datetime(1994, 1, 1) + timedelta(days=number)
            (folder / f"{day:%Y%m%d}.txt").write_text(f"The Committee decided {number}. " * 33_000)
        script = Path(__file__).with_name("shards_memory.py")
        command = [sys.executable, script, folder, tmp_path / f"cache-{files}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        count, peak = map(int, done.stdout.split())
        assert count == files
        peaks.append(peak)
    assert peaks[1] < 1.1 * peaks[0], peaks


def test_a_cache_that_cannot_be_written_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_file").write_text("no folder")
    monkeypatch.setenv("AHF_CACHE", str(tmp_path / "a_file"))
    with pytest.raises(BadCorpus, match=r"the cache .*a_file.* can't be written .*set AHF_CACHE"):
        rows(folder)


def load(folder: Path, **options: Any) -> Rows:
    return load_corpus(*corpus_options({"name": "fomc", "kind": "statements", "path": folder, **options}))


def test_shards_have_the_digest_of_the_rows_that_are_read_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "statements"
    folder.mkdir()
    for number in range(12):
        (folder / f"202401{number + 10}.txt").write_text(f"The Committee\u00a0decided {number}.")
    tables = [load(folder, sharded=sharded).table for sharded in (True, False)]
    assert corpus_digest(tables[0]) == corpus_digest(tables[1]) and tables[0].features == tables[1].features
    assert tables[0].cache_files and not tables[1].cache_files, "a shard is mapped from its file"
