"""Build plugins from their names and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterhub_fin.plugin.descriptions import Description
from adapterhub_fin.plugin.manager import extensions


def build_plugin(kind: type[Description], name: str, options: Mapping[str, Any]) -> Any:
    """Import a plugin's implementation and build it with checked options.

    Raises NotFound for an unknown name, BadRecipe for wrong options and PluginError if the import fails.
    """
    checked = extensions().options(kind, name, options)
    return extensions().get(kind, name).load()(checked)


def build_installed_plugin(kind: type[Description], name: str, options: Mapping[str, Any]) -> Any:
    """Build a plugin that will work on a model or on rows, after a check that its required packages are installed.

    What only reads a stored adapter's factors, such as a merge, doesn't need them: see `build_plugin`. Raises
    PluginError with the packages to install, and what `build_plugin` raises.
    """
    extensions().get(kind, name).check_installed()
    return build_plugin(kind, name, options)
