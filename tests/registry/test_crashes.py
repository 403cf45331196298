"""Full disks, killed processes and crowds: what was there stays, what is new is whole, and no number is lost.

Here files are cut short, disks stay full, and many processes write at once; `test_kill_points` has every single call.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin_registry import Manifest, NotFound, Registry, WriteFailed
from adapterhub_fin_registry.io.disk import Disk

MakeFolder = Callable[..., Path]
MakeManifest = Callable[..., Manifest]
Change = Callable[[Registry], object]
CALLS = [name for name, value in vars(Disk).items() if callable(value) and not name.startswith("_")]


class CountingDisk(Disk):
    """A disk to which something happens at its Nth call, before the call or halfway through a file."""

    def __init__(self, happens: Callable[[], None], at: int, *, halfway: bool = False) -> None:
        self.happens = happens
        self.at = at
        self.halfway = halfway
        self.calls: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name not in CALLS:
            return value

        def counted(*arguments: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) == self.at:
                if self.halfway and name == "write":
                    arguments[0].write_bytes(arguments[1][: len(arguments[1]) // 2])
                if self.halfway and name == "copy":
                    arguments[1].write_bytes(arguments[0].read(5))
                self.happens()
            return value(*arguments)

        return counted


class FullFrom(CountingDisk):
    """A disk that is full from its Nth call on: nothing can be written any more, but things can be removed."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name in ("begin", "make", "copy", "write", "seal", "claim", "publish", "mark"):
            return lambda *arguments: value(*arguments) if len(self.calls) < self.at else _full()
        return value


def _full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def changes(make_folder: MakeFolder, make_manifest: MakeManifest) -> dict[str, Change]:
    """Every way to change a registry that holds acme/tone@1 and @2, with an alias on 1."""
    new, manifest = make_folder(9, {"sub/notes.md": b"# notes"}), make_manifest()
    return {
        "add": lambda registry: registry.add(new, manifest, name="acme/tone"),
        "add to a new name": lambda registry: registry.add(new, manifest, name="acme/new"),
        "alias": lambda registry: registry.set_alias("acme/tone", "champion", 2),
        "event": lambda registry: registry.add_event("acme/tone@1", "tag", {"tag": "production"}),
        "delete": lambda registry: registry.delete("acme/tone@2"),
    }


@pytest.fixture
def start(tmp_path: Path, make_folder: MakeFolder, make_manifest: MakeManifest) -> Callable[[Path], Registry]:
    first = Registry(tmp_path / "first")
    for seed in (1, 2):
        first.add(make_folder(seed), make_manifest(), name="acme/tone")
    first.set_alias("acme/tone", "champion", 1)

    def copy(root: Path) -> Registry:
        return Registry(shutil.copytree(first.root, root))

    return copy


def _state(registry: Registry) -> dict[str, Any]:
    """All that a reader sees, each version verified."""
    return {
        "versions": {row["name"]: [v.number for v in registry.versions(row["name"])] for row in registry.rows()},
        "verified": [registry.verify(f"{row['name']}@{row['version']}").digest for row in registry.rows()],
        "aliases": registry.aliases("acme/tone"),
        "events": [event["kind"] for event in registry.events("acme/tone@1")],
        "damaged": registry.damaged(),
    }


KINDS = ["add", "add to a new name", "alias", "event", "delete"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["halfway", "from then on"])
def test_a_full_disk_leaves_the_old_state_or_the_new_one(
    tmp_path: Path, start: Callable[[Path], Registry], changes: dict[str, Change], kind: str, mode: str
) -> None:
    before = _state(start(tmp_path / "before"))
    whole = start(tmp_path / "whole")
    disk = CountingDisk(_full, 0)
    changes[kind](Registry(whole.root, disk=disk))
    after, calls = _state(whole), disk.calls
    assert before != after
    for at in range(1, len(calls) + 1):
        if mode == "halfway" and calls[at - 1] not in ("write", "copy"):
            continue
        root = tmp_path / str(at)
        start(root)
        kind_of_disk = FullFrom if mode == "from then on" else CountingDisk
        failing = kind_of_disk(_full, at, halfway=mode == "halfway")
        if mode == "from then on" and set(calls[at - 1 :]) <= {"sync", "remove"}:
            continue  # nothing left to write
        with pytest.raises(WriteFailed, match="No space left"):
            changes[kind](Registry(root, disk=failing))
        again = Registry(root)
        assert _state(again) in (before, after), f"call {at}, {calls[at - 1]}"
        if calls[at - 1] != "remove":
            assert list((root / "tmp").iterdir()) == [], f"call {at}, {calls[at - 1]}"
        if _state(again) == before:
            changes[kind](again)
            assert _state(again) == after


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_killed_halfway_through_a_file_leaves_the_old_state_or_the_new_one(
    tmp_path: Path, start: Callable[[Path], Registry], changes: dict[str, Change], kind: str
) -> None:
    before = _state(start(tmp_path / "before"))
    whole = start(tmp_path / "whole")
    disk = CountingDisk(_die, 0)
    changes[kind](Registry(whole.root, disk=disk))
    after, calls = _state(whole), disk.calls
    for at in range(1, len(calls) + 1):
        if calls[at - 1] not in ("write", "copy"):
            continue
        root = tmp_path / str(at)
        start(root)
        child = os.fork()
        if child == 0:
            try:
                changes[kind](Registry(root, disk=CountingDisk(_die, at, halfway=True)))
            finally:
                os._exit(1)  # not reached: the change kills its process
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        again = Registry(root)
        assert _state(again) in (before, after), f"call {at}, {calls[at - 1]}"
        if _state(again) == before:
            changes[kind](again)
            assert _state(again) == after


def test_a_failed_first_add_leaves_an_empty_registry_that_works(
    tmp_path: Path, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    folder, manifest = make_folder(), make_manifest()
    disk = CountingDisk(_full, 0)
    Registry(tmp_path / "whole", disk=disk).add(folder, manifest, name="acme/tone")
    for at in range(1, len(disk.calls) + 1):
        registry = Registry(tmp_path / str(at), disk=CountingDisk(_full, at))
        with pytest.raises(WriteFailed):
            registry.add(folder, manifest, name="acme/tone")
        version = Registry(registry.root).add(folder, manifest, name="acme/tone")
        assert (version.number, registry.rows()[0]["version"], registry.damaged()) == (1, 1, {})


def test_an_interrupt_leaves_nothing(registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest) -> None:
    def interrupt(manifest: Manifest, files: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        registry.add(make_folder(), make_manifest(), name="acme/tone", checks=[interrupt])
    assert list((registry.root / "tmp").iterdir()) == [] and registry.names() == []


# Clocks that are years apart, and locks that lock nothing: no number depends on either.
ADDER = """
import fcntl, os, sys, time
from pathlib import Path
from adapterhub_fin_registry import Manifest, Registry, registry as local
root, folder, manifest, first, count = sys.argv[1:]
fcntl.flock = fcntl.lockf = os.fsync = lambda *arguments: None
skew = (int(first) % 700 - 300) * 86400 * 10
true_time = time.time
time.time = lambda: true_time() + skew
local.now = lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time()))
registry, manifest = Registry(root), Manifest.parse(Path(manifest).read_bytes())
print("ready", flush=True)
sys.stdin.read(1)
for seed in range(int(first), int(first) + int(count)):
    version = registry.add(folder, manifest.model_copy(update={"seed": seed}), name="acme/tone")
    if seed % 3 == 0:
        registry.set_alias("acme/tone", "newest", version.number)
        registry.add_event("acme/tone@1", "tag", {"tag": str(seed)})
    print(version.number, flush=True)
"""


def _adder(registry: Registry, folder: Path, manifest: Path, first: int, count: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", ADDER, str(registry.root), str(folder), str(manifest), str(first), str(count)]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _released(adders: list[subprocess.Popen[str]]) -> list[list[int]]:
    """Start all at once, wait for all, and give the numbers that each was given."""
    for adder in adders:
        assert adder.stdout is not None and adder.stdout.readline() == "ready\n"
    for adder in adders:
        assert adder.stdin is not None
        adder.stdin.write("x")
        adder.stdin.flush()
    outputs = [adder.communicate()[0] for adder in adders]
    assert [adder.returncode for adder in adders] == [0] * len(adders)
    return [[int(line) for line in output.split()] for output in outputs]


@pytest.fixture
def draft(tmp_path: Path, make_manifest: MakeManifest) -> Path:
    path = tmp_path / "draft.json"
    path.write_bytes(make_manifest().canonical())
    return path


def test_eight_processes_share_the_numbers_without_gap(
    registry: Registry, make_folder: MakeFolder, draft: Path
) -> None:
    folder = make_folder()
    given = _released([_adder(registry, folder, draft, 100 * process, 50) for process in range(8)])
    assert sorted(number for numbers in given for number in numbers) == list(range(1, 401))
    versions = registry.versions("acme/tone")
    assert [version.number for version in versions] == list(range(1, 401))
    assert len({version.digest for version in versions}) == 400
    assert len({version.record["added_at"][:4] for version in versions}) > 5  # the clocks did differ
    set_by = [seed for process in range(8) for seed in range(100 * process, 100 * process + 50) if seed % 3 == 0]
    for kept in (registry.alias_history("acme/tone", "newest"), registry.events("acme/tone@1")):
        assert [entry["number"] for entry in kept] == list(range(1, len(kept) + 1))
    assert {int(event["tag"]) for event in registry.events("acme/tone@1")} == set(set_by)
    assert registry.damaged() == {} and list((registry.root / "tmp").iterdir()) == []


def test_eight_processes_that_store_the_same_store_it_once(
    registry: Registry, make_folder: MakeFolder, draft: Path
) -> None:
    folder = make_folder()
    given = _released([_adder(registry, folder, draft, 0, 5) for _ in range(8)])
    assert all(numbers == given[0] for numbers in given)
    assert sorted(given[0]) == [version.number for version in registry.versions("acme/tone")] == [1, 2, 3, 4, 5]


def test_a_process_killed_from_outside_leaves_whole_versions(
    registry: Registry, make_folder: MakeFolder, draft: Path
) -> None:
    adder = _adder(registry, make_folder(), draft, 0, 10_000)
    assert adder.stdin is not None and adder.stdout is not None
    adder.stdin.write("x")
    adder.stdin.flush()
    while (line := adder.stdout.readline()) != "5\n":
        assert line, "it ended before it was killed"
    adder.kill()
    adder.communicate()
    numbers = [version.number for version in registry.versions("acme/tone")]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 5
    for number in numbers:
        registry.verify(f"acme/tone@{number}")
    assert registry.damaged() == {}
    number = registry.add(make_folder(7), Manifest.parse(draft.read_bytes()), name="acme/tone").number
    assert number == len(numbers) + 1


def test_a_reader_beside_a_writer_never_sees_half(registry: Registry, make_folder: MakeFolder, draft: Path) -> None:
    adder = _adder(registry, make_folder(), draft, 0, 25)
    assert adder.stdin is not None
    adder.stdin.write("x")
    adder.stdin.flush()
    while adder.poll() is None:
        assert registry.damaged() == {}
        try:
            registry.verify("acme/tone")
        except NotFound:
            time.sleep(0.01)  # nothing stored yet
    adder.communicate()
    assert registry.resolve("acme/tone").number == 25


# What else writes, and what it writes: nothing of it is a registry's.
OTHER_WRITERS = {
    "model/schema.py": "the package itself, when it is developed",
    "io/hash_cache.py": "the user's cache",
    "search/index.py": "the user's cache",
    "remote_index.py": "a list that is gone with its answer",
    "hub_client/download.py": "the user's cache",
    "hub_client/manifests.py": "the user's cache",
    "hub_server/repo/state.py": "the server's own state, but for what goes through the disk",
    "hub_server/blob_writer.py": "an upload in the server's state",
    "hub_server/audit.py": "lines that are added to the server's own log",
}
WRITES = re.compile(
    r"write_bytes|write_text|\.touch\(|mkdir|\.rmdir\(|(?<!state)\.rename\(|\.replace\(self|unlink|rmtree|os\.(link|open|replace|fsync)"
    r"|symlink_to|hardlink_to|truncate\(|O_CREAT|[\"'][wxa]b?\+?b?[\"']\)"
)


def test_the_disk_is_the_only_writer() -> None:
    """A static look: no other module of the registry opens for writing, renames or removes."""
    package = Path(sys.modules["adapterhub_fin_registry"].__path__[0])
    found = {}
    for module in package.rglob("*.py"):
        lines = [line.strip() for line in module.read_text(encoding="utf-8").splitlines()]
        written = [line for line in lines if WRITES.search(line) and not line.startswith(("def ", "#"))]
        if written:
            found[module.relative_to(package).as_posix()] = written
    reads = [line for line in found.pop("io/safe_read.py") if "_FLAGS)" not in line]
    assert reads == [], "it opens without the right to write"
    assert found.keys() - {"io/disk.py"} == OTHER_WRITERS.keys(), found
