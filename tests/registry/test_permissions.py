"""What another user than root may read, and what that user is told where nothing may be written."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin_registry import AdapterHubError, Corrupted, ReadOnly, Registry, WriteFailed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")

NOBODY = 65534
AsNobody = Callable[[Callable[[], object]], None]


@pytest.fixture
def as_nobody() -> AsNobody:
    """Call something in a process whose user is not root, and fail as it fails."""

    def call(do: Callable[[], object]) -> None:
        if os.geteuid() != 0:
            do()
            return
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                do()
            except BaseException:
                os.write(theirs, traceback.format_exc().encode())
            finally:
                os._exit(0)
        os.close(theirs)
        os.waitpid(child, 0)
        with os.fdopen(ours) as said:
            if text := said.read():
                pytest.fail(text)

    return call


@pytest.fixture
def public(make_folder: Any, make_manifest: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry that everybody may read, and nobody but its owner may write; where every user can come to."""
    top = Path(tempfile.mkdtemp())
    top.chmod(0o755)
    old = os.umask(0o022)
    try:
        registry = Registry(top / "root")
        registry.add(make_folder(1), make_manifest(), name="acme/tone")
        registry.set_alias("acme/tone", "champion", 1)
        registry.path("acme/tone")  # whatever is imported when it is used can be imported now
        registry.doctor(repair=True)
        monkeypatch.setenv("AHF_CACHE", str(top / "nobody-may-write"))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(top / "no-settings"))
        _writable(registry.root, False)
        yield registry
    finally:
        os.umask(old)
        _writable(top, True)
        shutil.rmtree(top)


def _writable(tree: Path, yes: bool) -> None:
    # The owner too, since the tests may run as the user that owns it.
    for path in (tree, *tree.rglob("*")):
        if path.is_dir() and not path.is_symlink() and path.name != "tmp":
            path.chmod(0o755 if yes else 0o555)


def _for_all(folder: Path, public: Registry) -> Path:
    copy = shutil.copytree(folder, public.root.parent / "folder")
    copy.chmod(0o755)
    return copy


def test_a_reader_needs_no_right_to_write(public: Registry, as_nobody: AsNobody) -> None:
    def read() -> None:
        registry = Registry(public.root)
        assert [row["aliases"] for row in registry.rows()] == [["champion"]]
        for _ in range(2):  # and its cache can't be written either
            assert (registry.path("acme/tone@champion") / "adapter_config.json").read_bytes()
        assert registry.verify("acme/tone").number == 1
        assert {finding.kind for finding in registry.doctor()} == {"copy"}  # the fixture has altered modes
        assert registry.gc(dry_run=True) == []

    as_nobody(read)


def test_a_writer_without_the_right_is_told_so(
    public: Registry, as_nobody: AsNobody, make_folder: Any, make_manifest: Any
) -> None:
    (public.root / "tmp").chmod(0o555)
    folder, manifest = _for_all(make_folder(2), public), make_manifest()
    before = sorted(public.root.rglob("*"))
    writes: list[Callable[[Registry], object]] = [
        lambda registry: registry.add(folder, manifest, name="acme/tone"),
        lambda registry: registry.set_alias("acme/tone", "stable", 1),
        lambda registry: registry.add_event("acme/tone@1", "yank"),
        lambda registry: (
            registry.delete("acme/tone@1") if not registry.aliases("acme/tone") else registry.check_writable()
        ),
    ]

    def write() -> None:
        for act in writes:
            with pytest.raises(ReadOnly, match="ask for write access, or set AHF_HOME"):
                act(Registry(public.root))

    as_nobody(write)
    assert sorted(public.root.rglob("*")) == before


def test_a_writer_who_may_write_only_to_tmp_leaves_nothing(
    public: Registry, as_nobody: AsNobody, make_folder: Any, make_manifest: Any
) -> None:
    (public.root / "tmp").chmod(0o777)
    folder, manifest = _for_all(make_folder(2), public), make_manifest()

    def write() -> None:
        with pytest.raises(ReadOnly):
            Registry(public.root).add(folder, manifest, name="acme/tone")
        with pytest.raises(ReadOnly):
            Registry(public.root).add(folder, manifest, name="acme/new")

    as_nobody(write)
    assert list((public.root / "tmp").iterdir()) == [] and public.names() == ["acme/tone"]


def test_a_file_that_may_not_be_read_is_named(public: Registry, as_nobody: AsNobody) -> None:
    config = public.resolve("acme/tone").files / "adapter_config.json"
    config.chmod(0)

    def read() -> None:
        for find in (Registry(public.root).path, Registry(public.root).verify):
            with pytest.raises(
                Corrupted, match=r"adapter_config\.json of acme/tone@1 can't be read \(Permission denied"
            ):
                find("acme/tone@1")

    as_nobody(read)


def test_what_is_being_built_is_its_builders_alone(public: Registry, make_folder: Any, make_manifest: Any) -> None:
    modes = []

    def look(manifest: Any, files: Path) -> None:
        modes.append(stat.S_IMODE(files.parent.parent.stat().st_mode))

    _writable(public.root, True)
    public.add(make_folder(3), make_manifest(), name="acme/tone", checks=[look])
    assert modes == [0o700]


@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="needs root to own what another may not remove")
def test_another_users_leftovers_stay_and_are_said(
    public: Registry, as_nobody: AsNobody, work_folder_name: Callable[[str], str]
) -> None:
    work_folder, closed = (public.root / "tmp" / work_folder_name(word) for word in ("dead", "dead and closed"))
    work_folder.mkdir(mode=0o755)
    closed.mkdir(mode=0o700)
    (public.root / "tmp").chmod(0o1777)  # where each may remove only what is their own

    def clean() -> None:
        registry = Registry(public.root)
        [left] = registry.gc(grace=timedelta(0))
        assert (left.path, left.removed) == (work_folder, False)
        [finding] = [each for each in registry.doctor(repair=True, grace=timedelta(0)) if each.kind == "unfinished"]
        assert not finding.repaired and "another user" in finding.remedy

    for path in (work_folder, closed):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    as_nobody(clean)
    assert sorted((public.root / "tmp").iterdir()) == sorted([work_folder, closed])


def test_doctor_says_what_it_may_not_mend(public: Registry, as_nobody: AsNobody) -> None:
    _writable(public.root, True)
    (public.root / "adapters/acme/tone/changed").unlink()
    (public.root / "tmp").chmod(0o555)
    _writable(public.root, False)

    def examine() -> None:
        findings = Registry(public.root).doctor(repair=True)
        assert findings and not any(finding.repaired for finding in findings)
        assert all("it failed" in finding.remedy for finding in findings)
        with pytest.raises(WriteFailed):
            Registry(public.root).check_writable()

    as_nobody(examine)


@pytest.fixture
def full(public: Registry, make_folder: Any, make_manifest: Any, make_key: Any) -> Registry:
    """The public registry with something of every kind in acme/tone, and zed/last beside it."""
    _writable(public.root, True)
    for seed in (2, 3):
        public.add(make_folder(seed), make_manifest(), name="acme/tone")
    public.delete("acme/tone@3")
    public.add_event("acme/tone@1", "tag", {"tag": "production"})
    public.sign("acme/tone@1", make_key())
    public.add(make_folder(4), make_manifest(), name="zed/last")
    return public


LISTS: dict[str, Callable[[Registry], object]] = {
    "rows": lambda registry: registry.rows(),
    "names": lambda registry: registry.names(),
    "damaged": lambda registry: registry.damaged(),
    "search": lambda registry: registry.search("", limit=None),
    "doctor": lambda registry: registry.doctor(),
    "gc": lambda registry: registry.gc(dry_run=True),
    "lineage": lambda registry: registry.lineage("zed/last"),
    "path": lambda registry: registry.path("zed/last"),
    "holds": lambda registry: registry.holds("acme/tone"),
    "mark": lambda registry: registry.mark("acme/tone"),
}
QUESTIONS: list[Callable[[Registry], object]] = [
    lambda registry: registry.path("acme/tone"),
    lambda registry: registry.path("acme/tone@1"),
    lambda registry: registry.verify("acme/tone@1"),
    lambda registry: registry.resolve("acme/tone", as_of="2030-01-01"),
    lambda registry: registry.resolve("acme/tone@champion"),
    lambda registry: registry.alias_history("acme/tone", "champion"),
    lambda registry: registry.events("acme/tone@1"),
    lambda registry: registry.resolve("sha256:" + "0" * 64),
    lambda registry: registry.versions("acme/tone"),
]


def test_what_may_not_be_read_takes_nothing_else_down(
    full: Registry, as_nobody: AsNobody, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file and each folder in turn: whatever lists goes on, says what it passes over, and answers for the rest."""
    for ask in (*LISTS.values(), *QUESTIONS):  # whatever is imported when it is used can be imported now
        with suppress(AdapterHubError):
            ask(full)
    monkeypatch.setenv("AHF_CACHE", str(full.root.parent / "no-index"))  # one would answer with what it has seen
    last = full.resolve("zed/last").digest
    paths = [path for path in sorted((full.root / "adapters/acme").rglob("*")) if "files" not in path.parts]
    for path in (full.root / "adapters/acme", full.root / "changed", *paths):
        mode = stat.S_IMODE(path.stat().st_mode)

        def read(path: Path = path, is_listed: bool = False) -> None:
            registry = Registry(full.root)
            found = {name: ask(registry) for name, ask in LISTS.items()}
            assert "zed/last" in found["names"] and last == registry.resolve(last).digest
            assert {row["name"] for row in found["rows"]} >= {"zed/last"} and found["holds"]
            assert found["rows"] == found["search"].rows
            assert found["damaged"].keys() == found["search"].damaged.keys()
            assert path in [finding.path for finding in found["doctor"] if finding.kind == "unreadable"]
            told = any(str(path) in reason for reason in found["damaged"].values())
            of_alias = "champion" in (path.parts if is_listed else path.parent.parts)
            untold = path.name in UNTOLD or "signatures" in path.parts or of_alias
            assert told != untold, path
            for ask in QUESTIONS:
                with suppress(AdapterHubError):
                    ask(registry)

        path.chmod(0)
        as_nobody(read)
        if path.is_dir():
            path.chmod(0o444)  # listed, and not entered
            as_nobody(partial(read, is_listed=True))
        path.chmod(mode)


UNTOLD = {"changed", "deleted.json"}  # every version can be read without; of an alias's setting `doctor` tells


def test_a_registry_that_may_not_be_read_at_all_says_so(full: Registry, as_nobody: AsNobody) -> None:
    for place in ("adapters", "registry.json"):
        path = full.root / place
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(0)

        def read(path: Path = path) -> None:
            for name, ask in LISTS.items():
                if name in ("mark", "holds", "gc", "doctor") and path.name == "adapters":
                    continue
                with pytest.raises(Corrupted, match=rf"{path.name} can't be read \(Permission denied\)|adapters"):
                    ask(Registry(full.root))
            if path.name == "adapters":
                assert {"unreadable"} <= {finding.kind for finding in Registry(full.root).doctor()}

        as_nobody(read)
        path.chmod(mode)


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o002, 0])
def test_who_may_read_the_registry_reads_what_is_new_whatever_the_umask(
    full: Registry, make_folder: Any, make_manifest: Any, make_key: Any, umask: int
) -> None:
    for path in full.root.rglob("*"):  # as a group that shares a registry sets it up
        path.chmod(0o2775 if path.is_dir() else 0o644)
    full.root.chmod(0o2775)
    before = set(full.root.rglob("*"))
    os.umask(umask)  # the fixture puts it back
    full.add(make_folder(8, {"sub/notes.md": b"# notes"}), make_manifest(), name="acme/tone")
    full.add(make_folder(9), make_manifest(), name="new/mine")
    full.sign("new/mine@1", make_key())
    full.set_alias("acme/tone", "stable", 4)
    full.add_event("acme/tone@2", "tag", {"tag": "new"})
    full.delete("acme/tone@2")
    new = set(full.root.rglob("*")) - before | {full.root / "changed", full.root / "adapters/acme/tone/changed"}
    modes = {(path.is_dir(), oct(stat.S_IMODE(path.stat().st_mode))) for path in new}
    assert modes <= {(True, "0o2775"), (False, "0o644"), (False, "0o664")} and len(new) > 20
    assert all(oct(stat.S_IMODE(path.stat().st_mode)) == "0o2775" for path in new if path.is_dir())


def test_the_first_write_makes_the_root_as_the_umask_says(tmp_path: Path, make_folder: Any, make_manifest: Any) -> None:
    old = os.umask(0o077)
    try:
        registry = Registry(tmp_path / "private" / "root")
        registry.add(make_folder(1), make_manifest(), name="acme/tone")
    finally:
        os.umask(old)
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (registry.root, *registry.root.rglob("*"))} == {0}
