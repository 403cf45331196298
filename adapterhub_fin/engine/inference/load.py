"""Load a version by its name, onto its own base or onto a model that other code has loaded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.check import (
    check_shape,
    expected_base,
)
from adapterhub_fin.engine.base.load_base import (
    check_covered,
    fingerprint_key,
    load_base,
    load_config,
    load_tokenizer,
)
from adapterhub_fin.engine.base.locks import building, on_meta
from adapterhub_fin.engine.base.padding import align_padding
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.importing.read_folder import task_of
from adapterhub_fin.engine.inference.adapter import Adapter
from adapterhub_fin.engine.inference.attach import attach_version, base_requirements, with_head
from adapterhub_fin.engine.inference.find import (
    AsOf,
    ResolvedVersion,
    base_source,
    find_version,
    own_tokenizer,
    tokenizer_for,
)
from adapterhub_fin.engine.peft.embeddings import (
    stored_embeddings,
)
from adapterhub_fin.plugin.trusted_code import trusting_remote_code
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin_registry.model.version import AnyReference
else:
    torch, nn = Lazy("torch"), Lazy("torch.nn")


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
) -> Adapter:
    """Load the adapter of that name, its files verified and its base checked before any weight is touched.

    `base` is a folder or Hub id in place of the recorded one, or a model in memory to reuse: a backbone shared by
    several adapters, or a model with a fitting head; `tokenizer` then spares reading one. `lock` is a file that holds
    the reference to what it means now. No Hub is contacted unless `download` is true. `trust_remote_code` lets the
    base's own Python code run; without it such a base is Refused. The public `load` has `fold` too.
    """
    with trusting_remote_code(trust_remote_code):
        return _load(reference, base, tokenizer, as_of, include_base, lock, registry, device, download)


def _load(
    reference: AnyReference,
    base: str | Path | nn.Module | None,
    tokenizer: PreTrainedTokenizerBase | None,
    as_of: AsOf,
    include_base: bool,
    lock: str | Path | None,
    registry: Registry | None,
    device: str | torch.device | None,
    download: bool,
) -> Adapter:
    resolved = find_version(reference, registry, as_of, include_base, lock)
    if base is not None and not isinstance(base, str | Path):
        tokenizer = tokenizer or tokenizer_for(base, resolved, download)
        with building(), _undrawn():
            return attach_version(with_head(base, resolved), resolved, tokenizer, "the model given as base")
    return load_with_base(resolved, base, tokenizer, device, download)


def load_with_base(
    resolved: ResolvedVersion,
    base: str | Path | None,
    tokenizer: PreTrainedTokenizerBase | None,
    device: str | torch.device | None,
    download: bool,
    fold: Callable[[nn.Module], None] | None = None,
) -> Adapter:
    """Load a version and a base of its own; `fold` adds the version's changes to the base's weights."""
    choice, source = base_source(resolved, base, download)
    with quiet_loading(), _undrawn():
        adapter = _load_whole(resolved, source, tokenizer, device, fold)
        if choice.path is not None:
            bases.remember(fingerprint_key(expected_base(resolved.registry, resolved.version)), source.folder)
    return adapter


def _load_whole(
    resolved: ResolvedVersion,
    source: bases.BaseSource,
    tokenizer: PreTrainedTokenizerBase | None,
    device: str | torch.device | None,
    fold: Callable[[nn.Module], None] | None,
) -> Adapter:
    """Load the base too."""
    described, config = f"the base at {source.folder}", load_config(source.folder)
    if resolved.head is not None:
        with on_meta():  # the wrong shape is told from the configuration, before gigabytes are read
            skeleton = resolved.head.skeleton(config)
            base, apart, grown = base_requirements(skeleton, resolved, stored_embeddings(skeleton, resolved.folder))
            check_shape(skeleton, base, apart, described, grown=grown)
    model, drawn = load_base(source.folder, resolved.head, resolved.method, *task_of(resolved.folder))
    tokenizer = tokenizer or load_tokenizer(own_tokenizer(model, resolved) or source.folder)
    check_covered(drawn, resolved.modules_to_save, resolved.version.reference)
    if device is not None:
        model.to(device)
    adapter = attach_version(model, resolved, tokenizer, described, private=True, fold=fold)
    align_padding(model, adapter.tokenizer)  # a model of ours; a caller's is told while it answers alone
    return adapter


def attach(
    model: nn.Module,
    reference: AnyReference,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    as_of: AsOf = None,
    include_base: bool = True,
    lock: str | Path | None = None,
    registry: Registry | None = None,
) -> Adapter:
    """Put a version onto a model that other code has loaded; WrongBase or WrongTensors leave the model as it was.

    Without `tokenizer`, the one of the version's base is read from this machine; a plain module without a
    configuration needs none.
    """
    resolved = find_version(reference, registry, as_of, include_base, lock)
    tokenizer = tokenizer or tokenizer_for(model, resolved, False)
    with building(), _undrawn():
        return attach_version(model, resolved, tokenizer, "the model given")


def _undrawn() -> AbstractContextManager[None]:
    """Leave torch's generator as it was: what loading draws is overwritten."""
    return torch.random.fork_rng(devices=[])
