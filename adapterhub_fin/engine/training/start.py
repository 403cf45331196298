"""Continue training from a version: its adapter on the same base, and its head where the task is the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.check import check_base, expected_base
from adapterhub_fin.engine.base.provenance import method_record
from adapterhub_fin.engine.data.duplicates import text_keys
from adapterhub_fin.engine.data.splits import SPLITS
from adapterhub_fin.engine.evaluation.seen import seen_texts
from adapterhub_fin.engine.inference.find import ResolvedVersion, find_version
from adapterhub_fin.engine.peft.embeddings import stored_embeddings
from adapterhub_fin.errors import BadCorpus, BadRecipe, Unsupported
from adapterhub_fin.plugin.adapter_files import WEIGHTS
from adapterhub_fin.plugin.heads import CausalHead
from adapterhub_fin_registry.registry_chain import LocatedVersion

if TYPE_CHECKING:
    import torch
    from torch import nn

    from adapterhub_fin.engine.data.corpus import Corpora
    from adapterhub_fin.plugin.interfaces import AttachContext, MethodImplementation
    from adapterhub_fin.recipe.recipe import Recipe
    from adapterhub_fin_registry import Registry
    from adapterhub_fin_registry.model.manifest import KnowledgeInput

else:
    torch = Lazy("torch")

ROLE: Final = "start"  # of the parent in the manifest
_FREE: Final = frozenset({"dropout"})  # options of a method that no stored weight depends on


def find_start(recipe: Recipe, registry: Registry | None) -> ResolvedVersion | None:
    """Return the version that a run starts from, verified; None for a run that starts anew.

    Raises what `load` raises for a version that can't be loaded, BadRecipe for one of another method or other options,
    and Unsupported for one that changes its base.
    """
    if recipe.start is None:
        return None
    start = find_version(recipe.start, registry, None, True, None)
    reference, method = start.version.reference, start.version.manifest.method
    if method.name != recipe.method.name:
        raise BadRecipe(
            f"start {reference} was trained by the method {method.name}, and the recipe says {recipe.method.name}: set "
            f"method.name={method.name}"
        )
    options = method_record(recipe.method.name, recipe.method.options)["options"]
    for name in sorted((method.options.keys() | options.keys()) - _FREE):
        if (theirs := method.options.get(name)) != (ours := options.get(name)):
            raise BadRecipe(f"start {reference} has method.{name} {theirs!r}, and the recipe {ours!r}: give the same")
    if change := start.method.changes_base(start.folder):
        raise Unsupported(f"start {reference} changes its base ({change}), so that no run can continue from it")
    return start


def without_seen_rows(corpora: Corpora, start: ResolvedVersion) -> Corpora:
    """Return the corpora without rows of validation and test whose text the start was trained on, each counted.

    Raises BadCorpus where a part has no row left.
    """
    located = LocatedVersion(start.registry, start.version)
    splits, notes = dict(corpora.splits), dict(corpora.notes)
    for split in SPLITS[1:]:
        table = splits[split]
        if (keys := text_keys(table)) is None:
            continue
        seen, _ = seen_texts(located, keys)
        kept = [row for row, key in enumerate(keys) if key not in seen]
        if not kept:
            raise BadCorpus(
                f"start {start.version.reference} was trained on every row of the {split} part: hold other rows out"
            )
        if dropped := len(keys) - len(kept):
            splits[split] = table.select(kept)
            notes[f"of {split} dropped, seen by start"] = dropped
    record = {**corpora.record, "rows": {split: len(table) for split, table in splits.items()}}
    record["notes"] = {reason: count for reason, count in notes.items() if count}
    return replace(corpora, splits=splits, record=record, notes=notes)


def check_start_base(start: ResolvedVersion, model: nn.Module, tokenizer: Any, folder: Path) -> None:
    """Check that the base in `folder` is that of the start.

    Raises WrongBase, and Unsupported for a start with new tokens.
    """
    if stored_embeddings(model, start.folder).modules:
        raise Unsupported(f"start {start.version.reference} stores whole embeddings: no run can continue from it yet")
    base = expected_base(start.registry, start.version)
    conversations = isinstance(start.head, CausalHead)
    check_base(model, tokenizer, base, start.modules_to_save, f"the base at {folder}", conversations=conversations)


def fill_from_start(
    start: ResolvedVersion, model: nn.Module, context: AttachContext, method: MethodImplementation, *, keep_head: bool
) -> None:
    """Copy the start's weights into an attached adapter; without `keep_head` the head begins anew.

    Raises BadRecipe where the tensors are of other shapes, and Unsupported for a method that stores another form than
    it trains.
    """
    from safetensors.torch import load_file

    name, reference = context.adapter_name, start.version.reference
    live: Mapping[str, Any] = method.tensors(model, name)
    stored = load_file(start.folder / WEIGHTS)
    if not keep_head:
        modules = {*context.modules_to_save, *start.modules_to_save}
        stored = {key: value for key, value in stored.items() if not _belongs(key, modules)}
        stored |= {key: value.detach().clone() for key, value in live.items() if _belongs(key, modules)}
    shapes = [{key: tuple(value.shape) for key, value in tensors.items()} for tensors in (live, stored)]
    if wrong := sorted(dict(shapes[0].items() ^ shapes[1].items())):
        raise BadRecipe(
            f"start {reference} and this run differ in the tensor {wrong[0]}: continue with the same targets, from a "
            "version whose training pruned nothing"
        )
    method.fill(model, name, stored)
    filled = method.tensors(model, name)
    if any(not torch.equal(filled[key].cpu(), value.to(filled[key].dtype).cpu()) for key, value in stored.items()):
        raise Unsupported(
            f"start {reference} does not store all that its training used, such as a projection: no run can continue "
            "from it"
        )


def is_same_head(start: ResolvedVersion, name: str, labels: Sequence[str] | None) -> bool:
    """Return whether a head is the start's: the same task with the same labels."""
    head = start.version.manifest.head
    return head is not None and head.name == name and tuple(head.labels or ()) == tuple(labels or ())


def start_knowledge(start: ResolvedVersion) -> list[KnowledgeInput]:
    """Return the start's knowledge inputs but the base's, each under `start:`, for the manifest of the run."""
    inputs = start.version.manifest.knowledge.inputs
    return [
        entry.model_copy(update={"input": f"start:{entry.input.removeprefix('start:')}"})
        for entry in inputs
        if entry.input != "base" or len(inputs) == 1
    ]


def _belongs(key: str, modules: set[str]) -> bool:
    return any(f".{module}." in f".{key}." for module in modules)
