"""The Hub keeps the contract that a stranger's store does."""

from __future__ import annotations

from typing import Any

import pytest

from adapterhub_fin.testing import StoreContract


class TestHub(StoreContract):
    name = "hf"

    @pytest.fixture
    def uri(self, at_hub: Any, request: pytest.FixtureRequest) -> str:
        return f"hf://contract/{request.node.name.replace('_', '-')}"
