"""A disk that keeps of what was not fsynced nothing, all, or any one part: what was answered stays, the rest is whole.

What the stand-in disk knows: a file's bytes are safe once the file was fsynced, a folder's entries once the folder was.
Until then each file and each folder may be on the disk as it was, or as it is, whatever the others are. The power fails
before every call that writes, and after the last. `make crashes` then leaves out each fsync in the code in turn: if
nothing is lost without it, it is not needed, and a test fails too.
"""

from __future__ import annotations

import ast
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import adapterhub_fin_registry
from adapterhub_fin_registry import AdapterHubError, Registry
from adapterhub_fin_registry import registry as local_module
from adapterhub_fin_registry.io import disk as disk_module
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.io.safe_read import read_object
from adapterhub_fin_registry.model.event_files import outcomes_file
from adapterhub_fin_registry.model.history import read_history
from adapterhub_fin_registry.model.lock_file import Lock
from adapterhub_fin_registry.storage.names import name_folders
from adapterhub_fin_registry.storage.transaction import changing
from adapterhub_fin_registry.storage.verify import verify_files, verify_tensors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs descriptors that keep an inode from reuse")

EXHAUSTIVE = bool(os.environ.get("AHF_EVERY_CRASH"))
PACKAGE = Path(adapterhub_fin_registry.__path__[0])
ROOT = Path("new", "registry")  # below the top of the disk, so that the way to it is made too
LOCK = "adapters.lock"  # beside the registry
Site = tuple[str, int]
Act = Callable[[Registry], object]
HISTORY: dict[str, Any] = {"training": {"step": [1], "loss": [0.5]}, "validation": {"step": []}}


class Image(NamedTuple):
    """What a disk holds: the entries of each folder and the bytes of each file, by inode."""

    folders: dict[int, dict[str, int]]
    files: dict[int, bytes]


class Killed(BaseException):
    """The process is gone: no clean-up gets anything done."""


class Disk:
    """The stand-in: a real folder is what the page cache holds, and an image what is safe."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self._held: dict[int, int] = {}  # an open descriptor keeps the number of an inode from being given again
        self.safe = self.look()

    def look(self) -> Image:
        """The whole folder as it is now."""
        found = Image({}, {})
        waiting = [self.top]
        while waiting:
            folder = waiting.pop()
            entries = found.folders.setdefault(self._inode(folder), {})
            for path in folder.iterdir():
                inode = entries[path.name] = self._inode(path)
                if path.is_dir():
                    waiting.append(path)
                else:
                    found.files[inode] = path.read_bytes()
        return found

    def fsync(self, descriptor: int) -> None:
        """Make one file or one folder safe."""
        inode = os.fstat(descriptor).st_ino
        now = self.look()
        if inode in now.folders:
            self.safe.folders[inode] = now.folders[inode]
        if inode in now.files:
            self.safe.files[inode] = now.files[inode]

    def afterwards(self, now: Image) -> Iterator[Image]:
        """What may be on the disk after the power failed: what is safe, and any of the rest, one or all but one."""
        folders = [inode for inode, entries in now.folders.items() if self.safe.folders.get(inode, {}) != entries]
        files = [inode for inode, data in now.files.items() if self.safe.files.get(inode, b"") != data]
        early = [*folders, *files]
        for some in ([], early, *([one] for one in early), *([e for e in early if e != one] for one in early)):
            kept = {inode: now.folders[inode] for inode in some if inode in now.folders}
            bytes_kept = {inode: now.files[inode] for inode in some if inode in now.files}
            yield Image({**self.safe.folders, **kept}, {**self.safe.files, **bytes_kept})

    def tree(self, image: Image) -> dict[str, bytes | None]:
        """What an image holds by path, None for a folder; what lies in tmp is nobody's."""
        found: dict[str, bytes | None] = {}

        def walk(inode: int, prefix: str) -> None:
            for name, child in image.folders.get(inode, {}).items():
                if prefix + name == str(ROOT / "tmp"):
                    continue
                is_folder = self._is_folder[child]
                found[prefix + name] = None if is_folder else image.files.get(child, b"")
                if is_folder:
                    walk(child, f"{prefix}{name}/")

        walk(self._inode(self.top), "")
        return found

    def close(self) -> None:
        """Let go of what was held."""
        for descriptor in self._held.values():
            os.close(descriptor)

    _is_folder: dict[int, bool]

    def _inode(self, path: Path) -> int:
        state = path.lstat()
        if state.st_ino not in self._held:
            self._held[state.st_ino] = os.open(path, os.O_PATH | os.O_NOFOLLOW)
            self.__dict__.setdefault("_is_folder", {})[state.st_ino] = path.is_dir()
        return state.st_ino


@dataclass
class Outcome:
    """What a reader finds, and the marks of the registry and of acme/tone beside what each of them is about."""

    state: Any
    marks: tuple[str, str]
    remains: tuple[str, ...]  # what stands beside a tombstone, which only an answer promises to be gone

    def about(self, place: int) -> Any:
        """What the mark at a place is about."""
        if isinstance(self.state, str):
            return self.state
        registry = self.state[:-1]  # no mark is about the lock file
        return registry if place == 0 else registry[0].get("acme/tone")


@dataclass
class Bench:
    """Runs a scenario on the stand-in disk and says what is wrong with what could be left."""

    folder: Path
    calls: Any
    skip: Site | None = None
    sites: set[Site] = field(default_factory=set)
    known: dict[Any, Any] = field(default_factory=dict)
    worlds: int = 0

    def run(self, start: Path, act: Act, first: Act | None = None, kill: int = 0) -> tuple[list[str], int]:
        """The faults of an act after which the power fails at every point, and the number of points.

        With a first act that is killed at a point, only what is left after the second has returned is looked at.
        """
        self.worlds += 1
        top = self.folder / f"world-{self.worlds}"
        shutil.copytree(start, top)
        disk = Disk(top)
        try:
            if first is not None:
                points, _, _ = self._watch(disk, top, first, kill)
                if points < kill:
                    return [], points
            before = self._outcome(disk, disk.look())
            points, seen, answered = self._watch(disk, top, act, 0)
            if not answered:
                return [], kill
            seen.append((disk.look(), [*disk.afterwards(disk.look())]))
            return self._faults(disk, before, seen, all_points=first is None), points
        finally:
            disk.close()
            shutil.rmtree(top)

    def _watch(self, disk: Disk, top: Path, act: Act, kill: int) -> tuple[int, list[tuple[Image, list[Image]]], bool]:
        seen: list[tuple[Image, list[Image]]] = []
        count = 0

        def happens(name: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            count += 1
            if kill and count >= kill:
                raise Killed
            now = disk.look()
            if not kill:
                seen.append((now, [*disk.afterwards(now)]))
            if name == "fsync":
                site = _site()
                self.sites.add(site)
                if site != self.skip:
                    disk.fsync(arguments[0])

        try:
            with self.calls.told(happens):
                act(Registry(top / ROOT))
        except (Killed, AdapterHubError):
            return count, seen, False
        return count, seen, True

    def _faults(
        self, disk: Disk, old: Outcome, seen: list[tuple[Image, list[Image]]], *, all_points: bool
    ) -> list[str]:
        visible = [self._outcome(disk, now) for now, _ in seen]
        new = visible[-1]
        faults = []
        for point, (_, images) in enumerate(seen):
            last = point == len(seen) - 1
            if not (last or all_points):
                continue
            for image in images:
                left = self._outcome(disk, image)
                if left.state not in ((new.state,) if last else (old.state, new.state)):
                    faults.append(f"point {point}{' after the answer' * last}: {left.state}")
                if last and left.remains:
                    faults.append(f"{left.remains} remain after the answer")
                for place, mark in enumerate(left.marks):
                    # Whoever read this mark may have read the state at any moment since.
                    when = [
                        n for n, outcome in enumerate(visible[: point + 1]) if mark and outcome.marks[place] == mark
                    ]
                    if when and any(o.about(place) != left.about(place) for o in visible[when[0] : point + 1]):
                        faults.append(f"point {point}: a cache that knows the mark misses {left.state}")
        return faults

    def _outcome(self, disk: Disk, image: Image) -> Outcome:
        tree = disk.tree(image)
        changed = [str(ROOT / "changed"), str(ROOT / "adapters/acme/tone/changed")]
        root, name = ((tree.pop(path, b"") or b"").decode() for path in changed)
        tree = {path: data for path, data in tree.items() if not path.endswith("/changed")}
        key = tuple(sorted(tree.items()))
        if key not in self.known:
            self.known[key] = self._state(tree)
        buried = {path.removesuffix("/deleted.json") for path in tree if path.endswith("/deleted.json")}
        remains = tuple(p for p in tree if str(Path(p).parent) in buried and not p.endswith("/deleted.json"))
        return Outcome(self.known[key], (root, name), remains)

    def _state(self, tree: dict[str, bytes | None]) -> Any:
        """All that a reader sees of a tree, each version verified."""
        place = self.folder / "afterwards"
        for path, data in sorted(tree.items()):
            if data is None:
                (place / path).mkdir(parents=True)
            else:
                (place / path).write_bytes(data)
        try:
            return _read(Registry(place / ROOT))
        except AdapterHubError as error:
            return str(error)
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _read(registry: Registry) -> Any:
    states = {}
    for name_folder in name_folders(registry.root):
        versions = {}
        for number in name_folder.numbers():
            folder = name_folder.versions_folder / str(number)
            if (folder / "deleted.json").exists():
                tombstone = read_object(folder / "deleted.json")
                versions[number] = f"deleted {tombstone['reason']}"
            else:
                version = registry.resolve(f"{name_folder.name}@{number}")
                verify_files(version)
                verify_tensors(version)
                record = version.record
                signatures = {path.name: path.read_bytes() for path in sorted(folder.glob("signatures/*"))}
                versions[number] = (version.digest, record["name"], record["version"], version.tags, signatures)
                evaluated = outcomes_file(folder)
                outcomes = None if evaluated is None else evaluated.read_bytes()
                versions[number] = (*versions[number], read_history(folder), outcomes)
        if versions:
            states[name_folder.name] = (versions, name_folder.aliases())
    held = Lock(registry.root.parent / LOCK, disk_module.Disk()).entries()
    return states, registry.damaged(), registry.id if states else None, held


def _site() -> Site:
    """Where in the package an fsync was asked for: who called `Disk.sync`, or os.fsync itself."""
    frame = sys._getframe(1)
    while PACKAGE not in Path(frame.f_code.co_filename).parents or frame.f_code.co_name == "sync":
        assert frame.f_back is not None
        frame = frame.f_back
    return Path(frame.f_code.co_filename).name, frame.f_lineno


# What is fsynced below is no registry: the index is a cache that is made again, and the server has a state of its own.
NOT_THE_REGISTRYS = {
    "search/index.py",
    "hub_server/audit.py",
    "hub_server/blob_writer.py",
    "hub_server/repo/state.py",
    "hub_server/tokens.py",
}


def _sites_in_code() -> set[Site]:
    found = set()
    others = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = {
            id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and f.name == "sync" for n in ast.walk(f)
        }
        for node in ast.walk(tree):
            called = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else None
            if called in ("fsync", "sync") and id(node) not in inside:
                if (module := path.relative_to(PACKAGE).as_posix()) in NOT_THE_REGISTRYS:
                    others.add(module)
                else:
                    found.add((path.name, node.lineno))
    assert others == NOT_THE_REGISTRYS
    return found


@dataclass(frozen=True)
class Scenario:
    """An act on a start; a first act is killed at every point before."""

    start: str
    act: Act
    first: Act | None = None


@pytest.fixture
def starts(tmp_path: Path, make_folder: Any, make_manifest: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Nothing at all; acme/tone@1 and @2 with an alias and a tag; the same with a record of another place."""
    monkeypatch.setattr(local_module, "now", lambda: "2026-01-01T00:00:00Z")
    found = {name: tmp_path / "starts" / name for name in ("nothing", "stocked", "copied")}
    found["nothing"].mkdir(parents=True)
    registry = Registry(found["stocked"] / ROOT)
    for seed in (1, 2):
        registry.add(make_folder(seed), make_manifest(), name="acme/tone")
    registry.set_alias("acme/tone", "champion", 1)
    registry.add_event("acme/tone@1", "tag", {"tag": "production"})
    shutil.copytree(found["stocked"], found["copied"])
    record = found["copied"] / ROOT / "adapters/acme/tone/versions/2/record.json"
    record.write_bytes(canonical({**read_object(record), "version": 7}))
    return found


@pytest.fixture
def scenarios(make_folder: Any, make_manifest: Any) -> list[Scenario]:
    """Every way to change a registry; then what is asked of one whose last writer was killed, or was slower."""
    new, manifest = make_folder(9, {"sub/notes.md": b"# notes"}), make_manifest()

    def add(name: str) -> Act:
        return lambda registry: registry.add(new, manifest, name=name)

    def add_with_history(registry: Registry) -> None:
        registry.add(new, manifest, name="acme/tone", history=HISTORY)

    def history(number: int) -> Act:
        return lambda registry: registry.add_history(f"acme/tone@{number}", HISTORY)

    def alias(number: int) -> Act:
        return lambda registry: registry.set_alias("acme/tone", "champion", number)

    def tag(number: int) -> Act:
        return lambda registry: registry.add_event(f"acme/tone@{number}", "tag", {"tag": "new"})

    def evaluation(registry: Registry) -> None:
        body = {"corpus": "headlines", "split": "test", "metrics": {"accuracy": 0.5}}
        registry.add_event("acme/tone@1", "evaluation", body, outcomes=b"PAR1")

    def delete(number: int) -> Act:
        return lambda registry: registry.delete(f"acme/tone@{number}", reason="a test")

    def sign(number: int) -> Act:
        def place(registry: Registry) -> None:
            version = registry.resolve(f"acme/tone@{number}")
            with changing(disk_module.Disk(), registry.root, version.folder.parents[1]) as change:
                change.place(version.folder / "signatures", "signature.json", b"{}")

        return place

    def lock(registry: Registry) -> None:
        registry.resolve("acme/tone@champion", lock=registry.root.parent / LOCK)

    def repair(registry: Registry) -> None:
        registry.doctor(repair=True)

    def first_alias(registry: Registry) -> None:
        registry.set_alias("acme/tone", "stable", 2)

    alone = [
        Scenario("nothing", add("acme/tone")),
        Scenario("stocked", add("acme/tone")),
        Scenario("stocked", add("acme/new")),
        Scenario("stocked", alias(2)),
        Scenario("stocked", first_alias),
        Scenario("stocked", tag(1)),
        Scenario("stocked", tag(2)),
        Scenario("stocked", delete(2)),
        Scenario("stocked", add_with_history),
        Scenario("stocked", history(1)),
        Scenario("stocked", history(2)),
        Scenario("stocked", evaluation),
        Scenario("stocked", sign(1)),
        Scenario("stocked", lock),
        Scenario("copied", repair),
    ]
    after_a_kill = [
        Scenario("nothing", add("acme/tone"), add("acme/tone")),
        Scenario("stocked", add("acme/tone"), add("acme/tone")),
        Scenario("stocked", alias(3), add("acme/tone")),
        Scenario("stocked", tag(3), add("acme/tone")),
        Scenario("stocked", delete(3), add("acme/tone")),
        Scenario("stocked", sign(3), add("acme/tone")),
        Scenario("stocked", history(2), history(2)),
        Scenario("stocked", add_with_history, add_with_history),
        Scenario("stocked", sign(1), sign(1)),
        Scenario("stocked", alias(2), alias(2)),
        Scenario("stocked", lambda registry: registry.gc(grace=timedelta(0)), delete(2)),
    ]
    return alone + after_a_kill


def _faults(bench: Bench, starts: dict[str, Path], scenarios: list[Scenario]) -> Iterator[str]:
    for number, scenario in enumerate(scenarios):
        kill = 0
        while True:
            kill += scenario.first is not None
            faults, points = bench.run(starts[scenario.start], scenario.act, scenario.first, kill)
            yield from (f"scenario {number}, killed at {kill}: {fault}" for fault in faults)
            if scenario.first is None or points < kill:
                break


def test_nothing_answered_is_lost(
    tmp_path: Path, write_calls: Any, starts: dict[str, Path], scenarios: list[Scenario]
) -> None:
    bench = Bench(tmp_path / "bench", write_calls)
    bench.folder.mkdir()
    assert list(_faults(bench, starts, scenarios)) == []
    sites = frozenset(bench.sites)
    assert sites == _sites_in_code()


@pytest.mark.skipif(not EXHAUSTIVE, reason="takes minutes: make crashes")
def test_no_fsync_is_needless(
    tmp_path: Path, write_calls: Any, starts: dict[str, Path], scenarios: list[Scenario]
) -> None:
    bench = Bench(tmp_path / "bench", write_calls)
    bench.folder.mkdir()
    needless = []
    for bench.skip in sorted(_sites_in_code()):
        if next(_faults(bench, starts, scenarios), None) is None:
            needless.append(bench.skip)
    assert needless == []
