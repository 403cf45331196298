"""Define what a pool answers: each answer with the version that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class PoolAnswer:
    """Hold one row's answer, as the head types it or as text, and the version that made it."""

    value: Any
    reference: str  # name and number, as in acme/tone@3
    digest: str


@dataclass(frozen=True, slots=True)
class PoolText(PoolAnswer):
    """Hold a text that a version wrote and its tokens; `ended` is false where max_new_tokens cut it."""

    prompt_tokens: int
    new_tokens: int
    ended: bool


@dataclass(frozen=True, slots=True)
class PoolVector(PoolAnswer):
    """Hold the vector of one row, (hidden,) float32, and how many tokens of the row were read."""

    tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class PoolVectors:
    """Hold the vectors of rows, (rows, hidden) float32, with the version of each and the tokens that were read of it.

    A row that was refused and skipped has None as its version, NaN as its vector, and no tokens.
    """

    vectors: np.ndarray
    references: tuple[str | None, ...]
    digests: tuple[str | None, ...]
    tokens: tuple[int, ...]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the vectors as an array (rows, hidden)."""
        import numpy as np

        return np.array(self.vectors, dtype=dtype or self.vectors.dtype, copy=copy)

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, slots=True)
class ResidentVersion:
    """Describe a version in a pool's memory."""

    reference: str
    digest: str
    bytes: int
    in_use: int  # calls that compute with it now
    pinned: bool
    apart: str | None  # why it has a private copy of its base; None where it shares the pool's


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Count what a pool did since it was made, and what it holds."""

    bytes: int
    limit: int
    resident: int
    hits: int
    loads: int
    evictions: int
    loads_by: Mapping[str, int]  # by reference, of the 1,024 loaded last: more than one load is room that it lacked
