"""Remember which bases a model in memory was found to be, for as long as all that its fingerprint reads stays the same.

A fingerprint is a function of the names, shapes and types of a model's parameters, and of a few elements of each.
Reading those takes a tenth of the time that the fingerprint and its comparison take. They are read again at each load,
so that what is written in place is noticed where a new fingerprint would notice it, also through `.data` or in
inference mode, of which torch's version counters know nothing. Refusals are never remembered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base import fingerprint
from adapterhub_fin.engine.base.row_sums import row_elements
from adapterhub_fin.plugin.model_parts import backbone, input_embedding, vocabulary_size

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin_registry.model.manifest import Base
else:
    torch = Lazy("torch")

REMEMBERED = 16  # bases of one model, which differ in the modules that their versions store


@dataclass
class _Passed:
    """Hold a model's reading, and the requirements that a model of this reading was found to meet."""

    layout: Any
    elements: list[Tensor]
    requirements: list[Any] = field(default_factory=list)


_passed: WeakKeyDictionary[nn.Module, dict[Any, _Passed]] = WeakKeyDictionary()  # by backbone, and by what is read


class ModelCheck:
    """Tell whether a model's layers and weights must be checked, and remember that they passed."""

    def __init__(self, model: nn.Module, base: Base, leave_out: Collection[str], grown: bool) -> None:
        """Read the model; `grown` as for `check_base`."""
        layout, elements = read_model(model, leave_out, base.vocabulary_size)
        readings = _passed.setdefault(backbone(model), {})
        key = (frozenset(leave_out), base.vocabulary_size)
        passed = readings.pop(key, None)
        if passed is None or not _equal(passed, layout, elements):
            passed = _Passed(layout, elements)
        readings[key] = self.passed = passed
        while len(readings) > REMEMBERED:
            del readings[next(iter(readings))]  # the one that was used longest ago
        self.requirement = (grown, base.structure_digest, base.vocabulary_size, base.quantization, base.weight_probe)

    def is_known(self) -> bool:
        """Return whether this very model has met this requirement, and is as it was then."""
        return self.requirement in self.passed.requirements

    def remember(self) -> None:
        """Record that the model meets the requirement."""
        self.passed.requirements = [self.requirement, *self.passed.requirements[: REMEMBERED - 1]]


def read_model(model: nn.Module, leave_out: Collection[str], rows: int | None) -> tuple[Any, list[Tensor]]:
    """Return all that a fingerprint of a model depends on: names, shapes and types, and the elements that it reads.

    The elements are in one tensor for each type and device. Of embeddings only the first `rows` rows are read.
    """
    tables, embedding = fingerprint.embeddings(model, leave_out), input_embedding(model)
    layout: list[Any] = [vocabulary_size(model)]
    elements: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    with torch.no_grad():
        for name, parameter in fingerprint.fingerprinted(model, leave_out):
            quantized = fingerprint.is_quantized(parameter)
            layout.append(
                (name, fingerprint.logical_shape(parameter), parameter.dtype, parameter is embedding, quantized)
            )
            for read in _elements(name, parameter, name in tables, rows):
                elements.setdefault((read.dtype, read.device), []).append(read)
        return layout, [torch.cat(parts) for parts in elements.values()]


def _elements(name: str, parameter: Tensor, is_table: bool, rows: int | None) -> Iterator[Tensor]:
    if parameter.is_meta or parameter.numel() == 0:
        return
    dense = fingerprint.dequantised(parameter)
    dense = dense[:rows] if is_table else dense
    yield dense.take(torch.tensor(_indices(name, dense.numel()), device=dense.device))
    if is_table and dense.ndim == 2:  # any other is refused by its shape
        yield dense.take(row_elements(name, dense.shape).to(dense.device)).flatten()


@lru_cache(maxsize=8192)
def _indices(name: str, count: int) -> list[int]:
    return fingerprint.probed_elements(name, count)


def _equal(passed: _Passed, layout: Any, elements: list[Tensor]) -> bool:
    """Return whether two readings agree; never for one with a NaN in it, which a fingerprint refuses."""
    same = passed.layout == layout and len(passed.elements) == len(elements)
    return same and all(torch.equal(one, other) for one, other in zip(passed.elements, elements, strict=True))


_digests: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[Any, str]] = WeakKeyDictionary()


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return `fingerprint.tokenizer_digest`, which takes 50 ms for 30,000 tokens, once for each state of a tokenizer.

    The state is what a fast tokenizer writes of itself into its file; one in Python is digested at each call.
    """
    if (written := getattr(getattr(tokenizer, "backend_tokenizer", None), "to_str", None)) is None:
        return fingerprint.tokenizer_digest(tokenizer)
    text = written()
    # What is written before the tokens is padding and truncation, which each call may set anew.
    file = hashlib.sha256(text[max(0, text.find('"added_tokens"')) :].encode()).digest()
    state = (file, dict(tokenizer.special_tokens_map))
    cached = _digests.get(tokenizer)
    if cached is None or cached[0] != state:
        cached = _digests[tokenizer] = (state, fingerprint.tokenizer_digest(tokenizer))
    return cached[1]
