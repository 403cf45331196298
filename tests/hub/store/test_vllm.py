"""What a request to vLLM names by `hf://`, where the operator allows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd

from adapterhub_fin.exporting.vllm_resolver import Refusals, answer


def test_a_repository_is_served_from_a_hub(
    at_hub: Any,
    name: str,
    adapter: Callable[..., dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = at_hub.api()
    api.create_repo(name)
    pushed = [CommitOperationAdd(path, data) for path, data in adapter(5).items()]
    made = api.create_commit(name, pushed, commit_message="from a notebook")
    assert answer("acme/base", f"hf://{name}@v1", Refusals()) is None and "AHF_VLLM_HUB" in caplog.text
    monkeypatch.setenv("AHF_VLLM_HUB", f"desk/*, {name.partition('/')[0]}/*")
    for revision in ("@v1", "", f"@{made.oid}"):
        served = answer("acme/base", f"hf://{name}{revision}", Refusals())
        assert served is not None, caplog.text
        assert json.loads((served.folder / "adapter_config.json").read_bytes())["r"] == 2
    assert answer("acme/other", f"hf://{name}@v1", Refusals()) is None
    assert answer("acme/base", f"hf://{name}@v9", Refusals()) is None
    assert answer("acme/base", f"hf://{name}-none", Refusals()) is None
