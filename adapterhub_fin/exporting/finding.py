"""Define what the rules of an engine read and report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["refused", "wrong", "unsure"]


@dataclass(frozen=True)
class StoredAdapter:
    """Hold what the rules read of a version: its configuration, and its tensors' names and shapes, but no weight."""

    config: Mapping[str, Any]  # adapter_config.json
    tensors: Mapping[str, Sequence[int]]  # shapes by name
    added_tokens: Mapping[str, int]  # added_tokens.json
    labels: Sequence[str] | None
    vocabulary: int | None  # the base's number of tokens, if known
    head: str | None = None  # the head's name in this project, with its options
    head_options: Mapping[str, Any] = field(default_factory=dict)
    architecture: str | None = None  # the class of the base's backbone, such as BertModel
    is_quantized: bool = False  # whether the base was, in training
    is_low_rank: bool = False  # whether the method says that it adds low-rank matrices to weights

    @property
    def kind(self) -> str:
        """Return PEFT's type of the adapter, such as LORA."""
        return str(self.config.get("peft_type"))


@dataclass(frozen=True)
class Finding:
    """Report one rule that an adapter breaks.

    `refused`: the engine will not load it. `wrong`: it loads, and predicts otherwise than in PEFT. `unsure`: it depends
    on the base or on how the server is started, which the version does not record.
    """

    level: Level
    rule: str
    where: str  # the option of adapter_config.json, or the tensor
    says: str
    do: str


Rules = Callable[[StoredAdapter, int | None], list[Finding]]


def counted(names: Sequence[str]) -> str:
    """Return how many tensors there are, and the first of them."""
    return f"1 tensor ({names[0]})" if len(names) == 1 else f"{len(names)} tensors (the first {names[0]})"


def some(names: Sequence[str], most: int = 3) -> str:
    """Return a few names, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
