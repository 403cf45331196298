"""Define `ahf list`."""

from __future__ import annotations

import click

from adapterhub_fin.cli.options import as_of_options, dated_by, on_option, point_in_time, remote_index
from adapterhub_fin.cli.version_table import print_versions, say_damaged
from adapterhub_fin.plugin.console import json_option, print_json


@click.command("list")
@click.argument("name", required=False)
@on_option
@as_of_options
@json_option
def command(name: str | None, on: str | None, as_of: str | None, include_base: bool, as_json: bool) -> None:
    """List adapters and their versions.

    A name in an earlier registry hides the same name in later ones; `ahf --registry NAME` reaches those. A Hub is
    queried only with --on, or if the configuration lists one among the registries.

    \b
    Examples:
      ahf list
      ahf list acme/tone --json
      ahf list --as-of 2021-06-30
      ahf list --on hf://acme
    """
    from adapterhub_fin.registries import configured_registries
    from adapterhub_fin_registry.model.reference import check_name

    registries = configured_registries()
    source = registries if on is None else remote_index(on)
    query = "yanked IN (true, false)"
    if name is not None:
        query += f" AND name = '{'/'.join(check_name(name))}'"  # a checked name holds no quote
    page = source.search(query, limit=None, as_of=as_of, include_base=include_base)
    if name is not None and not page.rows and not as_of and on is None:
        registries.resolve(name)  # raises an error that suggests similar names
    own_and_namespace = (name, name and name.partition("/")[0])
    say_damaged({r: why for r, why in page.damaged.items() if name is None or r.partition("@")[0] in own_and_namespace})
    if as_json:
        print_json([{**row, **dated_by(as_of, include_base)} for row in page])
    elif page.rows:
        if as_of:
            click.echo(point_in_time(as_of, include_base), err=True)
        print_versions(page, several=on is None and len(registries.members) > 1)
    elif as_of:
        rest = "" if include_base else " (without the base)"
        click.echo(f"No version was trained only on data from before {as_of}{rest}.", err=True)
    elif on:
        click.echo(f"There are no versions at {on}.", err=True)
    else:
        click.echo("The registry is empty: `ahf train` adds a first version.", err=True)
