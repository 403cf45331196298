"""Load a version by its name; with `fold`, its changes are added to the weights of a base of its own."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin.engine.base.check import expected_base
from adapterhub_fin.engine.inference import load as loading
from adapterhub_fin.engine.inference.find import AsOf, ResolvedVersion, find_version
from adapterhub_fin.engine.merging.changes import StoredChanges, changes_of
from adapterhub_fin.errors import BadMerge, Refused, Unsupported
from adapterhub_fin.plugin.trusted_code import trusting_remote_code
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.engine.inference.adapter import Adapter
    from adapterhub_fin_registry.model.version import AnyReference


def load(
    reference: AnyReference,
    *,
    base: str | Path | nn.Module | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    as_of: AsOf = None,
    include_base: bool = True,
    lock: str | Path | None = None,
    registry: Registry | None = None,
    device: str | torch.device | None = None,
    download: bool = False,
    trust_remote_code: bool = False,
    fold: bool = False,
) -> Adapter:
    """Load the adapter of that name, its files verified and its base checked before any weight is touched.

    `base` is a folder or Hub id in place of the recorded one, or a model in memory to reuse: a backbone shared by
    several adapters, or a model with a fitting head; `tokenizer` then spares reading one. `lock` is a file that holds
    the reference to what it means now. No Hub is contacted unless `download` is true. `trust_remote_code` lets the
    base's own Python code run; without it such a base is Refused.

    `fold` adds the adapter to the weights of a base of its own, which then answers the same in less time. Raises
    Refused for `fold` with a model as base, and Unsupported where the adapter is no plain sum of low-rank matrices or
    its base is quantized.
    """
    if not fold:
        return loading.load(
            reference,
            base=base,
            tokenizer=tokenizer,
            as_of=as_of,
            include_base=include_base,
            lock=lock,
            registry=registry,
            device=device,
            download=download,
            trust_remote_code=trust_remote_code,
        )
    if base is not None and not isinstance(base, str | Path):
        raise Refused(
            "fold changes the weights of the base, and a model that is given as base may be shared: give its folder or "
            "id, or leave fold out"
        )
    with trusting_remote_code(trust_remote_code):
        resolved = find_version(reference, registry, as_of, include_base, lock)
        changes = foldable_changes(resolved)
        folding = partial(_fold, changes=changes, whose=resolved.version.reference)
        return loading.load_with_base(resolved, base, tokenizer, device, download, folding)


def foldable_changes(resolved: ResolvedVersion) -> StoredChanges:
    """Return what a version adds to its base's weights. Raises Unsupported where folding would change its answers."""
    whose = resolved.version.reference
    if expected_base(resolved.registry, resolved.version).quantization is not None:
        raise Unsupported(
            f"{whose} is for a quantized base, which would round what is added to it: load it without fold, or write "
            "the folded model in full precision with ahf export --layout merged"
        )
    try:
        return changes_of(resolved.version)
    except BadMerge as error:
        raise Unsupported(f"{whose} can't be folded into its base, so load it without fold: {error}") from error


def _fold(model: nn.Module, *, changes: StoredChanges, whose: str) -> None:
    from adapterhub_fin.engine.base import fingerprint
    from adapterhub_fin.engine.folding.in_memory import fold

    if any(fingerprint.is_quantized(parameter) for parameter in model.parameters()):
        raise Unsupported(f"the base was loaded quantized, which would round what {whose} adds: load it without fold")
    fold(model, changes, whose)
