"""Write after a prompt, with the cache of keys and values, in batches or piece by piece."""

from __future__ import annotations

import copy
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Protocol

import torch
from transformers import GenerationConfig, StoppingCriteria

from adapterhub_fin.engine.base.locks import drawing, is_mine, tokenizing
from adapterhub_fin.engine.base.positions import position_limit
from adapterhub_fin.engine.data.batches import check_batch_size
from adapterhub_fin.engine.inference.finite import FiniteScores
from adapterhub_fin.engine.inference.stopping import Ending, PieceStreamer, WritesMark, Written, ending
from adapterhub_fin.errors import BadRecipe, Refused, WrongBase
from adapterhub_fin.plugin.examples import check_tokens
from adapterhub_fin.plugin.head_bases import CausalHead
from adapterhub_fin.plugin.progress_lines import progress

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.plugin.interfaces import MethodImplementation
    from adapterhub_fin.recipe.decoding import Decoding

Prompt = str | Sequence[Mapping[str, str]]


class Writer(Protocol):
    """Define what generation needs of a loaded adapter."""

    @property
    def reference(self) -> str: ...
    @property
    def model(self) -> nn.Module: ...
    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | Any: ...
    @property
    def method(self) -> MethodImplementation: ...
    @property
    def head(self) -> HeadImplementation | None: ...
    def answering(self) -> AbstractContextManager[None]: ...


def generate(
    adapter: Writer, prompts: Sequence[Prompt], batch_size: int, decoding: Decoding, shown: bool = False
) -> list[str]:
    """Write on from each prompt, in the order given."""
    return [each.text for each in generate_counted(adapter, prompts, batch_size, decoding, shown)]


def generate_counted(
    adapter: Writer, prompts: Sequence[Prompt], batch_size: int, decoding: Decoding, shown: bool = False
) -> list[Written]:
    """Write on from each prompt, in the order given, and count the tokens."""
    check_batch_size(batch_size)
    tokenizer, end = writing(adapter)
    written: list[Written] = []
    shown = shown and len(prompts) > batch_size
    with seeded(decoding), adapter.answering(), progress("writing", len(prompts), shown=shown) as advance:
        for start in range(0, len(prompts), batch_size):
            batch = _batch(adapter, tokenizer, prompts[start : start + batch_size], decoding)
            tokens = written_tokens(adapter, tokenizer, batch, decoding, end)
            # Trained vectors before the text are not among the tokens; the prompt is, padding included.
            new, sizes = tokens[:, batch["input_ids"].shape[1] :], batch["attention_mask"].sum(1)
            written += [end.cut(row, tokenizer, size) for row, size in zip(new.tolist(), sizes.tolist(), strict=True)]
            advance(len(batch["input_ids"]))
    return written


def stream(adapter: Writer, prompt: Prompt, decoding: Decoding) -> Generator[str, None, Written]:
    """Yield what the model writes after a prompt, as it is written; return the text with its tokens counted.

    A thread of its own computes, and holds the model until its last token, or the next one once the reader has left.
    It never waits for its reader, who may ask another adapter meanwhile, and then waits for the whole text.
    Raises Refused inside `answering()`, where that thread would wait for this one.
    """
    if is_mine():  # the thread would wait for this one, and this one for the thread
        raise Refused("a stream computes in a thread of its own, and this one holds a model: leave answering() first")
    tokenizer, end = writing(adapter)
    _check_no_beams(adapter)
    batch = _batch(adapter, tokenizer, [prompt], decoding)
    streamer: Any = PieceStreamer(tokenizer, end)
    begun, left, failed = Event(), Event(), list[BaseException]()

    def work() -> None:
        try:
            with seeded(decoding), adapter.answering():
                begun.set()
                if not left.is_set():
                    written_tokens(adapter, tokenizer, batch, decoding, end, [_Left(left)], streamer=streamer)
        except BaseException as error:  # told to the reader, who waits for the next piece
            failed.append(error)
            streamer.end()

    thread = Thread(target=work, daemon=True)
    thread.start()
    text: list[str] = []
    try:
        marked = yield from end.until(_gathered(_pieces(streamer), text))
    finally:
        left.set()
        # Once it has the model, wait until it is free again; not where this thread is in its way, or is itself it, as
        # whichever thread happens to collect a stream that nobody reads.
        if begun.is_set() and not is_mine():
            thread.join()
    if failed:
        raise failed[0]
    written = "".join(text)
    size = int(batch["attention_mask"].sum())
    return Written(written[: end.find(written)], size, streamer.new_tokens, streamer.ended or marked)


def _gathered(pieces: Iterator[str], text: list[str]) -> Iterator[str]:
    """Yield pieces, and keep them in `text`."""
    for piece in pieces:
        text.append(piece)
        yield piece


def _pieces(streamer: Any) -> Iterator[str]:
    """Yield the pieces that are not empty; Refused in the child of a fork, which has no thread that writes them."""
    process = os.getpid()
    while True:
        if os.getpid() != process:
            raise Refused("this stream was begun before the process was forked: begin it again")
        piece = streamer.text_queue.get()
        if piece is None:
            return
        if piece:
            yield piece


@contextmanager
def seeded(decoding: Decoding) -> Iterator[None]:
    """Draw from the seed alone, and leave torch's generator as it was; a greedy answer draws nothing."""
    if not decoding.temperature:
        yield
        return
    with drawing(), torch.random.fork_rng():
        torch.manual_seed(decoding.seed)
        yield


class _Left(StoppingCriteria):
    """Stop generation once nobody reads any more."""

    def __init__(self, left: Event) -> None:
        self.left = left

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        return torch.full((input_ids.shape[0],), self.left.is_set(), device=input_ids.device)


def _configuration(decoding: Decoding, tokenizer: PreTrainedTokenizerBase, end: Ending) -> GenerationConfig:
    """Return what Transformers is told; what is not said here is as the base's generation config has it."""
    draws = {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": decoding.top_k}
    build: Any = GenerationConfig  # untyped, as its library is
    configuration: GenerationConfig = build(
        max_new_tokens=decoding.max_new_tokens,
        do_sample=bool(decoding.temperature),
        repetition_penalty=decoding.repetition_penalty,
        use_cache=True,
        num_return_sequences=1,
        return_dict_in_generate=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=sorted(end.tokens) or None,
        **(draws if decoding.temperature else {}),
    )
    return configuration


def _check_no_beams(adapter: Writer) -> None:
    model: Any = adapter.model
    if (beams := model.generation_config.num_beams or 1) > 1:
        raise BadRecipe(f"the base's generation config asks for {beams} beams, which write out of order: use generate")


def writing(adapter: Writer) -> tuple[PreTrainedTokenizerBase, Ending]:
    """Return the tokenizer that pads before the prompt, so that each row is written on at its end, and what ends it.

    Raises BadRecipe for an adapter that does not write text.
    """
    if not isinstance(adapter.head, CausalHead):
        raise BadRecipe(f"{adapter.reference} does not write text: its head is not causal-lm; use predict")
    tokenizer = copy.copy(adapter.tokenizer)
    tokenizer.padding_side = "left"
    return tokenizer, ending(adapter.model, adapter.head, tokenizer)


def prompt_sizes(adapter: Writer, prompts: Sequence[Prompt]) -> list[int]:
    """Return how many positions of the base each prompt takes, with what a method puts before it."""
    tokenizer, _ = writing(adapter)
    return [len(encoded_prompts(adapter, tokenizer, [each])[0]) + adapter.method.num_virtual_tokens for each in prompts]


def _config(adapter: Writer) -> Any:
    return adapter.model.config


def encoded_prompts(adapter: Writer, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Return the tokens of each prompt, a conversation's in the head's own form."""
    head = adapter.head
    assert isinstance(head, CausalHead), "`writing` has refused any other"
    texts = [prompt if isinstance(prompt, str) else head.prompt(prompt, tokenizer) for prompt in prompts]
    plain = tokenizer.chat_template is None or all(isinstance(prompt, str) for prompt in prompts)
    with tokenizing():
        return [_without_end(ids, tokenizer) for ids in tokenizer(texts, add_special_tokens=plain)["input_ids"]]


def _batch(
    adapter: Writer, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], decoding: Decoding
) -> dict[str, torch.Tensor]:
    return padded(adapter, tokenizer, encoded_prompts(adapter, tokenizer, prompts), decoding)


def padded(
    adapter: Writer, tokenizer: PreTrainedTokenizerBase, encoded: Sequence[Sequence[int]], decoding: Decoding
) -> dict[str, torch.Tensor]:
    """Return prompts as a batch, (prompts, tokens), padded before them; WrongBase where they and the text don't fit."""
    check_tokens(encoded, "prompt")
    limit = position_limit(_config(adapter))
    longest = max(map(len, encoded)) + adapter.method.num_virtual_tokens + decoding.max_new_tokens
    if limit is not None and longest > limit:
        raise WrongBase(
            f"the longest prompt and {decoding.max_new_tokens} new tokens make {longest}, and the base has {limit} "
            "positions: shorten the prompt or max_new_tokens"
        )
    device = next(adapter.model.parameters()).device
    batch = tokenizer.pad({"input_ids": [list(ids) for ids in encoded]}, return_tensors="pt").to(device)
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def _without_end(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Drop the end mark that some tokenizers put after every text, after which there is nothing to write."""
    return ids[:-1] if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id else ids


def written_tokens(
    adapter: Writer,
    tokenizer: PreTrainedTokenizerBase,
    batch: Mapping[str, torch.Tensor],
    decoding: Decoding,
    end: Ending,
    criteria: Sequence[StoppingCriteria] = (),
    **how: Any,
) -> torch.Tensor:
    """Return the tokens of prompts and what was written after them, (prompts, tokens)."""
    model: Any = adapter.model
    marks = [WritesMark(end, tokenizer, batch["input_ids"].shape[1])] if end.marks else []
    tokens: torch.Tensor = model.generate(
        **batch,
        generation_config=_configuration(decoding, tokenizer, end),
        logits_processor=[FiniteScores(adapter.reference)],
        stopping_criteria=[*criteria, *marks],
        **({"tokenizer": tokenizer} if model.generation_config.stop_strings else {}),
        **how,
    )
    return tokens
