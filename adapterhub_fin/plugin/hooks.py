"""Specify the hooks: everything that a plugin can bring.

A contributing hook takes no argument and returns descriptions, so that each plugin is called on its own,
attributed and isolated (pypa/hatch's specs are the model for this).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

from adapterhub_fin.plugin.descriptions import Base, Corpus, Head, Merger, Method, Metric, OwnHook, StoreKind

if TYPE_CHECKING:
    from adapterhub_fin_registry import Manifest

PROJECT = "adapterhub_fin"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def ahf_methods() -> Iterable[Method]:  # type: ignore[empty-body]
    """Return PEFT methods."""


@hookspec
def ahf_heads() -> Iterable[Head]:  # type: ignore[empty-body]
    """Return task heads."""


@hookspec
def ahf_bases() -> Iterable[Base]:  # type: ignore[empty-body]
    """Return base models by short names, with the end of their training data."""


@hookspec
def ahf_corpora() -> Iterable[Corpus]:  # type: ignore[empty-body]
    """Return corpora, with license and source."""


@hookspec
def ahf_mergers() -> Iterable[Merger]:  # type: ignore[empty-body]
    """Merge algorithms, pure, on tensors."""


@hookspec
def ahf_stores() -> Iterable[StoreKind]:  # type: ignore[empty-body]
    """Return stores, by URI scheme."""


@hookspec
def ahf_metrics() -> Iterable[Metric]:  # type: ignore[empty-body]
    """Return metrics by name, with direction."""


@hookspec
def ahf_hookspecs() -> Iterable[OwnHook]:  # type: ignore[empty-body]
    """Return hooks of one's own, which other plugins then implement: each with the kind of description it returns."""


@hookspec(firstresult=True)
def ahf_targets(model_type: str, method: str) -> Sequence[str] | None:
    """Return which layers `method` should adapt in an architecture nobody here knows, or None to leave it to others."""


@hookspec
def ahf_before_add(manifest: Manifest, folder: Path) -> None:
    """Raise `Refused` to stop a version from being added: license, size, secrets, house rules."""
