"""Add the options that name a part of a corpus, and how its rows are drawn, which several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from adapterhub_fin.cli.completing import SettingType, corpus_keys

F = TypeVar("F", bound=Callable[..., Any])


def part_options(purpose: str, default: str | None = "test") -> Callable[[F], F]:
    """Return a decorator that adds --set, for options of a corpus, and --split, whose help begins with `purpose`.

    With the default None, a command can tell whether --split was given.
    """

    def add(function: F) -> F:
        function = click.option(
            "--split",
            type=click.Choice(["train", "validation", "test", "all"]),
            default=default,
            show_default=default is not None,
            help=f"{purpose}; all makes no split.",
        )(function)
        return click.option(
            "--set",
            "overrides",
            multiple=True,
            type=SettingType(corpus_keys),
            metavar="KEY=VALUE",
            help="An option of the corpus: --set rows=200.",
        )(function)

    return add


def units_option(function: F) -> F:
    """Add --units."""
    return click.option(
        "--units",
        type=click.Choice(["row", "group"]),
        help="What is resampled together; by default the rows of one group, or with one text.",
    )(function)
