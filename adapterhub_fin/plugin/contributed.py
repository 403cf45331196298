"""Read what the installed plugins contribute: what a plugin needs that has hooks of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from adapterhub_fin.plugin.descriptions import Description
from adapterhub_fin.plugin.manager import extensions

D = TypeVar("D", bound=Description)


def contributions(kind: type[D]) -> Mapping[str, D]:
    """Return every description of a kind that the installed plugins give, by name, sorted.

    Example:
        >>> list(contributions(Corpus))
        ['fiqa', 'headlines', 'phrasebank', ...]
    """
    return extensions().all(kind)


def contribution(kind: type[D], name: str) -> D:
    """Return the description of that name. Raises UnknownName, which lists near names and broken plugins."""
    return extensions().get(kind, name)


def build_contribution(kind: type[Description], name: str, options: Mapping[str, Any]) -> Any:
    """Import what a description's target names and build it with checked options.

    Raises UnknownName for an unknown name, PluginError where a required package is missing or the import fails, and
    BadRecipe for wrong options.
    """
    description = contribution(kind, name)
    description.check_installed()
    checked = extensions().options(kind, name, options)
    return description.load()(checked)
