"""Put a resolved version onto a model in memory."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.adapter_names import (
    check_unchanged,
    new_adapter_name,
    note_wrapper,
    take_adapter_name,
    wrapper_of,
)
from adapterhub_fin.engine.base.chat_template import renders_by_base, with_chat_template
from adapterhub_fin.engine.base.check import (
    check_base,
    describe_base,
    expected_base,
    record_first_fingerprint,
)
from adapterhub_fin.engine.base.load_base import (
    check_covered,
    materialise,
    tie,
)
from adapterhub_fin.engine.base.locks import lock_of, on_meta
from adapterhub_fin.engine.base.padding import padding
from adapterhub_fin.engine.inference.adapter import Adapter, NoTokenizer
from adapterhub_fin.engine.inference.find import ResolvedVersion
from adapterhub_fin.engine.peft.adapter_io import fill_adapter
from adapterhub_fin.engine.peft.embeddings import (
    StoredEmbeddings,
    changed_embeddings,
    fit_vocabulary,
    live_embeddings,
    stored_embeddings,
)
from adapterhub_fin.engine.peft.read_back import check_fits
from adapterhub_fin.errors import WrongBase
from adapterhub_fin.plugin.interfaces import AttachContext
from adapterhub_fin.plugin.model_parts import backbone, unwrapped, vocabulary_size

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin_registry import Version
    from adapterhub_fin_registry.model.manifest import Base
else:
    torch, nn = Lazy("torch"), Lazy("torch.nn")


def attach_version(
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
    base, apart, grown = base_requirements(model, resolved, stored)
    conversations = renders_by_base(resolved.head)
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
    length = max_length(version, tokenizer)
    read = with_chat_template(tokenizer, resolved.head) if tokenizer else NoTokenizer()
    return Adapter(version, adapted, read, method, resolved.head, context.adapter_name, length)


def with_head(base: nn.Module, resolved: ResolvedVersion) -> nn.Module:
    """Build the version's head around a bare backbone, sharing its weights; any other model is returned as it is.

    Raises WrongBase for a bare backbone that lacks an untied output layer.
    """
    inner = unwrapped(base)
    if resolved.head is None or backbone(base) is not inner:
        return base
    with on_meta():
        shell = resolved.head.skeleton(inner.config)  # type: ignore[arg-type]
    if backbone(shell) is shell:  # the head needs no more than the backbone
        return base
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


def base_requirements(
    model: nn.Module, resolved: ResolvedVersion, stored: StoredEmbeddings
) -> tuple[Base, tuple[str, ...], bool]:
    """Return what a version is held to: its base, the modules that it brings, and whether it brings a model's new rows.

    Modules that it brings are left out of the comparison.
    """
    base = expected_base(resolved.registry, resolved.version)
    if stored.modules:
        return base.model_copy(update={"vocabulary_size": None}), (*resolved.modules_to_save, *stored.modules), False
    return base, resolved.modules_to_save, stored.brings_rows(base.vocabulary_size, vocabulary_size(model))


def max_length(version: Version, tokenizer: PreTrainedTokenizerBase | None) -> int:
    """Return the length that training used, else what the tokenizer allows."""
    training = (version.manifest.recipe or {}).get("training", {})
    allowed = 512 if tokenizer is None else min(tokenizer.model_max_length, 512)
    return int(training.get("max_length") or allowed)
