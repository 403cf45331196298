"""What base a version is held to: its own, or what the first load of an import found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from adapterhub_fin.engine.base.check import held_base
from adapterhub_fin_registry.model.manifest import Base


def base(name: str, pin: str = "verified") -> Base:
    return Base.model_validate({"repository": f"acme/{name}", "pin": pin})


def held(manifest: Base, *events: tuple[str, str | None]) -> str | None:
    told = [{"kind": kind, "base": name and base(name).model_dump(mode="json")} for kind, name in events]
    registry: Any = SimpleNamespace(events=lambda reference: told)
    version: Any = SimpleNamespace(reference="acme/tone@1", manifest=SimpleNamespace(base=manifest))
    return held_base(registry, version).repository


@pytest.mark.parametrize(
    ("events", "wanted"),
    [
        ([], "acme/declared"),
        ([("tag", None)], "acme/declared"),
        ([("pin-verified", "first")], "acme/first"),
        ([("pin-verified", "first"), ("pin-verified", "second")], "acme/first"),
        ([("pin-verified", "first"), ("pin-withdrawn", None)], "acme/declared"),
        ([("pin-verified", "first"), ("pin-withdrawn", None), ("pin-verified", "second")], "acme/second"),
        ([("pin-withdrawn", None), ("pin-verified", "first"), ("tag", None), ("pin-verified", "second")], "acme/first"),
    ],
)
def test_the_first_load_that_was_not_withdrawn_holds_every_later_one(events: Any, wanted: str) -> None:
    assert held(base("declared", "declared"), *events) == wanted
    assert held(base("own"), *events) == "acme/own", "a version that was trained here has its own"
