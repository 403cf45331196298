"""Store a PEFT model in memory that another trainer made."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin import bases
from adapterhub_fin.engine import plugs
from adapterhub_fin.engine.base_check import describe_base
from adapterhub_fin.engine.dated import first_seen, knowledge_record
from adapterhub_fin.engine.foreign import Foreign, read_folder
from adapterhub_fin.engine.locks import building
from adapterhub_fin.engine.peft_tensors import active_adapter, write_peft_folder
from adapterhub_fin.engine.provenance import environment, method_record_for
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.extensions import extensions
from adapterhub_fin.interfaces import Known
from adapterhub_fin.options import checked
from adapterhub_fin.recipe import BaseChoice
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Manifest, Registry

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
    licence: str | None = None,
    tags: Sequence[str] = (),
    registry: Registry | None = None,
) -> Version:
    """Add the active adapter of a PEFT model to the registry, with its head; the base is pinned from memory.

    `base` is its id, its folder, or `{id, revision, knowledge_end, evidence}`; `corpus` is `{name, knowledge_end,
    evidence, licence}`. What carries no date is bounded by this moment. `labels` default to the model's own.
    """
    adapter = active_adapter(model)
    choice = base_choice(base or recorded_base(model.peft_config[adapter].base_model_name_or_path))
    known_base = bases.known_of(choice) if choice else None
    repository = bases.repository_of(choice) if choice else None
    with building(), tempfile.TemporaryDirectory(prefix="ahf-save-") as folder:  # others may answer with the model
        write_peft_folder(model, adapter, Path(folder), repository)
        foreign = read_folder(Path(folder), labels or _labels_of(model))
        if foreign.config.get("task_type") == "SEQ_CLS":
            plugs.check_covered(plugs.outside_backbone(model), foreign.head_modules, "the model")
        pin = describe_base(model, tokenizer, foreign.head_modules, repository, choice.revision if choice else None)
        manifest = foreign_manifest(foreign, pin.model_dump(), known_base, corpus, metrics, description, licence, tags)
        registry = registry or configured_registries().writable()
        return registry.add(Path(folder), manifest, name=name, checks=extensions().vetoes())


def base_choice(base: str | Path | Mapping[str, Any] | None) -> BaseChoice | None:
    """A base as a caller names it, checked."""
    if base is None:
        return None
    if isinstance(base, str | Path):
        base = {"path" if isinstance(base, Path) else "id": base}
    return checked(BaseChoice, base, "base")


def recorded_base(name: Any) -> str | None:
    """What a PEFT configuration names, unless it is a path of the machine it was trained on."""
    if isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", name, re.ASCII):
        return name
    return None


def _labels_of(model: PeftModel) -> Sequence[str] | None:
    names = getattr(model.config, "id2label", None)
    return [str(names[number]) for number in sorted(names)] if names else None


def foreign_manifest(
    foreign: Foreign,
    base: Mapping[str, Any],
    known_base: Known | None,
    corpus: Mapping[str, Any] | None,
    metrics: Mapping[str, float] | None,
    description: str,
    licence: str | None,
    tags: Sequence[str],
    undated: Known | None = None,
) -> Manifest:
    """What is known of an adapter that was trained elsewhere; `undated` stands for what carries no date."""
    undated = undated or first_seen()
    stated = {"name": "unknown", **(corpus or {})}
    if unknown := set(stated) - {"name", "knowledge_end", "evidence", "licence"}:
        raise BadRecipe(f"corpus has no key {sorted(unknown)[0]!r}; known: evidence, knowledge_end, licence, name")
    dated = bases.asserted(stated.get("knowledge_end"), stated.get("evidence"), "corpus")
    known = {"base": known_base or undated, f"corpus:{stated['name']}": dated or undated}
    record = {"name": stated["name"], "licence": stated.get("licence")} if corpus else None
    return checked(
        Manifest,
        {
            "method": method_record_for(foreign.config),
            "head": foreign.head,
            "base": base,
            "corpus": record,
            "knowledge": knowledge_record(known),
            "metrics": metrics or {},
            "environment": environment(),
            "description": description,
            "licence": licence,
            "tags": tuple(tags),
        },
        "manifest",
    )
