"""Tab completion in bash, zsh and fish: in the shells themselves where they are installed, else by click's protocol."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from click.shell_completion import get_completion_class

from adapterhub_fin import cli
from adapterhub_fin.cli import completion
from adapterhub_fin.plugin.descriptions import Corpus, Merger
from adapterhub_fin.plugin.manager import extensions

COMMAND = Path(sys.executable).with_name("ahf")
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(_AHF_COMPLETE=bash_source ahf)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -Uz compinit; compinit -D -u; eval "$(_AHF_COMPLETE=zsh_source ahf)"'),
    "fish": (["fish", "--no-config", "-i"], "_AHF_COMPLETE=fish_source ahf | source"),
}
TYPED = [
    ("ahf train --set training.precision=b", "ahf train --set training.precision=bf16"),
    ("ahf train --set training.warm", "ahf train --set training.warmup=7"),
    ("ahf train --set method=qlora --set method.thr", "ahf train --set method=qlora --set method.threshold=7"),
    ("ahf merge a b --using mag", "ahf merge a b --using magnitude 7"),
    ("ahf evaluate acme/tone headl", "ahf evaluate acme/tone headlines 7"),
    ("ahf plugins --options method:adal", "ahf plugins --options method:adalora 7"),
    ("ahf show acme/to", "ahf show acme/tone 7"),
]


def completions(shell: str, *words: str) -> list[str]:
    """Return what click answers a shell that completes the last word."""
    line = " ".join(("ahf", *words))
    asked = {
        "COMP_WORDS": line,
        "COMP_CWORD": words[-1] if shell == "fish" else str(len(words)),
        "COMP_LINE": line,
        "COMP_WORDBREAKS": "",
    }
    completion.register()
    kind = get_completion_class(shell)
    assert kind is not None
    with pytest.MonkeyPatch.context() as patch:
        for name, value in asked.items():
            patch.setenv(name, value)
        lines = kind(cli.group, {}, "ahf", "_AHF_COMPLETE").complete().splitlines()
    if shell == "zsh":
        return lines[1::3]
    return [each.partition(",")[2].partition("\t")[0] for each in lines]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_protocol_of_each_shell_gives_names_keys_and_values(shell: str, stocked: Path) -> None:
    assert completions(shell, "merge", "a", "--using", "") == list(extensions().all(Merger))
    corpora = [name for name in extensions().all(Corpus) if ":" not in name]
    assert [name for name in completions(shell, "evaluate", "acme/tone", "") if name in corpora]
    assert completions(shell, "train", "--set", "training.schedule=") == [
        f"training.schedule={value}" for value in ("linear", "cosine", "cosine_with_restarts", "constant_with_warmup")
    ]
    assert completions(shell, "train", "--set", "training.recompute") == [
        "training.recompute=true",
        "training.recompute=false",
    ]
    assert "corpus.splitter.by=" in completions(shell, "plan", "--set", "corpus.spl")
    assert completions(shell, "merge", "a", "--using", "ties", "--set", "den") == ["density="]
    assert completions(shell, "evaluate", "acme/tone", "headlines", "--set", "row") == ["rows="]
    assert completions(shell, "merge", "a", "--check", "headlines", "--check-set", "row") == ["rows="]
    assert completions(shell, "plugins", "--options", "head:cla") == ["head:classify"]
    assert completions(shell, "show", "acme/") == ["acme/tone"]
    assert completions(shell, "train", "--set", "nothing.such") == []


def test_a_recipes_own_plugins_decide_which_keys_there_are(tmp_path: Path) -> None:
    recipe = tmp_path / "tone.yaml"
    recipe.write_text("method: prefix-tuning\ncorpus: {name: table, path: rows.csv}\n")
    said = completions("bash", "train", str(recipe), "--set", "method.")
    assert "method.tokens=" in said and "method.rank=" not in said
    assert "corpus.label=" in completions("bash", "train", str(recipe), "--set", "corpus.la")
    merge = tmp_path / "merge.yaml"
    merge.write_text("references: [a, b]\nusing: ties\n")
    assert completions("bash", "merge", str(merge), "--set", "using.d") == ["using.density="]
    recipe.write_text("method: [\n")
    assert completions("bash", "train", str(recipe), "--set", "method.") == [], "half written"


def test_completing_imports_no_torch() -> None:
    code = "from adapterhub_fin.cli.completing import recipe_keys\nrecipe_keys({})\n"
    code += "import sys; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


@contextmanager
def shell_on_a_terminal(command: list[str]) -> Iterator[int]:
    """Run a shell on a terminal of its own, whose output is read and thrown away."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (40, 200))
    env = {**os.environ, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}", "PS1": "$ ", "TERM": "dumb"}
    env.pop("EDITOR", None), env.pop("VISUAL", None)

    def drain() -> None:
        with suppress(OSError):
            while os.read(ours, 65536):
                pass

    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=env,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # fish ends without a terminal of its own
    ) as shell:
        os.close(theirs)
        threading.Thread(target=drain, daemon=True).start()
        try:
            yield ours
        finally:
            shell.kill()
    os.close(ours)


def wait_for(path: Path) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if path.is_file() and (text := path.read_text()).endswith("\n"):
            return text
        time.sleep(0.05)
    raise AssertionError(f"{path.name} was not written")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_itself_completes_what_is_typed(shell: str, stocked: Path, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here; click's protocol for it is tested above")
    command, set_up = SHELLS[shell]
    with shell_on_a_terminal(command) as terminal:
        os.write(terminal, f"{set_up}; echo ready > {tmp_path}/ready\n".encode())
        wait_for(tmp_path / "ready")
        for number, (words, expected) in enumerate(TYPED):
            # The line is not run: it is an argument of echo then. The 7 stands where the cursor was left.
            shown = tmp_path / f"shown-{number}"
            os.write(terminal, f"{words}\t7\x01echo '\x05' > {shown}\n".encode())
            if expected.endswith("7"):
                assert wait_for(shown).strip() == expected
            else:
                assert re.sub(r" *7?$", "", wait_for(shown).strip()) == expected
