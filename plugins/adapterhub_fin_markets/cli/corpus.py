"""Define `ahf market corpus`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adapterhub_fin.plugin import corpus_options, json_option, load_corpus, print_facts, print_json, print_table

if TYPE_CHECKING:
    from adapterhub_fin_markets.corpora.statistics import CorpusStatistics


@click.command("corpus")
@click.argument("name")
@click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Give an option of the corpus, such as path=DIR."
)
@click.option("--terms", "most", default=20, show_default=True, type=click.IntRange(0), help="Frequent terms to list.")
@json_option
def corpus(name: str, sets: tuple[str, ...], most: int, as_json: bool) -> None:
    """Describe a corpus: lengths, dates and finance terms of its texts, and what was dropped.

    NAME is the name of any corpus with texts or messages; --set gives its options.

    \b
    Examples:
      ahf market corpus headlines --set rows=300
      ahf market corpus fomc --set path=data/statements --set kind=statements --json
    """
    from adapterhub_fin_markets.corpora.statistics import corpus_statistics

    rows = load_corpus(*corpus_options({**set_options(sets), "name": name}))
    stats = corpus_statistics(rows.table, most)
    notes = {reason: count for reason, count in rows.notes.items() if count}
    if as_json:
        print_json({"corpus": name, **stats.record(), "notes": notes})
        return
    _print(stats, notes)


def set_options(sets: tuple[str, ...]) -> dict[str, Any]:
    """Return the options that --set gives; a key with dots is one of an option's own, such as corpus.name.

    Raises UsageError for a text that is no KEY=VALUE.
    """
    import yaml

    options: dict[str, Any] = {}
    for text in sets:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise click.UsageError(f"--set {text} must read KEY=VALUE, such as path=data/filings.")
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError:
            raise click.UsageError(f"--set {text}: the value is no YAML; put it in quotes.") from None
        *outer, last = key.split(".")
        inner = options
        for part in outer:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise click.UsageError(f"--set {text}: {part} has a value already.")
        inner[last] = read
    return options


def _print(stats: CorpusStatistics, notes: dict[str, int]) -> None:
    facts: list[tuple[str, Any]] = [("rows", f"{stats.rows:,}"), ("words", f"{stats.words:,}")]
    if stats.groups is not None:
        facts.append(("groups", f"{stats.groups:,}"))
    facts.append(("words a row", ", ".join(f"{name} {value:,}" for name, value in stats.words_by_row.items())))
    facts.append(("finance terms", f"{stats.term_share:.1%} of the words, none in {stats.rows_without_terms:,} rows"))
    if stats.available is not None:
        facts.append(("available", " to ".join(stats.available)))
        facts.append(("rows by year", ", ".join(f"{year}: {count:,}" for year, count in stats.rows_by_year.items())))
    facts += [
        (f"by {name}", ", ".join(f"{value} {count:,}" for value, count in counts.items()))
        for name, counts in stats.slices.items()
    ]
    facts += [(reason, f"{count:,}") for reason, count in notes.items()]
    print_facts(facts)
    if stats.terms:
        click.echo()
        rows = [(term, f"{occurrences:,}", f"{rows:,}") for term, (occurrences, rows) in stats.terms.items()]
        print_table(("term", "occurrences", "rows"), rows)
