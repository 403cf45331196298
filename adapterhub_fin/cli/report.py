"""Define `ahf report`."""

from __future__ import annotations

import click

from adapterhub_fin.cli.options import REFERENCE, as_of_options, base_options, dated_by, lock_option, say_answering
from adapterhub_fin.cli.part_options import part_options
from adapterhub_fin.plugin.console import json_option, print_json, printable


@click.command("report")
@click.argument("reference", type=REFERENCE)
@click.argument("corpus", required=False)
@click.option("--into", metavar="FOLDER", help="Where to write; report-NAMESPACE-NAME-N by default.")
@part_options("Which rows to answer")
@base_options
@as_of_options
@lock_option
@json_option
def command(
    reference: str,
    corpus: str | None,
    into: str | None,
    overrides: tuple[str, ...],
    split: str,
    base: str | None,
    download: bool,
    batch_size: int,
    as_of: str | None,
    include_base: bool,
    lock: str | None,
    as_json: bool,
) -> None:
    """Draw a version's training, answers, data and lineage as one HTML page.

    The page holds its pictures, which are also written as PNG. Without CORPUS, the rows are those of the version's own
    recipe. A part that can't be made, such as the answers where the corpus isn't at hand, is named with the reason.

    \b
    Examples:
      ahf report acme/tone
      ahf report acme/tone@1 --into reports/tone --split validation
      ahf report acme/tone@1 headlines --set rows=90 --json
    """
    from adapterhub_fin import report

    written = report(
        reference,
        corpus,
        into=into,
        split=split,  # type: ignore[arg-type]
        overrides=overrides,
        batch_size=batch_size,
        base=base,
        as_of=as_of,
        include_base=include_base,
        lock=lock,
        download=download,
    )
    if as_json:
        used = {"reference": written.version.reference, "digest": written.version.digest}
        where = {"page": str(written.page), "pictures": [str(path) for path in written.pictures]}
        print_json({**used, **dated_by(as_of, include_base), **where, "missing": dict(written.missing)})
        return
    say_answering(written.version.reference, as_of, include_base)
    for title, reason in written.missing.items():
        click.echo(printable(f"left out: {title}, since {reason}"), err=True)
    click.echo(written.page)
