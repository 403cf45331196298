"""Handle a batch's labels, which are a tensor or a mapping of tensors by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.examples import IGNORED

if TYPE_CHECKING:
    import numpy as np
    import torch
else:
    np = Lazy("numpy")


def check_batch_size(size: int) -> None:
    """Raise BadRecipe for a number of rows to compute at once that isn't 1 or more: no row would be answered."""
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise BadRecipe(f"batch_size={size!r} is no number of rows: give 1 or more")


def mapped(function: Callable[[Any], Any], labels: Any) -> Any:
    """Return labels with a function applied to their tensor, or to each of their tensors."""
    return (
        {name: function(value) for name, value in labels.items()} if isinstance(labels, Mapping) else function(labels)
    )


def on_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Return a batch on a device, its labels too."""
    return {name: mapped(lambda value: value.to(device), values) for name, values in batch.items()}


def arrays(labels: Any) -> Any:
    """Return labels as arrays, in the form that a head's `truth` takes."""
    return mapped(np.asarray, labels)


def stacked(batches: Sequence[Any]) -> Any:
    """Concatenate the labels of batches along the rows.

    Those of tokens, (rows, length), are padded to the longest with IGNORED.
    """
    if isinstance(batches[0], Mapping):
        return {name: stacked([batch[name] for batch in batches]) for name in batches[0]}
    if batches[0].ndim == 1:
        return np.concatenate(batches)
    width = max(batch.shape[1] for batch in batches)
    padded = [np.pad(batch, ((0, 0), (0, width - batch.shape[1])), constant_values=IGNORED) for batch in batches]
    return np.concatenate(padded)
