"""Merge on the sphere: a change is a length and a direction, which is a point of the unit sphere."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin import BadMerge, MergerImplementation, NoOptions

MOST_STEPS = 500  # each step reduces the error several times, unless the directions point almost everywhere


class Slerp(MergerImplementation):
    """Interpolate two changes on the sphere (Shoemake 1985), and their lengths linearly.

    With t = w_2 / (w_1 + w_2) and the angle a between D_1 and D_2, the direction is
    (sin((1 - t) a) D_1/|D_1| + sin(t a) D_2/|D_2|) / sin a and the length (1 - t) |D_1| + t |D_2|. Only the ratio
    of the weights matters. A change of zeros has no direction and takes the other's. mergekit combines the changes
    instead of their directions. `merge` raises BadMerge for a negative weight, and for opposite changes, between which
    there is no unique arc.
    """

    def __init__(self, options: NoOptions) -> None: ...

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        share = shares(weights, "slerp")
        lengths, (first, second) = _polar(changes)
        length: Tensor = (share * lengths).sum()
        if not bool(lengths.all()):
            only: Tensor = length * (first + second)  # one of the directions is zero
            return only
        difference, together = (torch.linalg.vector_norm(x) for x in (first - second, first + second))
        if _is_opposite(together):
            raise BadMerge("slerp: there is no unique arc between two opposite changes; use linear")
        angle = 2 * torch.atan2(difference, together)  # Kahan's formula, accurate for small and for large angles
        on_arc = torch.sin(share * angle) / torch.sin(angle) if bool(angle) else share
        merged: Tensor = length * (on_arc[0] * first + on_arc[1] * second)
        return merged


class Karcher(MergerImplementation):
    """Merge into the Karcher mean of the directions (Karcher 1977), times the weighted mean of the lengths.

    At the mean direction u the sum of w_k log_u(D_k/|D_k|) is zero; it is found by iterating u <- exp_u of that sum.
    For two changes it is `slerp`. Weights are divided by their sum. A change of zeros has no direction and counts only
    in the length. A single adapter comes back unchanged, whatever its weight. `merge` raises BadMerge for a negative
    weight, and for directions without a unique mean, such as two opposite ones.
    """

    def __init__(self, options: NoOptions) -> None: ...

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        share = shares(weights, "karcher")
        lengths, directions = _polar(changes)
        counted = (lengths > 0) & (share > 0)
        if not bool(counted.any()):
            return torch.zeros_like(changes[0])
        normalized, points = share[counted] / share[counted].sum(), directions[counted].flatten(1)
        return (share * lengths).sum() * _mean(points, normalized).view_as(changes[0])


def shares(weights: Tensor, name: str) -> Tensor:
    """Return the weights (K,) divided by their sum. Raises BadMerge if one is negative or all are zero."""
    if bool((weights < 0).any()) or not bool(weights.any()):
        raise BadMerge(
            f"{name} needs weights of at least 0 that are not all 0, not {weights.tolist()}; linear takes any"
        )
    return weights / weights.sum()


def _polar(changes: Tensor) -> tuple[Tensor, Tensor]:
    """Return lengths (K,) and directions (K, m, n) of changes (K, m, n); the direction of zeros is zero."""
    lengths = torch.linalg.vector_norm(changes, dim=(1, 2))
    return lengths, changes / torch.where(lengths > 0, lengths, 1.0)[:, None, None]


def _is_opposite(together: Tensor) -> bool:
    """Return whether the length of the sum of two unit vectors is zero up to rounding."""
    return bool(together <= 64 * torch.finfo(together.dtype).eps)


def _mean(points: Tensor, weights: Tensor) -> Tensor:
    """Return the Karcher mean (size,) of points (K, size) on the unit sphere, for weights (K,) with sum one."""
    mean: Tensor = weights @ points
    for _ in range(MOST_STEPS):
        length = torch.linalg.vector_norm(mean)
        if _is_opposite(length):
            break
        mean = mean / length
        cosines = (points @ mean).clamp(-1, 1)
        if _is_opposite(1 + cosines.min()):
            break
        angles = torch.arccos(cosines)
        logs = (points - cosines[:, None] * mean) / torch.sinc(angles / torch.pi)[:, None]
        step = weights @ logs
        size = torch.linalg.vector_norm(step)
        mean = torch.cos(size) * mean + torch.sinc(size / torch.pi) * step
        if bool(size <= 16 * torch.finfo(points.dtype).eps):
            return mean
    raise BadMerge("karcher: the directions of the changes have no unique mean; use linear")
