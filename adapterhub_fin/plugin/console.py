"""Print what a command answers: JSON for programs, tables and facts for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.table import Table
    from rich.tree import Tree

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """Add --json: print data for a program."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def speaks_unicode() -> bool:
    """Return whether standard output can encode every character."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")


def printable(text: str) -> str:
    """Return a third party's text with every unprintable character, such as a control code, replaced by `?`."""
    return "".join(character if character.isprintable() else "?" for character in text)


def print_json(value: Any) -> None:
    """Print JSON: indented on a terminal, one line in a pipe."""
    indent = 2 if sys.stdout.isatty() else None
    click.echo(json.dumps(value, ensure_ascii=not speaks_unicode(), indent=indent, default=str))


def print_facts(rows: Sequence[tuple[str, Any]]) -> None:
    """Print names and values in two columns, without a heading."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:<{width}}  {value}")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table as wide as the terminal, or in a pipe as wide as its cells, so that nothing is cut.

    Only prose wraps, between words. Where names alone are wider than the terminal, each row is printed as a block.
    """
    from rich.table import Table

    cells = [[str(cell) for cell in row] for row in rows]
    words = [_longest_word([column, *(row[number] for row in cells)]) for number, column in enumerate(columns)]
    if sys.stdout.isatty() and sum(words) + 2 * (len(columns) - 1) > _terminal_width():
        for number, row in enumerate(cells):
            block = Table.grid(padding=(0, 2))
            block.add_column(no_wrap=True, style="bold")
            block.add_column(overflow="fold")
            for column, cell in zip(columns, row, strict=True):
                block.add_row(column, cell)
            click.echo("" if number else None, nl=bool(number))
            print_drawn(block)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, width in zip(columns, words, strict=True):
        table.add_column(column, overflow="fold", min_width=width)
    for row in cells:
        table.add_row(*row)
    print_drawn(table)


def _longest_word(texts: Sequence[str]) -> int:
    from rich.cells import cell_len

    return max(cell_len(word) for text in texts for word in (text.split() or [""]))


def _terminal_width() -> int:
    from rich.console import Console

    return Console().width


def print_drawn(drawing: Table | Tree) -> None:
    """Print a rich table or tree: as wide as the terminal, or in a pipe as wide as it needs."""
    from rich.console import Console

    if sys.stdout.isatty():
        Console().print(drawing)
        return
    console = Console(width=10_000, no_color=True)
    with console.capture() as captured:
        console.print(drawing, soft_wrap=True)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())
