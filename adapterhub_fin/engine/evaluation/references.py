"""Answer rows with a version's base alone, where the version's head compares its answers with the base's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.chat_template import with_chat_template
from adapterhub_fin.engine.base.load_base import load_base, load_tokenizer
from adapterhub_fin.engine.base.locks import tokenizing
from adapterhub_fin.engine.base.padding import align_padding
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.evaluation.seen import locate_ancestor
from adapterhub_fin.engine.inference.attach import max_length
from adapterhub_fin.engine.inference.find import ResolvedVersion, base_source, own_tokenizer
from adapterhub_fin.engine.inference.load import load
from adapterhub_fin.engine.inference.reference import with_references
from adapterhub_fin.errors import BadRecipe, NotFound

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from torch import nn

    from adapterhub_fin_registry.registry_chain import LocatedVersion
else:
    torch = Lazy("torch")


def start_of(resolved: ResolvedVersion) -> LocatedVersion | None:
    """Return the version that training started from; None where that was the base. Raises NotFound if it is gone."""
    for parent in resolved.version.manifest.parents:
        if parent.role == "start":
            if (start := locate_ancestor(resolved.registry, parent.digest)) is None:
                raise NotFound(
                    f"{resolved.version.reference} is measured against {parent.name}, {parent.digest}, from which it "
                    "started: pull that version first"
                )
            return start
    return None


def base_answers(
    resolved: ResolvedVersion, base: str | Path | nn.Module | None, table: Dataset, batch_size: int, download: bool
) -> list[list[float]] | None:
    """Return the `answers` of the model before training to each example, (examples, num_references), or None.

    None is for a head that needs none. The model is the base, or the version that training started from.

    The base is loaded for this alone, and is gone when the version is loaded. Raises BadRecipe for a base in memory,
    which may have adapters on it, and BadCorpus for an answer that is NaN or infinite.
    """
    head = resolved.head
    if head is None or not head.num_references:
        return None
    if base is not None and not isinstance(base, str | Path):
        raise BadRecipe(
            f"{resolved.version.reference} is measured against its base without an adapter: give base as a folder or "
            "an id, not as a model in memory, or leave it out"
        )
    if (start := start_of(resolved)) is not None:
        adapter = load(start.version, base=base, registry=start.registry, download=download)
        with tokenizing():
            read = with_chat_template(adapter.tokenizer, head)
            rows = list(head.encode(table, read, max_length(resolved.version, adapter.tokenizer)))
        collate = head.collator(adapter.tokenizer)
        with adapter.answering():
            answered = with_references(head, adapter.model, collate, rows, batch_size=batch_size)
        return [example["reference"] for example in answered]
    _, source = base_source(resolved, base, download)
    with quiet_loading(), torch.random.fork_rng(devices=[]):
        model, _ = load_base(source.folder, head, resolved.method)
        tokenizer = with_chat_template(load_tokenizer(own_tokenizer(model, resolved) or source.folder), head)
    align_padding(model, tokenizer)
    with tokenizing():
        examples = head.encode(table, tokenizer, max_length(resolved.version, tokenizer))
    answered = with_references(head, model, head.collator(tokenizer), list(examples), batch_size=batch_size)
    return [example["reference"] for example in answered]
