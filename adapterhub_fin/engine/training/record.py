"""Record what a run measured as events of its version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adapterhub_fin_registry.io.canonical_json import json_object

if TYPE_CHECKING:
    from adapterhub_fin_registry import Registry, Version


def record_once(registry: Registry, version: Version, kind: str, body: Mapping[str, Any]) -> None:
    """Store an event of a version, unless a run that was interrupted here has stored it already."""
    plain = json_object(body)
    if not any(event["kind"] == kind and event.items() >= plain.items() for event in registry.events(version)):
        registry.add_event(version, kind, plain)
