"""Define `ahf score`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.plugin import BadCorpus, json_option, print_facts, print_json, print_table
from adapterhub_fin_markets.cli.tables import named_columns

if TYPE_CHECKING:
    from adapterhub_fin_markets.scoring.score import Scores

SHOWN = 30  # eras, of which text prints the last; --json has all
FILE = click.Path(exists=True)


@click.command("score")
@click.argument("predictions", type=FILE)
@click.option("--against", required=True, type=FILE, metavar="TABLE", help="Table of targets, or of prices.")
@click.option(
    "--metric",
    default="numerai_corr",
    show_default=True,
    metavar="NAMES",
    help="numerai_corr, rank_ic, mcc, contribution; separated by commas.",
)
@click.option(
    "--era",
    default="week",
    show_default=True,
    metavar="ERA",
    help="day, week or month of the decision (UTC), or a column of the predictions.",
)
@click.option("--meta", type=FILE, metavar="TABLE", help="Predictions of a meta model, for contribution.")
@click.option("--neutralise-against", "factors", type=FILE, metavar="TABLE", help="Factors, such as features.")
@click.option(
    "--horizon",
    type=click.IntRange(min=1),
    metavar="BARS",
    help="From a target's first price to its last; 5 of prices. Of a table: its distinct times.",
)
@click.option(
    "--next", is_flag=True, help="Join each prediction with the next target to begin, not with that of its own time."
)
@click.option("--unscaled", is_flag=True, help="Of prices: score against returns, not returns over volatility.")
@click.option("--flat-below", type=click.FloatRange(min=0), default=0.0, help="For mcc: a smaller target is flat.")
@click.option("--quarters", is_flag=True, help="Targets are Numerai's, 0 to 1: contribution counts in quarters.")
@click.option("--placebo", type=click.IntRange(min=0), default=0, metavar="SHIFTS", help="Compare with shifts in time.")
@click.option("--leave-out", is_flag=True, help="Leave out, and count, what has no score, factors or meta.")
@click.option("--resamples", type=click.IntRange(min=100), default=2000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of bootstrap and placebo.")
@click.option("--calendar", metavar="CODE", help="Exchange of --against, where it is a table of prices.")
@click.option("--interval", metavar="LENGTH", help="Length of a bar of those prices, such as 1d (default) or 1h.")
@click.option("--timezone", metavar="ZONE", help="Zone of times that are written without one.")
@click.option("--date-format", metavar="FORMAT", help="How dates are written, such as %d.%m.%Y or unix_ms.")
@click.option("--column", "columns", multiple=True, metavar="OURS=THEIRS", help="A column of the predictions.")
@click.option("--target-column", "target_columns", multiple=True, metavar="OURS=THEIRS", help="One of the targets.")
@json_option
def command(
    predictions: str,
    against: str,
    metric: str,
    factors: str | None,
    calendar: str | None,
    interval: str | None,
    columns: tuple[str, ...],
    target_columns: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Score predictions against what came after them, era by era.

    PREDICTIONS is a table of signals, or any .csv or .parquet with time, ticker and score. A target must begin strictly
    after the decision. Each metric has its mean over eras, their standard deviation, the ratio of both, and the
    interval of the mean by the stationary bootstrap over eras.

    \b
    Examples:
      ahf score signals.parquet --against btc.parquet --metric rank_ic,mcc --era month
      ahf score predictions.csv --against targets.csv --timezone UTC --era era --json
      ahf score signals.parquet --against targets.parquet --neutralise-against features.parquet --placebo 200
    """
    from adapterhub_fin_markets.scoring.score import score

    scores = score(
        predictions,
        _against(against, calendar, interval),
        factors=factors,
        metrics=[name.strip() for name in metric.split(",") if name.strip()],
        columns=named_columns(columns),
        target_columns=named_columns(target_columns, "--target-column"),
        shown=True,
        **options,
    )
    scores = replace(scores, facts={**scores.facts, "against": Path(against).name})
    if as_json:
        print_json(scores.record())
    else:
        _print(scores)


def _against(against: str, calendar: str | None, interval: str | None) -> Any:
    """Return the prices that a table holds; the path of a table that is none. Raises BadPrices, and BadCorpus."""
    from adapterhub_fin_markets.prices.stored import stored_digest
    from adapterhub_fin_markets.prices.tables import read_prices

    path = Path(against)
    if calendar is None and interval is None:
        try:
            is_prices = path.suffix in (".parquet", ".pq") and stored_digest(path) is not None
        except (OSError, ValueError) as error:  # what pyarrow raises of a file that is no parquet
            raise BadCorpus(f"{path} can't be read as parquet ({error}): give another file") from error
        if not is_prices:
            return against
    return read_prices(path, calendar=calendar, interval=interval)


def _print(scores: Scores) -> None:
    """Print the facts, the scores by era, and what there is to say of their mean."""
    plain = {name: value for name, value in scores.facts.items() if name not in ("strict", "marks")}
    print_facts([(name.replace("_", " "), _text(value)) for name, value in plain.items() if value not in (None, [])])
    if scores.facts.get("strict") is False:
        for mark in scores.facts["marks"] or ["the signals may have known the future"]:
            click.secho(f"LOOK-AHEAD: {mark}", fg="red")
    click.echo()
    names = list(scores.metrics)
    records = {name: scored.record() for name, scored in scores.metrics.items()}
    eras = list(scores.rows)
    if len(eras) > SHOWN:
        click.echo(f"the last {SHOWN} of {len(eras):,} eras; --json has all")
    rows = [(era, f"{scores.rows[era]:,}", *(_cell(records[name], era) for name in names)) for era in eras[-SHOWN:]]
    print_table(("era", "rows", *names), rows)
    click.echo()
    print_table(("over eras", *names), _summary(records))
    for name in names:
        for reason, count in _counted(records[name]["undefined"]).items():
            click.echo(f"{name}: {count:,} eras left out: {reason}")


def _summary(records: Mapping[str, Any]) -> list[Sequence[str]]:
    """Return the lines on the mean over eras, one column a metric."""
    lines: list[Sequence[str]] = [
        (name, *(_number(record[name]) for record in records.values())) for name in ("mean", "sd", "ratio")
    ]
    lines.append(("interval", *(_interval(record) for record in records.values())))
    if any(record["placebo"] for record in records.values()):
        placebos = [record["placebo"] for record in records.values()]
        lines.append(("placebo mean", *(_number(placebo["mean"]) for placebo in placebos)))
        lines.append(("p", *(f"{placebo['p_value']:.4f} ({placebo['shifts']:,} shifts)" for placebo in placebos)))
    return lines


def _interval(record: Mapping[str, Any]) -> str:
    if record["interval"] is None:
        return f"none: {record['reason']}"
    low, high = record["interval"]
    return f"{low:.4f} to {high:.4f}"


def _counted(undefined: Mapping[str, str]) -> dict[str, int]:
    reasons = [*undefined.values()]
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}


def _cell(record: Mapping[str, Any], era: str) -> str:
    return _number(record["eras"].get(era))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
