"""Define `ahf check`."""

from __future__ import annotations

from dataclasses import asdict, astuple

import click

from adapterhub_fin.cli.options import REFERENCE
from adapterhub_fin.plugin.console import json_option, print_json, print_table, printable


@click.command("check")
@click.argument("reference", type=REFERENCE)
@click.option(
    "--target",
    type=click.Choice(["vllm", "sglang", "transformers", "onnx", "tei"]),
    required=True,
    help="The serving engine; onnx is the layout of ahf export, tei Text Embeddings Inference.",
)
@click.option("--max-lora-rank", type=click.IntRange(1), help="The server's own setting; vLLM's default is 16.")
@json_option
def command(reference: str, target: str, max_lora_rank: int | None, as_json: bool) -> None:
    """Check whether a serving engine can serve a version.

    The engine need not be installed. The exit status is 1 if it would refuse the version or silently serve it wrongly,
    and 0 otherwise. What depends on the server's settings or on the base is listed, with exit status 0.

    \b
    Examples:
      ahf check acme/notes --target vllm
      ahf check acme/notes@1 --target transformers --json
      ahf check acme/tone --target tei
    """
    from adapterhub_fin import check

    report = check(reference, target, max_lora_rank=max_lora_rank)
    if as_json:
        print_json(
            {
                "reference": report.version.reference,
                "digest": report.version.digest,
                "target": target,
                "served": report.served,
                "findings": [asdict(finding) for finding in report.findings],
            }
        )
    else:
        if report.findings:
            rows = [tuple(map(printable, astuple(finding))) for finding in report.findings]
            print_table(("", "rule", "where", "what", "what to do"), rows)
        verdict = "would serve" if report.served else "would not serve"
        click.echo(f"{target} {verdict} {report.version.reference} (checked against what is known of both)")
    if not report.served:
        raise click.exceptions.Exit(1)
