"""Define `ahf schema`."""

from __future__ import annotations

import click


@click.command("schema")
@click.argument("document", type=click.Choice(["recipe", "merge", "pretrain"]), default="recipe")
def command(document: str) -> None:
    """Print the JSON Schema of a recipe, for editors that complete YAML.

    It holds every option of every installed plugin. DOCUMENT is recipe (the default), merge or pretrain, for the
    recipes of `ahf merge` and `ahf pretrain`. Write it to a file, with `ahf schema > recipe.schema.json`, and name that
    file in a recipe's first line; VS Code reads it with the extension YAML of Red Hat:

    \b
      # yaml-language-server: $schema=recipe.schema.json

    \b
    Examples:
      ahf schema
      ahf schema merge
    """
    import json

    from adapterhub_fin import schema

    click.echo(json.dumps(schema(document), indent=1))  # type: ignore[arg-type]
