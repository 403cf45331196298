"""Combine the changes of one module by a merger, in the smallest matrices in which its answer is exact."""

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
BEYOND = 2**63  # whole numbers that no manifest records
LARGEST = (2 - 2**-23) * 2.0**127  # float32's largest number: of what a merge stores, where no parent is wider


@dataclass(frozen=True)
class Combined:
    """The merged change of one module, and the share of its energy, the sum of squares, that its rank holds."""

    change: LowRank
    energy: float

    @property
    def rank(self) -> int:
        return self.change.rank


def space_for(merger: Merger, asked: str | None = None) -> Space:
    """Where a merger works: "exact" where it commutes with rotations, else "dense", or "factor" where that is asked.

    Raises BadMerge where it does not go with what was asked.
    """
    known: tuple[Space, ...] = ("dense", "factor") if merger.commutes == "none" else ("exact",)
    for space in known:
        if asked in (space, None):
            return space
    why = "looks at single elements" if merger.commutes == "none" else "is exact in the space of the factors"
    raise BadMerge(f"{merger.name} {why}: its space is {' or '.join(known)}, not {asked!r}")


def check_count(merger: Merger, count: int) -> None:
    """Raise BadMerge where a merger does not merge so many adapters."""
    least, most = merger.adapters
    if count < least or (most is not None and count > most):
        wanted = f"{least}" if most == least else f"at least {least}" if most is None else f"{least} to {most}"
        raise BadMerge(f"{merger.name} merges {wanted} adapters, not {count}: name as many, or use another merger")


def check_rank(rank: Rank) -> None:
    """Raise BadMerge unless a rank is None, at least 1, or as a float a share of the energy above 0 and up to 1."""
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
    """The merged change of one module, of K changes of one shape; one that an adapter lacks is `LowRank.zero`.

    An int is the rank, at most; a float the share of the energy to keep; None what the merger says, which is by
    default the rank that the result has, and in dense space, where that is full, the sum of the changes' ranks.
    Where all changes or all weights are zero, so is the answer, and the merger is not asked. Factors come in float64,
    from dense space in float32; `seed` is this module's. Raises BadMerge where a change is too large or the merger
    refuses the changes or weights, and PluginError where its answer is not finite, of another shape, or none.
    """
    check_count(merger, len(changes))
    check_rank(rank)
    if not any(weights) or all(change.is_zero() for change in changes):
        return Combined(LowRank.zero(changes[0].shape), 1.0)
    changes, generator = [change.to(torch.float64) for change in changes], torch.Generator().manual_seed(seed)
    _check_sizes(changes, weights)
    if rank is None:
        if (joined := _asked(implementation.join, changes, weights)) is not None:
            return Combined(joined, 1.0)
        rank = _asked(implementation.rank, [change.rank for change in changes])
    merging = _Merging(changes, weights, implementation, generator)
    if space == "exact":
        return merging.on_cores(rank) if merger.commutes == "both" else merging.on_rows(rank)
    return merging.in_dense(rank) if space == "dense" else merging.in_factors(rank)


def _asked(function: Callable[..., Answer], *given: Any) -> Answer:
    """A merger's answer; what it raises that is not a refusal of ours is told as the plugin's."""
    try:
        return function(*given)
    except AdapterHubError:
        raise
    except Exception as error:
        raise PluginError(f"{function.__qualname__} failed ({type(error).__name__}: {error})") from error


def _check_sizes(changes: Sequence[LowRank], weights: Sequence[float]) -> None:
    """No change, weighted or not, may be larger than a merge can store: its sums would not be finite."""
    for number, (change, weight) in enumerate(zip(changes, weights, strict=True), 1):
        factors = float(torch.linalg.matrix_norm(change.left)) * float(torch.linalg.matrix_norm(change.right))
        size = factors * abs(change.scale) * max(1.0, abs(weight))
        if not size <= LARGEST:
            raise BadMerge(
                f"adapter {number} of {len(changes)} changes it by {size:.1e}, beyond what float32 holds: see to its "
                "alpha, its rank and its weight, or leave it out"
            )


@dataclass(frozen=True)
class _Merging:
    """One module's changes in float64, and what merges them."""

    changes: Sequence[LowRank]
    weights: Sequence[float]
    implementation: MergerImplementation
    generator: Generator

    def on_cores(self, rank: Rank) -> Combined:
        """For what commutes with rotations of both sides: (K, p, q), with p and q at most the sum of the ranks."""
        span = CommonBasis.of(self.changes)
        core, energy = nearest(self._merged(span.cores), rank, self._rounding(span))
        return Combined(span.lifted(core), energy)

    def on_rows(self, rank: Rank) -> Combined:
        """For what commutes with rotations of the left side: (K, p, n), with p at most the sum of the ranks."""
        span = CommonBasis.of(self.changes)
        short, energy = nearest(self._merged(span.cores @ span.rows), rank, self._rounding(span))
        return Combined(LowRank(span.columns @ short.left, short.right), energy)

    def in_factors(self, rank: Rank) -> Combined:
        """On the cores in the changes' own bases: another algorithm than the one on single elements of the matrices.

        It is that of Core Space (Panariello et al., arXiv 2509.17786) with one difference. There the bases are the
        singular vectors of the factors side by side, so that one change in two factorings merges in two ways; here
        they are those of the changes side by side, [D1 .. DK] and [D1; ..; DK], and as many as these have rank.
        """
        span = CommonBasis.of(self.changes).aligned()
        core, energy = nearest(self._merged(span.cores), rank, self._rounding(span))
        return Combined(span.lifted(core), energy)

    def in_dense(self, rank: Rank) -> Combined:
        """On the matrices themselves, (K, m, n) in float32, the result cut by a randomised SVD."""
        stack = torch.empty(len(self.changes), *self.changes[0].shape, dtype=torch.float32)
        for place, change in zip(stack, self.changes, strict=True):
            small = change.to(torch.float32)
            torch.matmul(small.left * small.scale, small.right, out=place)
        merged = self._merged(stack)
        del stack
        rank = sum(change.rank for change in self.changes) if rank is None else rank
        change, energy = sketched(merged, rank, self.generator)
        return Combined(change, energy)

    def _rounding(self, span: CommonBasis) -> float:
        """What changes that cancel each other leave of themselves."""
        sizes = torch.linalg.matrix_norm(span.cores).tolist()
        size: float = max(min(1.0, abs(weight)) * each for weight, each in zip(self.weights, sizes, strict=True))
        return 4 * sum(change.rank for change in self.changes) * torch.finfo(span.cores.dtype).eps * size

    def _merged(self, matrices: Tensor) -> Tensor:
        """What the merger makes of (K, m, n), checked."""
        weights = torch.tensor(self.weights, dtype=matrices.dtype)
        merged = _asked(self.implementation.merge, matrices, weights, self.generator)
        if merged.shape != matrices.shape[1:]:
            raise PluginError(
                f"a merger must give a matrix of {tuple(matrices.shape[1:])}, and {type(self.implementation).__name__} "
                f"gave {tuple(merged.shape)}"
            )
        if not bool(merged.isfinite().all()):
            raise PluginError(f"{type(self.implementation).__name__} gave values that are not finite")
        return merged
