"""A process dies, or the disk refuses, at each single call that writes: what is left is the old state or the new one.

Every call counts that the interpreter makes to change a file system, whoever makes it: those of the one module that
writes, and those of the libraries that it uses.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin_registry import NotFound, Registry, WriteFailed

Act = Callable[[Registry], object]
ACTS = [
    "add",
    "add with hashes",
    "hash again",
    "add with history",
    "history again",
    "add the first",
    "add to a new name",
    "alias",
    "event",
    "evaluation",
    "sign",
    "delete",
    "gc",
    "repair",
]
NOW = timedelta(0)
HISTORY: dict[str, Any] = {"training": {"step": [1], "loss": [0.5]}, "validation": {"step": []}}
EVALUATION: dict[str, Any] = {"corpus": "headlines", "split": "test", "metrics": {"accuracy": 0.5}}


@pytest.fixture
def acts(make_folder: Any, make_manifest: Any, make_key: Any) -> dict[str, Act]:
    """Every way to change a registry; doing one of them again is as doing it once."""
    new, manifest, old = make_folder(9, {"sub/notes.md": b"# notes"}), make_manifest(), make_folder(1)
    key = make_key("desk", "ed25519")  # whose signatures of one version are the same bytes

    def delete(registry: Registry) -> None:
        try:
            registry.delete("acme/tone@2")
        except NotFound:  # it is deleted already, and what may remain of it is for gc
            assert (registry.root / "adapters/acme/tone/versions/2/deleted.json").exists()

    return {
        "add": lambda registry: registry.add(new, manifest, name="acme/tone"),
        "add with hashes": lambda registry: registry.add(
            new, manifest, name="acme/tone", training_texts=["rose", "fell"]
        ),
        "hash again": lambda registry: registry.add(old, manifest, name="acme/tone", training_texts=["rose"]),
        "add with history": lambda registry: registry.add(new, manifest, name="acme/tone", history=HISTORY),
        "history again": lambda registry: registry.add(old, manifest, name="acme/tone", history=HISTORY),
        "add the first": lambda registry: registry.add(new, manifest, name="acme/first"),
        "add to a new name": lambda registry: registry.add(new, manifest, name="acme/new"),
        "alias": lambda registry: registry.set_alias("acme/tone", "champion", 2),
        "event": lambda registry: registry.add_event("acme/tone@1", "tag", {"tag": "production"}),
        "evaluation": lambda registry: registry.add_event("acme/tone@1", "evaluation", EVALUATION, outcomes=b"PAR1"),
        "sign": lambda registry: registry.sign("acme/tone@1", key),
        "delete": delete,
        "gc": lambda registry: registry.gc(grace=NOW),
        "repair": lambda registry: registry.doctor(repair=True, grace=NOW),
    }


@pytest.fixture
def start(
    tmp_path: Path, make_folder: Any, make_manifest: Any, work_folder_name: Callable[[str], str]
) -> Callable[[str, Path], Registry]:
    """A registry to change: acme/tone@1 and @2 with an alias on 1; or nothing; or that with what gc and doctor mend."""
    first = Registry(tmp_path / "first")
    for seed in (1, 2, 3):
        first.add(make_folder(seed), make_manifest(), name="acme/tone")
    first.set_alias("acme/tone", "champion", 1)
    first.delete("acme/tone@3")
    assert first.doctor() == []

    def make(kind: str, root: Path) -> Registry:
        if kind == "add the first":
            root.mkdir()
            return Registry(root)
        registry = Registry(shutil.copytree(first.root, root))
        registry.doctor(repair=True)  # a copy made by other means
        if kind in ("gc", "repair"):
            dead = root / "tmp" / work_folder_name("dead") / "built" / "files"
            dead.mkdir(parents=True)
            (dead / "half.json").write_bytes(b"{")
            (root / "tmp" / work_folder_name("stray")).write_bytes(b"x")
            buried = root / "adapters/acme/tone/versions/3"
            (buried / "files" / "sub").mkdir(parents=True)
            (buried / "files" / "sub" / "notes.md").write_bytes(b"# notes")
            (buried / "record.json").write_bytes(b"{}")
        if kind == "repair":
            registry.set_alias("acme/tone", "gone", 2)
            shutil.move(root / "adapters/acme/tone/versions/2", root / "adapters/acme/tone/versions/5")
            (root / "adapters/acme/tone/versions/6").mkdir()
            (root / "registry.json").unlink()
        return registry

    return make


def _state(registry: Registry) -> dict[str, Any]:
    """All that a reader sees, each version verified."""
    rows = registry.rows()
    return {
        "versions": {name: [version.number for version in registry.versions(name)] for name in registry.names()},
        "verified": [registry.verify(f"{row['name']}@{row['version']}").digest for row in rows],
        "aliases": registry.aliases("acme/tone"),
        "tags": [row["tags"] for row in rows],
        "signatures": [len(registry.signatures(f"{row['name']}@{row['version']}")) for row in rows],
        "damaged": registry.damaged(),
        "histories": [registry.history(f"{row['name']}@{row['version']}") for row in rows],
        "outcomes": [registry.outcomes(f"{row['name']}@{row['version']}") is not None for row in rows],
        "training-hashes": [
            registry.training_hashes(version) for name in registry.names() for version in registry.versions(name)
        ],
    }


def _leftovers(root: Path) -> list[Path]:
    return [*(root / "tmp").iterdir()] if (root / "tmp").exists() else []


def _settle(registry: Registry, act: Act, before: Any, after: Any, kind: str) -> None:
    """What is left is old or new, is mended to a clean bill, and the act can then be done."""
    if kind != "repair":  # whose steps are each a repair of its own
        assert _state(registry) in (before, after)
    registry.doctor(repair=True, grace=NOW)
    assert registry.doctor(grace=NOW) == [] and _leftovers(registry.root) == []
    if kind != "repair":
        assert _state(registry) in (before, after)
    act(registry)
    assert _state(registry) == after
    assert registry.doctor(grace=NOW) == []


def _count(write_calls: Any, registry: Registry, act: Act) -> list[str]:
    names: list[str] = []
    with write_calls.told(lambda name, arguments: names.append(name)):
        act(registry)
    return names


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kind", ACTS)
def test_a_process_killed_at_any_call(
    tmp_path: Path, write_calls: Any, start: Callable[..., Registry], acts: dict[str, Act], kind: str
) -> None:
    before = _state(start(kind, tmp_path / "before"))
    whole = start(kind, tmp_path / "whole")
    names = _count(write_calls, whole, acts[kind])
    after = _state(whole)
    assert len(names) > 10
    for at in range(1, len(names) + 1):
        registry = start(kind, tmp_path / str(at))
        child = os.fork()
        if child == 0:
            calls = 0

            def die(name: str, arguments: Any) -> None:
                nonlocal calls
                calls += 1
                if calls == at:  # noqa: B023 - the child lives in this turn alone
                    os.kill(os.getpid(), signal.SIGKILL)

            try:
                with write_calls.told(die):
                    acts[kind](registry)
            finally:
                os._exit(1)  # not reached: the act kills its process
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, f"call {at}, {names[at - 1]}"
        _settle(Registry(registry.root), acts[kind], before, after, kind)
        shutil.rmtree(registry.root)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("kind", ACTS)
def test_a_disk_that_refuses_any_call(
    tmp_path: Path, write_calls: Any, start: Callable[..., Registry], acts: dict[str, Act], kind: str, number: int
) -> None:
    before = _state(start(kind, tmp_path / "before"))
    whole = start(kind, tmp_path / "whole")
    names = _count(write_calls, whole, acts[kind])
    after = _state(whole)
    for at in range(1, len(names) + 1):
        registry = start(kind, tmp_path / str(at))
        calls: list[str] = []

        def refuse(name: str, arguments: Any) -> None:
            calls.append(name)  # noqa: B023 - called in this turn alone
            if len(calls) == at:  # noqa: B023
                raise OSError(number, os.strerror(number))

        with write_calls.told(refuse):
            if kind == "repair":  # says in its findings what could not be mended
                failed = [finding.remedy for finding in acts[kind](registry) if not finding.repaired]  # type: ignore[attr-defined]
                assert len(failed) == 1 and os.strerror(number) in failed[0], f"call {at}, {names[at - 1]}"
            else:
                with pytest.raises(WriteFailed, match=re.escape(os.strerror(number))):
                    acts[kind](registry)
        if names[at - 1] not in ("remove", "rmdir") and kind not in ("gc", "repair"):
            assert _leftovers(registry.root) == [], f"call {at}, {names[at - 1]}"
        _settle(Registry(registry.root), acts[kind], before, after, kind)
        shutil.rmtree(registry.root)
