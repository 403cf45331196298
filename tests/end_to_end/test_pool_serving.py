"""A pool that serves many async callers: mixed batches, deadlines, back-pressure, cancellation, and a clean end."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

import adapterhub_fin as ahf
from adapterhub_fin.engine.pool.queueing import Job, Kind, Lane
from adapterhub_fin.engine.pool.requests import Ask

TEXTS = [f"Company {number}: profit {('rose', 'fell', 'held')[number % 3]} by {number} %." for number in range(12)]
VERSIONS = [f"acme/tone@{number}" for number in (1, 2, 3)]
PROMPTS = ["Once upon a time", "Lily was sad.", "The dog ran"]


@pytest.fixture
def pool(dated_tone: Any, encoder: Path) -> ahf.Pool:
    return ahf.pool(encoder, registry=dated_tone, refresh=0.0)


@pytest.fixture
def writer(decoder: Path, tmp_path: Path) -> ahf.Pool:
    """A pool of two adapters that write, acme/w1 and acme/w2."""
    for seed in (1, 2):
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(decoder)
        model: Any = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.2 * torch.randn_like(parameter))
        model.peft_config["default"].base_model_name_or_path = "acme/tiny"
        model.save_pretrained(tmp_path / f"w{seed}", save_embedding_layers=False)
        ahf.import_folder(tmp_path / f"w{seed}", f"acme/w{seed}")
    return ahf.pool(decoder)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end, within a minute, and leave no thread behind."""
    before = set(threading.enumerate())
    result = asyncio.run(asyncio.wait_for(work, 60))
    left = [thread.name for thread in set(threading.enumerate()) - before if thread.is_alive()]
    assert not left, left
    return result


def test_many_callers_get_what_each_gets_alone(pool: ahf.Pool) -> None:
    asked = [(text, version) for text in TEXTS for version in VERSIONS]
    alone = {(text, version): pool.predict([text], version)[0] for text, version in asked}
    vectors = {(text, version): pool.embed([text], version).vectors[0] for text, version in asked}

    async def load() -> Any:
        async with pool.serving(max_batch=16, workers=2) as serving:
            predicted = asyncio.gather(*(serving.predict(*each) for each in asked * 4))
            embedded = asyncio.gather(*(serving.embed(*each) for each in asked))
            return await predicted, await embedded, serving.stats()

    predicted, embedded, stats = run(load())
    assert len({each.value.scores["positive"] for each in alone.values() if each}) > len(TEXTS), "they differ"
    for each, answer in zip(asked * 4, predicted, strict=True):
        expected = alone[each]
        assert expected is not None and answer.reference == each[1] and answer.digest == expected.digest
        assert answer.value.scores == pytest.approx(expected.value.scores, abs=1e-5)
    for each, answer in zip(asked, embedded, strict=True):
        assert answer.reference == each[1] and answer.tokens > 2
        np.testing.assert_allclose(answer.value, vectors[each], atol=1e-5)
    assert stats.answered == 5 * len(asked) and not stats.failed and not stats.waiting
    assert stats.batches < stats.answered / 4, "rows of many callers share batches"
    assert stats.queue.count == stats.compute.count == stats.answered
    assert 0 < stats.compute.p50 <= stats.compute.p95 <= stats.compute.p99


def test_as_of_chooses_the_version_of_each_row(pool: ahf.Pool) -> None:
    async def ask() -> Any:
        async with pool.serving() as serving:
            one = await serving.predict(TEXTS[0], "acme/tone", as_of="2018-06-30")
            many = await serving.predict_rows(
                TEXTS[:3], "acme/tone", as_of=["2016-06-30", "2013-01-01", "2021-01-01"], skip_refused=True
            )
            with pytest.raises(ahf.LookAhead, match="row 0"):
                await serving.predict(TEXTS[0], "acme/tone", as_of="2013-01-01")
            return one, many

    one, many = run(ask())
    assert one.reference == "acme/tone@2"
    assert [answer and answer.reference for answer in many] == ["acme/tone@1", None, "acme/tone@3"]


def test_a_bad_row_or_reference_fails_alone(pool: ahf.Pool, dated_tone: Any) -> None:
    expected = pool.predict([TEXTS[0]], "acme/tone@1")[0]
    assert expected is not None

    async def ask() -> Any:
        async with pool.serving(max_wait="50ms") as serving:
            good = [serving.predict(TEXTS[0], "acme/tone@1") for _ in range(8)]
            bad = [
                serving.predict("  ", "acme/tone@1"),
                serving.predict(TEXTS[0], "acme/tone@9"),
                serving.predict(TEXTS[0], "acme/missing"),
                serving.predict({"no": "text"}, "acme/tone@2"),
                serving.predict(TEXTS[0], "no reference"),
            ]
            return await asyncio.gather(*good, *bad, return_exceptions=True), serving.stats()

    answers, stats = run(ask())
    for answer in answers[:8]:
        assert answer.value.scores == pytest.approx(expected.value.scores, abs=1e-5)
    kinds = [type(answer) for answer in answers[8:]]
    assert kinds == [ahf.BadText, ahf.NotFound, ahf.NotFound, ahf.BadText, ahf.BadReference]
    assert (stats.answered, stats.failed) == (8, 5)


def test_a_version_that_can_not_be_loaded_fails_alone(pool: ahf.Pool, dated_tone: Any) -> None:
    """Its reference resolves, and its file is damaged: it fails inside a batch that others share."""
    damaged = dated_tone.resolve("acme/tone@2").files / "adapter_model.safetensors"
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-8] + b"\0" * 8)

    async def ask() -> Any:
        async with pool.serving(max_wait="50ms") as serving:
            asked = [serving.predict(text, version) for text in TEXTS for version in VERSIONS]
            return await asyncio.gather(*asked, return_exceptions=True)

    for number, answer in enumerate(run(ask())):
        expected = VERSIONS[number % 3]
        if expected == "acme/tone@2":
            assert isinstance(answer, ahf.Corrupted), answer
        else:
            assert answer.reference == expected


def test_a_row_past_its_deadline_is_not_computed(pool: ahf.Pool) -> None:
    pool.pin("acme/tone@1")
    computed: list[str] = []
    predict = pool.predict

    def watched(asks: Any, **how: Any) -> Any:
        computed.extend(ask.row for ask in asks)
        return predict(asks, **how)

    pool.predict = watched  # type: ignore[method-assign]

    async def ask() -> Any:
        async with pool.serving(max_wait="5s", max_batch=3) as serving:
            late = asyncio.create_task(serving.predict("Too late.", "acme/tone@1", timeout=0.05))
            with pytest.raises(ahf.DeadlineExceeded, match="within 0.05 seconds"):
                await late
            left = asyncio.create_task(serving.predict("Left.", "acme/tone@1"))
            while not serving._rows:
                await asyncio.sleep(0.001)
            left.cancel()
            with pytest.raises(asyncio.CancelledError):
                await left
            await asyncio.gather(*(serving.predict(text, "acme/tone@1") for text in TEXTS[:3]))
            return serving.stats()

    stats = run(ask())
    assert sorted(computed) == sorted(TEXTS[:3])
    assert (stats.expired, stats.cancelled, stats.answered, stats.waiting) == (1, 1, 3, 0)


def test_a_batch_leaves_out_what_is_past_its_deadline() -> None:
    """Its caller may not have removed it yet: the loop that forms a batch may run first."""

    async def taken() -> list[float]:
        loop, lane = asyncio.get_running_loop(), Lane()
        moment = loop.time()
        deadlines = [moment - 1, moment + 60, moment - 1, math.inf]
        asks = [Ask(number, "x", None) for number in range(4)]
        lane.add(
            Job(ask, Kind("predict"), moment, moment, deadline, loop.create_future())
            for ask, deadline in zip(asks, deadlines, strict=True)
        )
        return [job.deadline - moment for job in await lane.take(3, 0.0)]

    assert run(taken()) == [pytest.approx(60), math.inf]


def test_a_full_queue_says_when_to_retry(pool: ahf.Pool) -> None:
    async def ask() -> Any:
        async with pool.serving(max_wait="200ms", max_queue=4) as serving:
            asked = [asyncio.create_task(serving.predict(text, "acme/tone@1")) for text in TEXTS[:4]]
            await asyncio.sleep(0)
            with pytest.raises(ahf.Overloaded, match="try again in 1 seconds") as refused:
                await serving.predict(TEXTS[5], "acme/tone@1")
            with pytest.raises(ahf.Refused, match="send fewer at a time"):
                await serving.predict_rows(TEXTS[:5], "acme/tone@1")
            answers = await asyncio.gather(*asked)
            again = await serving.predict(TEXTS[5], "acme/tone@1")
            return refused.value.retry_after, answers, again, serving.stats()

    retry_after, answers, again, stats = run(ask())
    assert retry_after >= 1 and all(answer.reference == "acme/tone@1" for answer in (*answers, again))
    assert stats.overloaded == 1 and stats.answered == 5


def test_what_was_accepted_is_answered_at_the_end(pool: ahf.Pool) -> None:
    async def ask() -> Any:
        async with pool.serving(max_wait="100ms") as serving:
            asked = [asyncio.create_task(serving.predict(text, "acme/tone@1")) for text in TEXTS]
            await asyncio.sleep(0)
        with pytest.raises(ahf.Refused, match="serving has ended"):
            await serving.predict(TEXTS[0], "acme/tone@1")
        return [await each for each in asked]

    assert [answer.reference for answer in run(ask())] == ["acme/tone@1"] * len(TEXTS)


def test_what_waits_is_refused_where_the_block_fails(pool: ahf.Pool) -> None:
    pool.pin("acme/tone@1")

    async def ask() -> Any:
        with pytest.raises(ZeroDivisionError):
            async with pool.serving(max_wait="30s") as serving:
                asked = [asyncio.create_task(serving.predict(text, "acme/tone@1")) for text in TEXTS]
                while len(serving._rows) < len(TEXTS):
                    await asyncio.sleep(0.001)
                raise ZeroDivisionError
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = run(ask())
    assert all(isinstance(answer, ahf.Refused) and "serving has ended" in str(answer) for answer in answers)


def test_texts_are_written_together_and_streamed(writer: ahf.Pool) -> None:
    alone = {
        (prompt, name): writer.generate([prompt], name, max_new_tokens=12)[0]
        for prompt in PROMPTS
        for name in ("acme/w1", "acme/w2")
    }
    assert len({answer.value for answer in alone.values() if answer}) > 3

    async def ask() -> Any:
        async with writer.serving(max_wait="20ms") as serving:
            together = await asyncio.gather(*(serving.generate(*each, max_new_tokens=12) for each in alone))
            streamed = []
            for each in alone:
                async with serving.stream(*each, max_new_tokens=12) as stream:
                    pieces = [piece async for piece in stream]
                streamed.append((pieces, stream.answer))
            async with serving.stream(PROMPTS[0], "acme/w1", max_new_tokens=100) as left:
                await anext(left)
            with pytest.raises(ahf.BadRecipe, match="max_new_token"):
                await serving.generate(PROMPTS[0], "acme/w1", max_new_token=3)
            return together, streamed

    together, streamed = run(ask())
    for answer, (pieces, whole), expected in zip(together, streamed, alone.values(), strict=True):
        assert answer == expected
        assert "".join(pieces) == expected.value == whole.value
        assert whole == expected, "tokens and ends are counted alike"
        assert expected.prompt_tokens > 1 and (expected.new_tokens == 12 or expected.ended)


def test_streams_have_a_bound_and_a_deadline(writer: ahf.Pool) -> None:
    async def ask() -> Any:
        async with writer.serving(max_streams=1) as serving:
            async with serving.stream(PROMPTS[0], "acme/w1", max_new_tokens=4) as stream:
                with pytest.raises(ahf.Overloaded, match="1 texts are streamed"):
                    async with serving.stream(PROMPTS[1], "acme/w1"):
                        raise AssertionError("it was about to stream")
                assert [piece async for piece in stream] and stream.answer is not None
            with pytest.raises(ahf.DeadlineExceeded):
                async with serving.stream(PROMPTS[1], "acme/w1", timeout=1e-9):
                    raise AssertionError("it was about to stream")
            async with serving.stream(PROMPTS[1], "acme/w2", max_new_tokens=100, timeout=60) as late:
                late._deadline = 0.0  # as if the minute were over
                with pytest.raises(ahf.DeadlineExceeded, match="not written within its time"):
                    async for _ in late:
                        pass
            return serving.stats()

    stats = run(ask())
    assert (stats.answered, stats.overloaded, stats.failed, stats.waiting) == (1, 1, 2, 0)
