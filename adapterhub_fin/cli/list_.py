"""ahf list"""

from __future__ import annotations

import click

from adapterhub_fin.cli.options import json_option, print_json, print_table


@click.command("list")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List adapters and their versions.

    A name that an earlier registry holds is hidden in the later ones: `ahf --registry NAME` reaches it.

    \b
    Examples:
      ahf list
      ahf list acme/tone --json
    """
    from adapterhub_fin_registry import RegistryChain

    registries = RegistryChain.configured()
    rows = registries.rows(name)
    if name is not None and not rows:
        registries.resolve(name)  # says which names are near
    for member in registries.members:
        for reference, problem in member.registry.damaged(name).items():
            click.echo(f"{reference}: {problem}", err=True)
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("The registry is empty: `ahf train` adds a first version.", err=True)
        return
    several = len(registries.members) > 1
    columns = ("version", "aliases", "method", "head", "corpus", "knowledge end", "metrics")
    print_table(
        (*(["registry"] if several else []), *columns),
        [
            (
                *([row["registry"] + (" (hidden)" if row["hidden"] else "")] if several else []),
                f"{row['name']}@{row['version']}" + (" (yanked)" if row["yanked"] else ""),
                " ".join(row["aliases"]),
                row["method"],
                row["head"] or "",
                row["corpus"] or "",
                str(row["knowledge_end"])[:10],
                " ".join(f"{metric}={value:.3f}" for metric, value in sorted(row["metrics"].items())),
            )
            for row in rows
        ],
    )
