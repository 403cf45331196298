"""Build plugins from their names and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterhub_fin.plugin.descriptions import Description
from adapterhub_fin.plugin.manager import extensions


def build_plugin(kind: type[Description], name: str, options: Mapping[str, Any]) -> Any:
    """A plugin's implementation, imported now."""
    checked = extensions().options(kind, name, options)
    return extensions().get(kind, name).load()(checked)


def build_installed_plugin(kind: type[Description], name: str, options: Mapping[str, Any]) -> Any:
    """Build a plugin that is about to work on a model or on rows; PluginError names what it needs installed.

    What reads a stored adapter's factors alone, such as a merge, does without: `build_plugin`.
    """
    extensions().get(kind, name).check_installed()
    return build_plugin(kind, name, options)
