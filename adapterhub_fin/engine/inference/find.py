"""Find what a load needs, before any weight is read: a version with its plugins, its base, its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.check import (
    expected_base,
)
from adapterhub_fin.engine.base.load_base import (
    fingerprint_key,
    load_tokenizer,
)
from adapterhub_fin.engine.base.own_tokenizer import own_tokenizer_folder
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.base.stored_base import check_dated, check_is_adapter, find_recorded, missing_base
from adapterhub_fin.engine.importing.read_folder import is_unserved
from adapterhub_fin.engine.peft.embeddings import (
    stored_embeddings,
)
from adapterhub_fin.errors import BaseNotFound, PluginError, UnknownName
from adapterhub_fin.plugin.adapter_files import WEIGHTS
from adapterhub_fin.plugin.contributed import build_contribution
from adapterhub_fin.plugin.descriptions import Head, Method
from adapterhub_fin.plugin.heads import MergeableHead
from adapterhub_fin.plugin.model_parts import unwrapped
from adapterhub_fin.plugin.stored_tensors import StoredTensors
from adapterhub_fin.plugin.trusted_code import is_remote_code_trusted
from adapterhub_fin.recipe.choices import BaseChoice
from adapterhub_fin.registries import located
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.plugin.interfaces import MethodImplementation
    from adapterhub_fin_registry import Version
    from adapterhub_fin_registry.io.safetensors_header import TensorInfo
    from adapterhub_fin_registry.model.version import AnyReference
else:
    torch, nn = Lazy("torch"), Lazy("torch.nn")

AsOf = str | date | datetime | None


@dataclass(frozen=True)
class ResolvedVersion:
    """Hold a version that can be loaded: its files verified, its plugins at hand."""

    registry: Registry
    version: Version
    folder: Path
    method: MethodImplementation
    head: HeadImplementation | None
    tensors: StoredTensors | None = None  # of the verified bytes of its file, where they were read

    @property
    def header(self) -> Mapping[str, TensorInfo] | None:
        """Return what describes the tensors, where they were read."""
        return None if self.tensors is None else self.tensors.header

    @property
    def modules_to_save(self) -> tuple[str, ...]:
        head = self.version.manifest.head
        return tuple(head.modules_to_save) if head else ()


def find_version(
    reference: AnyReference, registry: Registry | None, as_of: AsOf, include_base: bool, lock: str | Path | None
) -> ResolvedVersion:
    """Find the version, download it where it isn't here, and verify its files; no weight is read."""
    return files_of(*located(reference, registry, as_of, include_base, lock))


def files_of(registry: Registry, version: Version) -> ResolvedVersion:
    """Return a version of a registry with its files verified and its plugins at hand. Raises Unsupported for a base."""
    check_is_adapter(version)
    if is_remote_code_trusted():
        registry.check_remote_code(version.name)
    folder = registry.path(version)
    return ResolvedVersion(registry, version, folder, *_plugins(version))


def read_version(registry: Registry, version: Version) -> ResolvedVersion:
    """Return what `files_of` does, with the tensors of its file in memory: those of the bytes that were verified."""
    check_is_adapter(version)
    if is_remote_code_trusted():
        registry.check_remote_code(version.name)
    data = registry.read_files(version, (WEIGHTS,)).get(WEIGHTS)
    tensors = None if data is None else StoredTensors.of(data, f"{version.reference}: {WEIGHTS}")
    return ResolvedVersion(registry, version, version.files, *_plugins(version), tensors)


def is_same_head(start: ResolvedVersion, name: str, head: HeadImplementation) -> bool:
    """Return whether a head is the start's: the same task with the same labels, in the same units."""
    theirs = start.version.manifest.head
    if theirs is None or theirs.name != name or tuple(theirs.labels or ()) != tuple(head.labels or ()):
        return False
    return _scale(start.head) == _scale(head)


def _scale(head: HeadImplementation | None) -> tuple[float, float]:
    return head.output_scale() if isinstance(head, MergeableHead) else (0.0, 1.0)


def base_source(
    resolved: ResolvedVersion, base: str | Path | None, download: bool
) -> tuple[BaseChoice, bases.BaseSource]:
    """Find the base that was given, or the recorded one: its stored version, its id, else where it was last seen.

    Raises BaseNotFound where it is in none of these, and LookAhead where the stored one knows more than recorded.
    """
    if base is not None:
        choice = BaseChoice.read(base)
        return choice, bases.find_base(choice, download=download, registry=resolved.registry)
    stored = expected_base(resolved.registry, resolved.version)
    if stored.version is not None and (
        located_base := find_recorded(stored.version, resolved.registry, download=download)
    ):
        check_dated(resolved.version, located_base.version)
        return BaseChoice(version=stored.version.digest), bases.stored_source(located_base)
    remembered = bases.recall(fingerprint_key(stored))
    if stored.repository is not None:
        choice = BaseChoice(id=stored.repository, revision=stored.revision)
        with suppress(BaseNotFound):
            return choice, bases.find_base(choice)
        if remembered is None:
            return choice, bases.find_base(choice, download=download)
    if remembered is None and stored.version is not None:
        raise missing_base(resolved.version.reference, stored.version, resolved.registry)
    if remembered is None:
        raise BaseNotFound(
            f"{resolved.version.reference} was trained on an unnamed base ({stored.architecture}): name its folder "
            "with --base FOLDER (base=...)"
        )
    choice = BaseChoice(path=remembered)
    return choice, bases.find_base(choice)


def tokenizer_for(model: nn.Module, resolved: ResolvedVersion, download: bool) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer of a version, its own or its base's; None for a model that has no configuration."""
    if getattr(unwrapped(model), "config", None) is None:
        return None  # no model of Transformers: it reads no texts
    with quiet_loading():
        return load_tokenizer(own_tokenizer(model, resolved) or base_source(resolved, None, download)[1].folder)


def own_tokenizer(model: nn.Module, resolved: ResolvedVersion) -> Path | None:
    """Return the folder of the tokenizer that a version brings with its new tokens; None if it has none."""
    return own_tokenizer_folder(resolved.folder, grown=bool(stored_embeddings(model, resolved.folder).modules))


def _plugins(version: Version) -> tuple[MethodImplementation, HeadImplementation | None]:
    """Return the version's method and head; where a plugin is missing, PluginError says what to install."""
    manifest = version.manifest
    try:
        method = build_contribution(Method, manifest.method.name, manifest.method.options)
    except UnknownName as error:
        provider = manifest.method.provider
        install = f"pip install '{provider.distribution}=={provider.version}'" if provider else "install its plugin"
        raise PluginError(
            f"{version.reference} was made by the method {manifest.method.name!r}: {install} ({error})"
        ) from error
    if manifest.head is None or is_unserved(manifest.head.name):
        return method, None
    head: HeadImplementation = build_contribution(Head, manifest.head.name, manifest.head.options)
    head.set_labels(manifest.head.labels)
    return method, head
