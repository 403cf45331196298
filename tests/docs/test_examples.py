"""Run every example of the README, the tutorial and two guides, in their order, in a folder of their own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import click
import pytest
import yaml

import adapterhub_fin as ahf
from adapterhub_fin import cli

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorials" / "first_adapter.md"
MARKETS = ROOT / "docs" / "how-to" / "markets.md"
BACKTEST = ROOT / "docs" / "how-to" / "backtest.md"
BASES = ROOT / "docs" / "how-to" / "base_versions.md"
PLUGIN = ROOT / "docs" / "how-to" / "write_a_plugin.md"
SHARDS = ROOT / "docs" / "how-to" / "pretraining_data.md"
BLOCK = re.compile(
    r"(?:[Ss]ave\s+as\s+`(?P<file>[\w./]+)`:\n)?```(?P<language>sh|python|yaml|toml)\n(?P<text>.*?)```", re.DOTALL
)


@dataclass(frozen=True)
class Example:
    """One block of code of a page; with a file's name it is saved under that name."""

    file: str | None
    language: str
    text: str


def examples(page: Path) -> list[Example]:
    """Return the examples of a page, in their order."""
    matches = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Example(match["file"], match["language"], match["text"]) for match in matches]


def run_command(line: str) -> None:
    """Run one line of shell in this process: an `ahf` command, which fails only where its comment says so."""
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), line
        return
    assert words[0] == "ahf", line
    with pytest.raises(SystemExit) as leave:
        cli.main(words[1:])
    assert bool(leave.value.code) == line.endswith("# exits with an error"), line


def run_example(example: Example) -> None:
    """Save or run one example in the current folder."""
    if example.file is not None:
        Path(example.file).write_text(example.text, encoding="utf-8")
    if example.language == "sh":
        for line in example.text.splitlines():
            run_command(line)
    elif example.language == "python":
        exec(compile(example.text, example.file or "<example>", "exec"), {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the reader of the tutorial works in, and then the reader of the README."""
    return tmp_path_factory.mktemp("reader")


@pytest.fixture(autouse=True)
def reader(folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in that folder, with the registry in it."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("AHF_HOME", str(folder / "registry"))
    monkeypatch.setenv("AHF_CACHE", str(folder / "cache"))
    yield


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("docs")
def test_the_tutorial_and_then_the_readme_run(capsys: pytest.CaptureFixture[str]) -> None:
    for example in examples(TUTORIAL):
        run_example(example)
    shown = capsys.readouterr().out
    for line in ("rows of train         56", "trained parameters    339,075", "acme/tone@champion is acme/tone@1"):
        assert line in shown, line
    assert shown.splitlines()[-1] == "negative", "plain PEFT answers as the tutorial says"
    trained = [example for example in examples(README) if example.file == "tone.yaml"]
    assert trained[0].text.splitlines()[0] == "name: acme/tone"
    for example in examples(README):
        run_example(example)


def test_the_guide_to_markets_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for example in examples(MARKETS):
        run_example(example)
    shown = capsys.readouterr().out
    assert shown.startswith("nothing found\n") and shown.rstrip().endswith("desk/drift@1")


def test_the_guide_to_base_versions_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from adapterhub_fin.testing import tiny_encoder

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AHF_HOME", str(tmp_path / "registry"))
    tiny_encoder(tmp_path / "models" / "fin-2013")
    lines = [
        f"Orders {('rose', 'fell')[row % 2]} {row}.,{('up', 'down')[row % 2]},2014-01-{row + 1:02}T12:00:00Z"
        for row in range(28)
    ]
    (tmp_path / "news.csv").write_text("\n".join(["text,direction,published", *lines]) + "\n", encoding="utf-8")
    for example in examples(BASES):
        run_example(example)
    shown = capsys.readouterr().out
    assert "acme/fin@1  (base)" in shown and "{'version': 'acme/fin@1'}" in shown
    assert [row["version"] for row in ahf.Registry().search("kind = base")] == [1]


def test_the_guide_to_backtests_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AHF_HOME", str(tmp_path / "registry"))  # its log of trials
    for example in examples(BACKTEST):
        run_example(example)
    shown = capsys.readouterr().out
    assert "strict: no row is marked" in shown and "not strict: this result may have known the future" in shown
    assert (tmp_path / "report" / "report.html").is_file() and (tmp_path / "red" / "report.html").is_file()


def test_the_plugins_of_the_guide_train_and_merge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for folder in ("acme_adapters", "tests"):
        (tmp_path / folder).mkdir()
    for example in examples(PLUGIN):
        if example.file is not None:
            Path(example.file).write_text(example.text, encoding="utf-8")
    hooks = import_module("acme_adapters.hooks")
    for hook in (hooks.ahf_methods, hooks.ahf_heads, hooks.ahf_corpora, hooks.ahf_mergers):
        for description in hook():
            ahf.register(description)
    recipe = next(example.text for example in examples(PLUGIN) if example.language == "yaml")
    document = {**yaml.safe_load(recipe), "base": {"id": "acme/tiny", "path": str(encoder)}}
    run = ahf.train(document, overrides=["training.epochs=1", "training.max_length=32"])
    assert run.adapter.predict(["Company 1: profit rose."])[0].label in ("down", "up")
    merged = ahf.merge([run.reference], using="half-sum", into="acme/half")
    assert merged.version is not None
    assert run.version.manifest.head is not None and run.version.manifest.head.labels == ("down", "up")


@pytest.mark.timeout(600)
def test_the_contracts_of_the_guide_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the metadata that pip writes, so that a process of its own finds the entry point."""
    monkeypatch.chdir(tmp_path)
    for folder in ("acme_adapters", "tests", "acme_adapters-0.1.0.dist-info"):
        (tmp_path / folder).mkdir()
    for example in examples(PLUGIN):
        if example.file is not None:
            Path(example.file).write_text(example.text, encoding="utf-8")
    about = tmp_path / "acme_adapters-0.1.0.dist-info"
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-adapters\nVersion: 0.1.0\n")
    (about / "entry_points.txt").write_text("[adapterhub_fin]\nacme = acme_adapters.hooks\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_contracts.py"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_guide_to_token_shards_runs(decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with rows and a tokenizer; its last recipe is that of another guide."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(decoder, tmp_path / "tokenizers" / "2013")
    months = ["January", "March", "April", "June", "September", "December"]
    texts = [
        f"Interest rates were {how} in {month}." for how in ("left unchanged", "raised", "cut") for month in months
    ]
    rows = [{"text": text, "available_at": "2012-03-13T18:15:00Z"} for text in texts]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * 20), encoding="utf-8")
    for example in examples(SHARDS):
        run_example(example)
    assert ahf.TokenShards("shards/mapped").digest == ahf.TokenShards("shards/2013").digest
    assert len(ahf.TokenShards("shards/own")) == len(texts)


def test_every_block_says_its_language() -> None:
    for page in (README, TUTORIAL, PLUGIN):
        fences = re.findall(r"^ *```(\w*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert all(fences[::2]) and not any(fences[1::2]), page
        assert set(fences[::2]) <= {"sh", "python", "yaml", "text"}, page


PAGES = sorted([README, ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])


def commands_of(page: str) -> Iterator[list[str]]:
    """Yield the words of each `ahf` command of a page, in its blocks of shell and within its sentences."""
    for block in re.findall(r"^ *```(?:sh|text)\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE):
        for line in re.findall(r"^ *(?:\$ )?ahf .*", block.replace("\\\n", " "), re.MULTILINE):
            yield line.split("#")[0].removeprefix("$ ").split()[1:]
    for inline in re.findall(r"(?<!personalised )`ahf ([^`]+)`", page):  # format.md has hashes of that form
        yield inline.split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_commands_and_options_that_there_are(page: Path) -> None:
    for words in commands_of(page.read_text(encoding="utf-8")):
        command: click.Command = cli.group
        context = click.Context(command)
        rest = iter(words)
        for word in rest:
            if word.startswith("--"):
                name = word.split("=")[0].rstrip(".,")
                given = [one for one in command.get_params(context) if name in (*one.opts, *one.secondary_opts)]
                assert given, " ".join(words)
                if isinstance(given[0], click.Option) and not given[0].is_flag and "=" not in word:
                    next(rest, None)
            elif isinstance(command, click.Group) and re.fullmatch("[a-z][a-z-]*", word):
                subcommand = command.get_command(context, word)
                assert subcommand is not None, " ".join(words)
                command = subcommand
