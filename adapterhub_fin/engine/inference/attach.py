"""Put a resolved version onto a model in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.adapter_names import (
    adapters_apart,
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
from adapterhub_fin.engine.inference.folded_method import FoldedMethod
from adapterhub_fin.engine.peft.adapter_io import fill_adapter
from adapterhub_fin.engine.peft.embeddings import (
    StoredEmbeddings,
    changed_embeddings,
    fit_vocabulary,
    live_embeddings,
    stored_embeddings,
)
from adapterhub_fin.engine.peft.read_back import check_fits, is_apart
from adapterhub_fin.errors import WrongBase
from adapterhub_fin.plugin.interfaces import AttachContext
from adapterhub_fin.plugin.model_parts import backbone, unwrapped, vocabulary_size
from adapterhub_fin.plugin.other_adapters import hidden

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
    fold: Callable[[nn.Module], None] | None = None,
) -> Adapter:
    """Put a version onto a model; `private` says that this load made the model, and nobody else has it.

    `fold` adds the version's changes to the weights of such a model instead.
    """
    mode, model = model.training, wrapper_of(model)
    lock_of(model)  # so that a fork knows of it
    apart = is_apart(resolved.method, resolved.folder)
    with hidden(model, adapters_apart(model) if apart else ()):
        return _Attaching(model, resolved, described, mode, apart, private, fold).attach(tokenizer)


@dataclass(frozen=True)
class _Attaching:
    """Check a version's base and fit, then put the version onto the model."""

    model: nn.Module
    resolved: ResolvedVersion
    described: str
    mode: bool  # in training, for the modules that are added
    apart: bool  # the adapter and others that are so too make no difference to one another, and are hidden meanwhile
    private: bool
    fold: Callable[[nn.Module], None] | None

    def attach(self, tokenizer: PreTrainedTokenizerBase | None) -> Adapter:
        model, resolved, version = self.model, self.resolved, self.resolved.version
        stored = stored_embeddings(model, resolved.folder)
        rows = max(vocabulary_size(model) or 0, stored.rows) or None  # also those that this load may grow it to
        tokenizer = tokenizer and padding(tokenizer, rows)
        changes = resolved.method.changes_base(resolved.folder)
        check_unchanged(model, changes, version.reference)
        first = self._check_base(tokenizer, stored)
        fit_vocabulary(model, stored, version.reference, private=self.private)
        live = {} if self.private else live_embeddings(model, stored)
        if changed_embeddings(live, resolved.folder):
            changes = "whole embeddings"
            check_unchanged(model, changes, version.reference)
        adapted, adapter_name = self._put_on(changes)
        if first is not None:
            record_first_fingerprint(resolved.registry, version, first)
        length = max_length(version, tokenizer)
        read = with_chat_template(tokenizer, resolved.head) if tokenizer else NoTokenizer()
        method = FoldedMethod(resolved.method) if self.fold else resolved.method
        return Adapter(version, adapted, read, method, resolved.head, adapter_name, length)

    def _check_base(self, tokenizer: PreTrainedTokenizerBase | None, stored: StoredEmbeddings) -> Base | None:
        """Check the model, and return the fingerprint to record where the version's own was declared only.

        It is read before the adapter is on the model: some alter the base's weights, or wrap its layers.
        """
        model, resolved = self.model, self.resolved
        base, left_out, grown = base_requirements(model, resolved, stored)
        conversations = renders_by_base(resolved.head)
        check_base(model, tokenizer, base, left_out, self.described, grown=grown, conversations=conversations)
        if base.fingerprint == "verified":
            return None
        rows = stored.rows_before(vocabulary_size(model))
        return describe_base(model, tokenizer, left_out, base.repository, base.revision, rows=rows)

    def _put_on(self, changes: str | None) -> tuple[nn.Module, str]:
        """Return what the method wrapped around the model, and the new adapter's name on it; the model if folded."""
        model, resolved = self.model, self.resolved
        method, reference = resolved.method, resolved.version.reference
        context = AttachContext(
            adapter_name=new_adapter_name(),
            modules_to_save=resolved.modules_to_save,
            task=resolved.head.task if resolved.head else None,
            base=resolved.version.manifest.base.repository,
        )
        check_fits(method, model, context, resolved.folder, reference, apart=self.apart)
        name, owner = context.adapter_name, resolved.version.manifest.method.name
        take_adapter_name(model, name, owner, reference if changes or self.fold else None, apart=self.apart)
        if self.fold is not None:
            self.fold(model)
            return model, name
        before = set(model.modules())
        adapted = method.rebuild(model, context, resolved.folder)
        fill_adapter(method, adapted, name, resolved.folder)
        note_wrapper(model, adapted)
        for path, parameter in adapted.named_parameters():  # what else is on the model may be in training
            if name in path.split("."):
                parameter.requires_grad_(False)
        for module in adapted.modules():
            if module not in before:  # the caller's own modules keep the modes that they have
                module.training = self.mode
        return adapted, name


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
    of_backbone = set(backbone(shell).modules())
    own = {path: module for path, module in shell.named_modules() if module not in of_backbone}
    setattr(shell, shell.base_model_prefix, inner)
    tie(shell)
    drawn = materialise(own, next(inner.parameters()))
    if resolved.head.task == "CAUSAL_LM" and (lost := sorted(set(drawn) - set(resolved.modules_to_save))):
        raise WrongBase(
            f"the model given as base is a bare {type(inner).__name__}: it lacks {lost[0]}, which "
            f"{resolved.version.reference} writes with and which is not tied to the embeddings; give the whole model, "
            "an AutoModelForCausalLM"
        )
    check_covered(drawn, resolved.modules_to_save, resolved.version.reference)
    for module in own.values():  # those of the backbone keep the modes that they have
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
