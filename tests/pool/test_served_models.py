"""The models that a server lists: those of its base, and an error in its log for a name that can't be read."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.inference_server.models import Models


def test_a_damaged_name_is_left_out_of_the_list_and_said(
    encoder: Path, save_adapter: Callable[..., Any], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = ahf.Registry(home)
    save_adapter("t/tone", encoder, registry)
    damaged = save_adapter("t/damaged", encoder, registry).folder / "manifest.json"
    damaged.chmod(0o644)
    facts = json.loads(damaged.read_text(encoding="utf-8"))  # it can be listed still, and not be parsed
    damaged.write_text(json.dumps({**facts, "base": "acme/tiny"}), encoding="utf-8")
    with caplog.at_level(logging.ERROR, "adapterhub_fin_registry.hub_server.http.access"):
        listed = Models(str(encoder), ahf.RegistryChain.configured()).all()
    assert {each["id"] for each in listed} == {"t/tone", "t/tone@1"}
    assert "the models of t/damaged are not listed" in caplog.text and "ahf doctor" in caplog.text
