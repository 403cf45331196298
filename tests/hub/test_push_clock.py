"""A push, and a pull of what others pushed, are dated by a clock that is held against what is stored (G 3)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import BadRequestError

from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.io import clock
from adapterhub_fin_registry.io.clock import RELEASED
from adapterhub_fin_registry.model.knowledge import parse_instant

TRUE = RELEASED + timedelta(days=400)


@pytest.fixture
def clocked(serving: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], Any]:
    """A server of a registry of its own, under the clock of this process."""
    monkeypatch.setattr(clock, "_wall", lambda: TRUE)
    server = serving(registry=Registry(tmp_path / "root"))

    def at(instant: datetime) -> Any:
        monkeypatch.setattr(clock, "_wall", lambda: instant)
        return server

    return at


def _push(server: Any, name: str, files: dict[str, bytes]) -> None:
    api = server.api()
    api.create_repo(name)
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    api.create_commit(name, operations, commit_message="an adapter")


def test_a_push_under_a_wrong_clock_is_refused(clocked: Callable[[datetime], Any], adapter: Any) -> None:
    api = clocked(TRUE).api()
    api.create_repo("acme/tone")
    server = clocked(datetime(2016, 6, 1, tzinfo=UTC))
    operations = [CommitOperationAdd(path, data) for path, data in adapter(1).items()]
    with pytest.raises(BadRequestError, match="the clock says 2016-06-01"):
        api.create_commit("acme/tone", operations, commit_message="an adapter")
    assert server.registry.names() == []


def test_a_push_is_not_dated_before_what_is_stored(clocked: Callable[[datetime], Any], adapter: Any) -> None:
    _push(clocked(TRUE), "acme/first", adapter(1))
    first = parse_instant(clocked(TRUE).registry.resolve("acme/first@1").record["added_at"])
    server = clocked(TRUE - timedelta(hours=23))
    _push(server, "acme/second", adapter(2))
    version = server.registry.resolve("acme/second@1")
    assert version.knowledge_end == first, "as late as what was stored before"
    assert parse_instant(version.record["added_at"]) == TRUE - timedelta(hours=23)
