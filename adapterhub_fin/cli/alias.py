"""ahf alias"""

from __future__ import annotations

import click

from adapterhub_fin.cli.options import REFERENCE, json_option, print_json, print_table


@click.command("alias")
@click.argument("reference", type=REFERENCE)
@click.argument("alias", required=False)
@click.option("--remove", is_flag=True, help="Let the alias name nothing.")
@click.option("--history", is_flag=True, help="Show what the alias has named, and since when.")
@json_option
def command(reference: str, alias: str | None, remove: bool, history: bool, as_json: bool) -> None:
    """Set, move, remove or list aliases.

    With a version and an ALIAS, the alias names that version from now on; with a name alone, the aliases are listed.

    \b
    Examples:
      ahf alias acme/tone@1 champion
      ahf alias acme/tone
      ahf alias acme/tone champion --history
      ahf alias acme/tone champion --remove
    """
    from adapterhub_fin_registry import Reference, RegistryChain

    parsed = Reference.parse(reference)
    name = f"{parsed.namespace}/{parsed.name}"
    registry = RegistryChain.configured().answering(parsed)
    if alias is None and (remove or history):
        raise click.UsageError("Name the alias too: ahf alias acme/tone champion --history.")
    if alias is None:
        registry.resolve(name)  # an unknown name is an error that says which are near
        found = registry.aliases(name)
        if as_json:
            print_json(found)
        else:
            print_table(("alias", "version"), sorted(found.items()))
    elif history:
        steps = list(registry.alias_history(name, alias))
        if as_json:
            print_json(steps)
        else:
            print_table(("since", "version"), [(step["at"], step["version"] or "none") for step in steps])
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
