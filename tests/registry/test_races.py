"""Two processes change what belongs together, each after the other has looked: an alias never names what is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin_registry import Corrupted, NotFound, Refused, Registry
from adapterhub_fin_registry.io.disk import Disk


class Interrupted(Disk):
    """A disk beside which something happens once, just before the first call of a kind."""

    def __init__(self, call: str, happens: Callable[[], object]) -> None:
        self.waiting = {call: happens}

    def __getattribute__(self, name: str) -> Any:
        if name != "waiting" and (happens := self.waiting.pop(name, None)):
            happens()
        return super().__getattribute__(name)


@pytest.fixture
def two(registry: Registry, make_folder: Any, make_manifest: Any) -> Registry:
    for seed in (1, 2):
        registry.add(make_folder(seed), make_manifest(), name="acme/tone")
    return registry


@pytest.mark.parametrize("call", ["begin", "write", "sync", "mark"])
def test_a_version_whose_alias_is_set_while_it_is_being_deleted_stays(two: Registry, call: str) -> None:
    disk = Interrupted(call, lambda: Registry(two.root).set_alias("acme/tone", "champion", 1))
    with pytest.raises(Refused, match="named by champion"):
        Registry(two.root, disk=disk).delete("acme/tone@1")
    assert two.resolve("acme/tone@champion").number == 1 and two.doctor() == []
    assert list((two.root / "tmp").iterdir()) == []


@pytest.mark.parametrize("call", ["begin", "write", "seal", "claim"])
@pytest.mark.parametrize("before", [None, 2])
def test_an_alias_of_a_version_that_is_deleted_while_it_is_being_set_is_taken_back(
    two: Registry, call: str, before: int | None
) -> None:
    if before is not None:
        two.set_alias("acme/tone", "champion", before)
    disk = Interrupted(call, lambda: Registry(two.root).delete("acme/tone@1"))
    with pytest.raises(NotFound, match="there is no acme/tone@1"):
        Registry(two.root, disk=disk).set_alias("acme/tone", "champion", 1)
    assert two.aliases("acme/tone") == {} and two.doctor() == []
    assert [step["version"] for step in two.alias_history("acme/tone", "champion")][-2:] == [1, None]


def test_a_version_is_not_deleted_while_an_alias_cannot_be_read(two: Registry) -> None:
    two.set_alias("acme/tone", "champion", 2)
    setting = Path(two.root, "adapters/acme/tone/aliases/champion/1/alias.json")
    setting.write_text("{")
    with pytest.raises(Corrupted, match=r"alias\.json isn't JSON"):
        two.delete("acme/tone@1")
    assert two.resolve("acme/tone@1").number == 1
