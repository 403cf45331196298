"""Publishing where files go over LFS, as on the Hugging Face Hub: whatever breaks, it ends whole or shows nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin_registry.hub_server.settings import Settings

STEPS = {
    "batch": ("POST", r"/objects/batch$"),
    "upload": ("PUT", r"/objects/[0-9a-f]{64}"),
    "verify": ("POST", r"/objects/verify"),
    "commit": ("POST", r"/commit/main"),
}


@pytest.fixture(scope="module")
def hub(serving: Callable[..., Any]) -> Any:
    """A server that takes weights over LFS alone, and texts within the commit."""
    return serving(Settings(regular_limit=2**16))


@pytest.mark.parametrize("kind", ["500", "503", "reset", "lost"])
@pytest.mark.parametrize("step", STEPS)
def test_a_fault_of_lfs_while_publishing(
    kind: str, step: str, plain: Any, name: str, stored: Callable[..., ahf.Version]
) -> None:
    version = stored(name, weights={"columns": 2**13})
    fault = plain.fault(kind, *STEPS[step])
    try:
        assert ahf.publish(name, f"hf://{name}").reference == f"hf://{name}@v1"
    except ahf.Unreachable:
        assert not plain.tags
    assert fault.met == 1, "the fault was met"
    plain.heal()
    assert ahf.publish(name, f"hf://{name}").reference == f"hf://{name}@v1"
    assert list(plain.tags[name]) == ["v1"]
    assert ahf.pull(f"hf://{name}", "acme/back").digest == version.digest


@pytest.mark.parametrize("step", ["batch", "upload"])
def test_an_upload_that_can_not_end_shows_nothing(
    step: str, plain: Any, name: str, stored: Callable[..., ahf.Version]
) -> None:
    stored(name, weights={"columns": 2**13})
    plain.fault("500", *STEPS[step], times=1000)
    with pytest.raises(ahf.Unreachable, match="try again"):
        ahf.publish(name, f"hf://{name}")
    assert not plain.tags and not [seen for seen in plain.seen if "/commit/" in seen]
    plain.heal()
    assert ahf.publish(name, f"hf://{name}").reference == f"hf://{name}@v1"
