"""Tables fit the terminal: at 60 columns no name is broken, and nothing is cut."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("ahf")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def shown(columns: int, *arguments: str, home: Path) -> list[str]:
    """The lines that a command prints on a terminal of that width."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (40, columns))
    env = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [COMMAND, *arguments], stdout=theirs, env={**env, "AHF_HOME": str(home), "TERM": "xterm"}
    ) as run:
        os.close(theirs)
        text = b""
        try:
            while chunk := os.read(ours, 65536):
                text += chunk
        except OSError:
            pass  # how a terminal ends
    os.close(ours)
    assert run.returncode == 0
    return [COLOURS.sub("", line).rstrip() for line in text.decode().splitlines()]


@pytest.mark.parametrize(
    ("arguments", "whole"),
    [
        (("plugins",), ["chronobert-2001", "adapterhub-fin", "prefix-tuning"]),
        (("plugins", "--options", "method:qlora"), ["quantization", "threshold", "2208.07339"]),
        (("list",), ["acme/tone@1", "lora"]),
        (("search", "method = lora"), ["acme/tone@1"]),
        (("show", "acme/tone"), ["acme/tone@1"]),
        (("verify", "acme/tone"), ["acme/tone@1"]),
    ],
    ids=lambda value: value[0],
)
def test_a_table_fits_sixty_columns(arguments: tuple[str, ...], whole: list[str], stocked: Path) -> None:
    lines = shown(60, *arguments, home=stocked)
    for name in whole:
        assert any(name in line for line in lines), f"{name} is broken"
    if arguments[0] != "show":  # whose digests are longer, and may be copied
        assert max(map(len, lines)) <= 60


def test_a_wide_terminal_and_a_pipe_keep_one_line_a_row(stocked: Path) -> None:
    wide = shown(200, "list", home=stocked)
    assert [line for line in wide if "acme/tone@1" in line] and wide[0].startswith("version")
    env = {**os.environ, "AHF_HOME": str(stocked), "COLUMNS": "60"}
    piped = subprocess.check_output([COMMAND, "plugins"], text=True, env=env).splitlines()
    assert max(map(len, piped)) > 100 and sum("chronobert-2001" in line for line in piped) == 1
