"""Many versions are read by several processes, and what they find is what one finds."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin_registry import Manifest, Registry
from adapterhub_fin_registry.search import readers
from adapterhub_fin_registry.search.stored import Stored


@pytest.fixture
def wanted(
    registry: Registry, make_folder: Callable[..., Path], make_manifest: Callable[..., Manifest]
) -> list[Stored]:
    """Forty versions, one of them deleted and one damaged."""
    for count in range(40):
        registry.add(make_folder(), make_manifest(recipe={"count": count}), name="acme/tone")
    registry.delete("acme/tone@7")
    folder = registry.root / "adapters" / "acme" / "tone" / "versions"
    (folder / "11" / "manifest.json").write_bytes(b"{")
    return [Stored("acme/tone", number, str(folder / str(number)), []) for number in range(1, 41)]


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """What is started beside this process, of three processors, for batches of three versions."""
    started = []
    real = subprocess.Popen

    def start(*given: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(real(*given, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(readers, "_processors", lambda: 3)
    monkeypatch.setattr(readers, "_BATCH", 3)
    monkeypatch.setattr(readers, "MANY", 40)
    return started


def alone(wanted: list[Stored]) -> list[readers.Outcome]:
    return list(readers._read(wanted, readers.Excerpts()))


def test_several_processes_find_what_one_finds(wanted: list[Stored], children: list[subprocess.Popen[bytes]]) -> None:
    assert list(readers.outcomes(wanted)) == alone(wanted)
    assert len(children) == 2 and all(child.returncode is not None for child in children)
    assert isinstance(alone(wanted)[10], str) and alone(wanted)[6] is None


def test_children_read_and_not_this_process_alone(
    wanted: list[Stored], children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = alone(wanted)
    asked = []
    real = readers._Child.ask
    monkeypatch.setattr(readers._Child, "ask", lambda child, batch: asked.append(found := real(child, batch)) or found)
    assert list(readers.outcomes(wanted)) == expected
    assert asked and all(found in (expected[start : start + 3] for start in range(0, 40, 3)) for found in asked)


def test_no_more_is_read_ahead_than_will_soon_be_needed(
    wanted: list[Stored], children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = readers._submitted
    monkeypatch.setattr(readers, "_submitted", lambda pool, idle, batch: asked.append(batch) or real(pool, idle, batch))
    monkeypatch.setattr(readers, "_AHEAD", 2)
    found = readers.outcomes(wanted)
    next(found)
    assert len(asked) == 4  # two batches for each of two children, of fourteen
    assert len(list(found)) == 39 and len(asked) == 14


def test_few_versions_start_no_process(wanted: list[Stored], children: list[subprocess.Popen[bytes]]) -> None:
    assert list(readers.outcomes(wanted[:39])) == alone(wanted[:39])
    assert children == []


@pytest.mark.parametrize("dies", ["at the start", "on the way"])
def test_what_a_killed_child_did_not_read_is_read_here(
    wanted: list[Stored], children: list[subprocess.Popen[bytes]], dies: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = alone(wanted)
    if dies == "at the start":
        monkeypatch.setattr(readers, "_CHILD", "raise SystemExit(1)")
    found = readers.outcomes(wanted)
    first = [next(found)]
    for child in children:
        child.kill()
    assert first + list(found) == expected


@pytest.mark.parametrize("noise", [b"Initialising", b"Initialising\n", b"\x80\x04]\x94.", b"x" * 100_000])
def test_what_an_interpreter_prints_is_no_answer(
    wanted: list[Stored], children: list[subprocess.Popen[bytes]], noise: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    loud = f"import os; os.write(1, {noise!r})\n{readers._CHILD.replace('answer(start)', '')}"
    loud += "\nprint('more', flush=True); answer(start)"
    monkeypatch.setattr(readers, "_CHILD", loud)
    assert list(readers.outcomes(wanted)) == alone(wanted)


def test_a_child_that_broke_off_is_not_asked_again(
    wanted: list[Stored], children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = f"import os; os.write(1, b'x' * {readers._NOISE + 10}); {readers._CHILD}"
    monkeypatch.setattr(readers, "_CHILD", noise)
    with readers._children(1) as (child,):
        for batch in (wanted[:3], wanted[3:6]):  # the answer to the first is there when the second is asked for
            with pytest.raises(EOFError):
                child.ask(batch)


def test_a_child_that_never_answers_is_not_waited_for(
    wanted: list[Stored], children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_CHILD", "import time; time.sleep(600)")
    monkeypatch.setattr(readers, "PATIENCE", 0.2)
    assert list(readers.outcomes(wanted)) == alone(wanted)


def test_a_machine_that_starts_no_thread_reads_alone(
    wanted: list[Stored], children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert list(readers.outcomes(wanted)) == alone(wanted)


def test_a_machine_that_starts_no_process_reads_alone(
    wanted: list[Stored], children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any, **options: Any) -> Any:
        raise OSError("no more processes")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert list(readers.outcomes(wanted)) == alone(wanted)


def test_a_search_that_breaks_off_leaves_no_child(
    wanted: list[Stored], children: list[subprocess.Popen[bytes]]
) -> None:
    found = readers.outcomes(wanted)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert len(children) == 2 and all(child.returncode is not None for child in children)


def test_nothing_is_imported_from_the_folder_of_the_caller(
    wanted: list[Stored],
    children: list[subprocess.Popen[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for module in ("pickle", "json", "adapterhub_fin_registry"):
        (here / f"{module}.py").write_text("open('imported', 'w').close()\n")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert list(readers.outcomes(wanted)) == alone(wanted)
    assert not (here / "imported").exists()


def test_an_index_that_several_processes_read_for_says_the_same(
    wanted: list[Stored], children: list[subprocess.Popen[bytes]], registry: Registry
) -> None:
    together = registry.search("ORDER BY version DESC", limit=None)
    assert len(children) == 2 and len(together.rows) == 38
    assert list(together.damaged) == ["acme/tone@11"]
    assert together.rows == registry.rows("acme/tone")[::-1]
