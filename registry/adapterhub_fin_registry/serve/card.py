"""The card of a version that came without one."""

from __future__ import annotations

import json
from typing import Any

from adapterhub_fin_registry.version import Version


def card_of(version: Version) -> bytes:
    """README.md of a version: the metadata that clients search by, and what it is."""
    return version.plain(lambda data: _card(version, data)).encode()


def metadata(version: Version) -> dict[str, Any]:
    """What the card's head says, as plain values."""
    return version.plain(lambda data: _metadata(version, data))


def _metadata(version: Version, data: dict[str, Any]) -> dict[str, Any]:
    found = {
        "library_name": "peft",
        "base_model": data["base"]["repository"],
        "datasets": [data["corpus"]["name"]] if data["corpus"] else None,
        "license": data["licence"],
        "tags": ["adapterhub_fin", data["method"]["name"], *version.tags],
    }
    return {key: value for key, value in found.items() if value}


def _card(version: Version, data: dict[str, Any]) -> str:
    # JSON is YAML: nothing in a name or a tag can end the head early.
    head = "\n".join(f"{key}: {json.dumps(value)}" for key, value in _metadata(version, data).items())
    end = data["knowledge"]["end"]
    return f"---\n{head}\n---\n# {version.name}\n\n{data['description']}\n\nKnowledge ends {end}; {version.digest}.\n"
