"""What base a version is held to: its own, or what the first load of an import found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from adapterhub_fin.engine.base.check import expected_base
from adapterhub_fin_registry.model.manifest import Base


def base(name: str, fingerprint: str = "verified") -> Base:
    return Base.model_validate({"repository": f"acme/{name}", "fingerprint": fingerprint})


def held(manifest: Base, *events: tuple[str, str | None]) -> str | None:
    told = [{"kind": kind, "base": name and base(name).model_dump(mode="json")} for kind, name in events]
    registry: Any = SimpleNamespace(events=lambda reference: told)
    version: Any = SimpleNamespace(reference="acme/tone@1", manifest=SimpleNamespace(base=manifest))
    return expected_base(registry, version).repository


@pytest.mark.parametrize(
    ("events", "wanted"),
    [
        ([], "acme/declared"),
        ([("tag", None)], "acme/declared"),
        ([("fingerprint-verified", "first")], "acme/first"),
        ([("fingerprint-verified", "first"), ("fingerprint-verified", "second")], "acme/first"),
        ([("fingerprint-verified", "first"), ("fingerprint-withdrawn", None)], "acme/declared"),
        (
            [("fingerprint-verified", "first"), ("fingerprint-withdrawn", None), ("fingerprint-verified", "second")],
            "acme/second",
        ),
        (
            [
                ("fingerprint-withdrawn", None),
                ("fingerprint-verified", "first"),
                ("tag", None),
                ("fingerprint-verified", "second"),
            ],
            "acme/first",
        ),
    ],
)
def test_the_first_load_that_was_not_withdrawn_holds_every_later_one(events: Any, wanted: str) -> None:
    assert held(base("declared", "declared"), *events) == wanted
    assert held(base("own"), *events) == "acme/own", "a version that was trained here has its own"
