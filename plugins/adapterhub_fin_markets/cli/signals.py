"""Define `ahf signals`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from adapterhub_fin.plugin import checked, json_option, print_facts, print_json
from adapterhub_fin_markets.cli.corpus import set_options

if TYPE_CHECKING:
    from adapterhub_fin_markets.signals.table import Signals

_SHOWN: Final = ("texts", "duplicates", "unread", "refused", "versions", "yanked_versions", "marks")


@click.command("signals")
@click.argument("reference")
@click.option("--table", type=click.Path(path_type=Path), help="A .csv, .tsv, .json, .jsonl or .parquet file of texts.")
@click.option("--text", "text", multiple=True, metavar="COLUMN", help="Column of the text; several are joined.")
@click.option("--time", "time", metavar="COLUMN", help="Column of when a text was published.")
@click.option("--ticker", multiple=True, metavar="NAME", help="Column of the ticker, or the ticker; several may be.")
@click.option("--corpus", metavar="NAME", help="A corpus of dated texts, instead of --table.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Give an option of the corpus.")
@click.option("--as-of-row", is_flag=True, help="For each text the version that its own time allows; the default.")
@click.option("--as-of", metavar="DATE", help="One version for all texts: that of DATE, or 'now'.")
@click.option("--ignore-base", is_flag=True, help="Leave out what the base knew, and mark the table.")
@click.option(
    "--yanked",
    type=click.Choice(("as_then", "before_yank", "left_out")),
    default="as_then",
    show_default=True,
    help="What a version counts for that was yanked since.",
)
@click.option("--allow-lookahead", is_flag=True, help="Answer texts whose future a version may know, and mark it all.")
@click.option("--calendar", default="24/7", show_default=True, help="Exchange at whose closes decisions are taken.")
@click.option(
    "--interval", default="1d", show_default=True, help="Bars at whose closes decisions are taken: 1h, 15min."
)
@click.option(
    "--window", default="session", show_default=True, help="How far back a decision reads: 3d, 12h or session."
)
@click.option("--aggregate", metavar="NAME", help="confidence, mean, majority, decay, or one of a plugin.")
@click.option("--half-life", type=float, metavar="DAYS", help="Of the aggregate decay.")
@click.option("--threshold", type=float, help="Least confidence of an actionable signal.")
@click.option("--bound", type=float, help="Of a regression: estimates this far from 0 or less are HOLD.")
@click.option("--direction", multiple=True, metavar="LABEL=SELL|HOLD|BUY", help="What a label of the head says.")
@click.option("--watch", type=click.Path(path_type=Path), metavar="FOLDER", help="Go on: texts as they come in there.")
@click.option("--every", default=1.0, show_default=True, type=click.FloatRange(0.05), help="Seconds between looks.")
@click.option("--base", metavar="FOLDER|ID", help="The base, if its recorded id doesn't find it.")
@click.option("--download", is_flag=True, help="Allow downloading the base from the Hub.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Texts per forward pass.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Parquet file to write.")
@json_option
def command(reference: str, out: Path, as_json: bool, **given: Any) -> None:
    """Turn dated texts into signals: SELL, HOLD or BUY for each ticker at each close.

    A text is answered by the version that its own time allows, and refused where there is none. A decision a
    microsecond after the close reads the texts of its ticker that could be read strictly before it.

    \b
    Examples:
      ahf signals acme/tone --table news.csv --text title --time at --ticker symbol --out signals.parquet
      ahf signals acme/tone --table btc.csv --text text --time day --ticker BTC --set timezone=UTC --out btc.parquet
      ahf signals acme/tone --watch incoming --text title --time at --set group=symbol --out live.parquet
      ahf signals acme/tone --corpus fomc --set path=data/minutes --ticker SPY --calendar XNYS --out fomc.parquet
    """
    from adapterhub_fin_markets.signals.making import signals
    from adapterhub_fin_markets.signals.table import check_folder, write_signals

    check_folder(out)
    if given["watch"] is not None:
        _watch(reference, out, as_json, given)
        return
    corpus, tickers = _corpus(given)
    table = signals(
        reference,
        corpus,
        base=given["base"],
        download=given["download"],
        batch_size=given["batch_size"],
        progress=True,
        **_options(given, tickers),
    )
    write_signals(table, out)
    _print(summary(table, out), as_json)


def _watch(reference: str, out: Path, as_json: bool, given: dict[str, Any]) -> None:
    """Run a watch until SIGTERM or SIGINT comes, and print the table."""
    import signal
    import threading

    from adapterhub_fin_markets.signals.options import SignalOptions
    from adapterhub_fin_markets.signals.watching import Watch

    if given["table"] is not None or given["corpus"] is not None:
        raise click.UsageError("--watch reads a folder: leave --table and --corpus out.")
    corpus = set_options(given["sets"])
    if given["time"] is not None:
        corpus["published"] = given["time"]
    if given["text"]:
        corpus["text"] = given["text"][0] if len(given["text"]) == 1 else list(given["text"])
    options = checked(SignalOptions, _options(given, tuple(given["ticker"])), "signals")
    loading = {name: given[name] for name in ("base", "download", "batch_size")} | {"adapters": {}}
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watch = Watch(reference, given["watch"], out, options, corpus, loading, say=lambda line: click.echo(line, err=True))
    table = watch.run(stop, given["every"])
    if table is None:
        click.echo("nothing was decided", err=True)
    else:
        _print(summary(table, out), as_json)


def summary(table: Signals, out: Path) -> dict[str, Any]:
    """Return what is printed of signals that were written, in JSON's types."""
    signal = table.signal
    return {
        "out": str(out),
        "digest": table.digest,
        "rows": len(table),
        "tickers": len(table.tickers),
        "from": str(table.at[0]) if len(table) else None,
        "until": str(table.at[-1]) if len(table) else None,
        "sell": int((signal < 0).sum()),
        "hold": int((signal == 0).sum()),
        "buy": int((signal > 0).sum()),
        "actionable": int(table.actionable.sum()),
        **{name: table.facts[name] for name in _SHOWN},
    }


def _print(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    from adapterhub_fin import YankedVersion

    plain = {name: value for name, value in facts.items() if not isinstance(value, list | dict)}
    rows: list[tuple[str, Any]] = [(name, f"{v:,}" if isinstance(v, int) else v) for name, v in plain.items()]
    rows += [(f"version {each['reference']}", f"until {each['knowledge_end']}") for each in facts["versions"].values()]
    rows += [(f"refused, {reason}", f"{count:,}") for reason, count in facts["refused"].items()]
    rows += [("yanked", YankedVersion(**each).sentence("texts")) for each in facts["yanked_versions"]]
    rows += [("marked", mark) for mark in facts["marks"]]
    print_facts(rows)


def _corpus(given: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the corpus, and the tickers of texts that name none."""
    options, tickers = set_options(given["sets"]), tuple(given["ticker"])
    if (given["table"] is None) == (given["corpus"] is None):
        raise click.UsageError("Give --table FILE with --time COLUMN, or --corpus NAME.")
    if given["corpus"] is not None:
        if given["text"] or given["time"]:
            raise click.UsageError("--text and --time are for --table: give options of the corpus by --set.")
        return {**options, "name": given["corpus"]}, tickers
    if given["time"] is None and "by_day" not in options:
        raise click.UsageError("--table needs --time COLUMN: when each text was published.")
    corpus = {"name": "news", "path": str(given["table"]), **options}
    if given["time"] is not None:
        corpus["published"] = given["time"]
    if given["text"]:
        corpus["text"] = given["text"][0] if len(given["text"]) == 1 else list(given["text"])
    if len(tickers) == 1 and is_column(corpus, tickers[0]):
        return {**corpus, "group": tickers[0]}, ()
    return corpus, tickers


def is_column(corpus: dict[str, Any], name: str) -> bool:
    """Return whether the first row of a corpus of news has a column of that name. Raises BadCorpus for no table."""
    from adapterhub_fin.plugin import corpus_options, files_by_part, table_rows

    options = corpus_options(corpus)[1]
    if options.by_day is not None:
        return False
    file = files_by_part(options.path)[0][0]
    first = next(iter(table_rows(file, options.form)), None)
    return first is not None and name in first.cells


def _options(given: dict[str, Any], tickers: tuple[str, ...]) -> dict[str, Any]:
    if given["as_of"] is not None and given["as_of_row"]:
        raise click.UsageError("--as-of-row and --as-of are two choices of the version: give one.")
    options: dict[str, Any] = {
        "as_of": given["as_of"] or "row",
        "include_base": not given["ignore_base"],
        "allow_lookahead": given["allow_lookahead"],
        **{name: given[name] for name in ("yanked", "calendar", "interval", "window")},
        **{name: given[name] for name in ("threshold", "bound") if given[name] is not None},
    }
    if tickers:
        options["ticker"] = tickers
    if given["half_life"] is not None:
        if given["aggregate"] != "decay":
            raise click.UsageError("--half-life is for --aggregate decay.")
        options["aggregate"] = {"name": "decay", "half_life": given["half_life"]}
    elif given["aggregate"] is not None:
        options["aggregate"] = given["aggregate"]
    directions = [text.partition("=") for text in given["direction"]]
    if any(not mark or not label for label, mark, _ in directions):
        raise click.UsageError("--direction reads LABEL=SELL, LABEL=HOLD or LABEL=BUY.")
    if directions:
        options["directions"] = {label: direction.lower() for label, _, direction in directions}
    return options
