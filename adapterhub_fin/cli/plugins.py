"""Define `ahf plugins`."""

from __future__ import annotations

from typing import Any

import click

from adapterhub_fin.cli.completing import PluginType
from adapterhub_fin.plugin.console import json_option, print_json, print_table


@click.command("plugins")
@click.option(
    "--options",
    "of",
    metavar="KIND:NAME",
    type=PluginType("method", "head", "corpus", "merger", qualified=True),
    help="Show the options of one plugin, such as method:lora.",
)
@json_option
def command(of: str | None, as_json: bool) -> None:
    """List plugins, what they provide and which are broken.

    \b
    Examples:
      ahf plugins
      ahf plugins --options method:lora
    """
    from adapterhub_fin.plugin.manager import extensions

    manager = extensions()
    if of is not None:
        _print_options(of, as_json)
        return
    plugins = [_document(plugin) for plugin in manager.plugins]
    if as_json:
        print_json({"plugins": plugins, "disabled": list(manager.disabled)})
        return
    rows = [
        (item["kind"], item["name"], item["summary"], plugin["distribution"], plugin["version"] or "")
        for plugin in plugins
        for item in plugin["gives"]
    ]
    print_table(("kind", "name", "summary", "distribution", "version"), sorted(rows))
    for plugin in plugins:
        for problem in [plugin["error"] and f"broken: {plugin['error']}", *plugin["lost"]]:
            if problem:
                click.echo(
                    f"{plugin['name']} ({plugin['distribution']} {plugin['version'] or ''}): {problem}", err=True
                )
    for name in manager.disabled:
        click.echo(f"{name}: disabled by AHF_DISABLE_PLUGINS", err=True)


def _document(plugin: Any) -> dict[str, Any]:
    gives = [{"kind": item.kind, "name": item.name, "summary": item.summary} for item in plugin.gives]
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "gives": gives,
        "error": plugin.error,
        "lost": plugin.lost,
    }


def _print_options(of: str, as_json: bool) -> None:
    from adapterhub_fin.plugin.manager import extensions

    kinds = {kind.kind: kind for kind in extensions().kinds.values()}
    kind, _, name = of.partition(":")
    if kind not in kinds or not name:
        raise click.UsageError(f"--options takes KIND:NAME with KIND one of {', '.join(kinds)}.")
    model = extensions().get(kinds[kind], name).load_options()
    if as_json:
        print_json(model.model_json_schema())
        return
    rows = [
        (key, "required" if field.is_required() else repr(field.default), field.description or "")
        for key, field in model.model_fields.items()
    ]
    print_table(("option", "default", "meaning"), rows)
