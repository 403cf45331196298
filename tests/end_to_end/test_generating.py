"""Writing after a prompt: with a cache, in batches as alone, the same again under a seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import adapterhub_fin as ahf
from adapterhub_fin.engine.inference.adapter import Adapter
from adapterhub_fin.plugin.model_parts import backbone
from adapterhub_fin.testing import tiny_corpus

PROMPTS = ["Arlo: profit", "Brent: the profit of the year was", "No", "Gant meets in"]
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 4},
    "prompt-tuning": {"tokens": 5},
    "prefix-tuning": {"tokens": 5},
    "p-tuning": {"tokens": 5},
}


@pytest.fixture(scope="module", params=METHODS)
def writer(
    request: pytest.FixtureRequest, decoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Adapter]:
    root = tmp_path_factory.mktemp("writer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(root / "cache"))
        registry = ahf.Registry(root / "home")
        run = ahf.train(
            name="acme/writer",
            base={"path": str(decoder)},
            method={"name": request.param, **METHODS[request.param]},
            head="causal-lm",
            corpus={"name": tiny_corpus()},
            training={"epochs": 1, "batch_size": 8, "max_length": 48},
            registry=registry,
        )
        yield ahf.load(run.reference, base=decoder, registry=registry)


def test_each_token_after_the_first_is_given_alone_to_the_model(writer: Adapter) -> None:
    """Its keys and values are kept: without a cache, the whole text would be computed again for every token."""
    given: list[int] = []

    def count(module: Any, args: Any, kwargs: Any) -> None:
        tokens = kwargs["input_ids"] if kwargs.get("input_ids") is not None else kwargs["inputs_embeds"]
        given.append(tokens.shape[1])

    hook = backbone(writer.model).register_forward_pre_hook(count, with_kwargs=True)
    try:
        writer.generate([PROMPTS[0]], max_new_tokens=9)
    finally:
        hook.remove()
    prompt = len(writer.tokenizer(PROMPTS[0])["input_ids"])
    embedded = writer.method.num_virtual_tokens if writer.manifest.method.name in ("prompt-tuning", "p-tuning") else 0
    assert given == [prompt + embedded, *[1] * 8]


def test_the_cache_changes_nothing(writer: Adapter) -> None:
    ids, written = writer.tokenizer(PROMPTS[1])["input_ids"], list[int]()
    with writer.answering():
        for _ in range(12):
            tokens = torch.tensor([ids + written])
            written.append(
                int(writer.model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[0, -1].argmax())
            )
    assert writer.generate([PROMPTS[1]], max_new_tokens=12) == [
        writer.tokenizer.decode(written, skip_special_tokens=True)
    ]


def test_a_batch_of_prompts_writes_what_each_writes_alone(writer: Adapter) -> None:
    alone = [writer.generate([prompt], max_new_tokens=12)[0] for prompt in PROMPTS]
    assert len(set(alone)) == len(PROMPTS), "prompts that are answered alike tell nothing apart"
    assert writer.generate(PROMPTS, max_new_tokens=12) == alone
    assert writer.generate(PROMPTS, batch_size=3, max_new_tokens=12) == alone


def test_draws_repeat_under_a_seed_and_leave_the_caller_s(writer: Adapter) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (
        writer.generate(PROMPTS, max_new_tokens=12, temperature=1.0, top_p=0.9, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again and first != other
    assert torch.equal(torch.rand(3), expected)
    pieces = "".join(writer.stream(PROMPTS[0], max_new_tokens=12, temperature=1.0, seed=1))
    assert pieces == writer.generate(PROMPTS[:1], max_new_tokens=12, temperature=1.0, seed=1)[0]


def test_a_prompt_that_does_not_fit_with_what_is_to_be_written_is_refused(writer: Adapter) -> None:
    room = 128 - writer.method.num_virtual_tokens
    assert writer.generate(["a" * (room - 9)], max_new_tokens=8)  # with the token that begins a text
    for ask in (lambda: writer.generate(["a" * (room - 8)], max_new_tokens=8), lambda: list(writer.stream("a" * 128))):
        with pytest.raises(ahf.WrongBase, match="128 positions: shorten the prompt or max_new_tokens"):
            ask()


def test_what_is_streamed_is_what_is_written_and_a_reader_may_leave(writer: Adapter) -> None:
    whole = writer.generate(PROMPTS[:1], max_new_tokens=24)[0]
    assert "".join(writer.stream(PROMPTS[0], max_new_tokens=24)) == whole
    passes: list[int] = []
    hook = backbone(writer.model).register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        pieces = writer.stream(PROMPTS[0], max_new_tokens=90)
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]
        stopped = len(passes)
        assert stopped < 90
        assert "".join(writer.stream(PROMPTS[0], max_new_tokens=24)) == whole
        assert len(passes) == stopped + 24, "what nobody read went on"
    finally:
        hook.remove()


def test_options_and_heads_that_do_not_write_are_refused_in_one_line(writer: Adapter, trained: Any) -> None:
    with pytest.raises(ahf.BadRecipe, match="generate: temperature"):
        writer.generate(PROMPTS, temperature=-1)
    with pytest.raises(ahf.BadRecipe, match="did you mean top_p"):
        writer.generate(PROMPTS, topp=0.5)
    with pytest.raises(ahf.BadRecipe, match="list of prompts"):
        writer.generate(PROMPTS[0])
    with pytest.raises(ahf.BadRecipe, match="its head is not causal-lm"):
        trained.adapter.generate(PROMPTS)
