"""Decide whether two readings of numbers, in one floating-point type or in two, may be of the same numbers.

Rounding a number to a type moves it by at most half a unit in the last place of that type, at the number's own
magnitude. So two readings of one number differ by at most the sum of both halves. They differ by exactly that sum
only if the number lies midway for both types and was rounded to two different sides. Round-to-nearest-even never does
that, so a difference equal to the limit is refused. Two readings in one type must therefore be equal, except across a
power of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")


NARROW = ("bfloat16", "float16")  # the coarsest first
# Fewer different magnitudes than this may lie on a coarser grid by chance, as zeros and ones do.
TELLING = 32
FLUSHED = 2.0**-126  # float32's smallest normal number: some devices flush smaller ones to zero


def as_read(values: Sequence[float] | Tensor) -> Tensor:
    """Return a fingerprint's values as float64, each equal to the float32 whose nine significant digits were written.

    The shape is that of `values`.
    """
    return torch.as_tensor(values, dtype=torch.float64).to(torch.float32).to(torch.float64)


def half_step(values: Tensor, dtype: str) -> Tensor:
    """Return half a unit in the last place of a type at each value, in the shape of `values`.

    Below the smallest normal number it is the same as there. `dtype` is a name such as `bfloat16`. A type wider than
    float32, or a name that is not a floating-point type, counts as float32, in which fingerprints are written.
    """
    info = _info(dtype)
    _, exponent = torch.frexp(values.abs().clamp(min=info.tiny))  # |value| = m * 2**exponent, m in [1/2, 1)
    return torch.ldexp(torch.full_like(values, info.eps / 4), exponent)


def grid(dtype: str, values: Tensor) -> str:
    """Return a coarser type that represents all values exactly, or else their own type `dtype`.

    `values` are of any shape. A model that was read in bfloat16 and then widened still has bfloat16's values.
    """
    if len(set(values.abs().tolist())) >= TELLING:
        for narrow in NARROW:
            on_its_grid = values.to(getattr(torch, narrow)).to(values.dtype)
            if _info(narrow).eps > _info(dtype).eps and torch.equal(on_its_grid, values):
                return narrow
    return dtype


def apart(one: Tensor, other: Tensor) -> Tensor:
    """Return the absolute differences of two readings of one shape; infinity wherever one is NaN or infinite.

    That includes a number that overflowed to infinity in float16: such a model can't answer.
    """
    return torch.where(torch.isfinite(one) & torch.isfinite(other), (one - other).abs(), torch.inf)


def allowed(one: Tensor, first: str, other: Tensor, second: str) -> Tensor:
    """Return the limits that `apart` must stay below, in the same shape; `first` and `second` are the types."""
    return _rounded_by(one, first) + _rounded_by(other, second) + FLUSHED


def _rounded_by(values: Tensor, dtype: str) -> Tensor:
    values = torch.nan_to_num(values, 0.0, 0.0, 0.0)
    if (coarser := grid(dtype, values)) == dtype:
        return half_step(values, dtype)
    tiny = values.abs() <= _info(dtype).tiny  # there the type itself is coarser, as float16 is below 6e-5
    return half_step(values, coarser) + torch.where(tiny, half_step(values, dtype), 0.0)


def _info(dtype: str) -> torch.finfo:
    resolved = getattr(torch, dtype, None)
    if not isinstance(resolved, torch.dtype) or not resolved.is_floating_point or resolved == torch.float64:
        resolved = torch.float32
    return torch.finfo(resolved)
