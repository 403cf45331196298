"""Run every command as a user types it: its table, its JSON, its errors, and the examples of its help."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from safetensors.numpy import load_file, save_file

import adapterhub_fin as ahf
from adapterhub_fin import cli
from adapterhub_fin.engine.data.corpus import corpus_digest, read_texts
from adapterhub_fin.engine.evaluation import linear
from adapterhub_fin.engine.importing.store_base import store_base
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.testing.forked import run_forked, start_forked
from adapterhub_fin.testing.tiny import tiny_decoder

Ahf = Callable[..., tuple[int, str, str]]


def test_list_and_its_json(run_ahf: Ahf, stocked: Path) -> None:
    code, out, _ = run_ahf("list")
    assert code == 0 and "acme/tone@1" in out and "contract-tone" in out
    rows = json.loads(run_ahf("list", "--json")[1])
    assert [(row["name"], row["version"], row["method"]) for row in rows] == [("acme/tone", 1, "lora")]
    assert run_ahf("list", "acme/none")[0] == 1


def test_search_its_json_its_pages_and_its_errors(run_ahf: Ahf, stocked: Path) -> None:
    ahf.Registry().set_alias("acme/tone", "champion", 1)
    assert "acme/tone@1" in run_ahf("search", "alias", "=", "champion")[1]
    document = json.loads(run_ahf("search", "method = lora AND method.rank = 4", "--json")[1])
    assert document == {"rows": ahf.RegistryChain.configured().rows(), "next": None}
    assert run_ahf("search", "method = lora", "--limit", "1")[2] == ""
    assert "Nothing matches" in run_ahf("search", "NOT method = lora")[2]
    code, _, err = run_ahf("search", "method =")
    assert code == 1 and "column 9" in err and err.count("\n") == 1
    assert run_ahf("search")[0] == 2
    shutil.copytree(stocked / "adapters/acme/tone", stocked / "adapters/acme/tune")
    (stocked / "changed").write_text("copied by hand")
    page = json.loads(run_ahf("search", "method = lora", "--limit", "1", "--json")[1])
    assert run_ahf("search", "method = lora", "--limit", "1")[2].strip().endswith(page["next"])
    [row] = json.loads(run_ahf("search", "method = lora", "--after", page["next"], "--json")[1])["rows"]
    assert (page["rows"][0]["name"], row["name"]) == ("acme/tone", "acme/tune")


def test_list_and_search_at_a_date_say_the_date_and_whether_the_base_counts(run_ahf: Ahf, stocked: Path) -> None:
    late = ["--as-of", "now", "--ignore-base"]
    assert json.loads(run_ahf("search", "tone", *late, "--json")[1])["include_base"] is False
    assert [row["include_base"] for row in json.loads(run_ahf("list", *late, "--json")[1])] == [False]
    for command in (["list"], ["search", "tone"]):
        assert "without the base" in run_ahf(*command, *late)[2]
        code, out, err = run_ahf(*command, "--as-of", "2001-01-01")
        assert (code, out) == (0, "") and err
    assert json.loads(run_ahf("list", "acme/tone", "--as-of", "2001-01-01", "--json")[1]) == []


def test_an_empty_registry_says_how_to_begin(run_ahf: Ahf) -> None:
    code, out, err = run_ahf("list")
    assert (code, out) == (0, "") and "ahf train" in err
    assert json.loads(run_ahf("list", "--json")[1]) == []


def test_show(run_ahf: Ahf, stocked: Path) -> None:
    code, out, _ = run_ahf("show", "acme/tone")
    assert code == 0
    for part in ("acme/tone@1", "sha256:", "rank=4", "adapterhub-fin", "negative, neutral, positive"):
        assert part in out
    assert "fingerprint verified" in out
    document = json.loads(run_ahf("show", "acme/tone@1", "--json")[1])
    assert document["manifest"]["method"]["options"]["rank"] == 4 and document["record"]["name"] == "acme/tone"


def test_predict_from_arguments_and_from_a_file(run_ahf: Ahf, stocked: Path, trained: Run, tmp_path: Path) -> None:
    code, out, err = run_ahf("predict", "acme/tone", "Arlo: profit rose.", "Brent: profit fell.")
    assert code == 0 and out.count("profit") == 2 and "acme/tone@1" in err
    (tmp_path / "texts.txt").write_text("Arlo: profit rose.\n\nBrent: profit fell.\n")
    answer = json.loads(run_ahf("predict", "acme/tone", "--file", str(tmp_path / "texts.txt"), "--json")[1])
    assert (answer["reference"], answer["digest"]) == ("acme/tone@1", trained.version.digest)
    expected = trained.adapter.predict(["Arlo: profit rose.", "Brent: profit fell."])
    assert [each["label"] for each in answer["predictions"]] == [each.label for each in expected]
    assert run_ahf("predict", "acme/tone")[0] == 2


def test_ignore_base_is_written_into_the_output(run_ahf: Ahf, stocked: Path) -> None:
    arguments = ["predict", "acme/tone", "Profit rose.", "--as-of", "now", "--ignore-base"]
    assert "without the base" in run_ahf(*arguments)[2]
    assert json.loads(run_ahf(*arguments, "--json")[1])["include_base"] is False
    for name in ("show", "path"):
        dated = [name, "acme/tone", "--as-of", "now", "--ignore-base"]
        assert "without the base" in run_ahf(*dated)[2]
        assert json.loads(run_ahf(*dated, "--json")[1])["include_base"] is False
    code, _, err = run_ahf("predict", "acme/tone", "Profit rose.", "--as-of", "2001-01-01")
    assert code == 1 and err.startswith("ahf: ") and err.count("\n") == 1


def test_embed_as_lines_and_as_a_file(run_ahf: Ahf, stocked: Path, tmp_path: Path) -> None:
    lines = run_ahf("embed", "acme/tone", "Profit rose.", "Profit fell.")[1].splitlines()
    vectors = np.array([json.loads(line)["embedding"] for line in lines], dtype=np.float32)
    assert vectors.shape == (2, 32)
    assert run_ahf("embed", "acme/tone", "--json", "Profit rose.", "Profit fell.")[1].splitlines() == lines
    assert run_ahf("embed", "acme/tone", "--json", "--out", str(tmp_path / "v.npy"), "Profit rose.")[0] == 2
    assert run_ahf("embed", "acme/tone", "--out", str(tmp_path / "v.npy"), "Profit rose.", "Profit fell.")[0] == 0
    assert np.array_equal(np.load(tmp_path / "v.npy"), vectors)


def test_alias_set_list_history_and_remove(run_ahf: Ahf, stocked: Path) -> None:
    assert run_ahf("alias", "acme/tone@1", "champion")[1].strip() == "acme/tone@champion is acme/tone@1"
    assert json.loads(run_ahf("alias", "acme/tone", "--json")[1]) == {"champion": 1}
    assert "champion" in run_ahf("list")[1]
    assert run_ahf("show", "acme/tone@champion")[0] == 0
    assert run_ahf("alias", "acme/tone", "champion", "--remove")[0] == 0
    history = json.loads(run_ahf("alias", "acme/tone", "champion", "--history", "--json")[1])
    assert [step["version"] for step in history] == [1, None]
    assert run_ahf("alias", "acme/tone@1", "latest")[0] == 1
    assert run_ahf("alias", "acme/none")[0] == 1
    assert run_ahf("alias", "acme/tone", "--history")[0] == 2


def test_what_an_alias_named_on_a_day(run_ahf: Ahf, stocked: Path) -> None:
    run_ahf("alias", "acme/tone@1", "champion")
    assert run_ahf("alias", "acme/tone", "champion", "--on", "2099-01-01")[1].strip() == "acme/tone@1"
    assert run_ahf("alias", "acme/tone", "champion", "--on", "2001-01-01")[1].strip() == "none"
    answer = json.loads(run_ahf("alias", "acme/tone", "champion", "--on", "now", "--json")[1])
    assert answer == {"alias": "acme/tone@champion", "on": "now", "version": 1}
    assert run_ahf("alias", "acme/tone", "stable", "--on", "now")[0] == 1
    assert run_ahf("alias", "acme/tone", "--on", "now")[0] == 2
    assert run_ahf("alias", "acme/tone", "champion", "--on", "now", "--history")[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("path",),
        ("show",),
        ("predict", "Profit rose."),
        ("embed", "Profit rose."),
        ("evaluate", "--from-recipe", "--no-record"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_resolves_its_reference_by_a_lock_file(
    run_ahf: Ahf, stocked: Path, trained: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    name, *rest = arguments
    lock = tmp_path / "adapters.lock"
    assert run_ahf(name, "acme/tone", *rest, "--lock", str(lock))[0] == 0
    config = (
        tmp_path / "config" / "adapterhub_fin" / "config.toml"
    )  # of two registries, the one that answers so far last
    config.parent.mkdir(parents=True)
    config.write_text(
        "".join(f"[[registries]]\nname = 'r{p.name}'\npath = '{p}'\n" for p in (tmp_path / "own", stocked))
    )
    for registry, number in ((ahf.Registry(stocked), 2), (ahf.Registry(tmp_path / "own"), 1)):
        manifest = trained.version.manifest.model_copy(update={"description": f"Now {number} too."})
        assert registry.add(trained.version.files, manifest, name="acme/tone").number == number
        code, out, err = run_ahf(name, "acme/tone", *rest, "--lock", str(lock))
        assert code == 0 and ("acme/tone@1" in out + err or f"{stocked}/adapters/acme/tone/versions/1/" in out)
    assert [entry["version"] for entry in json.loads(lock.read_text())["resolutions"]] == ["acme/tone@1"]


def test_a_schedule_lists_its_windows_and_trains_them(run_ahf: Ahf, encoder: Path, tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, encoder)
    with recipe.open("a") as file:
        file.write("schedule: {windows: yearly, start: 2020-01-01, embargo: 5B, calendar: weekdays}\n")
    code, out, _ = run_ahf("train", str(recipe), "--dry-run")
    assert code == 0 and "1 of 2" in out and "2021-01-01" in out and out.count("to be trained") == 2
    planned = json.loads(run_ahf("train", str(recipe), "--dry-run", "--json")[1])
    assert [window["cutoff"] for window in planned] == ["2020-01-01", "2021-01-01"]
    assert all(window["knowledge_end"] < window["cutoff"] and window["rows"]["test"] for window in planned)
    code, out, err = run_ahf("train", str(recipe))
    assert code == 0 and "acme/typed@1" in out and "acme/typed@2" in out and "test macro_f1" in out
    series = json.loads(run_ahf("train", str(recipe), "--json")[1])
    assert [(step["reference"], step["trained"]) for step in series["steps"]] == [
        ("acme/typed@1", False),
        ("acme/typed@2", False),
    ]
    assert "acme/typed@2" in run_ahf("train", str(recipe), "--dry-run")[1]
    code, _, err = run_ahf("plan", str(recipe))
    assert code == 0 and "the window whose cut-off is 2021-01-01" in err


def test_path_prints_a_plain_folder(run_ahf: Ahf, stocked: Path) -> None:
    folder = Path(run_ahf("path", "acme/tone")[1].strip())
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert json.loads(run_ahf("path", "acme/tone", "--json")[1])["path"] == str(folder)


def test_verify_names_the_file_that_changed(run_ahf: Ahf, stocked: Path) -> None:
    assert run_ahf("verify", "--all")[0] == 0
    assert json.loads(run_ahf("verify", "acme/tone", "--json")[1])[0]["error"] is None
    config = ahf.Registry().path("acme/tone") / "adapter_config.json"
    config.chmod(0o644)
    config.write_bytes(config.read_bytes().replace(b"lora_alpha", b"lora_alphb"))
    code, out, _ = run_ahf("verify", "acme/tone@1")
    assert code == 1 and "adapter_config.json" in out
    assert run_ahf("verify")[0] == 2


def test_verify_and_list_name_a_version_that_cannot_be_read(run_ahf: Ahf, stocked: Path) -> None:
    assert run_ahf("verify", ahf.Registry().resolve("acme/tone").digest)[0] == 0
    manifest = ahf.Registry().resolve("acme/tone").folder / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes()[:100])
    for arguments in (["verify", "--all"], ["verify", "acme/tone"], ["verify", "acme/tone@1"]):
        code, out, _ = run_ahf(*arguments)
        assert code == 1 and "acme/tone@1" in out and "intact" not in out
    assert "acme/tone@1" in run_ahf("list")[2]


def test_plugins_lists_what_there_is_and_its_options(run_ahf: Ahf) -> None:
    code, out, _ = run_ahf("plugins")
    assert code == 0 and all(name in out for name in ("lora", "classify", "phrasebank", "headlines", "adapterhub-fin"))
    plugins = json.loads(run_ahf("plugins", "--json")[1])["plugins"]
    assert plugins[0]["name"] == "shipped" and plugins[0]["error"] is None
    assert "Rank of each update" in run_ahf("plugins", "--options", "method:lora")[1]
    assert "survive the draw" in run_ahf("plugins", "--options", "merger:della")[1]
    schema = json.loads(run_ahf("plugins", "--options", "method:lora", "--json")[1])
    assert schema["properties"]["rank"]["minimum"] == 1
    assert "did you mean lora" in run_ahf("plugins", "--options", "method:lorra")[2]


def test_import_and_its_refusals(run_ahf: Ahf, stocked: Path, trained: Run, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    shutil.copytree(trained.version.files, folder)
    (folder / "training_args.bin").write_bytes(b"a pickle")
    (folder / "README.md").write_text("PEFT's own card")
    code, out, err = run_ahf("import", str(folder), "--as", "acme/theirs", "--labels", "negative,neutral,positive")
    assert (code, out.strip()) == (0, "acme/theirs@1") and "training_args.bin" in err
    assert not (ahf.Registry().path("acme/theirs") / "training_args.bin").exists()
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    code, _, err = run_ahf("import", str(folder), "--as", "acme/pickle")
    assert code == 1 and "is a pickle" in err and "save_pretrained" in err
    code, _, err = run_ahf("import", str(tmp_path), "--as", "acme/nothing")
    assert code == 1 and "holds no adapter_config.json" in err
    assert "acme/pickle" not in run_ahf("list")[1]


def test_train_writes_a_version_and_its_metrics(run_ahf: Ahf, encoder: Path, tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, encoder)
    code, out, err = run_ahf("train", str(recipe), "--set", "method.rank=3", "--name", "acme/other")
    assert code == 0 and "acme/other@1" in out and "test macro_f1" in out
    loading, *epochs = err.splitlines()
    assert loading.startswith("loading torch, the base") and epochs
    assert all(re.match(r"training: step \d+ of \d+, loss [\d.]+, epoch \d+: validation macro_f1", e) for e in epochs)
    document = json.loads(run_ahf("train", str(recipe), "--json")[1])
    assert document["reference"] == "acme/typed@1" and Path(document["path"]).is_dir()
    assert run_ahf("train", str(recipe), "--set", "method.rnak=3")[0] == 1


def test_new_plugin_refuses_what_it_would_overwrite(run_ahf: Ahf, tmp_path: Path) -> None:
    assert run_ahf("new-plugin", "acme-method", "--into", str(tmp_path / "new"))[0] == 0
    assert run_ahf("new-plugin", "acme-method", "--into", str(tmp_path / "new"))[0] != 0


def test_an_unknown_command_or_name_suggests_similar_ones(run_ahf: Ahf, stocked: Path) -> None:
    code, _, err = run_ahf("trian")
    assert code == 2 and "Did you mean train or pretrain?" in err
    code, _, err = run_ahf("show", "acme/tune")
    assert code == 1 and "acme/tone" in err and err.count("\n") == 1
    code, _, err = run_ahf("show", "../etc/passwd")
    assert code == 1 and err.count("\n") == 1


def test_a_file_that_is_not_there_is_one_line(run_ahf: Ahf, stocked: Path, tmp_path: Path) -> None:
    code, _, err = run_ahf("predict", "acme/tone", "--file", str(tmp_path / "no.txt"))
    assert code == 1 and "no.txt" in err and err.count("\n") == 1


def test_a_file_of_texts_may_come_from_windows_and_must_be_utf_8(run_ahf: Ahf, stocked: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes("Café sales rose.\r\n\r\nOrders fell.\r\n".encode())
    code, out, _ = run_ahf("predict", "acme/tone", "--json", "--file", str(path))
    answered = [each["text"] for each in json.loads(out)["predictions"]]
    assert code == 0 and answered == ["Café sales rose.", "Orders fell."]
    path.write_bytes("Orders rose.\nCafé sales rose.\n".encode("latin-1"))
    code, _, err = run_ahf("predict", "acme/tone", "--file", str(path))
    assert code == 1 and "texts.txt, line 2 is not UTF-8" in err and err.count("\n") == 1


def test_debug_shows_the_traceback(stocked: Path) -> None:
    command = [sys.executable, "-m", "adapterhub_fin.cli", "--debug", "show", "acme/none"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" in done.stderr


@pytest.fixture(scope="module")
def bash() -> Iterator[int]:
    """A terminal on which an interactive bash has completion set up, as the help says to."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (40, 200))
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PS1": "$ ", "TERM": "dumb"}
    command = ["bash", "--norc", "--noprofile", "-i"]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
    ) as shell:
        os.close(theirs)
        try:
            assert "ready" in typed(ours, 'eval "$(_AHF_COMPLETE=bash_source ahf)"; echo r""eady\n', "ready")
            yield ours
        finally:
            shell.kill()
    os.close(ours)


def typed(terminal: int, keys: str, expected: str) -> str:
    """Return what a terminal shows after some keys, until it shows `expected` or a minute has passed."""
    os.write(terminal, keys.encode())
    seen, end = "", time.monotonic() + 60
    while expected not in seen and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")
    return seen


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("ahf ver", "ahf verify"),
        ("ahf show ac", "ahf show acme/tone"),
        ("ahf show acme/tone@", "ahf show acme/tone@1"),
        ("ahf show acme/tone@ch", "ahf show acme/tone@champion"),
        ("ahf show 'acme/tone@ch", "ahf show acme/tone@champion"),
        ("ahf predict --ignore", "ahf predict --ignore-base"),
    ],
)
def test_tab_completion(bash: int, stocked: Path, words: str, completed: str) -> None:
    """To bash a word ends at an `@` or a `=`, and another begins."""
    if "@ch" in words:
        ahf.Registry(stocked).set_alias("acme/tone", "champion", 1)
    typed(bash, f"export AHF_HOME={stocked}; echo d''one\n", "done")
    # The line is not run: it is an argument of echo then.
    shown = typed(bash, f"{words}\t\x01echo 'typed: ' \n", f"typed:  {completed}\r\n")
    assert f"typed:  {completed}" in shown


def examples(name: str) -> list[list[str]]:
    command: Any = cli.group.get_command(click.Context(cli.group), name)
    lines = [line.strip() for line in command.help.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("ahf ")]


def pretraining_inputs(folder: Path) -> None:
    """What the examples of pretrain, tokenize and contamination read."""
    shape = "{new: llama, layers: 1, width: 16, heads: 2, positions: 64, tokenizer: {train: 280}}"
    (folder / "recipes" / "base.yaml").write_text(
        f"name: acme/first\nbase: {shape}\ncorpus: {{name: headlines, rows: 200, start: 2010-01-04}}\n"
        "until: 2019-12-31\ntraining: {max_steps: 2, block: 32, batch_size: 2}\n"
    )
    tiny_decoder(folder / "bases" / "fin-2013")
    shutil.copytree(folder / "bases" / "fin-2013", folder / "tokenizers" / "fed-2013")
    (folder / "fed").mkdir()
    words = [f"{word * 48271 % 2147483647:x}" for word in range(1, 12_001)]  # enough for a vocabulary of 8,192
    texts = [f"The {n}th speech. {' '.join(words)}." for n in range(10, 15)]
    rows = [{"text": text, "available_at": f"20{n}-01-15T12:00:00Z"} for n, text in enumerate(texts, 10)]
    (folder / "fed" / "speeches.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "fed.yaml").write_text('files: ["fed/*.jsonl"]\nuntil: 2013-12-31\ntokenizer: tokenizers/fed-2013\n')
    facts = [
        {"text": "The rate was ___.", "options": ["raised", "cut"], "answer": ("cut", "raised")[n % 2]}
        | {"available_at": f"20{n}-03-01T12:00:00Z"}
        for n in range(10, 18)
    ]
    (folder / "facts.jsonl").write_text("\n".join(map(json.dumps, facts)), encoding="utf-8")


def small_recipe(folder: Path, encoder: Path) -> Path:
    """A recipe of a few seconds, in a file."""
    path = folder / "recipes" / "tone.yaml"
    path.parent.mkdir()
    path.write_text(
        "name: acme/typed\ncorpus: {name: headlines, rows: 120}\ntraining: {epochs: 1, max_length: 32}\n"
        f"base: {{path: {encoder}}}\nmethod: {{name: lora, rank: 2}}\n"
    )
    references = "[acme/tone@1, acme/tone]"
    (folder / "merge.yaml").write_text(
        f"references: {references}\nusing: {{name: ties, density: 0.3}}\ninto: acme/mixed\n"
    )
    return path


def tuned(encoder: Path, folder: Path) -> None:
    """The encoder with every weight moved, as a full fine-tuning leaves it."""
    shutil.copytree(encoder, folder)
    weights = load_file(encoder / "model.safetensors")
    save_file({name: weight + 0.1 for name, weight in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def test_training_draws_its_progress_on_a_terminal_and_prints_lines_in_a_pipe(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("-m", "adapterhub_fin.cli", "train", str(small_recipe(tmp_path, encoder)))
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (40, 200))
    child = start_forked(*command, stderr=os.ttyname(theirs))
    os.close(theirs)
    drawn = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while chunk := os.read(ours, 65536):
            drawn += chunk
    os.close(ours)
    assert child.wait() == 0 and b"training" in drawn and b"validation macro_f1" in drawn
    piped = run_forked(*command)
    assert piped.returncode == 0 and piped.stderr.startswith("loading") and "\x1b" not in piped.stderr
    assert "validation macro_f1" in piped.stderr and "acme/typed@" in piped.stdout


ENDING = """
import atexit
from adapterhub_fin.cli import main

class Left:
    def __del__(self):
        print("taken down")

left = Left()
atexit.register(print, "left")
main(["show", "acme/none"])
"""


@pytest.mark.parametrize("processes", ["1", "2"])
def test_one_of_several_processes_is_not_taken_down_around_the_threads_of_torch(processes: str) -> None:
    """Which abort it now and then, so that torchrun says that the run failed."""
    ran = subprocess.run(
        [sys.executable, "-c", ENDING], env={**os.environ, "WORLD_SIZE": processes}, capture_output=True, text=True
    )
    assert ran.returncode == 1 and "acme/none" in ran.stderr
    assert ran.stdout.split("\n")[:-1] == (["left", "taken down"] if processes == "1" else ["left"])


async def leave_at_once(server: object) -> None:
    """Replace a server's main loop, so that it stops as soon as it answers."""


FEWER_RUNS = {  # of a sweep's examples, each a process that trains
    "method.rank=4,8,16,32": "method.rank=4",
    "method.rank=4,8": "method.rank=4",
    "--seeds 5": "--seeds 1",
    "--folds 5": "--folds 2",
    "--trials 20": "--trials 1",
}


def fewer_runs(arguments: list[str]) -> list[str]:
    line = shlex.join(arguments)
    for many, few in FEWER_RUNS.items():
        line = line.replace(many, few)
    return shlex.split(line)


def base_of_speeches(encoder: Path, folder: Path) -> None:
    """Store the base acme/fin@1 as one of the texts in data/speeches.jsonl."""
    folder.mkdir()
    path = folder / "speeches.jsonl"
    path.write_text('{"text": "Growth was slow.", "at": "2013-12-30T12:00:00Z"}\n' * 2, encoding="utf-8")
    choice = CorpusChoice.read({"name": "table", "path": str(path), "available_at": "at"})
    seen = read_texts(choice).table
    end = seen["available_at"][0]
    corpus = {"name": "table", "digest": corpus_digest(seen), "rows": {"train": 2}, "available": [end, end]}
    store_base(
        encoder,
        name="acme/fin",
        registry=ahf.Registry(),
        method={"name": "pretraining"},
        knowledge={"corpus:table": KnownAt(end, "observed", "available_at")},
        corpus=corpus,
        recipe={"corpus": choice.model_dump(mode="json")},
    )


@pytest.mark.parametrize("name", sorted(cli.SUMMARIES))
def test_the_examples_of_help_run(
    run_ahf: Ahf,
    stocked: Path,
    notes: Run,
    trained: Run,
    forked_trials: None,
    traced_once: None,
    encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    small_recipe(tmp_path, encoder)
    shutil.copytree(trained.version.files, tmp_path / "runs" / "my-lora")
    shutil.copytree(encoder, tmp_path / "models" / "base")
    shutil.copytree(encoder, tmp_path / "models" / "fin-2013")
    tuned(encoder, tmp_path / "runs" / "tuned")
    (tmp_path / "news.csv").write_text("headline\nArlo: profit rose.\n", encoding="utf-8")
    (tmp_path / "desk.csv").write_bytes("text;desk\nGewinn über Plan.;Köln\n".encode("cp1252"))
    (tmp_path / "today.csv").write_text("headline,tone\nArlo: profit rose.,positive\n", encoding="utf-8")
    parquet.write_table(pyarrow.table({"text": ["Arlo: profit rose."]}), tmp_path / "today.parquet")
    dated = {"title": ["Arlo: profit rose."], "published": ["2100-01-01T09:00:00Z"]}
    parquet.write_table(pyarrow.table(dated), tmp_path / "news.parquet")
    (tmp_path / "general.csv").write_text("body\nArlo sells hats.\nBrix sells hats too.\n", encoding="utf-8")
    monkeypatch.setattr("uvicorn.Server.main_loop", leave_at_once)
    if name == "compare":  # which compares versions, and fits the linear models that other runs do without
        monkeypatch.setattr(linear, "PACKAGE", "sklearn")
        for arguments in (["train", "recipes/tone.yaml", "--name", "acme/tone"], ["alias", "acme/tone@2", "champion"]):
            code, _, err = run_ahf(*arguments)
            assert code == 0, err
    if name in ("pretrain", "tokenize", "contamination"):
        pretraining_inputs(tmp_path)
    if name == "contamination":
        ahf.add_base(tmp_path / "bases" / "fin-2013", "acme/fin", knowledge_end="2013-12-31", evidence="its maker")
    if name == "verify":
        base_of_speeches(encoder, tmp_path / "data")
    commands = examples(name)
    assert commands
    for arguments in commands:
        if name == "sweep":
            arguments = fewer_runs(arguments)
        if any("hf://" in argument for argument in arguments):
            continue  # tests/hub has a Hub to run it on
        code, _, err = run_ahf(*arguments)
        assert code == 0, f"ahf {shlex.join(arguments)}: {err}"


def test_a_dry_run_describes_the_rows(run_ahf: Ahf, encoder: Path, tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, encoder)
    code, out, _ = run_ahf("train", str(recipe), "--dry-run", "--set", "training.max_length=8")
    assert code == 0 and "tokens of train" in out and "at the limit" in out and "dates of test" in out
    planned = json.loads(run_ahf("train", str(recipe), "--dry-run", "--json")[1])
    assert planned["tokens"]["train"]["longest"] >= planned["tokens"]["train"]["median"] > 8
    assert planned["dates"]["train"]["first"] < planned["dates"]["train"]["last"]
