"""Standard output of any encoding, closed, full or left by its reader; each command in a process of its own. G 30"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.engine.training.run import Run

WORDS = "Café-Δ-株"
ENCODINGS = ["ascii", "cp1252", "latin-1", "utf-8", "C", "POSIX"]


@pytest.fixture(scope="module")
def stock(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with a version that is described in many letters."""
    home = tmp_path_factory.mktemp("streams") / "home"
    labels = trained.version.manifest.head.labels  # type: ignore[union-attr]
    ahf.import_folder(trained.version.files, "acme/tone", description=WORDS, labels=labels, registry=ahf.Registry(home))
    return home


def _run(home: Path, encoding: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """The command with its output in an encoding, or in a locale that knows ASCII alone."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    if encoding in ("C", "POSIX"):
        env |= {"LC_ALL": encoding, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    else:
        env |= {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "adapterhub_fin.cli", *arguments]
    return subprocess.run(command, env={**env, "AHF_HOME": str(home)}, capture_output=True)


def _text(output: bytes, encoding: str) -> str:
    return output.decode({"C": "ascii", "POSIX": "ascii"}.get(encoding, encoding))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_nothing_is_lost_and_nothing_fails(stock: Path, encoding: str) -> None:
    shown = _run(stock, encoding, "show", "acme/tone")
    assert shown.returncode == 0, shown.stderr
    text = _text(shown.stdout, encoding)
    assert WORDS in text or ("\\u0394" in text and "\\u682a" in text)
    document = _run(stock, encoding, "show", "acme/tone", "--json")
    assert document.returncode == 0, document.stderr
    assert WORDS in json.dumps(json.loads(_text(document.stdout, encoding)), ensure_ascii=False)


@pytest.mark.parametrize("command", [["--help"], ["show", "acme/tone", "--lineage"], ["list"], ["search", WORDS]])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_help_trees_tables_and_errors_are_of_the_output_s_letters(
    stock: Path, encoding: str, command: list[str]
) -> None:
    done = _run(stock, encoding, *command)
    assert done.returncode == 0, done.stderr
    assert _text(done.stdout, encoding).strip()
    failed = _run(stock, encoding, "show", f"acme/{WORDS}")
    assert failed.returncode == 1 and "\\u0394" in _text(failed.stderr, encoding)
    assert b"Traceback" not in failed.stderr


@pytest.mark.parametrize("json_or_not", [[], ["--json"]])
def test_an_output_that_is_full_closed_or_left_is_no_traceback(stock: Path, json_or_not: list[str]) -> None:
    ahf = f"{sys.executable} -m adapterhub_fin.cli list {' '.join(json_or_not)}"
    env = {**os.environ, "AHF_HOME": str(stock)}
    for redirect, status, said in (
        (f"{ahf} > /dev/full", 1, b"No space left on device"),
        (f"{ahf} >&-", 0, b""),
        (f"set -o pipefail; {ahf} | true", 0, b""),
    ):
        done = subprocess.run(["bash", "-c", redirect], env=env, capture_output=True)
        assert done.returncode == status, (redirect, done.stderr)
        assert said in done.stderr and b"Traceback" not in done.stderr and b"Exception" not in done.stderr


def test_an_argument_of_other_bytes_is_named(stock: Path) -> None:
    command = [sys.executable.encode(), b"-m", b"adapterhub_fin.cli", b"predict", b"acme/tone", b"Caf\xe9"]
    done = subprocess.run(command, env={**os.environ, "AHF_HOME": str(stock)}, capture_output=True)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1
    assert b"argument 3 of the command line holds the byte 0xe9" in done.stderr


@pytest.mark.parametrize("name", ["none.txt", "folder", "locked.txt"])
def test_a_file_of_texts_that_can_t_be_read_is_a_sentence_without_torch(stock: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "locked.txt").write_bytes(b"Caf\xe9\n")
    code = "import sys; from adapterhub_fin.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    command = [sys.executable, "-c", code, "predict", "acme/tone", "--file", str(tmp_path / name)]
    done = subprocess.run(command, env={**os.environ, "AHF_HOME": str(stock)}, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and f"ahf: {tmp_path / name}" in done.stderr
    assert not {"torch", "transformers", "peft", "numpy"} & set(done.stdout.split())
