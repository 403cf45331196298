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
KINDS = ("method", "head", "corpus", "merger", "metric", "base", "store")
# Each template and its path in the new package; those of a kind stand in a folder of its own.
SHARED = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "__init__.py": "src/{package}/__init__.py",
}
OF_KIND = {
    "{kind}/hooks.py": "src/{package}/hooks.py",
    "{kind}/options.py": "src/{package}/options.py",
    "{kind}/{kind}.py": "src/{package}/{kind}.py",
    "{kind}/test.py": "tests/test_{slug}.py",
}


@click.command("new-plugin")
@click.argument("distribution", metavar="NAME")
@click.option("--kind", type=click.Choice(KINDS), default="method", show_default=True, help="What it brings.")
@click.option("--as", "called", metavar="NAME", help="What that is called; by default NAME without adapterhub-fin-.")
@click.option("--into", metavar="DIR", type=click.Path(path_type=Path), help="The folder to write; by default ./NAME.")
def command(distribution: str, kind: str, called: str | None, into: Path | None) -> None:
    """Create a plugin package to start from.

    NAME is the distribution that pip will install. The package holds one working plugin of a kind, its options, and a
    test of three lines that passes.

    \b
    Examples:
      ahf new-plugin adapterhub-fin-tilt
      ahf new-plugin acme-heads --kind head --as acme-direction --into ~/code/acme-heads
    """
    name = called or distribution.removeprefix(PREFIX)
    folder = (into or Path(distribution)).expanduser()
    _check(distribution, kind, name, folder)
    _write(_words(distribution, kind, name), folder)
    click.echo(f"{folder} holds the {kind} {name}; to try it:", err=True)
    shown = f"ahf plugins --options {kind}:{name}" if list(folder.glob("src/*/options.py")) else "ahf plugins"
    click.echo(f"cd {shlex.quote(str(folder))}\npip install -e .\npytest\n{shown}")


def _check(distribution: str, kind: str, name: str, folder: Path) -> None:
    """Refuse names that could not be installed or looked up, before anything is written."""
    from adapterhub_fin.plugin import descriptions
    from adapterhub_fin.plugin.manager import extensions

    package = distribution.replace("-", "_")
    if not NAME.fullmatch(distribution) or keyword.iskeyword(package):
        raise _refused("NAME", f"{distribution!r} must be lower-case words joined by -, such as {PREFIX}tilt.")
    if package in {"adapterhub_fin", "adapterhub_fin_plugins", "adapterhub_fin_registry"}:
        raise _refused("NAME", f"{distribution!r} is a package of this project: choose another, such as {PREFIX}tilt.")
    if not descriptions.NAME.fullmatch(name):
        raise _refused("--as", f"{name!r} must be lower-case words joined by one of . _ : -")
    [description] = [each for each in descriptions.Description.__subclasses__() if each.kind == kind]
    if name in extensions().all(description):
        owner = extensions().owner(extensions().get(description, name)).label
        raise _refused("--as", f"{name!r} is a {kind} of {owner}: choose another name with --as.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise _refused("--into", f"{folder} is not empty: name another folder with --into.")


def _refused(parameter: str, sentence: str) -> click.BadParameter:
    return click.BadParameter(sentence, param_hint=parameter)


def _words(distribution: str, kind: str, name: str) -> Mapping[str, str]:
    from adapterhub_fin._version import __version__

    parts = re.split(r"[._:-]", name)
    title, slug = "".join(part.capitalize() for part in parts), "_".join(parts)
    return {
        "distribution": distribution,
        "package": distribution.replace("-", "_"),
        "kind": kind,
        "name": name,
        "slug": slug if slug.isidentifier() and not keyword.iskeyword(slug) else f"{kind}_{slug}",
        "title": title if title.isidentifier() else f"{kind.capitalize()}{title}",  # a class can't begin with a digit
        "version": __version__,
    }


def _write(words: Mapping[str, str], folder: Path) -> None:
    from importlib.resources import files
    from string import Template

    templates = files("adapterhub_fin.cli").joinpath("templates", "plugin")
    for template, target in {**SHARED, **OF_KIND}.items():
        source = templates.joinpath(f"{template.format_map(words)}.txt")
        if not source.is_file():  # not every kind has options
            continue
        path = folder / target.format_map(words)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(source.read_text(encoding="utf-8")).substitute(words), encoding="utf-8")
