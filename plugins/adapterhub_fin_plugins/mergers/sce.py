"""Merge with SCE: select the elements that vary, calculate coefficients, erase elements with minority signs."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin import MergerImplementation
from adapterhub_fin_plugins.mergers.options import SceOptions


class Sce(MergerImplementation):
    """Merge with SCE of FuseChat (Wan et al., arXiv 2408.07990): one coefficient for each adapter and matrix.

    Select: of the elements whose variance between the adapters is not zero, take the share `density` with the largest
    variance. Calculate: an adapter's coefficient e_k is the sum of squares of its selected elements. Erase: drop the
    elements whose sign is not that of the sum. The merge is the sum of w_k e_k d_k over the sum of e_k, both over the
    remaining elements; with weights of 1 it is the paper's. A weight scales its adapter's part and may be negative. If
    nothing varies, as with one adapter, every element is selected; so a single adapter of weight 1 comes back.
    """

    def __init__(self, options: SceOptions) -> None:
        self.options = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        scale = _scale(changes)  # so that squares don't underflow, however small the changes are
        changes = changes * scale
        selected = self._selected(changes)
        energies = torch.stack([(change * selected).square().sum() for change in changes])
        energies = energies / energies.sum() if energies.any() else energies
        sign = changes.sum(0).sign()
        numerator, denominator = torch.zeros_like(changes[0]), torch.zeros_like(changes[0])
        for change, weight, energy in zip(changes, weights, energies, strict=True):
            mask = selected & (change.sign() == sign)
            numerator += weight * energy * change * mask
            denominator += energy * mask
        return numerator / torch.where(denominator == 0, 1, denominator) / scale

    def _selected(self, changes: Tensor) -> Tensor:
        variance = changes.var(0, correction=0)
        varies = int(variance.count_nonzero())
        if not varies:
            return torch.ones_like(variance, dtype=torch.bool)
        count = max(1, round(self.options.density * varies))
        return (variance >= variance.flatten().kthvalue(variance.numel() - count + 1).values) & (variance > 0)


def _scale(changes: Tensor) -> Tensor:
    """Return the power of two that scales the largest magnitude to about one; multiplying by it is exact."""
    least, most = changes.aminmax()
    exponent = torch.frexp(torch.maximum(-least, most)).exponent
    return torch.ldexp(torch.ones_like(most), (-exponent).clamp(-126, 126))
