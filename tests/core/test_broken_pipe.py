"""Whoever reads a command's output may stop at any time: it ends quietly, whatever it was printing (G 39)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.testing.store import small_version

COMMANDS = [
    "--help",
    "list",
    "list --json",
    "search version>0",
    "search --json version>0",
    "show acme/tone@2",
    "show acme/tone@2 --json",
    "path acme/tone@2",
    "diff acme/tone@1 acme/tone@2",
    "alias acme/tone",
    "verify acme/tone@1",
    "doctor",
    "gc --dry-run",
    "plugins",
]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of sixty versions."""
    place = tmp_path_factory.mktemp("many")
    registry = ahf.Registry(place / "home")
    for year in (2021, 2022):
        version = small_version(registry, place / str(year), year)
    for number in range(58):
        registry.add(version.files, version.manifest, name=f"acme/n{number}")
    registry.set_alias("acme/tone", "champion", 1)
    return place / "home"


def run(command: str, home: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose output nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    ahf_command = [str(Path(sys.executable).with_name("ahf")), *command.split()]
    try:
        return subprocess.run(
            ahf_command,
            env={**os.environ, "AHF_HOME": str(home), **env},
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writer)


@pytest.mark.parametrize("command", COMMANDS)
def test_nobody_reads_at_all(command: str, many: Path) -> None:
    done = run(command, many)
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr and "Errno" not in done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["list", "list --json", "search --json version>0", "--help"])
def test_the_reader_has_seen_enough_after_a_line(command: str, many: Path) -> None:
    executable = Path(sys.executable).with_name("ahf")
    shell = f"set -o pipefail; {executable} {command.replace('>', chr(92) + '>')} | head -1"
    env = {**os.environ, "AHF_HOME": str(many), "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(["bash", "-c", shell], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1 and done.stderr == ""
