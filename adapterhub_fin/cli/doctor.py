"""Define `ahf doctor`."""

from __future__ import annotations

from dataclasses import asdict

import click

from adapterhub_fin.plugin.console import json_option, print_json, print_table


@click.command("doctor")
@click.option("--repair", is_flag=True, help="Repair what can be repaired without losing data.")
@json_option
def command(repair: bool, as_json: bool) -> None:
    """Find, explain and repair damage in the registry.

    It checks leftovers, file modes, records, aliases and change marks; `ahf verify` checks the files' bytes. The exit
    status is 1 if something is still wrong.

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
