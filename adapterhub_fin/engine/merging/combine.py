"""Combine the changes of one parameter with a merger, in the smallest matrices in which the result is exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.peft.sketching import sketched
from adapterhub_fin.errors import AdapterHubError, BadMerge, PluginError
from adapterhub_fin.plugin.descriptions import Merger
from adapterhub_fin.plugin.interfaces import MergerImplementation
from adapterhub_fin.plugin.low_rank import CommonBasis, LowRank, nearest

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor
else:
    torch = Lazy("torch")

Space = Literal["exact", "dense", "factor"]
Rank = int | float | None
Answer = TypeVar("Answer")
BEYOND = 2**63  # manifests record smaller whole numbers only
LARGEST = (2 - 2**-23) * 2.0**127  # float32's largest number; a merge stores float32, or wider where a parent is


@dataclass(frozen=True)
class Combined:
    """Hold the merged change of one parameter, and the share of its energy (sum of squares) that its rank keeps."""

    change: LowRank
    energy: float

    @property
    def rank(self) -> int:
        """Return the rank of the merged change."""
        return self.change.rank


def space_for(merger: Merger, requested: str | None = None) -> Space:
    """Return the space a merger works in: "exact" if it commutes with rotations, else "dense", or "factor" on request.

    Raises BadMerge for a requested space that the merger does not have.
    """
    offered: tuple[Space, ...] = ("dense", "factor") if merger.commutes == "none" else ("exact",)
    for space in offered:
        if requested in (space, None):
            return space
    why = "looks at single elements" if merger.commutes == "none" else "is exact in the space of the factors"
    raise BadMerge(f"{merger.name} {why}: its space is {' or '.join(offered)}, not {requested!r}")


def check_count(merger: Merger, count: int) -> None:
    """Raise BadMerge where a merger does not merge this number of adapters."""
    least, most = merger.adapters
    if count < least or (most is not None and count > most):
        range_text = f"{least}" if most == least else f"at least {least}" if most is None else f"{least} to {most}"
        raise BadMerge(f"{merger.name} merges {range_text} adapters, not {count}: name as many, or use another merger")


def check_rank(rank: Rank) -> None:
    """Raise BadMerge unless a rank is None, an int of at least 1, or a float share of the energy in (0, 1]."""
    if rank is None or (1 <= rank < BEYOND if isinstance(rank, int) else 0 < rank <= 1):
        return
    raise BadMerge(f"a rank is a whole number from 1, or the share of the energy to keep, such as 0.99; not {rank!r}")


def combine(
    changes: Sequence[LowRank],
    weights: Sequence[float],
    merger: Merger,
    implementation: MergerImplementation,
    *,
    space: Space,
    rank: Rank = None,
    seed: int = 0,
) -> Combined:
    """Return the merged change of one parameter, of K changes of one shape; an absent change is `LowRank.zero`.

    An int `rank` is the maximum rank; a float is the share of the energy to keep; None leaves it to the merger. Its
    default is the rank of the result, or in dense space, where that is full, the sum of the changes' ranks. If all
    changes or all weights are zero, so is the result, and the merger is not called. Factors are float64, or float32
    from dense space; `seed` is for this parameter alone. Raises BadMerge where a change is too large or the merger
    refuses the changes or weights, and PluginError where its result is not finite or not of their shape, or where it
    fails.
    """
    check_count(merger, len(changes))
    check_rank(rank)
    if not any(weights) or all(change.is_zero() for change in changes):
        return Combined(LowRank.zero(changes[0].shape), 1.0)
    changes, generator = [change.to(torch.float64) for change in changes], torch.Generator().manual_seed(seed)
    _check_sizes(changes, weights)
    if rank is None:
        if (joined := _call_merger(implementation.join, changes, weights)) is not None:
            return Combined(joined, 1.0)
        rank = _call_merger(implementation.rank, [change.rank for change in changes])
    merging = _Merging(changes, weights, implementation, generator)
    if space == "exact":
        return merging.on_cores(rank) if merger.commutes == "both" else merging.on_rows(rank)
    return merging.in_dense(rank) if space == "dense" else merging.in_factors(rank)


def _call_merger(function: Callable[..., Answer], *arguments: Any) -> Answer:
    """Call a merger's function. Raises its own AdapterHubError as it is, and PluginError for any other error."""
    try:
        return function(*arguments)
    except AdapterHubError:
        raise
    except Exception as error:
        raise PluginError(f"{function.__qualname__} failed ({type(error).__name__}: {error})") from error


def _check_sizes(changes: Sequence[LowRank], weights: Sequence[float]) -> None:
    """Raise BadMerge for a change that, weighted or not, is larger than a merge can store: sums would overflow."""
    for number, (change, weight) in enumerate(zip(changes, weights, strict=True), 1):
        factors = float(torch.linalg.matrix_norm(change.left)) * float(torch.linalg.matrix_norm(change.right))
        size = factors * abs(change.scale) * max(1.0, abs(weight))
        if not size <= LARGEST:
            raise BadMerge(
                f"adapter {number} of {len(changes)} changes it by {size:.1e}, beyond what float32 holds: check its "
                "alpha, its rank and its weight, or leave it out"
            )


@dataclass(frozen=True)
class _Merging:
    """Hold one parameter's changes in float64, and the merger that combines them."""

    changes: Sequence[LowRank]
    weights: Sequence[float]
    implementation: MergerImplementation
    generator: Generator

    def on_cores(self, rank: Rank) -> Combined:
        """Merge (K, p, q) cores, with p and q at most the sum of the ranks.

        This is for mergers that commute with rotations of both sides.
        """
        span = CommonBasis.of(self.changes)
        core, energy = nearest(self._merged(span.cores), rank, self._rounding(span))
        return Combined(span.lifted(core), energy)

    def on_rows(self, rank: Rank) -> Combined:
        """Merge (K, p, n) matrices, with p at most the sum of the ranks.

        This is for mergers that commute with rotations of the left side.
        """
        span = CommonBasis.of(self.changes)
        short, energy = nearest(self._merged(span.cores @ span.rows), rank, self._rounding(span))
        return Combined(LowRank(span.columns @ short.left, short.right), energy)

    def in_factors(self, rank: Rank) -> Combined:
        """Merge the (K, p, q) cores in the changes' own bases: another algorithm than one on single elements.

        It is Core Space (Panariello et al., arXiv 2509.17786) with one difference. There the bases are the singular
        vectors of the stacked factors, so that two factorizations of one change merge in two ways. Here they are those
        of the stacked changes, [D1 .. DK] and [D1; ..; DK], as many as these have rank.
        """
        span = CommonBasis.of(self.changes).aligned()
        core, energy = nearest(self._merged(span.cores), rank, self._rounding(span))
        return Combined(span.lifted(core), energy)

    def in_dense(self, rank: Rank) -> Combined:
        """Merge the matrices themselves, (K, m, n) in float32; a randomised SVD cuts the result to the rank."""
        stack = torch.empty(len(self.changes), *self.changes[0].shape, dtype=torch.float32)
        for matrix, change in zip(stack, self.changes, strict=True):
            factors = change.to(torch.float32)
            torch.matmul(factors.left * factors.scale, factors.right, out=matrix)
        merged = self._merged(stack)
        del stack
        rank = sum(change.rank for change in self.changes) if rank is None else rank
        change, energy = sketched(merged, rank, self.generator)
        return Combined(change, energy)

    def _rounding(self, span: CommonBasis) -> float:
        """Return the size of the rounding errors that remain where changes cancel each other."""
        sizes = torch.linalg.matrix_norm(span.cores).tolist()
        size: float = max(min(1.0, abs(weight)) * norm for weight, norm in zip(self.weights, sizes, strict=True))
        return 4 * sum(change.rank for change in self.changes) * torch.finfo(span.cores.dtype).eps * size

    def _merged(self, matrices: Tensor) -> Tensor:
        """Return the merger's result (m, n) on matrices (K, m, n).

        Raises PluginError for another shape or values that are not finite.
        """
        weights = torch.tensor(self.weights, dtype=matrices.dtype)
        merged = _call_merger(self.implementation.merge, matrices, weights, self.generator)
        if merged.shape != matrices.shape[1:]:
            raise PluginError(
                f"a merger must give a matrix of {tuple(matrices.shape[1:])}, and {type(self.implementation).__name__} "
                f"gave {tuple(merged.shape)}"
            )
        if not bool(merged.isfinite().all()):
            raise PluginError(f"{type(self.implementation).__name__} gave values that are not finite")
        return merged
