"""ahf doctor"""

from __future__ import annotations

from dataclasses import asdict

import click

from adapterhub_fin.cli.options import json_option, print_json, print_table


@click.command("doctor")
@click.option("--repair", is_flag=True, help="Mend what can be mended without losing anything.")
@json_option
def command(repair: bool, as_json: bool) -> None:
    """Find and explain what is wrong with the registry, and repair it.

    Leftovers, modes, records, aliases and marks are looked at; whether the files' bytes are whole, `ahf verify` tells.
    Exit status 1 where something is still wrong.

    \b
    Examples:
      ahf doctor --repair
      ahf doctor --json
    """
    from adapterhub_fin.registries import configured_registries

    chain = configured_registries()
    findings = (chain.writable() if repair else chain.writable_or_first()).doctor(repair=repair)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    elif findings:
        print_table(
            ("kind", "path", "means", "remedy", ""),
            [(f.kind, f.path, f.means, f.remedy, _state(f.repaired, f.repairable)) for f in findings],
        )
    else:
        click.echo("nothing is wrong", err=True)
    if not all(finding.repaired for finding in findings):
        raise click.exceptions.Exit(1)


def _state(repaired: bool, repairable: bool) -> str:
    if repaired:
        return "repaired"
    return "ahf doctor --repair" if repairable else "by hand"
