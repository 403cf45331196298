"""Threads, loads and evictions: no answer of a pool differs from the adapter's own."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import adapterhub_fin as ahf
from adapterhub_fin_registry import Version

TEXTS = [f"{firm}: {words}." for firm in ("Arlo", "Gant", "Nyx") for words in ("profit rose", "a loss", "May", "no")]
CASES = int(os.environ.get("AHF_CASES", "0"))  # `make properties` asks for ten thousand answers
THREADS, ANSWERS, WAIT = 8, 10_000 if CASES else 2_000, 300


def in_threads(work: list[Callable[[], Any]]) -> list[Any]:
    """Run each in a thread of its own, all at once."""
    start = threading.Barrier(len(work))

    def begin(each: Callable[[], Any]) -> Any:
        start.wait(WAIT)
        return each()

    with ThreadPoolExecutor(len(work)) as pool:
        return [future.result(WAIT) for future in [pool.submit(begin, each) for each in work]]


@pytest.mark.parametrize("room", ["all", "two"])
def test_thousands_of_answers_of_eight_threads_are_each_adapters_own(stock: Any, encoder: Path, room: str) -> None:
    names = [f"t/tone-{number}" for number in range(6)] + ["t/dora"]
    expected = {name: ahf.load(name, base=encoder, registry=stock).logits(TEXTS) for name in names}
    pool = ahf.pool(encoder, registry=stock, bytes=170_000 if room == "two" else "1GiB")  # the copy, or two, fit
    vectors = {name: ahf.load(name, base=encoder, registry=stock).embed(TEXTS) for name in names}

    answers = ANSWERS if room == "two" else 2_000

    def work(seed: int) -> tuple[int, int]:
        drawn, given, wrong = random.Random(seed), 0, 0
        while given < answers // THREADS:
            rows = [(drawn.randrange(len(TEXTS)), drawn.choice(names)) for _ in range(drawn.randint(1, 24))]
            asked = [(TEXTS[place], name) for place, name in rows]
            if drawn.random() < 0.5:
                made = [value.numpy() for value in pool.logits(asked)]
                alone = [expected[name][place].numpy() for place, name in rows]
            else:
                made, alone = list(pool.embed(asked).vectors), [vectors[name][place] for place, name in rows]
            wrong += sum(bool(np.abs(a - b).max() > 1e-5) for a, b in zip(made, alone, strict=True))
            given += len(rows)
        return given, wrong

    counts = in_threads([lambda seed=seed: work(seed) for seed in range(THREADS)])  # type: ignore[misc]
    assert sum(given for given, _ in counts) >= answers
    assert sum(wrong for _, wrong in counts) == 0
    stats = pool.stats()
    assert stats.bytes <= stats.limit
    assert (stats.evictions > 20) == (room == "two")
    assert all(each.in_use == 0 for each in pool.resident())


def test_nothing_waits_for_another_threads_forward_pass(stock: Any, encoder: Path) -> None:
    pool = ahf.pool(encoder, registry=stock)
    pool.pin("t/tone-0", "t/tone-1")
    inside, free = threading.Event(), threading.Event()
    trunk = next(iter(pool._loader._trunks.values()))
    first = threading.get_ident()

    def stop(*_: Any) -> None:
        if threading.get_ident() != first:
            inside.set()
            free.wait(WAIT)

    hook = trunk.backbone.register_forward_pre_hook(stop)
    try:
        with ThreadPoolExecutor(1) as other:
            answer = other.submit(pool.logits, [(TEXTS[1], "t/tone-1")])
            assert inside.wait(WAIT)
            made = pool.logits([(TEXTS[0], "t/tone-0")])[0]  # the other thread is in the middle of the model
            assert not answer.done()
            free.set()
            answer.result(WAIT)
    finally:
        hook.remove()
    assert torch.allclose(made, ahf.load("t/tone-0", base=encoder, registry=stock).logits(TEXTS[:1])[0], atol=1e-5)


def test_threads_that_want_one_version_load_it_once(stock: Any, encoder: Path) -> None:
    pool = ahf.pool(encoder, registry=stock)
    in_threads([lambda: pool.predict(TEXTS, "t/tone-2")] * 8)
    assert pool.stats().loads == 1 and pool.stats().loads_by == {"t/tone-2@1": 1}


def test_a_thread_that_fails_to_load_leaves_the_others_unharmed(
    stock: Any, encoder: Path, decoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = ahf.pool(encoder, registry=stock)

    def ask(name: str) -> str:
        try:
            return str(pool.predict(TEXTS, name)[0])
        except ahf.AdapterHubError as error:
            return type(error).__name__

    names = ["t/tone-0", "t/writer-0", "t/tone-1", "t/none"] * 3
    made = in_threads([lambda name=name: ask(name) for name in names])  # type: ignore[misc]
    assert made[1::4] == ["WrongBase"] * 3 and made[3::4] == ["NotFound"] * 3
    assert len({*made[0::4]}) == len({*made[2::4]}) == 1 and "PoolAnswer" in made[0]


def test_a_load_that_waits_for_room_goes_on_when_there_is_some(stock: Any, encoder: Path) -> None:
    pool = ahf.pool(encoder, registry=stock)
    for number in (1, 2):
        pool.pin(f"t/tone-{number}")
    size = {each.reference: each.bytes for each in pool.resident()}
    pool = ahf.pool(encoder, registry=stock, bytes=max(size.values()) + 1)
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with pool._residents.hold([stock.resolve("t/tone-1")]):
            entered.set()
            leave.wait(WAIT)

    pool.pin("t/tone-1")
    pool.unpin("t/tone-1")
    with ThreadPoolExecutor(2) as threads:
        holding = threads.submit(hold)
        assert entered.wait(WAIT)
        waiting = threads.submit(pool.predict, TEXTS, "t/tone-2")
        threading.Event().wait(0.3)
        assert not waiting.done()
        leave.set()
        assert waiting.result(WAIT)[0].reference == "t/tone-2@1"
        holding.result(WAIT)
    assert [each.reference for each in pool.resident()] == ["t/tone-2@1"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_of_a_fork_answers_too(stock: Any, encoder: Path, save_adapter: Callable[..., Version]) -> None:
    pool = ahf.pool(encoder, registry=stock)
    expected = pool.logits([(TEXTS[0], "t/tone-0")])[0]
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            made = pool.logits([(TEXTS[0], "t/tone-0"), (TEXTS[0], "t/tone-3")])[0]
            os.write(write, b"same" if torch.allclose(made, expected, atol=1e-5) else b"other")
        except BaseException as error:
            os.write(write, repr(error).encode()[:500])
        finally:
            os._exit(0)
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(read, 500) == b"same"
    os.close(read)
