"""Install a third party's package from a wheel: it does all that a shipped plugin does; a broken one fails alone."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Environment

PROJECT = Path(__file__).parents[2]
EXAMPLE = PROJECT / "examples" / "adapterhub-fin-bias-only"
Trained = tuple[list[list[float]], dict[str, Any]]  # answers and manifest
VERSION = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["version"]
TEXTS = ["Order intake grew 22%.", "The dividend is suspended.", "The call begins at ten."]

TRAIN = """
import sys, json
import adapterhub_fin as ahf
from pathlib import Path
from adapterhub_fin.testing import tiny_encoder
base = tiny_encoder(Path(sys.argv[1]))
run = ahf.train(
    name="vendor/notes", base={"path": base}, method={"name": "bias-only", "layers": "*.attention.*"},
    corpus={"name": "earnings-notes", "splitter": {"by": "time"}},
    training={"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "max_length": 64},
)
print(json.dumps([run.adapter.logits(json.loads(sys.argv[2])).tolist(), run.version.manifest.model_dump(mode="json")]))
"""
LOAD = """
import sys, json, torch
import adapterhub_fin as ahf
torch.manual_seed(7)
print(json.dumps(ahf.load("vendor/notes@1").logits(json.loads(sys.argv[1])).tolist()))
"""


@pytest.fixture(scope="module")
def trained(environment: Environment) -> Trained:
    """Answers and manifest of a version of `bias-only`, trained on `earnings-notes` in the fresh environment."""
    printed = environment.run("python", "-c", TRAIN, environment.folder / "base", json.dumps(TEXTS)).stdout
    logits, manifest = json.loads(printed.splitlines()[-1])
    return logits, manifest


def test_plugins_are_listed_with_their_distribution_and_what_broke_them(environment: Environment) -> None:
    found = json.loads(environment.run("ahf", "plugins", "--json").stdout)
    plugins = {plugin["name"]: plugin for plugin in found["plugins"]}
    vendor, broken = plugins["bias-only"], plugins["broken"]
    assert [each["name"] for each in vendor["gives"]] == ["bias-only", "earnings-notes", "geometric-median"]
    assert (vendor["distribution"], vendor["version"]) == ("adapterhub-fin-bias-only", VERSION)
    assert (broken["distribution"], broken["version"]) == ("adapterhub-fin-broken", "0.0.1")
    assert "no `curve` any more" in broken["error"]
    assert "lora" in {each["name"] for each in plugins["shipped"]["gives"]}
    listed = environment.run("ahf", "plugins")
    assert "bias-only" in listed.stdout and "no `curve` any more" in listed.stderr


def test_its_own_tests_pass(environment: Environment, example_tests: Path) -> None:
    assert "passed" in environment.pytest(example_tests)


def test_another_process_answers_alike(environment: Environment, trained: Trained) -> None:
    printed = environment.run("python", "-c", LOAD, json.dumps(TEXTS)).stdout
    assert json.loads(printed.splitlines()[-1]) == trained[0]


def test_the_command_line_trains_and_answers_with_it(environment: Environment, trained: Trained) -> None:
    base, name = environment.folder / "base", "vendor/typed"
    keys = [
        "method=bias-only",
        "corpus=earnings-notes",
        f"base.path={base}",
        "training.epochs=1",
        "training.max_length=64",
    ]
    sets = [word for key in keys for word in ("--set", key)]
    run = json.loads(environment.run("ahf", "train", "--name", name, *sets, "--json").stdout)
    answer = json.loads(environment.run("ahf", "predict", name, "--json", *TEXTS).stdout)
    assert answer["digest"] == run["digest"] and len(answer["predictions"]) == len(TEXTS)


def test_the_manifest_says_who_brought_the_method(trained: Trained) -> None:
    manifest = trained[1]
    assert manifest["method"]["provider"] == {"distribution": "adapterhub-fin-bias-only", "version": VERSION}
    assert manifest["knowledge"]["inputs"][1]["input"] == "corpus:earnings-notes"


@pytest.fixture
def without_the_example(
    environment: Environment, wheel_of: Callable[[Path], Path], trained: Trained
) -> Iterator[Environment]:
    environment.uninstall("adapterhub-fin-bias-only")
    yield environment
    environment.install(wheel_of(EXAMPLE))


def test_load_without_the_package_says_what_to_install(without_the_example: Environment) -> None:
    refused = without_the_example.run("ahf", "predict", "vendor/notes@1", TEXTS[0], ok=False)
    assert f"pip install 'adapterhub-fin-bias-only=={VERSION}'" in refused.stderr
    assert "Traceback" not in refused.stderr
    # A method is data to the registry: what can't be loaded here is still listed, and verified.
    assert "vendor/notes" in without_the_example.run("ahf", "list").stdout
    without_the_example.run("ahf", "verify", "vendor/notes@1")
