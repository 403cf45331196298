"""Load a version by its name, onto its own base or onto a model that other code has loaded."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.adapter_names import (
    check_unchanged,
    new_adapter_name,
    note_wrapper,
    take_adapter_name,
    wrapper_of,
)
from adapterhub_fin.engine.base.build_plugin import build_installed_plugin
from adapterhub_fin.engine.base.check import (
    check_base,
    check_shape,
    describe_base,
    expected_base,
    record_first_fingerprint,
)
from adapterhub_fin.engine.base.load_base import (
    check_covered,
    fingerprint_key,
    load_base,
    load_config,
    load_tokenizer,
    materialise,
    tie,
)
from adapterhub_fin.engine.base.locks import building, lock_of, on_meta
from adapterhub_fin.engine.base.own_tokenizer import own_tokenizer_folder
from adapterhub_fin.engine.base.padding import align_padding, padding
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.importing.read_folder import is_unserved, task_of
from adapterhub_fin.engine.inference.adapter import Adapter, NoTokenizer
from adapterhub_fin.engine.peft.adapter_io import fill_adapter
from adapterhub_fin.engine.peft.embeddings import (
    StoredEmbeddings,
    changed_embeddings,
    fit_vocabulary,
    live_embeddings,
    stored_embeddings,
)
from adapterhub_fin.engine.peft.read_back import check_fits
from adapterhub_fin.errors import BaseNotFound, PluginError, UnknownName, WrongBase
from adapterhub_fin.plugin.descriptions import Head, Method
from adapterhub_fin.plugin.heads import CausalHead
from adapterhub_fin.plugin.interfaces import AttachContext
from adapterhub_fin.plugin.model_parts import backbone, unwrapped, vocabulary_size
from adapterhub_fin.recipe.recipe import BaseChoice
from adapterhub_fin.registries import located
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.plugin.interfaces import MethodImplementation
    from adapterhub_fin_registry import Version
    from adapterhub_fin_registry.model.manifest import Base
else:
    torch, nn = Lazy("torch"), Lazy("torch.nn")

AsOf = str | date | datetime | None


def load(
    reference: str,
    *,
    base: str | Path | nn.Module | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    as_of: AsOf = None,
    include_base: bool = True,
    lock: str | Path | None = None,
    registry: Registry | None = None,
    device: str | torch.device | None = None,
    download: bool = False,
) -> Adapter:
    """Load the adapter of that name, its files verified and its base checked before any weight is touched.

    `base` is a folder or Hub id in place of the recorded one, or a model in memory to reuse: a backbone shared by
    several adapters, or a model with a fitting head; `tokenizer` then spares reading one. `lock` is a file that holds
    the reference to what it means now. No Hub is contacted unless `download` is true.
    """
    resolved = find_version(reference, registry, as_of, include_base, lock)
    if base is not None and not isinstance(base, str | Path):
        tokenizer = tokenizer or _tokenizer_for(base, resolved, download)
        with building(), _undrawn():
            return _attach(_with_head(base, resolved), resolved, tokenizer, "the model given as base")
    choice, source = base_source(resolved, base, download)
    with quiet_loading(), _undrawn():
        adapter = _load_whole(resolved, source, tokenizer, device)
        if choice.path is not None:
            bases.remember(fingerprint_key(expected_base(resolved.registry, resolved.version)), source.folder)
    return adapter


def _load_whole(
    resolved: ResolvedVersion,
    source: bases.BaseSource,
    tokenizer: PreTrainedTokenizerBase | None,
    device: str | torch.device | None,
) -> Adapter:
    """Load the base too."""
    described, config = f"the base at {source.folder}", load_config(source.folder)
    if resolved.head is not None:
        with on_meta():  # the wrong shape is told from the configuration, before gigabytes are read
            skeleton = resolved.head.skeleton(config)
            base, apart, grown = _held(skeleton, resolved, stored_embeddings(skeleton, resolved.folder))
            check_shape(skeleton, base, apart, described, grown=grown)
    model, drawn = load_base(source.folder, resolved.head, resolved.method, *task_of(resolved.folder))
    tokenizer = tokenizer or load_tokenizer(_own_tokenizer(model, resolved) or source.folder)
    check_covered(drawn, resolved.modules_to_save, resolved.version.reference)
    if device is not None:
        model.to(device)
    adapter = _attach(model, resolved, tokenizer, described, private=True)
    align_padding(model, adapter.tokenizer)  # a model of ours; a caller's is told while it answers alone
    return adapter


def attach(
    model: nn.Module,
    reference: str,
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
    tokenizer = tokenizer or _tokenizer_for(model, resolved, False)
    with building(), _undrawn():
        return _attach(model, resolved, tokenizer, "the model given")


def _undrawn() -> AbstractContextManager[None]:
    """Leave torch's generator as it was: what loading draws is overwritten."""
    return torch.random.fork_rng(devices=[])


@dataclass(frozen=True)
class ResolvedVersion:
    """Hold a version that can be loaded: its files verified, its plugins at hand."""

    registry: Registry
    version: Version
    folder: Path
    method: MethodImplementation
    head: HeadImplementation | None

    @property
    def modules_to_save(self) -> tuple[str, ...]:
        head = self.version.manifest.head
        return tuple(head.modules_to_save) if head else ()


def find_version(
    reference: str, registry: Registry | None, as_of: AsOf, include_base: bool, lock: str | Path | None
) -> ResolvedVersion:
    """Find the version, download it where it isn't here, and verify its files; no weight is read."""
    registry, version = located(reference, registry, as_of, include_base, lock)
    folder = registry.path(version.reference)
    return ResolvedVersion(registry, version, folder, *_plugins(version))


def _attach(
    model: nn.Module,
    resolved: ResolvedVersion,
    tokenizer: PreTrainedTokenizerBase | None,
    described: str,
    *,
    private: bool = False,
) -> Adapter:
    """Put a version onto a model; `private` says that this load made the model, and nobody else has it."""
    version, method, modules_to_save = resolved.version, resolved.method, resolved.modules_to_save
    stored = stored_embeddings(model, resolved.folder)
    rows = max(vocabulary_size(model) or 0, stored.rows) or None  # also those that this load may grow it to
    tokenizer, mode = tokenizer and padding(tokenizer, rows), model.training
    model = wrapper_of(model)
    lock_of(model)  # so that a fork knows of it
    changes = method.changes_base(resolved.folder)
    check_unchanged(model, changes, version.reference)
    base, apart, grown = _held(model, resolved, stored)
    conversations = isinstance(resolved.head, CausalHead)  # which renders them
    check_base(model, tokenizer, base, apart, described, grown=grown, conversations=conversations)
    # Read before the adapter is on the model: some alter the base's weights, or wrap its layers.
    first = None
    if base.fingerprint != "verified":
        rows = stored.rows_before(vocabulary_size(model))
        first = describe_base(model, tokenizer, apart, base.repository, base.revision, rows=rows)
    fit_vocabulary(model, stored, version.reference, private=private)
    live = {} if private else live_embeddings(model, stored)
    if changed_embeddings(live, resolved.folder):
        changes = "whole embeddings"
        check_unchanged(model, changes, version.reference)
    task = resolved.head.task if resolved.head else None
    context = AttachContext(
        adapter_name=new_adapter_name(),
        modules_to_save=modules_to_save,
        task=task,
        base=version.manifest.base.repository,
    )
    check_fits(method, model, context, resolved.folder, version.reference)
    take_adapter_name(model, context.adapter_name, version.manifest.method.name, version.reference if changes else None)
    before = set(model.modules())
    adapted = method.rebuild(model, context, resolved.folder)
    fill_adapter(method, adapted, context.adapter_name, resolved.folder)
    note_wrapper(model, adapted)
    for name, parameter in adapted.named_parameters():  # what else is on the model may be in training
        if context.adapter_name in name.split("."):
            parameter.requires_grad_(False)
    for module in adapted.modules():
        if module not in before:  # the caller's own modules keep the modes that they have
            module.training = mode
    if first is not None:
        record_first_fingerprint(resolved.registry, version, first)
    length = _max_length(version, tokenizer)
    return Adapter(version, adapted, tokenizer or NoTokenizer(), method, resolved.head, context.adapter_name, length)


def _held(model: nn.Module, resolved: ResolvedVersion, stored: StoredEmbeddings) -> tuple[Base, tuple[str, ...], bool]:
    """Return what a version is held to: its base, the modules that it brings, and whether it brings a model's new rows.

    Modules that it brings are left out of the comparison.
    """
    base = expected_base(resolved.registry, resolved.version)
    if stored.modules:
        return base.model_copy(update={"vocabulary_size": None}), (*resolved.modules_to_save, *stored.modules), False
    return base, resolved.modules_to_save, stored.brings_rows(base.vocabulary_size, vocabulary_size(model))


def _plugins(version: Version) -> tuple[MethodImplementation, HeadImplementation | None]:
    """Return the version's method and head; where a plugin is missing, PluginError says what to install."""
    manifest = version.manifest
    try:
        method = build_installed_plugin(Method, manifest.method.name, manifest.method.options)
    except UnknownName as error:
        provider = manifest.method.provider
        install = f"pip install '{provider.distribution}=={provider.version}'" if provider else "install its plugin"
        raise PluginError(
            f"{version.reference} was made by the method {manifest.method.name!r}: {install} ({error})"
        ) from error
    if manifest.head is None or is_unserved(manifest.head.name):
        return method, None
    head: HeadImplementation = build_installed_plugin(Head, manifest.head.name, manifest.head.options)
    head.set_labels(manifest.head.labels)
    return method, head


def base_source(
    resolved: ResolvedVersion, base: str | Path | None, download: bool
) -> tuple[BaseChoice, bases.BaseSource]:
    """Find the base that was given, or the recorded one: by its id, else where it was last seen on this machine.

    Raises BaseNotFound where it is in none of these.
    """
    if base is not None:
        choice = BaseChoice.read(base)
        return choice, bases.find_base(choice, download=download)
    stored = expected_base(resolved.registry, resolved.version)
    remembered = bases.recall(fingerprint_key(stored))
    if stored.repository is not None:
        choice = BaseChoice(id=stored.repository, revision=stored.revision)
        with suppress(BaseNotFound):
            return choice, bases.find_base(choice)
        if remembered is None:
            return choice, bases.find_base(choice, download=download)
    if remembered is None:
        raise BaseNotFound(
            f"{resolved.version.reference} was trained on an unnamed base ({stored.architecture}): name its folder "
            "with --base FOLDER (base=...)"
        )
    choice = BaseChoice(path=remembered)
    return choice, bases.find_base(choice)


def _with_head(base: nn.Module, resolved: ResolvedVersion) -> nn.Module:
    """Build the version's head around a bare backbone, sharing its weights; any other model is returned as it is."""
    inner = unwrapped(base)
    if resolved.head is None or backbone(base) is not inner:
        return base
    with on_meta():
        shell = resolved.head.skeleton(inner.config)  # type: ignore[arg-type]
    setattr(shell, shell.base_model_prefix, inner)
    tie(shell)
    drawn = materialise(shell, next(inner.parameters()))
    if resolved.head.task == "CAUSAL_LM" and (lost := sorted(set(drawn) - set(resolved.modules_to_save))):
        raise WrongBase(
            f"the model given as base is a bare {type(inner).__name__}: it lacks {lost[0]}, which "
            f"{resolved.version.reference} writes with and which is not tied to the embeddings; give the whole model, "
            "an AutoModelForCausalLM"
        )
    check_covered(drawn, resolved.modules_to_save, resolved.version.reference)
    own = set(shell.modules()).difference(inner.modules())
    for module in own:  # those of the backbone keep the modes that they have
        module.training = inner.training
    if resolved.head.task == "CAUSAL_LM":  # a bare backbone knows nothing of how its base writes
        from transformers import GenerationConfig

        config: Any = inner.config
        with suppress(OSError):  # none was stored: what the configuration says stays
            shell.generation_config = GenerationConfig.from_pretrained(config.name_or_path, local_files_only=True)
    return shell


def _tokenizer_for(model: nn.Module, resolved: ResolvedVersion, download: bool) -> PreTrainedTokenizerBase | None:
    if getattr(unwrapped(model), "config", None) is None:
        return None  # no model of Transformers: it reads no texts
    with quiet_loading():
        return load_tokenizer(_own_tokenizer(model, resolved) or base_source(resolved, None, download)[1].folder)


def _own_tokenizer(model: nn.Module, resolved: ResolvedVersion) -> Path | None:
    return own_tokenizer_folder(resolved.folder, grown=bool(stored_embeddings(model, resolved.folder).modules))


def _max_length(version: Version, tokenizer: PreTrainedTokenizerBase | None) -> int:
    """Return the length that training used, else what the tokenizer allows."""
    training = (version.manifest.recipe or {}).get("training", {})
    allowed = 512 if tokenizer is None else min(tokenizer.model_max_length, 512)
    return int(training.get("max_length") or allowed)
