"""`ahf new-plugin` writes a package that installs and passes its own contract as generated."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from adapterhub_fin.cli.new_plugin import KINDS, command

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Environment


def new_plugin(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments)])


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_writes_installs_and_passes_its_own_test(
    kind: str, environment: Environment, wheel_of: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "adapterhub-fin-tilt"
    environment.run("ahf", "new-plugin", "adapterhub-fin-tilt", "--kind", kind, "--into", folder)
    environment.install(wheel_of(folder))
    plugins = json.loads(environment.run("ahf", "plugins", "--json").stdout)["plugins"]
    gives = {(plugin["distribution"], each["kind"], each["name"]) for plugin in plugins for each in plugin["gives"]}
    assert ("adapterhub-fin-tilt", kind, "tilt") in gives
    assert "passed" in environment.pytest(folder)
    environment.uninstall("adapterhub-fin-tilt")


def test_it_prints_the_next_commands(tmp_path: Path) -> None:
    done = new_plugin("acme-peft", "--as", "acme:2bit", "--into", tmp_path / "here")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        f"cd {tmp_path / 'here'}",
        "pip install -e .",
        "pytest",
        "ahf plugins --options method:acme:2bit",
    ]
    project = tomllib.loads((tmp_path / "here" / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["adapterhub_fin"] == {"acme-peft": "acme_peft.hooks"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["tilt", "acme:2bit", "2bit", "a.b_c-d", "class"])
def test_every_file_it_writes_compiles(kind: str, name: str, tmp_path: Path) -> None:
    assert new_plugin("acme-peft", "--kind", kind, "--as", name, "--into", tmp_path / "x").exit_code == 0
    sources = list((tmp_path / "x").rglob("*.py"))
    assert len(sources) == (4 if kind in {"metric", "base", "store"} else 5)  # those have no options
    for source in sources:
        compile(source.read_text(), source, "exec")


@pytest.mark.parametrize("name", ["Tilt", "tilt_", "2bit", "tilt--x", "../tilt", "class", "adapterhub-fin", ""])
def test_a_name_outside_the_grammar_is_refused(name: str, tmp_path: Path) -> None:
    done = new_plugin(name, "--as", "tilt", "--into", tmp_path / "x")
    assert done.exit_code == 2
    assert "adapterhub-fin-tilt" in done.stderr
    assert not (tmp_path / "x").exists()


def test_a_method_that_has_an_owner_is_refused(tmp_path: Path) -> None:
    done = new_plugin("adapterhub-fin-lora", "--into", tmp_path / "x")
    assert done.exit_code == 2
    assert "shipped" in done.stderr and "--as" in done.stderr


def test_a_folder_that_is_not_empty_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    done = new_plugin("adapterhub-fin-tilt", "--into", tmp_path)
    assert done.exit_code == 2
    assert "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
