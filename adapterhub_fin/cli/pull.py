"""Define `ahf pull`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from adapterhub_fin.plugin.console import json_option, print_json

if TYPE_CHECKING:
    from adapterhub_fin_registry.model.manifest import BaseVersion


@click.command("pull")
@click.argument("uri", metavar="hf://ORG/NAME[@REVISION]")
@click.option("--as", "name", metavar="NAMESPACE/NAME", help="The name it gets here; by default its own.")
@click.option("--allow-pickle", is_flag=True, help="Allow reading a third party's adapter_model.bin, its tensors only.")
@json_option
def command(uri: str, name: str | None, allow_pickle: bool, as_json: bool) -> None:
    """Pull a version from a Hub into the registry.

    Every file is compared with the manifest, and your policy and the plugins' vetoes apply; if anything fails, nothing
    is stored. The version keeps its number if that is free here. A repository without a manifest is imported.

    \b
    Examples:
      ahf pull hf://acme/tone@v1
      ahf pull hf://acme/tone --as desk/tone --json
    """
    from adapterhub_fin import pull

    version = pull(uri, name, allow_pickle=allow_pickle)
    if (base := version.manifest.base.version) is not None:
        _say_missing(version.reference, base)
    if as_json:
        origin = version.record["origin"]
        print_json(
            {
                "reference": version.reference,
                "digest": version.digest,
                "path": str(version.files),
                "origin": origin,
            }
        )
        return
    click.echo(version.reference)


def _say_missing(reference: str, base: BaseVersion) -> None:
    """Print on standard error where an adapter's stored base is in none of the registries."""
    from adapterhub_fin.engine.base.stored_base import find_recorded
    from adapterhub_fin.registries import configured_registries

    if find_recorded(base, configured_registries().writable_or_first(), download=False) is None:
        click.echo(
            f"{reference} needs its base {base.name}, {base.digest}: pull it too, from hf://{base.name}", err=True
        )
