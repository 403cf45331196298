"""Means of directions on the sphere: a change is a direction, a point of the unit sphere, and a length."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from adapterhub_fin.errors import BadMerge
from adapterhub_fin.plugin.interfaces import MergerImplementation
from adapterhub_fin.plugin.options import NoOptions

MOST_STEPS = 500  # each brings the mean several times nearer unless the directions all but surround it


class Slerp(MergerImplementation):
    """Spherical interpolation of two changes (Shoemake 1985), their lengths interpolated linearly.

    With t = w_2 / (w_1 + w_2) and the angle a between D_1 and D_2, the direction is
    (sin((1 - t) a) D_1/|D_1| + sin(t a) D_2/|D_2|) / sin a and the length (1 - t) |D_1| + t |D_2|. So only the ratio
    of the weights counts; a negative one is refused. A change of zeros has no direction and takes the other's.
    Opposite changes have no one arc between them, and are refused. (mergekit combines the changes, not directions.)
    """

    def __init__(self, options: NoOptions) -> None: ...

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        share = shares(weights, "slerp")
        lengths, (first, second) = _polar(changes)
        length: Tensor = (share * lengths).sum()
        if not bool(lengths.all()):
            only: Tensor = length * (first + second)  # the direction of one is zero
            return only
        apart, together = (torch.linalg.vector_norm(x) for x in (first - second, first + second))
        if _is_opposite(together):
            raise BadMerge("slerp: two opposite changes have no one arc between them; use linear")
        angle = 2 * torch.atan2(apart, together)  # Kahan's, exact for small angles as for large ones
        on_arc = torch.sin(share * angle) / torch.sin(angle) if bool(angle) else share
        merged: Tensor = length * (on_arc[0] * first + on_arc[1] * second)
        return merged


class Karcher(MergerImplementation):
    """The Karcher mean of the directions (Karcher 1977), times the weighted mean of the lengths.

    The mean direction u is where the sum of w_k log_u(D_k/|D_k|) is zero, found by u <- exp_u of that sum; of two
    changes it is `slerp`. Weights count over their sum; a negative one is refused. A change of zeros has no direction,
    and counts in the length alone. One adapter comes back, whatever its weight. Directions that have no one mean, such
    as two opposite ones, are refused.
    """

    def __init__(self, options: NoOptions) -> None: ...

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        share = shares(weights, "karcher")
        lengths, directions = _polar(changes)
        counted = (lengths > 0) & (share > 0)
        if not bool(counted.any()):
            return torch.zeros_like(changes[0])
        pull, points = share[counted] / share[counted].sum(), directions[counted].flatten(1)
        return (share * lengths).sum() * _mean(points, pull).view_as(changes[0])


def shares(weights: Tensor, name: str) -> Tensor:
    """Weights over their sum; BadMerge where one is negative, or all are zero."""
    if bool((weights < 0).any()) or not bool(weights.any()):
        raise BadMerge(
            f"{name} takes weights of at least 0 that are not all 0, not {[float(each) for each in weights]}; "
            "linear takes any"
        )
    return weights / weights.sum()


def _polar(changes: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths (K,) and directions (K, m, n); the direction of zeros is zero."""
    lengths = torch.linalg.vector_norm(changes, dim=(1, 2))
    return lengths, changes / torch.where(lengths > 0, lengths, 1.0)[:, None, None]


def _is_opposite(together: Tensor) -> bool:
    """Whether the sum of two unit vectors, of this length, is no more than rounding."""
    return bool(together <= 64 * torch.finfo(together.dtype).eps)


def _mean(points: Tensor, pull: Tensor) -> Tensor:
    """The Karcher mean, (size,), of points (K, size) of the unit sphere with weights (K,) whose sum is one."""
    mean: Tensor = pull @ points
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
        step = pull @ logs
        size = torch.linalg.vector_norm(step)
        mean = torch.cos(size) * mean + torch.sinc(size / torch.pi) * step
        if bool(size <= 16 * torch.finfo(points.dtype).eps):
            return mean
    raise BadMerge("karcher: the changes point in so many directions that these have no one mean; use linear")
