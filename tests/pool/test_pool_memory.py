"""What a pool holds, what it evicts, and what it sees of a registry that changes."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.engine.pool.recent import Recent
from adapterhub_fin.engine.pool.seconds import read_seconds
from adapterhub_fin.errors import BadRecipe, BadText, LookAhead, NotFound, Refused, WrongBase, WrongTensors
from adapterhub_fin.plugin.byte_sizes import read_bytes
from adapterhub_fin_registry import Version

TEXTS = ["Arlo: profit rose.", "Nyx meets in May."]
TONES = [f"t/tone-{number}" for number in range(6)]
Save = Callable[..., Version]


def names(pool: ahf.Pool) -> list[str]:
    return [each.reference.removesuffix("@1") for each in pool.resident()]


@pytest.fixture
def registry(encoder: Path, save_adapter: Save, tmp_path: Path) -> Any:
    """A registry with two versions of one name."""
    store = ahf.Registry(tmp_path / "own")
    for year in ("2012", "2014"):
        save_adapter("t/tone", encoder, store, until=f"{year}-01-01")
    store.set_alias("t/tone", "champion", 1)
    return store


def test_the_least_recently_used_goes_first_and_pinned_ones_stay(stock: Any, encoder: Path) -> None:
    whole = ahf.pool(encoder, registry=stock)
    whole.pin(*TONES)
    size = {each.reference: each.bytes for each in whole.resident()}
    pool = ahf.pool(encoder, registry=stock, bytes=sum(size[f"{TONES[number]}@1"] for number in (0, 1, 3)))
    pool.pin(TONES[0])
    for name in TONES[:3]:
        pool.predict(TEXTS, name)
    assert names(pool) == [TONES[2], TONES[1], TONES[0]]
    pool.predict(TEXTS, TONES[1])
    pool.predict(TEXTS, TONES[3])
    assert names(pool) == [TONES[3], TONES[1], TONES[0]]
    assert pool.stats().bytes <= pool.stats().limit
    with pytest.raises(Refused, match="pinned"):
        pool.evict(TONES[0])
    pool.unpin(TONES[0])
    pool.evict(TONES[0], TONES[0])
    assert TONES[0] not in names(pool)
    with pytest.raises(Refused, match="isn't pinned"):
        pool.unpin(TONES[0])
    assert pool.predict(TEXTS, TONES[0])[0].reference == "t/tone-0@1"  # loaded again, as if nothing had been
    assert pool.stats().loads_by[f"{TONES[0]}@1"] == 2


def test_one_call_may_ask_for_more_than_fits_at_once(stock: Any, encoder: Path) -> None:
    pool, loads = ahf.pool(encoder, registry=stock, bytes=60_000), Counter[str]()
    load = pool._residents._load
    pool._residents._load = lambda version: (loads.update([version.name]), load(version))[1]
    rows = [(text, name) for text in TEXTS for name in TONES]
    answers = pool.predict(rows)
    assert [each.reference for each in answers if each] == [f"{name}@1" for _, name in rows]
    assert pool.stats().evictions >= 2 and pool.stats().bytes <= 60_000
    assert loads == dict.fromkeys(TONES, 1), "one that had no room in a part isn't loaded again for the next"
    assert len(pool.embed(rows[:6]).vectors) == 6
    assert pool.stats().loads == sum(loads.values())


def test_what_a_pool_remembers_is_bounded_and_freed(stock: Any, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of weeks loads and evicts versions without number."""
    import gc
    import weakref

    from adapterhub_fin.engine.pool import loading, requests, trunk

    for module, name in ((loading, "STRUCTURES"), (trunk, "STRUCTURES"), (requests, "REMEMBERED")):
        monkeypatch.setattr(module, name, 2)
    whole = ahf.pool(encoder, registry=stock)
    expected = [float(each[0]) for each in whole.logits([(TEXTS[0], name) for name in TONES])]
    pool = ahf.pool(encoder, registry=stock, bytes=max(each.bytes for each in whole.resident()) + 1)
    seen: list[tuple[weakref.ref[Any], weakref.ref[Any]]] = []
    for _ in range(2):
        for name, value in zip(TONES, expected, strict=True):  # heads of three widths
            assert float(pool.logits([TEXTS[0]], name)[0][0]) == pytest.approx(value, abs=1e-5)
            resident = pool._residents.listed()[0][0]  # the last used
            seen.append((weakref.ref(resident), weakref.ref(resident.version)))
            del resident
    pool.pin(TONES[0])
    pool.unpin(TONES[0])
    pool.evict(*(each.reference for each in pool.resident()))
    residents, resolver, loader = pool._residents, pool._resolver, pool._loader
    [one] = loader._trunks.values()
    assert [len(one._prototypes), len(loader._skeletons), len(resolver._remembered)] == [2, 2, 2]
    assert len(resolver._homes) == len(one._accepted) == 1
    assert not residents._users and not residents._pins and not residents._loading
    gc.collect()
    assert not any(resident() for resident, _ in seen)
    assert sum(version() is not None for _, version in seen) <= 2


def test_the_loads_of_versions_are_counted_for_those_loaded_last(
    stock: Any, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adapterhub_fin.engine.pool import residents

    monkeypatch.setattr(residents, "COUNTED", 2)
    pool = ahf.pool(encoder, registry=stock)
    for name in (*TONES[:3], TONES[1]):
        pool.predict(TEXTS, name)
        pool.evict(name)
    assert pool.stats().loads == 4
    assert pool.stats().loads_by == {f"{TONES[2]}@1": 1, f"{TONES[1]}@1": 2}


def test_what_a_resident_keeps_of_its_manifest_is_counted(stock: Any, encoder: Path) -> None:
    # What is parsed of it takes more memory than a small adapter, and no answer needs it.
    from adapterhub_fin.engine.pool.queueing import Kind

    pool = ahf.pool(encoder, registry=stock)
    for name in (TONES[0], "t/dora"):
        pool.predict(TEXTS, name)
    for name in (TONES[0], "t/vectors", "t/dora"):
        asks = pool.asks(TEXTS, name)
        Kind.of("embed", {}).check(asks[0])  # as serving does before the version is loaded, and after
        pool.embed(asks)
        Kind.of("embed", {}).check(asks[1])
    unused = pool.asks(TEXTS, TONES[2])[0]
    Kind.of("predict", {}).check(unused)
    assert unused.version is not None and not {"manifest", "data"} & unused.version.__dict__.keys()
    for resident, _, _ in pool._residents.listed():
        assert not {"manifest", "data"} & resident.version.__dict__.keys(), resident.reference
        if resident.adapter is not None:
            tensors = list(resident.adapter.model.parameters())
        else:
            tensors = [tensor for change in resident.changes.values() for tensor in change.tensors]
            tensors += [] if resident.shell is None else resident.shell.parameters()
        storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}
        assert resident.bytes == sum(storages.values()) + len(resident.version.manifest_bytes)


def test_what_was_used_last_is_kept() -> None:
    recent: Recent[str, int] = Recent(2)
    assert recent.put("a", 1) == 1 and recent.get("b") is None
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert [recent.get(key) for key in "abc"] == [1, None, 3] and len(recent) == 2


def test_what_can_never_fit_is_said_and_nothing_else_is_evicted(stock: Any, encoder: Path) -> None:
    pool = ahf.pool(encoder, registry=stock, bytes="50KiB")
    pool.predict(TEXTS, TONES[0])
    with pytest.raises(
        Refused, match=r"t/dora@1 takes [\d,]+ bytes, and the pool may hold 51,200: make the pool larger"
    ):
        pool.predict(TEXTS, "t/dora")
    assert names(pool) == [TONES[0]]
    assert "1 resident" in repr(pool)


SIZES = [("256MiB", 2**28), ("1 gb", 10**9), ("1.5KiB", 1536), (77, 77), (" 9b\n", 9), ("2T", 2 * 10**12)]


@pytest.mark.parametrize(("text", "size"), [*SIZES, ("123456789012345678", 123456789012345678), ("0.5KB", 500)])
def test_sizes_are_read_as_users_write_them(text: Any, size: int) -> None:
    """By the pool, by options of the command line and by plans alike."""
    import click

    from adapterhub_fin.cli.amounts import Size
    from adapterhub_fin.engine.planning.machine import find_device

    assert read_bytes(text) == Size()(text) == find_device(text).available == size
    with pytest.raises(click.BadParameter, match="isn't a number of bytes: write .*256MiB"):
        Size()(f"{text} bytes")


@pytest.mark.parametrize(
    "text", ["", "much", "-1", 0, -5, "0MiB", "1e9", True, None, 2.5, "9" * 400, "\u0661MB", "1\u212aB", ".5B"]
)
def test_any_other_size_is_refused(text: Any, encoder: Path) -> None:
    with pytest.raises(BadRecipe, match="isn't a number of bytes"):
        ahf.pool(encoder, bytes=text)


def test_a_moved_alias_a_yank_and_a_deletion_take_effect_and_harm_no_others(registry: Any, encoder: Path) -> None:
    pool = ahf.pool(encoder, registry=registry, refresh=0)
    assert pool.predict(TEXTS, "t/tone@champion")[0].reference == "t/tone@1"
    registry.set_alias("t/tone", "champion", 2)
    assert pool.predict(TEXTS, "t/tone@champion")[0].reference == "t/tone@2"
    assert pool.predict(TEXTS, "t/tone")[0].reference == "t/tone@2"
    registry.add_event("t/tone@2", "yank", {"reason": "it was wrong"})
    assert pool.predict(TEXTS, "t/tone")[0].reference == "t/tone@1"
    registry.set_alias("t/tone", "champion", 1)  # an aliased version can't be deleted
    registry.delete("t/tone@2")
    with pytest.raises(NotFound, match="t/tone"):
        pool.predict([(TEXTS[0], "t/tone@1"), (TEXTS[1], "t/tone@2")])
    assert pool.predict(TEXTS, "t/tone@1")[0].reference == "t/tone@1"


def test_within_the_refresh_time_the_registry_is_not_read(
    registry: Any, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Any] = []
    resolve = type(registry).resolve
    monkeypatch.setattr(type(registry), "resolve", lambda self, *a, **k: (reads.append(a), resolve(self, *a, **k))[1])
    still, eager = ahf.pool(encoder, registry=registry, refresh=3600), ahf.pool(encoder, registry=registry, refresh=0)
    for pool in (still, eager):
        pool.predict(TEXTS, "t/tone@champion")
    count = len(reads)
    for pool in (still, eager, still, eager):
        pool.predict(TEXTS, "t/tone@champion")
    assert len(reads) == count, "an unchanged mark means an unchanged name"
    registry.set_alias("t/tone", "champion", 2)
    assert still.predict(TEXTS, "t/tone@champion")[0].reference == "t/tone@1"
    assert eager.predict(TEXTS, "t/tone@champion")[0].reference == "t/tone@2"


def test_a_reference_is_looked_up_once_in_each_refresh_time(
    registry: Any, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adapterhub_fin.engine.pool import requests

    now, marks = [0.0], list[float]()
    monkeypatch.setattr(requests, "monotonic", lambda: now[0])
    mark = type(registry).mark
    monkeypatch.setattr(type(registry), "mark", lambda self, *a, **k: (marks.append(now[0]), mark(self, *a, **k))[1])
    pool = ahf.pool(encoder, registry=registry, refresh=10)
    for moment in (0, 9, 10, 12, 19, 20.5, 21):
        now[0] = moment
        pool.asks(TEXTS, "t/tone@champion")
    assert marks == [0, 10, 20.5]


def test_versions_given_as_such_answer_each_for_itself(registry: Any, encoder: Path) -> None:
    pool = ahf.pool(encoder, registry=registry, refresh=3600)
    versions = [registry.resolve(f"t/tone@{number}") for number in (1, 2, 1)]
    made = pool.predict([(TEXTS[0], version) for version in versions])
    assert [each.reference for each in made if each] == ["t/tone@1", "t/tone@2", "t/tone@1"]


def test_a_version_of_another_base_is_refused_by_name(stock: Any, encoder: Path, decoder: Path, tmp_path: Path) -> None:
    from adapterhub_fin.testing import tiny_encoder

    with pytest.raises(WrongBase, match="vocabulary|layers"):
        ahf.pool(encoder, registry=stock).predict(TEXTS, "t/writer-0")
    other = tiny_encoder(tmp_path / "other", seed=1)
    pool = ahf.pool(other, registry=stock)
    with pytest.raises(WrongBase, match="has other weights"):
        pool.predict(TEXTS, TONES[0])
    assert not pool.resident()
    with pytest.raises(ahf.BaseNotFound):
        ahf.pool(tmp_path / "nowhere")


def test_bad_rows_are_named_by_their_number(stock: Any, encoder: Path) -> None:
    pool = ahf.pool(encoder, registry=stock)
    with pytest.raises(BadText, match="text 1"):
        pool.predict([("fine", TONES[0]), (None, TONES[1])])
    with pytest.raises(BadText, match="row 1 is no pair"):
        pool.predict([("fine", TONES[0]), "alone"])
    with pytest.raises(BadText, match="a list of rows"):
        pool.predict("one text", TONES[0])
    with pytest.raises(BadRecipe, match="as_of needs the reference"):
        pool.predict([("fine", TONES[0])], as_of="2020-01-01")
    with pytest.raises(BadRecipe, match="2 instants for 1 rows"):
        pool.predict(["fine"], TONES[0], as_of=["2020-01-01", "2021-01-01"])
    with pytest.raises(BadRecipe, match="t/vectors@1 has no head"):
        pool.predict(TEXTS, "t/vectors")


@pytest.mark.parametrize("harm", ["missing", "extra", "reshaped"])
def test_a_file_that_does_not_fit_is_refused(harm: str, stock: Any, encoder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    version = stock.resolve(TONES[1])
    folder = Path(shutil.copytree(version.files, tmp_path / "harmed"))
    tensors = load_file(folder / "adapter_model.safetensors")
    first = min(name for name in tensors if "lora_A" in name)
    if harm == "missing":
        del tensors[first], tensors[first.replace("lora_A", "lora_B")]
    elif harm == "extra":
        tensors["base_model.model.nowhere.weight"] = tensors[first].clone()
    else:
        tensors["base_model.model.classifier.weight"] = tensors["base_model.model.classifier.weight"][:, :-1].clone()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    store = ahf.Registry(tmp_path / "own")
    store.add(folder, version.manifest.model_copy(update={"files": (), "tensors": ()}), name="t/harmed")
    with pytest.raises((WrongTensors, ahf.BadMerge)):
        ahf.pool(encoder, registry=store).predict(TEXTS, "t/harmed")


def test_a_damaged_file_is_refused(registry: Any, encoder: Path) -> None:
    path = registry.resolve("t/tone@1").files / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(data))
    pool = ahf.pool(encoder, registry=registry)
    with pytest.raises(ahf.Corrupted):
        pool.predict(TEXTS, "t/tone@1")
    assert pool.predict(TEXTS, "t/tone@2")[0].reference == "t/tone@2"


def test_the_weights_in_memory_are_those_that_were_verified(
    stock: Any, encoder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file that is replaced once it was verified isn't read again."""
    store = ahf.Registry(shutil.copytree(stock.root, tmp_path / "own"))
    names = ["t/tone-1", "t/vectors"]
    expected = ahf.pool(encoder, registry=stock).embed([(TEXTS[0], name) for name in names]).vectors
    read = ahf.Registry.read_files

    def read_and_replace(self: Any, version: Version, paths: Any) -> Any:
        contents = read(self, version, paths)
        path = version.files / "adapter_model.safetensors"
        path.unlink()
        path.write_bytes(bytes(contents[path.name])[:-4] + b"else")
        return contents

    monkeypatch.setattr(ahf.Registry, "read_files", read_and_replace)
    pool = ahf.pool(encoder, registry=store)
    assert (pool.embed([(TEXTS[0], name) for name in names]).vectors == expected).all()
    pool.evict(*names)
    with pytest.raises(ahf.Corrupted, match="t/tone-1@1 has other bytes"):
        pool.embed(TEXTS, names[0])


def test_loading_again_and_again_keeps_no_object(stock: Any, encoder: Path) -> None:
    """As safetensors 0.8 does, two for each tensor: a server would grow by them for as long as it runs."""
    import gc
    import sys

    pool, reads = ahf.pool(encoder, registry=stock), 30

    def load_and_evict() -> None:
        for name in (TONES[0], "t/vectors"):
            pool.predict(TEXTS, name) if name in TONES else pool.embed(TEXTS, name)
            pool.evict(name)

    for _ in range(10):
        load_and_evict()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(reads):
        load_and_evict()
    gc.collect()
    tensors = sum(len(stock.resolve(name).manifest.tensors) for name in (TONES[0], "t/vectors"))
    assert sys.getallocatedblocks() - before < reads * tensors


class TestDates:
    """Rows that choose their version by their own dates."""

    @pytest.fixture(scope="class")
    def dated(self, encoder: Path, save_adapter: Save, tmp_path_factory: pytest.TempPathFactory) -> Any:
        """A registry with a version for each of twelve quarters."""
        store = ahf.Registry(tmp_path_factory.mktemp("dated"))
        for quarter in range(12):
            save_adapter("t/tone", encoder, store, until=f"{2012 + quarter // 4}-{1 + 3 * (quarter % 4):02}-01")
        return store

    def test_twenty_four_cut_offs_give_what_separate_runs_give(self, dated: Any, encoder: Path) -> None:
        cuts = [f"{2012 + month // 12}-{1 + month % 12:02}-15" for month in range(1, 37, 1)][:24]
        texts = [f"Firm {n}: profit {'rose' if n % 3 else 'fell'}." for n in range(48)]
        dates = [cuts[n % 24] for n in range(48)]
        pool = ahf.pool(encoder, registry=dated)
        made = pool.predict(texts, "t/tone", as_of=dates)
        seen = set()
        for cut in cuts:
            own = [n for n in range(48) if dates[n] == cut]
            adapter = ahf.load("t/tone", base=encoder, registry=dated, as_of=cut)
            for number, alone in zip(own, adapter.predict([texts[n] for n in own]), strict=True):
                answer = made[number]
                assert answer is not None and answer.reference == adapter.reference
                assert all(abs(answer.value.scores[label] - alone.scores[label]) < 1e-5 for label in alone.scores)
                end = dated.resolve(answer.reference).knows_until(True)
                assert end.date().isoformat() < dates[number]
                seen.add(answer.reference)
        assert len(seen) == 9

    def test_rows_before_the_first_version_are_refused_or_left_empty(self, dated: Any, encoder: Path) -> None:
        pool, dates = ahf.pool(encoder, registry=dated), ["2011-01-01", "2013-06-01"]
        with pytest.raises(LookAhead, match=r"row 0 \(2011-01-01\): no version of t/tone had ended .* skip_refused"):
            pool.predict(TEXTS, "t/tone", as_of=dates)
        first, second = pool.predict(TEXTS, "t/tone", as_of=dates, skip_refused=True)
        assert first is None and second is not None and second.reference == "t/tone@6"
        made = pool.embed(TEXTS, "t/tone", as_of=dates, skip_refused=True)
        assert made.references == (None, "t/tone@6") and bool((made.vectors[0] != made.vectors[0]).all())
        with pytest.raises(LookAhead, match="row 0"):
            pool.logits(TEXTS, "t/tone", as_of=dates)
        empty, outputs = pool.logits(TEXTS, "t/tone", as_of=dates, skip_refused=True)
        assert len(empty) == 0 and bool((outputs == pool.logits(TEXTS[1:], "t/tone@6")[0]).all())
        nothing = pool.predict(TEXTS, "t/tone", as_of="2011-01-01", skip_refused=True)
        assert nothing == [None, None]

    def test_every_call_takes_the_instant_and_may_leave_the_base_out(
        self, encoder: Path, decoder: Path, save_adapter: Save, tmp_path: Path
    ) -> None:
        """The bases know until 2010, and what the adapters were trained on until 2005."""
        store = ahf.Registry(tmp_path / "home")
        save_adapter("t/tone", encoder, store, until="2005-01-01")
        save_adapter("t/writer", decoder, store, task="CAUSAL_LM", until="2005-01-01")
        pool, writers = ahf.pool(encoder, registry=store), ahf.pool(decoder, registry=store)
        calls: list[Callable[..., Any]] = [
            lambda **when: pool.asks(TEXTS, "t/tone", **when),
            lambda **when: pool.predict(TEXTS, "t/tone", **when),
            lambda **when: pool.logits(TEXTS, "t/tone", **when),
            lambda **when: pool.embed(TEXTS, "t/tone", **when),
            lambda **when: writers.generate(TEXTS, "t/writer", max_new_tokens=2, **when),
            lambda **when: list(writers.stream(TEXTS[0], "t/writer", max_new_tokens=2, **when)),
        ]
        for call in calls:
            with pytest.raises(LookAhead):
                call(as_of="2007-01-01")
            assert len(call(as_of="2007-01-01", include_base=False)) >= 1
            with pytest.raises(LookAhead):
                call(as_of="2004-01-01", include_base=False)

    def test_one_instant_stands_for_all_rows(self, dated: Any, encoder: Path) -> None:
        pool = ahf.pool(encoder, registry=dated)
        assert {each.reference for each in pool.predict(TEXTS, "t/tone", as_of="2013-06-01") if each} == {"t/tone@6"}


def test_a_deleted_version_can_be_unpinned_and_evicted(registry: Any, encoder: Path) -> None:
    pool = ahf.pool(encoder, registry=registry, refresh=0)
    pool.pin("t/tone@2")
    registry.delete("t/tone@2")
    pool.unpin("t/tone@2")
    pool.evict("t/tone@2")
    assert not pool.resident()
    with pytest.raises(NotFound, match=r"t/tone@2"):
        pool.unpin("t/tone@2")


def test_who_reads_a_stream_does_not_wait_for_the_room_that_it_takes(stock: Any, decoder: Path) -> None:
    whole = ahf.pool(decoder, registry=stock)
    whole.pin("t/writer-0")
    pool = ahf.pool(decoder, registry=stock, bytes=whole.stats().bytes + 1)
    pieces = pool.stream(TEXTS[0], "t/writer-0", max_new_tokens=4)
    next(pieces)
    with pytest.raises(Refused, match="no room for t/writer-1@1 beside the stream"):
        pool.generate(TEXTS, "t/writer-1", max_new_tokens=2)
    pieces.close()
    assert len(pool.generate(TEXTS, "t/writer-1", max_new_tokens=2)) == 2


def test_what_waits_for_room_that_is_pinned_meanwhile_is_refused(stock: Any, decoder: Path) -> None:
    whole = ahf.pool(decoder, registry=stock)
    whole.pin("t/writer-0")
    pool = ahf.pool(decoder, registry=stock, bytes=whole.stats().bytes + 1)
    pieces = pool.stream(TEXTS[0], "t/writer-0", max_new_tokens=4)
    next(pieces)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pool.generate, TEXTS, "t/writer-1", max_new_tokens=2)
        while not pool._residents._crowded:
            sleep(0.01)
        pool.pin("t/writer-0")
        with pytest.raises(Refused, match="beside .* of pinned ones"):
            waiting.result(60)
    pieces.close()


@pytest.mark.parametrize("size", [0, -1, 2.5, True, None])
def test_a_batch_of_no_rows_is_refused(size: Any, stock: Any, encoder: Path, decoder: Path) -> None:
    pool, writers = ahf.pool(encoder, registry=stock), ahf.pool(decoder, registry=stock)
    adapter = ahf.load(TONES[0], base=encoder, registry=stock)
    writer = ahf.load("t/writer-0", base=decoder, registry=stock)
    drawn = {"temperature": 0.5, "seed": 1}
    calls: list[Callable[..., Any]] = [
        lambda: pool.predict(TEXTS, TONES[0], batch_size=size),
        lambda: pool.predict(TEXTS, "t/dora", batch_size=size),
        lambda: pool.logits(TEXTS, TONES[0], batch_size=size),
        lambda: pool.embed(TEXTS, "t/vectors", batch_size=size),
        lambda: writers.generate(TEXTS, "t/writer-0", batch_size=size),
        lambda: writers.generate(TEXTS, "t/writer-0", batch_size=size, **drawn),
        lambda: writers.generate(TEXTS, "t/prompted", batch_size=size),
        lambda: adapter.predict(TEXTS, size),
        lambda: adapter.embed(TEXTS, size),
        lambda: writer.generate(TEXTS, size),
    ]
    for call in calls:
        with pytest.raises(BadRecipe, match="batch_size=.* is no number of rows: give 1 or more"):
            call()


TIMES = [
    ("250us", 0.00025),
    ("2 ms", 0.002),
    (" 0.5s", 0.5),
    ("1.5m", 90.0),
    ("3", 3.0),
    (4, 4.0),
    (0.5, 0.5),
    (0, 0.0),
]


@pytest.mark.parametrize(("text", "seconds"), TIMES)
def test_times_are_read_as_users_write_them(text: Any, seconds: float) -> None:
    assert read_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "ms", "-1ms", "1h", "1e3", True, None, float("inf"), -0.1])
def test_any_other_time_is_refused(text: Any) -> None:
    with pytest.raises(BadRecipe, match="isn't a length of time: write 2ms"):
        read_seconds(text)


def test_the_time_until_a_reference_is_read_again_is_a_length_of_time(stock: Any, encoder: Path) -> None:
    pool = ahf.pool(encoder, registry=stock, refresh="1ms")
    assert [pool.predict(TEXTS, TONES[0])[0].reference for _ in range(2)] == ["t/tone-0@1"] * 2
    for wrong in (-1, float("nan"), "soon"):
        with pytest.raises(BadRecipe, match="isn't a length of time"):
            ahf.pool(encoder, registry=stock, refresh=wrong)
