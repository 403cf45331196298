"""Each command imports what it uses and no more, held by lists of what it must not; each runs in its own process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.plugin.peft_fields import fields_in_source, fields_of, unknown_settings

MODELS = {"transformers", "peft", "bitsandbytes", "accelerate", "datasets", "pandas", "scipy", "sklearn", "tokenizers"}
TORCH = MODELS | {"torch"}
HEAVY = TORCH | {"numpy", "pyarrow"}

CODE = """
import json, sys
sys.argv = ["ahf", *json.loads(sys.argv[1])]
from adapterhub_fin.cli import main
try:
    main()
except SystemExit as leave:
    print("\\n" + json.dumps([leave.code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def imported_by(home: Path, *arguments: str, status: int = 0) -> set[str]:
    """The top modules that a command has imported by its end."""
    command = [sys.executable, "-c", CODE, json.dumps([str(each) for each in arguments])]
    done = subprocess.run(command, env={**os.environ, "AHF_HOME": str(home)}, capture_output=True, text=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == status, done.stderr
    return set(modules)


@pytest.fixture(scope="module")
def stock(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with acme/tone@1 that these tests may add to."""
    home = tmp_path_factory.mktemp("stock") / "home"
    shutil.copytree(trained.version.folder.parents[4], home)
    return home


def test_a_merge_imports_torch_and_no_model_library(stock: Path) -> None:
    assert not imported_by(stock, "merge", "acme/tone@1", "acme/tone@1", "--into", "acme/both") & MODELS


def test_no_merger_imports_a_model_library() -> None:
    code = """
import sys
import adapterhub_fin.engine.merging.merge
from adapterhub_fin.plugin.descriptions import Merger
from adapterhub_fin.plugin.manager import extensions
for merger in extensions().all(Merger).values():
    merger.load()
print(*{name.partition(".")[0] for name in sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" in done.stdout.split() and not set(done.stdout.split()) & MODELS


def test_building_a_method_or_a_head_imports_neither_torch_nor_peft() -> None:
    code = """
import sys
from adapterhub_fin.plugin.descriptions import Head, Method
from adapterhub_fin.plugin.manager import extensions
for kind in (Head, Method):
    for description in extensions().all(kind).values():
        description.load()
print(*{name.partition(".")[0] for name in sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & TORCH


def test_an_import_imports_no_torch(stock: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "folder")
    assert not imported_by(stock, "export", "acme/tone@1", folder) & TORCH
    assert not imported_by(stock, "import", folder, "--as", "acme/back", "--labels", "a,b,c") & TORCH


@pytest.mark.parametrize(
    "settings",
    [
        {"peft_type": "ADALORA", "task_type": "CAUSAL_LM", "r": 4, "init_r": 4, "target_r": 2, "total_step": 9},
        {"peft_type": "PREFIX_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 3},
        {"peft_type": "NOT_YET_KNOWN", "task_type": "CAUSAL_LM"},
    ],
)
def test_an_import_of_any_type_imports_no_torch(stock: Path, tmp_path: Path, trained: Run, settings: object) -> None:
    shutil.copytree(trained.version.files, tmp_path / "folder")
    (tmp_path / "folder" / "adapter_config.json").write_text(json.dumps(settings))
    assert not imported_by(stock, "import", str(tmp_path / "folder"), "--as", "acme/other") & TORCH


@pytest.mark.parametrize(
    "command",
    [
        ["diff", "acme/tone@1", "acme/tone@1"],
        ["check", "acme/tone@1", "--target", "transformers"],
        ["verify", "acme/tone"],
    ],
)
def test_what_reads_stored_tensors_imports_no_torch(stock: Path, command: list[str]) -> None:
    assert not imported_by(stock, *command) & TORCH


def test_fields_of_peft_are_read_from_its_source_as_its_classes_have_them() -> None:
    import peft

    kinds = [str(getattr(kind, "value", kind)) for kind in peft.PEFT_TYPE_TO_CONFIG_MAPPING]
    assert len(kinds) > 40
    assert {kind: fields_in_source(kind) for kind in kinds} == {kind: fields_of(kind) for kind in kinds}
    assert fields_in_source("NOT_YET_KNOWN") is None


def test_a_setting_that_peft_does_not_know_is_told_with_its_name() -> None:
    said = unknown_settings({"peft_type": "LORA", "r": 4, "use_magic": True, "use_none": None, "peft_version": "9.1"})
    assert said is not None and "use_magic" in said and "use_none" not in said and "peft 9.1" in said
    assert unknown_settings({"peft_type": "LORA", "r": 4, "runtime_config": {"x": 1}}) is None
