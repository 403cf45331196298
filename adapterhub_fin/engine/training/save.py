"""Store the adapter of a PEFT model in memory, whatever trained it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.adapter_names import new_adapter_name
from adapterhub_fin.engine.base.check import describe_base
from adapterhub_fin.engine.base.load_base import check_covered, fingerprint_key
from adapterhub_fin.engine.base.locks import building
from adapterhub_fin.engine.base.own_tokenizer import store_tokenizer
from adapterhub_fin.engine.importing.manifest import base_choice, imported_manifest
from adapterhub_fin.engine.importing.read_folder import read_folder
from adapterhub_fin.engine.peft.bare import bare_base, untouched
from adapterhub_fin.engine.peft.changed_rows import base_folder, changed_rows
from adapterhub_fin.engine.peft.embeddings import stored_embeddings
from adapterhub_fin.engine.peft.read_back import check_reload
from adapterhub_fin.engine.peft.tensors import active_adapter, write_peft_folder
from adapterhub_fin.plugin.contributed import build_contribution
from adapterhub_fin.plugin.descriptions import Method
from adapterhub_fin.plugin.interfaces import AttachContext
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.model_parts import outside_backbone
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin_registry import Version


def save(
    model: PeftModel,
    name: str,
    *,
    base: str | Path | Mapping[str, Any] | None = None,
    corpus: Mapping[str, Any] | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    labels: Sequence[str] | None = None,
    metrics: Mapping[str, float] | None = None,
    description: str = "",
    license: str | None = None,
    tags: Sequence[str] = (),
    registry: Registry | None = None,
) -> Version:
    """Add the active adapter of a PEFT model to the registry, with its head; the base is fingerprinted from memory.

    `base` is its id, its folder, or `{id, revision, knowledge_end, evidence}`; `corpus` is `{name, knowledge_end,
    evidence, license}`. Inputs without a date count as known now. `labels` default to the model's own. Raises
    NotAnAdapter where the model's adapter can't be stored or would load differently, and Refused from a policy or a
    veto.

    Example:
        >>> version = ahf.save(peft_model, "acme/mine", base="acme/base", labels=["down", "up"])
        >>> version.reference
        'acme/mine@1'
    """
    adapter = active_adapter(model)
    choice = base_choice(base, model.peft_config[adapter].base_model_name_or_path)
    registry = registry or configured_registries().writable()
    known_base = bases.known_of(choice, registry) if choice else None
    stored_base = bases.version_of(choice, registry) if choice else None
    repository = bases.repository_of(choice) if choice else None
    with building(), tempfile.TemporaryDirectory(prefix="ahf-save-") as folder:  # others may answer with the model
        bare = bare_base(model)
        source = base_folder(choice, bare, registry)
        changed = dict(changed_rows(bare, source))
        write_peft_folder(model, adapter, Path(folder), repository, changed)
        if tokenizer is not None:
            store_tokenizer(tokenizer, Path(folder), source)
        peft_folder = read_folder(Path(folder), labels or _labels_of(model))
        modules_to_save = peft_folder.modules_to_save if peft_folder.head else ()
        if peft_folder.config.get("task_type") == "SEQ_CLS":
            check_covered(outside_backbone(bare), modules_to_save, "the model")
        own_modules = (*modules_to_save, *stored_embeddings(bare, Path(folder)).modules)
        parameters = untouched(model, bare, peft_folder.config, own_modules)
        fingerprint = describe_base(
            bare, tokenizer, own_modules, repository, choice.revision if choice else None, parameters
        ).model_copy(update={"version": stored_base})
        read = [choice.path] if choice is not None and choice.path is not None else []
        now, record = registry.bounded_now(*read, name=name), fingerprint.model_dump()
        manifest = imported_manifest(peft_folder, record, known_base, corpus, metrics, description, license, tags, now)
        context = AttachContext(
            adapter_name=new_adapter_name(),
            modules_to_save=tuple(modules_to_save),
            task=peft_folder.config.get("task_type"),
            base=repository,
        )
        method = build_contribution(Method, manifest.method.name, manifest.method.options)
        check_reload(method, bare, context, Path(folder), f"the adapter {adapter!r}")
        version = registry.add(Path(folder), manifest, name=name, checks=extensions().vetoes())
    if choice is not None and choice.path is not None:
        bases.remember(fingerprint_key(fingerprint), choice.path.expanduser())
    return version


def _labels_of(model: PeftModel) -> Sequence[str] | None:
    names = getattr(getattr(model, "config", None), "id2label", None)  # a plain module has no configuration
    return [str(names[number]) for number in sorted(names)] if names else None
