"""Rotate the vectors of versions onto those of one of them: orthogonal Procrustes (Schoenemann 1966)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin_registry.model.knowledge import format_instant

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")


class Procrustes:
    """Accumulate pairs of vectors a part at a time, and solve for the rotation that takes one onto the other."""

    def __init__(self, dimensions: int) -> None:
        self._products = np.zeros((dimensions, dimensions))
        self._squares = [0.0, 0.0]

    def add(self, vectors: np.ndarray, onto: np.ndarray) -> None:
        """Add the vectors of some texts, (texts, dimensions), and those that they are to become."""
        mine, other = vectors.astype(np.float64), onto.astype(np.float64)
        self._products += mine.T @ other
        self._squares[0] += float((mine**2).sum())
        self._squares[1] += float((other**2).sum())

    def solve(self) -> tuple[np.ndarray, float]:
        """Return the rotation (dimensions, dimensions) and what it leaves: the residual's norm over that of the target.

        The rotation is U V^T of the singular value decomposition of the products, and may reflect.
        """
        left, values, right = np.linalg.svd(self._products)
        rest = max(self._squares[0] + self._squares[1] - 2 * float(values.sum()), 0.0)
        rotation: np.ndarray = left @ right
        return rotation, float(np.sqrt(rest / self._squares[1])) if self._squares[1] else 0.0


@dataclass(frozen=True)
class Alignment:
    """Hold how versions were rotated onto one: by which rows, until when, and what is left."""

    onto: str  # the reference of the version whose vectors stay as they are
    digest: str  # of that version
    before: datetime | None  # rows from before this instant were fitted on; None: those of another table
    until: datetime  # the latest instant that a rotation knows of: of its rows and of that version's knowledge
    rows: int
    rows_digest: str  # SHA-256 of their instants and texts
    residuals: dict[str, float] = field(default_factory=dict)  # by the version's digest

    def record(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "onto": self.onto,
            "digest": self.digest,
            "before": None if self.before is None else format_instant(self.before),
            "until": format_instant(self.until),
            "rows": self.rows,
            "rows_digest": self.rows_digest,
            "residuals": dict(self.residuals),
        }
