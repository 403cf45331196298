"""Define how commands are told what tables of prices hold, and how they are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adapterhub_fin.plugin import print_facts, print_json

if TYPE_CHECKING:
    from adapterhub_fin_markets.prices.panel import Prices

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.argument("tables", nargs=-1, required=True, type=click.Path(exists=True), metavar="TABLE..."),
    click.option(
        "--calendar",
        metavar="CODE",
        help="Exchange of the bars: XNYS, 24/7, weekdays; files that were fetched hold it.",
    ),
    click.option("--interval", metavar="LENGTH", help="Length of a bar, such as 1d (default), 1h or 15min."),
    click.option("--timezone", metavar="ZONE", help="Zone of times that are written without one."),
    click.option("--column", "columns", multiple=True, metavar="OURS=THEIRS", help="Read a column by another name."),
    click.option("--date-format", metavar="FORMAT", help="How dates are written, such as %d.%m.%Y or unix_ms."),
    click.option(
        "--decimal", type=click.Choice([".", ","]), help="Decimal sign, where the other one separates thousands."
    ),
)


def table_options(function: F) -> F:
    """Add the tables, and the options that say how they are read, to a command; see `table_reading`."""
    for add in reversed(_OPTIONS):
        function = add(function)
    return function


def table_reading(columns: tuple[str, ...], **given: Any) -> Mapping[str, Any]:
    """Return the arguments of `read_prices` for what a command was given. Raises UsageError for a bad --column."""
    return {**given, "columns": named_columns(columns)}


def named_columns(texts: tuple[str, ...], option: str = "--column") -> dict[str, str]:
    """Return the names of columns in a file by ours, of OURS=THEIRS. Raises UsageError for another form."""
    pairs = [text.partition("=") for text in texts]
    for ours, separator, _ in pairs:
        if not separator:
            raise click.UsageError(f"{option} {ours} must read OURS=THEIRS, such as close=Last.")
    return {ours: theirs for ours, _, theirs in pairs}


def print_stored(prices: Prices, out: str, digest: str, as_json: bool) -> None:
    """Print what was written to a file of prices, as JSON or as text."""
    facts = {
        "file": out,
        "instruments": len(prices.tickers),
        "bars": int((prices.close == prices.close).sum()),
        "first": f"{prices.closes_at[0]}Z",
        "last": f"{prices.closes_at[-1]}Z",
        "flagged": len(prices.findings),
        "repaired": dict(prices.repairs),
        "universe": prices.universe,
        "digest": digest,
    }
    if as_json:
        print_json(facts)
    else:
        repaired = ", ".join(f"{count:,} {kind}" for kind, count in prices.repairs.items()) or "nothing"
        print_facts([*{**facts, "repaired": repaired}.items()])
