"""Build plugins from their names and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterhub_fin.plugin.descriptions import Description
from adapterhub_fin.plugin.manager import extensions


def build_plugin(kind: type[Description], name: str, options: Mapping[str, Any]) -> Any:
    """Import a plugin's implementation and build it with checked options, whether or not what it requires is there.

    So it is for what only reads a stored adapter's factors, such as a merge; else see `build_contribution`.

    Raises NotFound for an unknown name, BadRecipe for wrong options and PluginError if the import fails.
    """
    checked = extensions().options(kind, name, options)
    return extensions().get(kind, name).load()(checked)
