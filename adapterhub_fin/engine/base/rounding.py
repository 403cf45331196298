"""Tell whether two readings of numbers, in the same or in different floating-point types, may be of the same numbers.

Rounding a number to a type moves it by at most half a unit in the last place of that type, at the number's own
magnitude. So two readings of one number differ by at most the sum of both halves. They differ by exactly that sum
only if the number lies midway for both types and was rounded to two different sides, which round-to-nearest-even
never does: equality is refused. Two readings in one type must therefore be equal, but across a power of two.
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


NARROW = ("bfloat16", "float16")  # from the coarsest on
# Fewer different magnitudes than these may lie on a coarser grid by chance, as zeros and ones do.
TELLING = 32
FLUSHED = 2.0**-126  # float32's smallest normal number: some devices give zero for what is smaller


def as_read(values: Sequence[float] | Tensor) -> Tensor:
    """Return values of a fingerprint as float64, each the float32 that its nine significant digits were written of."""
    return torch.as_tensor(values, dtype=torch.float64).to(torch.float32).to(torch.float64)


def half_step(values: Tensor, dtype: str) -> Tensor:
    """Return half a unit in the last place of a type at each value, below the smallest normal number as at it.

    `dtype` is a name such as `bfloat16`. What is wider than float32, or no name of a floating-point type, counts as
    float32, in which fingerprints are written.
    """
    info = _info(dtype)
    _, exponent = torch.frexp(values.abs().clamp(min=info.tiny))  # |value| = m * 2**exponent, m in [1/2, 1)
    return torch.ldexp(torch.full_like(values, info.eps / 4), exponent)


def grid(dtype: str, values: Tensor) -> str:
    """Return the coarser type whose grid all values lie on, else the type that they are held in.

    A model that was read in bfloat16 and then widened is still a reading in bfloat16.
    """
    if len(set(values.abs().tolist())) >= TELLING:
        for narrow in NARROW:
            on_its_grid = values.to(getattr(torch, narrow)).to(values.dtype)
            if _info(narrow).eps > _info(dtype).eps and torch.equal(on_its_grid, values):
                return narrow
    return dtype


def apart(one: Tensor, other: Tensor) -> Tensor:
    """Return how far two readings are apart. A NaN or infinity is infinitely far from everything.

    So is a number that overflowed to infinity in float16 from the number that it was: such a model gives no answer.
    """
    return torch.where(torch.isfinite(one) & torch.isfinite(other), (one - other).abs(), torch.inf)


def allowed(one: Tensor, first: str, other: Tensor, second: str) -> Tensor:
    """Return what `apart` must stay below, each reading given with the type that it is held in."""
    return _rounded_by(one, first) + _rounded_by(other, second) + FLUSHED


def _rounded_by(values: Tensor, dtype: str) -> Tensor:
    values = torch.nan_to_num(values, 0.0, 0.0, 0.0)
    if (coarser := grid(dtype, values)) == dtype:
        return half_step(values, dtype)
    tiny = values.abs() <= _info(dtype).tiny  # where the type itself is the coarser one, as float16 is below 6e-5
    return half_step(values, coarser) + torch.where(tiny, half_step(values, dtype), 0.0)


def _info(dtype: str) -> torch.finfo:
    known = getattr(torch, dtype, None)
    if not isinstance(known, torch.dtype) or not known.is_floating_point or known == torch.float64:
        known = torch.float32
    return torch.finfo(known)
