"""Lazy is a promise about modules, kept in a process of its own: an assertion in this one would lie."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapterhub_fin.engine.training.run import Run

HELP = {"torch", "transformers", "peft", "numpy", "pydantic", "pluggy", "huggingface_hub", "datasets", "rich", "yaml"}
READ = {"torch", "transformers", "peft", "numpy", "datasets", "accelerate"}
ROWS = READ | {"pydantic", "pluggy"}

CODE = """
import json, sys
sys.argv = ["ahf", *json.loads(sys.argv[1])]
from adapterhub_fin.cli import main
try:
    main()
except SystemExit as leave:
    print("\\n" + json.dumps([leave.code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def loaded_by(*arguments: str, home: Path | None = None, status: int = 0) -> set[str]:
    env = {**os.environ, **({"AHF_HOME": str(home)} if home else {})}
    command = [sys.executable, "-c", CODE, json.dumps(arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == status, done.stderr
    return set(modules)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["train", "--help"],
        ["predict", "--help"],
        ["evaluate", "--help"],
        ["serve", "--help"],
    ],
)
def test_help_imports_nothing_heavy_and_no_plugin(arguments: list[str]) -> None:
    modules = loaded_by(*arguments)
    assert not modules & HELP and "adapterhub_fin_plugins" not in modules


@pytest.mark.parametrize(
    ("arguments", "denied"),
    [
        (["list"], ROWS),
        (["list", "--json"], ROWS),
        (["search", "method = lora ORDER BY added_at DESC", "--json"], ROWS),
        (["search", "finance", "--as-of", "2030-01-01"], ROWS),
        (["show", "acme/tone"], READ),
        (["show", "acme/tone", "--lineage"], READ),
        (["diff", "acme/tone", "acme/tone"], READ - {"numpy"}),
        (["path", "acme/tone"], READ),
        (["alias", "acme/tone"], READ),
        (["verify", "acme/tone"], READ),
        (["plugins"], READ),
        (["plugins", "--options", "method:lora"], READ),
    ],
)
def test_reading_the_registry_imports_no_model_library(trained: Run, arguments: list[str], denied: set[str]) -> None:
    assert not loaded_by(*arguments, home=trained.version.folder.parents[4]) & denied


def test_checking_prices_imports_what_reads_them_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "AAA.csv"
    path.write_text("Date,Close\n2024-01-02,10\n2024-01-03,10.5\n")
    denied = {"torch", "transformers", "peft", "datasets", "accelerate", "pydantic", "scipy", "talib", "yfinance"}
    modules = loaded_by("market", "check", str(tmp_path), "--calendar", "weekdays")
    assert {"numpy", "pyarrow"} <= modules and not modules & (denied | {"exchange_calendars"})
    modules = loaded_by("market", "check", str(tmp_path), "--calendar", "XNYS")
    assert "exchange_calendars" in modules and not modules & denied


def test_features_import_neither_torch_nor_what_checks_options(tmp_path: Path) -> None:
    path = tmp_path / "AAA.csv"
    path.write_text("Date,Close\n2024-01-02,10\n2024-01-03,10.5\n")
    given = [str(path), "--calendar", "24/7", "--names", "return_1", "--out", str(tmp_path / "features.parquet")]
    modules = loaded_by("market", "features", *given)
    assert "pluggy" in modules and not modules & {"torch", "transformers", "datasets", "pydantic", "scipy", "talib"}


def test_the_face_costs_nothing_until_it_is_used() -> None:
    code = "import sys, adapterhub_fin; adapterhub_fin.Registry; print(*{n.partition('.')[0] for n in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & (READ | {"pydantic", "pluggy", "click"})


def test_a_slip_on_the_command_line_is_told_before_torch_is_imported() -> None:
    for slip in ("method=lorra", "corpus.rowss=9", "training.epochs=-1"):
        arguments = ["train", "--name", "acme/tone", "--set", "corpus.name=headlines", "--set", slip]
        assert not loaded_by(*arguments, status=1) & READ
    for command in (
        ["evaluate", "acme/tone", "headlines", "--set", "rowss=9"],
        ["generate", "acme/tone", "Hi", "--top-p=2"],
        ["probe", "acme/tone", "--corpus", "headlines", "--set", "rowss=9"],
        ["forgetting", "acme/tone", "headlines", "--set", "rowss=9"],
    ):
        assert not loaded_by(*command, status=1) & READ


def test_a_recipe_is_checked_before_torch_is_imported() -> None:
    code = """
import sys
from adapterhub_fin import Recipe
from adapterhub_fin.plugin.descriptions import Corpus, Head, Method
from adapterhub_fin.plugin.manager import extensions
recipe = Recipe.read({"name": "acme/tone", "corpus": "headlines"})
for kind, choice in ((Method, recipe.method), (Head, recipe.head), (Corpus, recipe.corpus)):
    extensions().get(kind, choice.name).load_options()
print(*{name.partition(".")[0] for name in sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & READ


def test_the_help_of_merge_imports_nothing_heavy() -> None:
    code = "import sys, adapterhub_fin.cli.merge; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert "click" in modules and not modules & HELP and "adapterhub_fin_plugins" not in modules
