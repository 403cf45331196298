"""Test the walls: imports run one way, every hook and command is documented and tested, `__all__` is complete."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

import adapterhub_fin
from adapterhub_fin import cli, errors
from adapterhub_fin.cli import GROUP, SUMMARIES
from adapterhub_fin.plugin import hooks

ROOT = Path(__file__).parents[2]
ENTRIES = [entry for entry in entry_points(group=GROUP) if entry.dist and entry.dist.name == "adapterhub-fin"]
COMMANDS = sorted(entry.name for entry in ENTRIES)
PLUGIN_COMMANDS = {entry.name for entry in ENTRIES if not entry.module.startswith("adapterhub_fin.")}
HOOKS = sorted(name for name in vars(hooks) if name.startswith("ahf_"))
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py")))


def test_arrows_run_plugins_to_core_to_registry() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--config", str(ROOT / "pyproject.toml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_and_tested(hook: str) -> None:
    assert f"`{hook}(" in (ROOT / "docs" / "reference" / "plugin_api.md").read_text(encoding="utf-8")
    assert re.search(rf"\b{hook}\b", TESTS.replace(Path(__file__).read_text(encoding="utf-8"), ""))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented_and_tested_and_its_summary_is_its_help(name: str) -> None:
    assert f"## ahf {name}\n" in (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert re.search(rf"""(run_ahf|loaded_by|run)\([^)]*"{name}\"""", TESTS), "a test types it"
    command = cli.group.get_command(click.Context(cli.group), name)
    assert command is not None and command.help is not None
    assert name in PLUGIN_COMMANDS or command.help.strip().splitlines()[0] == SUMMARIES[name]
    for part in command.commands.values() if isinstance(command, click.Group) else [command]:
        typed = name if part is command else f"{name} {part.name}"
        assert part.help and (f"  ahf {typed} " in part.help or f"  ahf {typed}\n" in part.help), (
            "help shows an example"
        )


def test_the_summaries_are_of_the_commands_there_are() -> None:
    assert set(SUMMARIES) == set(COMMANDS) - PLUGIN_COMMANDS


def test_the_error_tree_in_the_docstring_is_the_tree() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    real = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.AdapterHubError) and value is not errors.AdapterHubError
    }
    assert drawn == real


def test_the_face_names_what_it_has() -> None:
    for name in adapterhub_fin.__all__:
        assert getattr(adapterhub_fin, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        adapterhub_fin.nothing  # noqa: B018


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page: its headings as GitHub and MyST slug them, and its own `<a id>`."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_the_docs_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", text):
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name} links to {target}"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{page.name} links to {target}#{anchor}"


def test_every_page_stands_in_an_index() -> None:
    for index in sorted((ROOT / "docs").rglob("index.md")):
        listed = set(re.findall(r"^([\w/-]+)$", index.read_text(encoding="utf-8"), re.MULTILINE))
        here = {path.stem for path in index.parent.glob("*.md") if path.name != "index.md"}
        assert here <= listed, f"{index} lacks {sorted(here - listed)}"


@pytest.mark.parametrize("package", ["adapterhub_fin", "adapterhub_fin.plugin", "adapterhub_fin_registry"])
def test_every_public_name_stands_once_in_the_stub_and_is_there(package: str) -> None:
    module = importlib.import_module(package)
    stub = ast.parse(Path(str(module.__file__)).with_suffix(".pyi").read_text(encoding="utf-8"))
    names = [alias.name for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(names) == sorted(set(names)) == sorted(module.__all__)
    for name in names:
        assert getattr(module, name) is not None and name in dir(module)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # noqa: B018


@pytest.mark.parametrize("package", ["adapterhub_fin", "adapterhub_fin.plugin", "adapterhub_fin_registry"])
def test_no_module_has_the_name_of_a_public_function(package: str) -> None:
    """Python binds a module to its package when it is imported, over the public name: whoever comes later gets that."""
    module = importlib.import_module(package)
    assert not {found.name for found in pkgutil.iter_modules(module.__path__)} & set(module.__all__)


@pytest.mark.parametrize(("old", "new"), [("Site", "AttachContext"), ("Known", "KnownAt")])
def test_a_retired_name_names_its_successor(old: str, new: str) -> None:
    with pytest.raises(AttributeError, match=rf"adapterhub_fin\.{old} is now adapterhub_fin\.{new}"):
        getattr(adapterhub_fin, old)
