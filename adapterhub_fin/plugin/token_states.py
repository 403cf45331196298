"""Hold the hidden states of a text's tokens, which metrics of the kind `token-states` compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TokenStates:
    """Hold one text's states, (tokens, hidden), and which tokens are the text's own, (tokens,), not special ones."""

    states: NDArray[np.float32]
    counts: NDArray[np.bool_]
