"""Compute what a call asks of versions that are in memory, those that share the base and those apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from adapterhub_fin.engine.base.locks import tokenizing
from adapterhub_fin.engine.inference.finite import check_finite
from adapterhub_fin.engine.inference.generating import generate_counted
from adapterhub_fin.engine.inference.rows import input_rows, text_columns
from adapterhub_fin.engine.inference.stopping import Written
from adapterhub_fin.engine.pool.answers import PoolVectors
from adapterhub_fin.engine.pool.batches import Compute, Item, answered, head_outputs, vectors
from adapterhub_fin.engine.pool.generating import written
from adapterhub_fin.engine.pool.requests import Ask, by_version
from adapterhub_fin.engine.pool.resident import Resident
from adapterhub_fin.errors import BadCorpus, BadRecipe, BadText
from adapterhub_fin.plugin.examples import encode_inputs
from adapterhub_fin.plugin.texts import check_prompt

if TYPE_CHECKING:
    from adapterhub_fin.engine.inference.embedding import Embedding
    from adapterhub_fin.recipe.decoding import Decoding

Advance = Callable[[int], Any]
Encoding = Callable[[Resident], Callable[[Sequence[Any]], Sequence[dict[str, Any]]]]


def outputs_of(
    residents: Mapping[str, Resident], asks: Sequence[Ask], batch_size: int, advance: Advance
) -> Iterator[tuple[Resident, list[int], Tensor]]:
    """Yield each version, the numbers of its rows, and the outputs of its head, (rows, outputs).

    Raises BadText for a row that can't be read, BadRecipe for a version without a head, and NotFinite.
    """
    together: list[Ask] = []
    for digest, own in by_version(asks).items():
        resident = residents[digest]
        if resident.adapter is None:
            together += own
            continue
        made = resident.adapter.logits([_read(ask, resident, "predict") for ask in own], batch_size)
        yield resident, [ask.number for ask in own], made
        advance(len(own))
    answers = _answers(together, residents, "predict", _by_head, batch_size, head_outputs, advance)
    for digest, own in by_version(together).items():
        numbers = [ask.number for ask in own]
        yield residents[digest], numbers, torch.stack([answers[number][0] for number in numbers])


def vectors_of(
    residents: Mapping[str, Resident],
    asks: Sequence[Ask],
    batch_size: int,
    embedding: Embedding,
    options: Mapping[str, Any],
    advance: Advance,
) -> dict[int, tuple[np.ndarray, int]]:
    """Return the vector of each row, (hidden,), and how many tokens it has, by the row's number.

    Raises BadText for a row that can't be read, and NotFinite.
    """
    made: dict[int, tuple[np.ndarray, int]] = {}
    together: list[Ask] = []
    for digest, own in by_version(asks).items():
        resident = residents[digest]
        if resident.adapter is None:
            together += own
            continue
        sizes = [item.length for item in _items(own, residents, "embed", _plain)]
        rows = resident.adapter.embed([_read(ask, resident, "embed") for ask in own], batch_size, **options)
        made |= zip((ask.number for ask in own), zip(rows, sizes, strict=True), strict=True)
        advance(len(own))
    answers = _answers(together, residents, "embed", _plain, batch_size, vectors(embedding), advance)
    return made | {number: (value.numpy(), size) for number, (value, size) in answers.items()}


def _answers(
    asks: Sequence[Ask],
    residents: Mapping[str, Resident],
    call: str,
    encoding: Encoding,
    batch_size: int,
    compute: Compute,
    advance: Advance,
) -> dict[int, tuple[Tensor, int]]:
    """Return the answer of each row and how many tokens it has, by the row's number."""
    items = _items(asks, residents, call, encoding)
    answers = answered(items, batch_size, compute, advance)
    _check(answers, items)
    return {item.number: (answers[item.number], item.length) for item in items}


def _read(ask: Ask, resident: Resident, call: str) -> Mapping[str, Any]:
    """Return one row as a version reads it. Raises BadText, which names the row."""
    return input_rows([ask.row], call, text_columns(resident.version), ask.number)[0]


def written_texts(
    residents: Mapping[str, Resident],
    asks: Sequence[Ask],
    batch_size: int,
    decoding: Decoding,
    advance: Callable[[int], Any],
) -> dict[int, Written]:
    """Return what is written after each prompt, by its number."""
    texts: dict[int, Written] = {}
    together: list[tuple[int, Resident, Any]] = []
    for digest, own in by_version(asks).items():
        resident = residents[digest]
        prompts = [check_prompt(ask.row, f"generate: prompt {ask.number}") for ask in own]
        if resident.adapter is None:
            together += [(ask.number, resident, prompt) for ask, prompt in zip(own, prompts, strict=True)]
            continue
        made = generate_counted(resident.adapter, prompts, batch_size, decoding)
        texts |= zip((ask.number for ask in own), made, strict=True)
        advance(len(own))
    return texts | written(together, batch_size, decoding, advance)


def _by_head(resident: Resident) -> Callable[[Sequence[Any]], Sequence[dict[str, Any]]]:
    if resident.head is None:
        raise BadRecipe(f"{resident.reference} has no head to predict with; use embed")
    return partial(resident.head.encode_inputs, tokenizer=resident.tokenizer, max_length=resident.max_length)


def _plain(resident: Resident) -> Callable[[Sequence[Any]], Sequence[dict[str, Any]]]:
    return partial(encode_inputs, tokenizer=resident.tokenizer, max_length=resident.max_length)


def _items(asks: Sequence[Ask], residents: Mapping[str, Resident], call: str, encoding: Encoding) -> list[Item]:
    """Return the rows encoded, each by its own version. Raises BadText for a row that can't be read."""
    items = []
    for digest, own in by_version(asks).items():
        resident = residents[digest]
        encode, rows = encoding(resident), [_read(ask, resident, call) for ask in own]
        try:
            with tokenizing():
                examples = encode(rows)
        except BadCorpus as error:  # of rows to answer, and not of a corpus
            raise BadText(str(error)) from error
        items += [Item(ask.number, resident, example) for ask, example in zip(own, examples, strict=True)]
    return items


def _check(answers: Mapping[int, Tensor], items: Sequence[Item]) -> None:
    """Raise NotFinite for the first row whose answer holds NaN or infinity."""
    for item in items:
        value = answers[item.number]
        if not torch.isfinite(value).all():
            check_finite(value[None], item.resident.reference, "text", [item.number])


def stacked(asks: Sequence[Ask], made: Mapping[int, tuple[np.ndarray, int]]) -> PoolVectors:
    """Return the vectors of rows, (rows, hidden), NaN for those that were skipped."""
    width = len(next(iter(made.values()))[0]) if made else 0
    missing = np.full(width, np.nan, np.float32), 0
    rows = [made.get(ask.number, missing) for ask in asks]
    versions = [ask.version for ask in asks]
    return PoolVectors(
        np.stack([vector for vector, _ in rows]).astype(np.float32, copy=False)
        if rows
        else np.empty((0, 0), np.float32),
        tuple(version.reference if version else None for version in versions),
        tuple(version.digest if version else None for version in versions),
        tuple(size for _, size in rows),
    )
