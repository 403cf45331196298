"""End a text at any token that the tokenizer, the base or the training of an adapter says ends one."""

from __future__ import annotations

import queue
from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import StoppingCriteria, TextIteratorStreamer

from adapterhub_fin.engine.base.locks import tokenizing

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.plugin.head_bases import CausalHead


@dataclass(frozen=True, slots=True)
class Written:
    """Hold a text that was written, the tokens of its prompt and its own, and whether it ended by itself."""

    text: str
    prompt_tokens: int
    new_tokens: int
    ended: bool  # otherwise max_new_tokens cut it


@dataclass(frozen=True)
class Ending:
    """Hold what ends a text: one of some tokens, or one of some marks that take several tokens to write."""

    tokens: frozenset[int]
    marks: tuple[str, ...]

    def cut(self, tokens: list[int], tokenizer: PreTrainedTokenizerBase, prompt_tokens: int) -> Written:
        """Return the text of new tokens up to what ends it; of an end, only the tokens of a mark are counted."""

        def text(count: int) -> str:
            return str(tokenizer.decode(tokens[:count], skip_special_tokens=True))

        end = next((index for index, token in enumerate(tokens) if token in self.tokens), len(tokens))
        written = text(end)
        if (mark := self.find(written)) is None:
            return Written(written, prompt_tokens, end, end < len(tokens))
        # Other rows of a batch are written on meanwhile, and this one is padded.
        count = bisect_left(range(end), True, key=lambda tokens: self.find(text(tokens)) is not None)
        return Written(written[:mark], prompt_tokens, count, True)

    def find(self, text: str) -> int | None:
        """Return where the first mark begins; None where there is none."""
        return first_mark(text, self.marks)

    def until(self, pieces: Iterator[str]) -> Generator[str, None, bool]:
        """Yield pieces up to the first mark, which may begin in one and end in another; return whether one came."""
        cutter = PieceCutter(self.marks)
        for piece in pieces:
            if ready := cutter.add(piece):
                yield ready
            if cutter.ended:
                return True
        if cutter.pending:
            yield cutter.pending
        return False


def first_mark(text: str, marks: Sequence[str]) -> int | None:
    """Return where the first of some marks to be complete begins in a text; None where there is none.

    A mark that ends first is the first: so a text that comes in pieces is cut where it would be as a whole.
    """
    complete = [(start + len(mark), start) for mark in marks if (start := text.find(mark)) >= 0]
    return min(complete)[1] if complete else None


class PieceCutter:
    """Return a text that comes in pieces, up to the first of some marks; one may begin in one piece and end in another.

    `pending` may be the beginning of a mark: it belongs to the text where no more comes.
    """

    def __init__(self, marks: Sequence[str]) -> None:
        self.pending, self.ended = "", False
        self._marks, self._longest = marks, max((len(mark) - 1 for mark in marks), default=0)

    def add(self, piece: str) -> str:
        """Return what of the text so far is certain and was not returned before."""
        text = self.pending + piece
        end = first_mark(text, self._marks)
        self.ended = end is not None
        ready = max(len(text) - self._longest, 0) if end is None else end
        self.pending = "" if self.ended else text[ready:]
        return text[:ready]


def ending(model: Any, head: CausalHead, tokenizer: PreTrainedTokenizerBase) -> Ending:
    """Return what ends a text of this model: the union of tokenizer, generation config, and what closed an answer."""
    with tokenizing():
        mark = head.ending(tokenizer)
        written = tokenizer(mark, add_special_tokens=False)["input_ids"] if mark else []
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    closing = next((token for token in written if token in special), None)
    tokens = {*_of_base(model.generation_config, special), *_ids(tokenizer.eos_token_id)}
    if closing is None and len(written) == 1:
        closing = written[0]
    if closing is not None:
        return Ending(frozenset({*tokens, closing}), ())
    return Ending(frozenset(tokens), (mark,) if mark else ())


def _of_base(configuration: Any, special: set[int]) -> Iterator[int]:
    """Yield the ends of text in a base's generation config.

    One that Transformers derived from config.json may hold its class's default, which is any word of another tokenizer.
    """
    derived = bool(getattr(configuration, "_from_model_config", False))
    yield from (token for token in _ids(configuration.eos_token_id) if not derived or token in special)


def _ids(tokens: int | Sequence[int] | None) -> Sequence[int]:
    if tokens is None:
        return ()
    return (tokens,) if isinstance(tokens, int) else tuple(tokens)


class WritesMark(StoppingCriteria):
    """Stop each row whose new text holds a mark."""

    def __init__(self, ending: Ending, tokenizer: PreTrainedTokenizerBase, prompt: int) -> None:
        self.ending, self.tokenizer, self.prompt = ending, tokenizer, prompt
        self.tail = 2 * max(map(len, ending.marks), default=0)  # tokens, each of which writes a character or more

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        new = input_ids[:, self.prompt :][:, -self.tail :].tolist()
        done = [self.ending.find(str(self.tokenizer.decode(row, skip_special_tokens=True))) is not None for row in new]
        return torch.tensor(done, device=input_ids.device)


class PieceStreamer(TextIteratorStreamer):
    """Queue the pieces of one text without a bound, and none of what ends it."""

    text_queue: queue.Queue[str | None]

    def __init__(self, tokenizer: PreTrainedTokenizerBase, ending: Ending) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.ending, self.new_tokens, self.ended = ending, 0, False

    def put(self, value: Tensor) -> None:
        prompt = self.next_tokens_are_prompt
        self.ended = not prompt and int(value.flatten()[0]) in self.ending.tokens
        if not self.ended:
            self.new_tokens += not prompt
            super().put(value)  # type: ignore[no-untyped-call]
