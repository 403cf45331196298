"""Options and arguments that several verbs share, completion included."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.table import Table
    from rich.tree import Tree

    from adapterhub_fin_registry.remote_index import RemoteIndex

F = TypeVar("F", bound=Callable[..., Any])


class ReferenceType(click.ParamType[str]):
    """A reference such as acme/tone@3; completes from the local registry."""

    name = "reference"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        from adapterhub_fin.registries import RegistryChain

        here = RegistryChain.configured().members
        registries = RegistryChain([member for member in here if not member.registry.is_remote])  # a key asks no Hub
        name, at, _ = incomplete.partition("@")
        if not at:
            return [CompletionItem(found) for found in registries.names() if found.startswith(incomplete)]
        registry = registries.answering(name)
        known = [str(version.number) for version in registry.versions(name)] + sorted(registry.aliases(name))
        return [CompletionItem(f"{name}@{each}") for each in known if f"{name}@{each}".startswith(incomplete)]


REFERENCE = ReferenceType()


def json_option(function: F) -> F:
    """--json: print data for a program."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def as_of_options(function: F) -> F:
    """Add --as-of and --ignore-base: what was knowable on a date."""
    function = click.option(
        "--as-of", metavar="DATE", help="Only what was trained on knowledge before DATE (00:00 UTC), or 'now'."
    )(function)
    return click.option(
        "--ignore-base",
        "include_base",
        flag_value=False,
        default=True,
        type=bool,
        help="With --as-of: leave out what the base knew.",
    )(function)


def on_option(function: F) -> F:
    """--on: a place of a store in the place of the registries."""
    return click.option(
        "--on", metavar="hf://[ORG[/NAME]]", help="What is on a Hub there, in the place of the registries."
    )(function)


def placed(on: str) -> RemoteIndex:
    """The versions at a place of a store; imported only where one is asked."""
    from adapterhub_fin.publishing import catalogue

    return catalogue(on)


def lock_option(function: F) -> F:
    """--lock: hold references to what they mean now."""
    return click.option(
        "--lock",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="Write what the reference means to FILE, and hold it to that from then on.",
    )(function)


def dated_by(as_of: str | None, include_base: bool) -> dict[str, Any]:
    """Return what a point-in-time answer says of itself, in every output: the date, and whether the base counts."""
    return {"as_of": as_of, "include_base": include_base} if as_of else {}


def point_in_time(as_of: str, include_base: bool) -> str:
    """Return a date as messages name it."""
    return f"as of {as_of}{'' if include_base else ', without the base'}"


def say_answering(reference: str, as_of: str | None, include_base: bool) -> None:
    """Name the version that answers on standard error, with the date it was chosen by."""
    note = f" ({point_in_time(as_of, include_base)})" if as_of else ""
    click.echo(f"{reference}{note}", err=True)


def base_options(function: F) -> F:
    """--base, --download and --batch-size: how a version is loaded."""
    function = click.option("--base", metavar="FOLDER|ID", help="The base, where it is not found by its recorded id.")(
        function
    )
    function = click.option("--download", is_flag=True, help="Let the base be downloaded from the Hub.")(function)
    return click.option(
        "--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Texts of one forward pass."
    )(function)


def texts_argument(function: F) -> F:
    """TEXTS, or --file with one text a line; `-` is standard input."""
    function = click.option(
        "--file", "file", type=click.Path(path_type=Path, allow_dash=True), help="One text a line; - is standard input."
    )(function)
    return click.argument("texts", nargs=-1)(function)


def read_texts(texts: Sequence[str], file: Path | None) -> list[str]:
    """Return the texts of a command line, each checked; UsageError where there are none, BadText for what is none."""
    from adapterhub_fin.plugin.texts import check_text, lines

    found = [check_text(text, f"text {number} of the command line") for number, text in enumerate(texts, 1)]
    if file is not None:
        found += lines(_file_lines(file), str(file))
    if not found:
        raise click.UsageError("Give a text, or --file FILE with one text a line.")
    return found


def _file_lines(file: Path) -> list[bytes]:
    from adapterhub_fin.errors import BadText

    try:
        with click.open_file(str(file), "rb") as stream:
            return list(stream)
    except OSError as error:
        raise BadText(f"{file} can't be read ({error.strerror}): name a file with one text a line") from error


def interval_text(ends: Sequence[float] | None) -> str:
    """An interval's ends, as tables show it; nothing where there is none."""
    return "" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"


def printable(text: str) -> str:
    """A text of others, without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def print_json(value: Any) -> None:
    """JSON on standard output, for a program or a person."""
    from adapterhub_fin.cli.streams import speaks_unicode

    indent = 2 if sys.stdout.isatty() else None
    click.echo(json.dumps(value, ensure_ascii=not speaks_unicode(), indent=indent, default=str))


def print_facts(rows: Sequence[tuple[str, Any]]) -> None:
    """Names and values in two columns, without a heading."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:<{width}}  {value}")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table as wide as the terminal; in a pipe, as wide as its cells, so that nothing is cut."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    print_drawn(table)


def print_drawn(drawing: Table | Tree) -> None:
    """What rich draws: as wide as the terminal, and in a pipe as wide as it needs."""
    from rich.console import Console

    if sys.stdout.isatty():
        Console().print(drawing)
        return
    console = Console(width=10_000, no_color=True)
    with console.capture() as captured:
        console.print(drawing, soft_wrap=True)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())
