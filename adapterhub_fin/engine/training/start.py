"""Continue training from a version: its adapter on the same base, and its head where the task is the same."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.chat_template import renders_by_base
from adapterhub_fin.engine.base.check import check_base, expected_base
from adapterhub_fin.engine.base.provenance import method_record
from adapterhub_fin.engine.data.duplicates import text_keys
from adapterhub_fin.engine.data.splits import SPLITS, TICK, last_allowed
from adapterhub_fin.engine.evaluation.seen import seen_texts
from adapterhub_fin.engine.inference.find import ResolvedVersion, find_version
from adapterhub_fin.engine.peft.embeddings import stored_embeddings
from adapterhub_fin.errors import BadCorpus, BadRecipe, LookAhead, NotFound, Unsupported
from adapterhub_fin.plugin.adapter_files import WEIGHTS
from adapterhub_fin.plugin.chat_templates import NAMED, PLAIN
from adapterhub_fin.plugin.head_bases import CausalHead
from adapterhub_fin_registry.model.knowledge import format_instant, parse_instant
from adapterhub_fin_registry.registry_chain import LocatedVersion

if TYPE_CHECKING:
    import torch
    from torch import nn

    from adapterhub_fin.engine.data.corpus import Corpora
    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.plugin.interfaces import AttachContext, MethodImplementation
    from adapterhub_fin.recipe.recipe import Recipe
    from adapterhub_fin_registry import Registry
    from adapterhub_fin_registry.model.manifest import KnowledgeInput

else:
    torch = Lazy("torch")

log = logging.getLogger(__name__)
ROLE: Final = "start"  # of the parent in the manifest
_FREE: Final = frozenset({"dropout"})  # options of a method that no stored weight depends on


def find_start(recipe: Recipe, registry: Registry | None) -> ResolvedVersion | None:
    """Return the version that a run starts from, verified; None for a run that starts anew.

    Raises what `load` raises for a version that can't be loaded, BadRecipe for one of another method or other options,
    and Unsupported for one that changes its base.
    """
    if recipe.start is None:
        return None
    try:
        start = find_version(recipe.start, registry, None, True, None)
    except NotFound:
        if registry is None:
            raise
        start = find_version(recipe.start, None, None, True, None)  # in another of the configured registries
    reference, method = start.version.reference, start.version.manifest.method
    if method.name != recipe.method.name:
        raise BadRecipe(
            f"start {reference} was trained by the method {method.name}, and the recipe says {recipe.method.name}: set "
            f"method.name={method.name}"
        )
    options = method_record(recipe.method.name, recipe.method.options)["options"]
    stored = method_record(method.name, method.options)["options"]  # with the defaults of options that are newer
    for name in sorted(options.keys() - _FREE):
        if (theirs := stored.get(name)) != (ours := options.get(name)):
            raise BadRecipe(f"start {reference} has method.{name} {theirs!r}, and the recipe {ours!r}: give the same")
    if change := start.method.changes_base(start.folder):
        raise Unsupported(f"start {reference} changes its base ({change}), so that no run can continue from it")
    return start


def check_start_format(start: ResolvedVersion | None, head: HeadImplementation) -> None:
    """Raise BadRecipe where a run would write conversations otherwise than the version that it starts from."""
    if start is None or not (isinstance(start.head, CausalHead) and isinstance(head, CausalHead)):
        return
    theirs, ours = (None if text is None else text or PLAIN for text in (start.head.chat_template, head.chat_template))
    if theirs != ours:
        raise BadRecipe(
            f"start {start.version.reference} writes conversations by {_shown(theirs)}, and the recipe by "
            f"{_shown(ours)}: give the same head.chat_template (`ahf show {start.version.reference} --json` has it)"
        )


def _shown(template: str | None) -> str:
    return (
        "the base's own form"
        if template is None
        else next((n for n in NAMED if NAMED[n] == template), repr(template[:60]))
    )


def without_seen_rows(corpora: Corpora, start: ResolvedVersion) -> Corpora:
    """Return the corpora without rows of validation and test whose text the start was trained on, each counted.

    A warning says where that is unknown, and where the start may know of rows by their dates, which are counted. Raises
    BadCorpus where a part has no row left, and LookAhead where the splitter orders rows by time and the start knows of
    the test part's.
    """
    located, reference = LocatedVersion(start.registry, start.version), start.version.reference
    _check_knowledge(corpora, start)
    splits = dict(corpora.splits)
    notes, warnings = _late(corpora, start)
    for split in SPLITS[1:]:
        table = splits[split]
        if (keys := text_keys(table)) is None:
            continue
        seen, complete = seen_texts(located, keys)
        unseen = [row for row, key in enumerate(keys) if key not in seen]
        if not unseen:
            raise BadCorpus(f"start {reference} was trained on every row of the {split} part: hold other rows out")
        if dropped := len(keys) - len(unseen):
            splits[split] = table.select(unseen)
            notes[f"of {split} dropped, seen by start"] = dropped
        if not complete:
            warnings.append(
                f"start {reference}: not all that it was trained on is known here: the {split} part may hold its rows"
            )
    for warning in warnings:
        log.warning("%s", warning)
    return replace(corpora.with_splits(splits, notes), warnings=[*corpora.warnings, *warnings])


def _check_knowledge(corpora: Corpora, start: ResolvedVersion) -> None:
    """Raise LookAhead where the splitter orders rows by time and the start, its base aside, knows of the test part's.

    The base is that of the run, which knows no less without a start.
    """
    allowed, end = last_allowed(corpora.splitter, corpora.splits["test"]), start.version.knows_until(include_base=False)
    if allowed is None or end <= allowed:
        return
    reference, knowledge = start.version.reference, f"knows until {format_instant(end)}"
    latest = max(start_knowledge(start), key=lambda entry: parse_instant(entry.at))
    if latest.kind == "bounded":
        knowledge = f"does not date its {latest.input.removeprefix('start:')}, which counts as known at {latest.at}"
    raise LookAhead(
        f"start {reference} {knowledge}, and under the splitter {corpora.splitter.by} a run may know until "
        f"{format_instant(allowed)}: take an earlier version (`ahf show {start.version.name} --ignore-base --as-of "
        f"{format_instant(allowed + TICK)}` finds one), or set corpus.splitter.by to one that does not order by time"
    )


def _late(corpora: Corpora, start: ResolvedVersion) -> tuple[dict[str, int], list[str]]:
    """Return how many rows of validation and test are no later than what the start knows, and a warning for each."""
    end, notes, warnings = start.version.knows_until(), {}, []
    for split in SPLITS[1:]:
        table = corpora.splits[split]
        if "available_at" not in table.column_names:
            continue
        instants = [at if at.tzinfo else at.replace(tzinfo=UTC) for at in table["available_at"]]
        if late := sum(at <= end for at in instants):
            notes[f"of {split} that start may know of"] = late
            warnings.append(
                f"start {start.version.reference} knows until {format_instant(end)}, and the {split} part begins at "
                f"{format_instant(min(instants))}: metrics on it look ahead"
            )
    return notes, warnings


def check_start_base(start: ResolvedVersion, model: nn.Module, tokenizer: Any, folder: Path) -> None:
    """Check that the base in `folder` is that of the start.

    Raises WrongBase, and Unsupported for a start with new tokens.
    """
    if stored_embeddings(model, start.folder).modules:
        raise Unsupported(f"start {start.version.reference} stores whole embeddings: no run can continue from it yet")
    base = expected_base(start.registry, start.version)
    conversations = renders_by_base(start.head)
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
