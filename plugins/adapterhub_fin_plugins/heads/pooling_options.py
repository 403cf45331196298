"""What `classify` and `regress` read of a text's states."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from pydantic import Field

Pooling: TypeAlias = Literal["base", "mean"]
POOLING: Final[Any] = Field(
    "base",
    description="The state of one token, as the base's own class has it, which plain PEFT loads too: the first's (an "
    "encoder) or the last's (a decoder). Or the mean over a text's tokens, better where sentences are embedded so.",
)
