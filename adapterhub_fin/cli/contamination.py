"""Define `ahf contamination`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.cli.options import trust_option
from adapterhub_fin.plugin.console import json_option, print_facts, print_json, print_table

if TYPE_CHECKING:
    from adapterhub_fin.engine.contamination.result import Contamination

KNOWS = 3  # the exit status; 1 is an error and 2 wrong usage, as of every command


@click.command("contamination")
@click.argument("base")
@click.option(
    "--probes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Rows with text, options, answer, available_at; by default decisions of the FOMC since 2000.",
)
@click.option("--end", metavar="DATE", help="The last day or instant that the base may know of, if not as recorded.")
@click.option("--timezone", metavar="ZONE", help="Of the probes' times without one, such as America/New_York.")
@click.option("--alpha", type=float, default=0.05, show_default=True, help="The rate of false alarms.")
@click.option("--power", type=float, default=0.8, show_default=True, help="At which the smallest excess is computed.")
@click.option("--independent", is_flag=True, help="The events don't depend on one another in time.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of what is drawn.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Sentences per forward pass.")
@click.option("--report", metavar="FOLDER", help="Write a page with pictures there.")
@click.option("--download", is_flag=True, help="Allow downloading the base from the Hub.")
@trust_option
@json_option
def command(base: str, as_json: bool, **options: Any) -> None:
    """Ask a base about dated facts: does it know of what came after its knowledge end?

    BASE is a folder, an id or a stored version (acme/fin@1) of a causal or a masked language model. The probability of
    each probe's right option is compared with what frequencies give, before the end and after it. The verdict is `knows
    of what came after its end`, with the exit status 3, `no sign`, or `no power` where the probes couldn't tell; then
    the status is 0.

    \b
    Examples:
      ahf contamination bases/fin-2013 --end 2013-12-31
      ahf contamination bases/fin-2013 --probes facts.jsonl --end 2013-12-31 --report contamination
      ahf contamination acme/fin@1 --json
    """
    from adapterhub_fin import contamination

    result = contamination(base, **options)
    if as_json:
        print_json(result.body())
    else:
        _print(result)
    if result.verdict.startswith("knows"):
        click.get_current_context().exit(KNOWS)


def _print(result: Contamination) -> None:
    from adapterhub_fin.engine.contamination.report import COLUMNS, cells
    from adapterhub_fin_registry.model.knowledge import format_instant

    sides = (result.before, result.after)
    print_facts(
        [
            ("base", f"{result.base}, a {result.kind} language model"),
            ("knowledge end", f"{format_instant(result.end)} ({result.evidence})"),
            ("probes", f"{result.probes} ({result.probes_digest})"),
            *([("options", result.note)] if result.note else []),
            *((f"{side.name} the end", side.reason) for side in sides if side.reason),
        ]
    )
    click.echo()
    print_table(("side", *COLUMNS), [(side.name, *cells(side)) for side in sides])
    for each in result.interactions:
        click.echo()
        found = each.reason or f"slope {each.slope:+.3f}, p {each.p:.3g}"
        click.echo(f"forecasts {each.side} the end: {each.facts:,} facts, accuracy {each.accuracy:.3f}, {found}")
    click.echo()
    click.echo(result.sentence)
    if result.page is not None:
        click.echo(f"{result.page}")
