"""The contract of bases: the shipped catalogue keeps it, and each promise that a base breaks is caught."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.plugin import Base, KnownAt
from adapterhub_fin.plugin import manager as discovery
from adapterhub_fin.testing import BaseContract, tiny_encoder

KNOWN = KnownAt(at=datetime(2020, 1, 1, tzinfo=UTC), kind="asserted", evidence="page 3 of its paper")
SOUND = Base(name="desk", summary="A tiny encoder of a desk.", repository="acme/tiny-desk", known=KNOWN)


class TestMinilm(BaseContract):
    name = "minilm"


class TestChronobert(BaseContract):
    name = "chronobert-2013"


@pytest.fixture
def contract(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Register a base in this process and return its contract."""
    before = list(discovery._registered)

    def registered(base: Base, folder: Path | None = None) -> BaseContract:
        monkeypatch.setattr(Base, "load", lambda self: lambda: folder)

        class Desk:
            @ahf.hookimpl
            def ahf_bases(self) -> list[Base]:
                return [base if folder is None else replace(base, target="desk:folder")]

        ahf.register(Desk())
        made: BaseContract = type("TestDesk", (BaseContract,), {"name": base.name})()
        return made

    yield registered
    discovery._registered[:], discovery._current = before, None


def test_a_sound_base_passes(contract: Any, tmp_path: Path) -> None:
    made = contract(SOUND, tiny_encoder(tmp_path / "base"))
    for promise in ("repository_is_an_id_on_the_hub", "knowledge_end_has_evidence", "folder_holds_a_model"):
        getattr(made, f"test_{promise}")()
    made.test_found_by_its_name_and_by_its_id()


@pytest.mark.parametrize(
    ("change", "promise", "message"),
    [
        ({"repository": "acme/tiny@main"}, "repository_is_an_id_on_the_hub", "without a revision"),
        ({"known": replace(KNOWN, evidence="paper")}, "knowledge_end_has_evidence", "where the knowledge end"),
        ({"known": replace(KNOWN, at=datetime(2020, 1, 1))}, "knowledge_end_has_evidence", "time zone"),
        (
            {"known": replace(KNOWN, at=datetime.now(UTC) + timedelta(days=9))},
            "knowledge_end_has_evidence",
            "know the future",
        ),
        ({"repository": "manelalab/chrono-bert-v1-20131231"}, "found_by_its_name_and_by_its_id", "another"),
    ],
)
def test_a_broken_promise_is_caught(contract: Any, change: dict[str, Any], promise: str, message: str) -> None:
    made = contract(replace(SOUND, **change))
    with pytest.raises(AssertionError, match=message):
        getattr(made, f"test_{promise}")()


@pytest.mark.parametrize(("lost", "error"), [("model.safetensors", "safetensors"), ("config.json", "config.json")])
def test_a_folder_that_lacks_a_part_is_caught(contract: Any, tmp_path: Path, lost: str, error: str) -> None:
    folder = Path(shutil.copytree(tiny_encoder(tmp_path / "base"), tmp_path / "copy"))
    (folder / lost).unlink()
    with pytest.raises((AssertionError, OSError, ahf.AdapterHubError), match=error):
        contract(SOUND, folder).test_folder_holds_a_model()
