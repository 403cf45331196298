"""The index: it sees every change, is never the truth, and is rebuilt whenever it won't do."""

from __future__ import annotations

import base64
import json
import os
import pickle
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapterhub_fin_registry import BadInstant, BadQuery, Corrupted, Manifest, Registry
from adapterhub_fin_registry.search import index
from adapterhub_fin_registry.search import index_update as filling
from adapterhub_fin_registry.search.version_reader import VersionReader

Add = Callable[..., str]


@pytest.fixture
def add(registry: Registry, make_folder: Callable[..., Path], make_manifest: Callable[..., Manifest]) -> Add:
    """Add a version that differs from all others, and give its reference."""
    count = iter(range(10_000))

    def add(name: str = "acme/tone", *ends: str, **fields: Any) -> str:
        manifest = make_manifest(*ends, **{"recipe": {"count": next(count)}, **fields})
        return registry.add(make_folder(), manifest, name=name).reference

    return add


@pytest.fixture
def three(registry: Registry, add: Add) -> Registry:
    """acme/tone@1, @2 and beta/rates@1."""
    add(metrics={"f1": 0.5}, description="The tone of headlines")
    add(metrics={"f1": 0.7}, tags=["finance"])
    add("beta/rates", metrics={"f1": 0.9})
    return registry


def found(registry: Registry, query: str = "", **options: Any) -> list[str]:
    return [f"{row['name']}@{row['version']}" for row in registry.search(query, **options)]


def cache(registry: Registry) -> Path:
    return Path(os.environ["AHF_CACHE"]) / "registries" / str(registry.id) / "search"


def generation(registry: Registry) -> Path:
    return cache(registry) / (cache(registry) / f"current-{index.VERSION}").read_text()


ALL = ["acme/tone@1", "acme/tone@2", "beta/rates@1"]


def test_rows_are_those_of_the_registry(three: Registry) -> None:
    three.set_alias("acme/tone", "champion", 1)
    three.add_event("acme/tone@1", "evaluation", {"corpus": "calls", "split": "test", "metrics": {"f1": 0.4}})
    three.add_event("acme/tone@1", "tag", {"tag": "late"})
    assert three.search("").rows == three.rows()
    assert (
        three.search("alias = champion AND tag = late AND eval.calls.test.f1 < 0.5").rows == three.rows("acme/tone")[:1]
    )


def test_every_change_is_seen_by_every_reader(three: Registry, add: Add) -> None:
    other = Registry(three.root)
    assert found(other) == found(three) == ALL
    add()
    assert found(other, "name = acme/tone") == ["acme/tone@1", "acme/tone@2", "acme/tone@3"]
    three.set_alias("acme/tone", "champion", 1)
    assert found(other, "alias = champion") == ["acme/tone@1"]
    three.set_alias("acme/tone", "champion", 2)
    assert found(other, "alias = champion") == ["acme/tone@2"]
    three.set_alias("acme/tone", "champion", None)
    assert found(other, "alias = champion") == []
    three.add_event("acme/tone@1", "tag", {"tag": "late"})
    assert found(other, "tag = late") == found(other, "late") == ["acme/tone@1"]
    three.add_event("acme/tone@1", "untag", {"tag": "late"})
    assert found(other, "tag = late") == found(other, "late") == []
    three.delete("acme/tone@1")
    assert found(other) == ["acme/tone@2", "acme/tone@3", "beta/rates@1"]
    assert found(other, "headlines") == []
    for name in ("rates/versions", "rates"):
        (three.root / "adapters" / "beta" / name).rename(three.root / name.replace("/", "-"))
    add()
    assert found(other) == ["acme/tone@2", "acme/tone@3", "acme/tone@4"] == found(Registry(three.root))


@pytest.mark.parametrize("seed", range(4))
def test_after_any_changes_the_index_holds_what_the_registry_does(registry: Registry, add: Add, seed: int) -> None:
    draw, reader = random.Random(seed), Registry(registry.root)
    there = [add(f"acme/n{place}") for place in range(3)]
    for _ in range(30):
        reference = draw.choice(there)
        name, _, number = reference.partition("@")
        change = draw.choice(("add", "alias", "unalias", "tag", "untag", "yank", "unyank", "delete"))
        if change == "add" or len(there) < 3:
            there.append(add(draw.choice(("acme/n0", "beta/new")), tags=draw.choice(([], ["x"]))))
        elif change == "alias":
            registry.set_alias(name, draw.choice("ab"), int(number))
        elif change == "unalias":
            for alias in registry.aliases(name):
                registry.set_alias(name, alias, None)
        elif change == "delete":
            if int(number) not in registry.aliases(name).values():
                registry.delete(reference)
                there.remove(reference)
        else:
            registry.add_event(reference, change, {"tag": "x"} if "tag" in change else {})
        if draw.random() < 0.5:  # several changes may lie between two searches
            assert reader.search("yanked IN (true, false)", limit=None).rows == registry.rows()
    assert Registry(registry.root).search("yanked IN (true, false)", limit=None).rows == registry.rows()
    tagged = [f"{row['name']}@{row['version']}" for row in registry.rows() if "x" in row["tags"]]
    assert found(reader, "tag = x AND yanked IN (true, false)") == tagged


def test_yanked_versions_are_found_by_those_who_ask(three: Registry) -> None:
    three.add_event("acme/tone@1", "yank", {"reason": "leak"})
    assert found(three) == ALL[1:] and found(three, "NOT name = beta/rates") == ["acme/tone@2"]
    assert found(three, "yanked = true") == ["acme/tone@1"] and found(three, "yanked IN (true, false)") == ALL
    three.add_event("acme/tone@1", "unyank")
    assert found(three) == ALL


def test_only_what_changed_is_read_again(three: Registry, add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = VersionReader.read

    def counted(stored: VersionReader) -> Any:
        read.append(f"{stored.name}@{stored.number}")
        return real(stored)

    monkeypatch.setattr(VersionReader, "read", counted)
    found(three)
    assert sorted(read) == ALL
    for change, expected in (
        (lambda: add(), ["acme/tone@3"]),
        (lambda: three.set_alias("acme/tone", "champion", 2), ["acme/tone@2"]),
        (lambda: three.add_event("beta/rates@1", "yank"), ["beta/rates@1"]),
        (lambda: add("acme/new"), ["acme/new@1"]),
        (lambda: None, []),
    ):
        change()
        read.clear()
        found(three)
        found(Registry(three.root))
        assert read == expected


opened: list[str] | None = None


def _watch(event: str, arguments: Any) -> None:
    if event in ("open", "os.scandir", "os.listdir") and opened is not None:
        opened.append(str(arguments[0]))


sys.addaudithook(_watch)


@pytest.fixture
def watched() -> Iterator[list[str]]:
    """The paths that are opened or listed from here on."""
    global opened
    opened = []
    yield opened
    opened = None


def test_that_nothing_changed_takes_one_read_of_one_small_file(three: Registry, watched: list[str]) -> None:
    found(three)
    watched.clear()
    assert found(three, "finance") == ["acme/tone@2"]
    assert watched == [str(three.root / "changed")]


def test_a_change_during_the_indexing_is_seen_next_time(
    three: Registry, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = filling.name_folders

    def late(root: Path) -> Any:
        listed = real(root)
        monkeypatch.setattr(filling, "name_folders", real)
        add("acme/late")  # whose folder was not there when the names were listed
        return listed

    monkeypatch.setattr(filling, "name_folders", late)
    found(three)
    assert "acme/late@1" in found(three)


def test_a_change_under_a_name_while_it_is_read_is_seen_next_time(
    three: Registry, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = filling.NameFolder.numbers

    def late(name_folder: Any) -> list[int]:
        listed = real(name_folder)
        monkeypatch.setattr(filling.NameFolder, "numbers", real)
        add(name_folder.name)
        return listed

    monkeypatch.setattr(filling.NameFolder, "numbers", late)
    found(three)
    assert found(three, "name = acme/tone") == ["acme/tone@1", "acme/tone@2", "acme/tone@3"]


def _garbage(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def _halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _overwritten(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


def _other_schema(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")


def _without_a_table(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE shown")


@pytest.mark.parametrize(
    "spoil",
    [_garbage, _halved, _overwritten, _other_schema, _without_a_table, Path.unlink, lambda path: path.write_bytes(b"")],
)
def test_an_index_that_will_not_do_is_rebuilt(three: Registry, spoil: Callable[[Path], object]) -> None:
    found(three)
    spoiled = generation(three)
    spoil(spoiled)
    assert found(Registry(three.root), "metrics.f1 > 0.6 ORDER BY metrics.f1") == ["acme/tone@2", "beta/rates@1"]
    assert generation(three) != spoiled
    assert found(three) == ALL


@pytest.mark.parametrize("name", ["", "no-such.sqlite", "../../../elsewhere", "\xff\0", "current-1"])
def test_a_pointer_to_no_index_is_replaced(three: Registry, name: str) -> None:
    found(three)
    (cache(three) / f"current-{index.VERSION}").write_bytes(name.encode("latin-1"))
    assert found(Registry(three.root)) == ALL and generation(three).is_file()


def test_a_cache_that_cannot_be_written_costs_time_alone(
    three: Registry, add: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "occupied").write_text("a file")
    monkeypatch.setenv("AHF_CACHE", str(tmp_path / "occupied"))
    assert found(three) == ALL
    add("acme/new")
    assert found(three, "name = acme/new") == ["acme/new@1"]


def test_an_index_that_stays_locked_costs_time_alone(
    three: Registry, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(three)
    monkeypatch.setattr(index, "PATIENCE", 0.05)
    other = sqlite3.connect(generation(three), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        add("acme/new")
        assert found(Registry(three.root), "name = acme/new") == ["acme/new@1"]
    finally:
        other.close()
    assert found(Registry(three.root), "name = acme/new") == ["acme/new@1"]


FIND = "import sys; from adapterhub_fin_registry import Registry; print(len(Registry(sys.argv[1]).search('').rows))"


def test_processes_that_rebuild_at_once_do_not_hurt_each_other(three: Registry, add: Add) -> None:
    for spoil in (lambda: None, lambda: _garbage(generation(three)), lambda: add()):
        spoil()
        command = [sys.executable, "-c", FIND, str(three.root)]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
        assert {process.communicate()[0].strip() for process in running} == {str(len(three.rows()))}
        with sqlite3.connect(generation(three)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_registry_is_searched_by_threads_children_and_copies(three: Registry) -> None:
    assert found(pickle.loads(pickle.dumps(three))) == found(three) == ALL
    assert found(pickle.loads(pickle.dumps(three))) == ALL
    answers: list[list[str]] = []
    threads = [threading.Thread(target=lambda: answers.append(found(three, "metrics.f1 > 0.6"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [ALL[1:]] * 8
    if (child := os.fork()) == 0:
        os._exit(found(three) != ALL)
    assert os.waitpid(child, 0)[1] == 0 and found(three) == ALL


def test_generations_that_nothing_names_are_swept_once_they_are_old(three: Registry) -> None:
    found(three)
    old, young = cache(three) / "index-old.sqlite", cache(three) / "index-young.sqlite"
    for path in (old, young):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    os.utime(generation(three), (0, 0))
    _garbage(replaced := generation(three))
    os.utime(replaced, (0, 0))
    found(Registry(three.root))
    left = {path.name for path in cache(three).glob("index-*")}
    assert left == {young.name, generation(three).name}


def test_searching_writes_nothing_under_the_root(three: Registry) -> None:
    before = {path: path.stat().st_mtime_ns for path in three.root.rglob("*")}
    found(three)
    assert {path: path.stat().st_mtime_ns for path in three.root.rglob("*")} == before


def test_a_registry_that_was_never_written_is_empty(registry: Registry) -> None:
    page = registry.search("tone ORDER BY name", as_of="2021-06-30")
    assert (page.rows, page.next, page.damaged) == ([], None, {})
    with pytest.raises(BadQuery, match="column 7"):
        registry.search("tone (")
    assert not registry.root.exists() and not Path(os.environ["AHF_CACHE"]).exists()


@pytest.mark.parametrize("id_", ["../../elsewhere", "", 3])
def test_a_cache_is_never_put_where_a_file_of_the_registry_says(three: Registry, id_: object) -> None:
    (three.root / "registry.json").write_text(json.dumps({"format": 1, "id": id_}))
    with pytest.raises(Corrupted, match="isn't a UUID"):
        Registry(three.root).search()


def _without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda document: {name: value for name, value in document.items() if name != key}


def _with(**changed: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda document: {**document, **changed}


SPOILED: list[Callable[[dict[str, Any]], Any]] = [
    lambda document: [],
    lambda document: "text",
    _with(format=1),
    _with(format=3),
    _with(metrics={"f1": "high"}),
    _with(metrics={"f1": float("nan")}),
    _with(metrics=[]),
    _with(metrics={"f1\ud800": 1.0}),
    _with(description="\ud800"),
    _with(description=["a"]),
    _with(license={}),
    _with(tags=[["a"]]),
    _with(tags="finance"),
    _with(method=None),
    _with(method={"name": [], "options": {}, "traits": [], "provider": None}),
    _with(method={"name": "lora", "options": {"\ud800": 1}, "traits": [], "provider": None}),
    _with(knowledge={"inputs": [], "end": "2020-01-01T00:00:00Z"}),
    _with(knowledge={"inputs": [{"input": "base", "at": "soon"}], "end": "2020-01-01T00:00:00Z"}),
    _with(metrics={"f1": 10**400}),
    _with(parents=[{}]),
    _with(parents=[{"name": ["a"], "digest": {}}]),
    _with(seed="seven"),
    *(_without(key) for key in ("method", "head", "base", "corpus", "knowledge", "metrics", "tags", "seed", "parents")),
]


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_version_that_cannot_be_read_blocks_no_other(three: Registry, spoil: Callable[[dict[str, Any]], Any]) -> None:
    path = three.root / "adapters/acme/tone/versions/1/manifest.json"
    whole = path.read_bytes()
    path.write_text(json.dumps(spoil(json.loads(whole))))
    for _ in range(2):
        page = three.search("")
        assert found(three) == ALL[1:] and list(page.damaged) == ["acme/tone@1"]
        assert "manifest.json" in page.damaged["acme/tone@1"] or "event.json" in page.damaged["acme/tone@1"]
        assert three.damaged() == page.damaged
    path.write_bytes(whole)  # by hand, which leaves no mark
    assert found(three) == ALL and three.search("").damaged == {}


def test_whatever_else_is_wrong_with_a_version_is_said(three: Registry, add: Add) -> None:
    versions = three.root / "adapters/acme/tone/versions"
    (versions / "2" / "record.json").unlink()
    (versions / "7").mkdir()
    (versions / "8").write_text("a file")
    add()
    three.add_event("acme/tone@9", "tag", {"tag": "late"})
    (versions / "9" / "events" / "1" / "event.json").write_text("{}")
    (versions / "10").symlink_to(versions / "1")
    page = three.search("")
    assert [f"{row['name']}@{row['version']}" for row in page] == ["acme/tone@1", "beta/rates@1"]
    assert sorted(page.damaged) == [f"acme/tone@{number}" for number in (10, 2, 7, 8, 9)]
    assert "record.json" in page.damaged["acme/tone@2"] and "no manifest.json" in page.damaged["acme/tone@7"]
    assert set(page.damaged) == set(three.damaged()) and "is a link" in page.damaged["acme/tone@10"]
    (versions / "7").rmdir()
    (versions / "8").unlink()
    (versions / "10").unlink()
    assert sorted(three.search("").damaged) == ["acme/tone@2", "acme/tone@9"]


def test_as_of_keeps_what_knew_nothing_from_the_date_on(registry: Registry, add: Add) -> None:
    add("acme/a", "2019-01-01T00:00:00Z", "2020-06-29T23:59:59.5Z")
    add("acme/b", "2019-01-01T00:00:00Z", "2020-06-30T00:00:00Z")
    add("acme/c", "2021-01-01T00:00:00Z", "2020-01-01T00:00:00Z")
    add("acme/d", "2019-01-01T00:00:00Z", "2020-01-01T00:00:00Z")
    registry.add_event("acme/d@1", "yank")
    assert found(registry, as_of="2020-06-30") == ["acme/a@1"]
    assert found(registry, as_of="2020-06-30", include_base=False) == ["acme/a@1", "acme/c@1"]
    assert found(registry, as_of="2020-06-30T00:00:00.000001Z") == ["acme/a@1", "acme/b@1"]
    assert found(registry, "yanked = true", as_of="now") == []
    assert found(registry, "name = acme/c OR name = acme/a", as_of="2020-12-31") == ["acme/a@1"]
    for name in ("a", "b", "c"):  # the same rule as that of `resolve`
        chosen = f"acme/{name}@1" in found(registry, as_of="2020-06-30")
        try:
            assert registry.resolve(f"acme/{name}", as_of="2020-06-30").reference and chosen
        except Exception:
            assert not chosen
    with pytest.raises(BadInstant):
        registry.search(as_of="soon")
    with pytest.raises(BadInstant):
        registry.search(as_of="2020-06-30", include_base="loose")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "query", ["", "ORDER BY metrics.f1 DESC", "ORDER BY seed", "metrics.f1 >= 0 ORDER BY added_at"]
)
def test_pages_are_stable_while_versions_are_added(registry: Registry, add: Add, query: str) -> None:
    for place in range(12):
        metrics = {"f1": place % 5 / 5} if place % 4 else {}
        add(f"acme/n{place:02}", metrics=metrics, seed=place % 3 if place % 2 else None)
    expected, seen, cursor = found(registry, query), [], None
    for turn in range(20):
        page = registry.search(query, limit=3, after=cursor)
        seen += [f"{row['name']}@{row['version']}" for row in page]
        if (cursor := page.next) is None:
            break
        add(f"aaa/before{turn}", metrics={"f1": 1.0}, seed=0)
        add(f"zzz/after{turn}", metrics={"f1": 0.0}, seed=2)
        registry.add_event(f"aaa/before{turn}@1", "tag", {"tag": "x"})
    assert [reference for reference in seen if reference in expected] == expected
    assert len(set(seen)) == len(seen)


def test_limits_and_cursors(three: Registry) -> None:
    page = three.search("LIMIT 2", limit=1)
    assert len(page) == 1 and page.next is not None
    last = three.search("LIMIT 2", limit=1, after=page.next)
    assert [row["version"] for row in last] == [2] and last.next is None
    assert len(three.search("", limit=None)) == 3 and three.search("", limit=3).next is None
    for wrong in ({"query": "tone", "after": page.next}, {"query": "LIMIT 2", "after": page.next, "as_of": "now"}):
        with pytest.raises(BadQuery, match="begin at its first page"):
            three.search(**wrong)  # type: ignore[arg-type]
    for limit in (0, -1):
        with pytest.raises(BadQuery, match="at least one row"):
            three.search(limit=limit)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text() | st.recursive(st.none() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=6).map(
    lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
))  # fmt: skip
def test_any_cursor_is_one_of_this_search_or_refused(three: Registry, cursor: str) -> None:
    with pytest.raises(BadQuery):
        three.search("tone", after=cursor)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(*[st.none() | st.integers() | st.floats() | st.text() | st.booleans()] * 4))
def test_a_forged_cursor_is_followed_or_refused(three: Registry, forged: tuple[Any, ...]) -> None:
    query = "metrics.f1 > 0 ORDER BY metrics.f1"
    real = three.search(query, limit=1).next
    assert real is not None
    key = json.loads(base64.urlsafe_b64decode(real + "=" * (-len(real) % 4)))[0]
    try:
        three.search(query, after=base64.urlsafe_b64encode(json.dumps([key, *forged]).encode()).decode())
    except BadQuery as error:
        assert "begin at its first page" in str(error)
