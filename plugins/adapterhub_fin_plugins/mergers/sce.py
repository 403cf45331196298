"""SCE: select what varies, calculate how much each adapter counts, erase what disagrees."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from adapterhub_fin.plugin.interfaces import MergerImplementation
from adapterhub_fin_plugins.mergers.options import SceOptions


class Sce(MergerImplementation):
    """SCE of FuseChat (Wan et al., arXiv 2408.07990): coefficients by matrix from the energy of what varies.

    Selected is the share `density` of the elements whose variance between the adapters is not zero, the largest. An
    adapter's coefficient e_k is the sum of squares of what is selected of it. Erased is what has not the sign of the
    sum. The merge is the sum of w_k e_k d_k over the sum of e_k, both over what is left; with weights of 1 that is the
    paper's. A weight scales its adapter's part, of any sign. Where nothing varies, as with one adapter, all is
    selected; so one adapter of weight 1 comes back.
    """

    def __init__(self, options: SceOptions) -> None:
        self.options = options

    def merge(self, changes: Tensor, weights: Tensor, generator: Generator) -> Tensor:
        scale = _scale(changes)  # what is squared stays within the type, however small the changes are
        changes = changes * scale
        selected = self._selected(changes)
        energies = torch.stack([(change * selected).square().sum() for change in changes])
        energies = energies / energies.sum() if energies.any() else energies
        sign = changes.sum(0).sign()
        total, whole = torch.zeros_like(changes[0]), torch.zeros_like(changes[0])
        for change, weight, energy in zip(changes, weights, energies, strict=True):
            left = selected & (change.sign() == sign)
            total += weight * energy * change * left
            whole += energy * left
        return total / torch.where(whole == 0, 1, whole) / scale

    def _selected(self, changes: Tensor) -> Tensor:
        variance = changes.var(0, correction=0)
        varies = int(variance.count_nonzero())
        if not varies:
            return torch.ones_like(variance, dtype=torch.bool)
        count = max(1, round(self.options.density * varies))
        return (variance >= variance.flatten().kthvalue(variance.numel() - count + 1).values) & (variance > 0)


def _scale(changes: Tensor) -> Tensor:
    """The power of two that brings the largest magnitude to about one; multiplying by it rounds nothing."""
    least, most = changes.aminmax()
    exponent = torch.frexp(torch.maximum(-least, most)).exponent
    return torch.ldexp(torch.ones_like(most), (-exponent).clamp(-126, 126))
