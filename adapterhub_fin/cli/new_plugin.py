"""Define `ahf new-plugin`."""

from __future__ import annotations

import keyword
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import click

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
PREFIX = "adapterhub-fin-"
# Each template and its path in the new package.
FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "__init__.py": "src/{package}/__init__.py",
    "hooks.py": "src/{package}/hooks.py",
    "options.py": "src/{package}/options.py",
    "method.py": "src/{package}/method.py",
    "test_method.py": "tests/test_{slug}.py",
}


@click.command("new-plugin")
@click.argument("name")
@click.option("--method", metavar="NAME", help="The name of its method; by default NAME without adapterhub-fin-.")
@click.option("--into", metavar="DIR", type=click.Path(path_type=Path), help="The folder to write; by default ./NAME.")
def command(name: str, method: str | None, into: Path | None) -> None:
    """Create a plugin package to start from.

    NAME is the distribution that pip will install. The package holds one working method, its options, and a test of
    three lines that passes.

    \b
    Examples:
      ahf new-plugin adapterhub-fin-tilt
      ahf new-plugin acme-peft --method acme-lora --into ~/code/acme-peft
    """
    method = method or name.removeprefix(PREFIX)
    folder = (into or Path(name)).expanduser()
    _check(name, method, folder)
    words = _words(name, method)
    _write(words, folder)
    click.echo(f"{folder} holds the method {method}; to try it:", err=True)
    click.echo(f"cd {shlex.quote(str(folder))}\npip install -e .\npytest\nahf plugins --options method:{method}")


def _check(name: str, method: str, folder: Path) -> None:
    """Refuse names that could not be installed or looked up, before anything is written."""
    from adapterhub_fin.plugin.descriptions import NAME as METHOD_NAME
    from adapterhub_fin.plugin.descriptions import Method
    from adapterhub_fin.plugin.manager import extensions

    package = name.replace("-", "_")
    if not NAME.fullmatch(name) or keyword.iskeyword(package):
        raise _refused("NAME", f"{name!r} must be lower-case words joined by -, such as {PREFIX}tilt.")
    if package in {"adapterhub_fin", "adapterhub_fin_plugins", "adapterhub_fin_registry"}:
        raise _refused("NAME", f"{name!r} is a package of this project: choose another, such as {PREFIX}tilt.")
    if not METHOD_NAME.fullmatch(method):
        raise _refused("--method", f"{method!r} must be lower-case words joined by one of . _ : -")
    if method in extensions().all(Method):
        owner = extensions().owner(extensions().get(Method, method)).label
        raise _refused("--method", f"{method!r} is a method of {owner}: choose another name with --method.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise _refused("--into", f"{folder} is not empty: name another folder with --into.")


def _refused(parameter: str, sentence: str) -> click.BadParameter:
    return click.BadParameter(sentence, param_hint=parameter)


def _words(name: str, method: str) -> Mapping[str, str]:
    from adapterhub_fin._version import __version__

    parts = re.split(r"[._:-]", method)
    title = "".join(part.capitalize() for part in parts)
    return {
        "distribution": name,
        "package": name.replace("-", "_"),
        "method": method,
        "slug": "_".join(parts),
        "title": title if title.isidentifier() else f"Method{title}",  # a class can't begin with a digit
        "version": __version__,
    }


def _write(words: Mapping[str, str], folder: Path) -> None:
    from importlib.resources import files
    from string import Template

    templates = files("adapterhub_fin.cli").joinpath("templates", "plugin")
    for template, target in FILES.items():
        path = folder / target.format_map(words)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = Template(templates.joinpath(f"{template}.txt").read_text(encoding="utf-8")).substitute(words)
        path.write_text(text, encoding="utf-8")
