"""What the server keeps beside the registry, without a server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adapterhub_fin_registry.errors import NotFound
from adapterhub_fin_registry.hub_server.repo.state import ABANDONED, State
from adapterhub_fin_registry.hub_server.tokens import Tokens


def test_an_abandoned_upload_is_removed_at_the_next_start_whoever_it_was_for(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    old, new = state.blob("acme/registrys-own", "0" * 64), state.blob("acme/registrys-own", "1" * 64)
    old.parent.mkdir(parents=True)
    for path in (old, new):
        path.write_bytes(b"uploaded, and named by no commit")
    then = old.stat().st_mtime - ABANDONED - 60
    os.utime(old, (then, then))
    with state.claimed():
        assert not old.exists() and new.exists()


def test_a_token_that_was_made_twice_at_once_is_revoked_twice(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    secrets = [tokens.add("desk", "write"), tokens.add("twin", "write")]
    for path in tokens.folder.glob("*.json"):
        said = path.read_text(encoding="utf-8").replace('"twin"', '"desk"')
        path.write_bytes(said.encode())
    assert [token.name for token in tokens.all()] == ["desk", "desk"]
    tokens.revoke("desk")
    assert [tokens.find(secret) for secret in secrets] == [None, None]
    with pytest.raises(NotFound):
        tokens.revoke("desk")
