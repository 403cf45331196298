"""Define `ahf alias`."""

from __future__ import annotations

import click

from adapterhub_fin.cli.options import REFERENCE
from adapterhub_fin.plugin.console import json_option, print_json, print_table


@click.command("alias")
@click.argument("reference", type=REFERENCE)
@click.argument("alias", required=False)
@click.option("--remove", is_flag=True, help="Remove the alias.")
@click.option("--history", is_flag=True, help="Show which versions the alias has named, and since when.")
@click.option("--on", metavar="DATE", help="Show which version the alias named on DATE (00:00 UTC).")
@json_option
def command(reference: str, alias: str | None, remove: bool, history: bool, on: str | None, as_json: bool) -> None:
    """Set, move, remove or list aliases.

    With a version and an ALIAS, the alias names that version from now on. With only a name, its aliases are listed.

    \b
    Examples:
      ahf alias acme/tone@1 champion
      ahf alias acme/tone
      ahf alias acme/tone champion --history
      ahf alias acme/tone champion --on 2031-06-30
      ahf alias acme/tone champion --remove
    """
    from adapterhub_fin.registries import configured_registries
    from adapterhub_fin_registry import Reference

    parsed = Reference.parse(reference)
    name = f"{parsed.namespace}/{parsed.name}"
    if sum((remove, history, on is not None)) > 1:
        raise click.UsageError("Give one of --remove, --history and --on.")
    registry = configured_registries().answering(parsed)
    if alias is None and (remove or history or on is not None):
        raise click.UsageError("Name the alias too: ahf alias acme/tone champion --history.")
    if alias is None:
        registry.resolve(name)  # for an unknown name, this raises an error that suggests similar names
        aliases = registry.aliases(name)
        if as_json:
            print_json(aliases)
        else:
            print_table(("alias", "version"), sorted(aliases.items()))
    elif history:
        steps = list(registry.alias_history(name, alias))
        if as_json:
            print_json(steps)
        else:
            print_table(("since", "version"), [(step["at"], step["version"] or "none") for step in steps])
    elif on is not None:
        number = registry.alias_on(name, alias, on)
        if as_json:
            print_json({"alias": f"{name}@{alias}", "on": on, "version": number})
        else:
            click.echo("none" if number is None else f"{name}@{number}")
    elif remove:
        registry.set_alias(name, alias, None)
        click.echo(f"{name}@{alias} names no version now", err=True)
    else:
        version = registry.resolve(reference)
        registry.set_alias(name, alias, version.number)
        if as_json:
            print_json({"alias": f"{name}@{alias}", "version": version.number, "digest": version.digest})
        else:
            click.echo(f"{name}@{alias} is {version.reference}")
