"""What is said of an adapter before an engine gets it: one finding a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["refused", "wrong", "unsure"]


@dataclass(frozen=True)
class StoredAdapter:
    """What the rules read of a version: its configuration and the table of its tensors, and no weight."""

    config: Mapping[str, Any]  # adapter_config.json
    tensors: Mapping[str, Sequence[int]]  # shapes by name
    added_tokens: Mapping[str, int]  # added_tokens.json
    labels: Sequence[str] | None
    vocabulary: int | None  # the base's, where it is known

    @property
    def kind(self) -> str:
        """PEFT's type."""
        return str(self.config.get("peft_type"))


@dataclass(frozen=True)
class Finding:
    """One rule that an adapter runs into.

    `refused`: the engine will not load it. `wrong`: it loads, and answers otherwise than in PEFT. `unsure`: it hangs on
    the base or on how the server is started, which the version does not say.
    """

    level: Level
    rule: str
    where: str  # the option of adapter_config.json, or the tensor
    says: str
    do: str


Rules = Callable[[StoredAdapter, int | None], list[Finding]]


def counted(names: Sequence[str]) -> str:
    """How many tensors, and the first of them."""
    return f"1 tensor ({names[0]})" if len(names) == 1 else f"{len(names)} tensors (the first {names[0]})"


def some(names: Sequence[str], most: int = 3) -> str:
    """A few names, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
