"""Measure what tuning made a stored version forget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.load_base import load_base, load_tokenizer
from adapterhub_fin.engine.base.locks import computing
from adapterhub_fin.engine.base.padding import align_padding
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.base.stored_base import check_is_adapter
from adapterhub_fin.engine.data.splits import check_split
from adapterhub_fin.engine.evaluation.evaluate import CorpusSource, SplitName, corpus_choice
from adapterhub_fin.engine.evaluation.forgetting import (
    RESAMPLES,
    Answered,
    Forgetting,
    MeasuredRows,
    answer_rows,
    compared,
    read_measured_rows,
)
from adapterhub_fin.engine.evaluation.references import start_of
from adapterhub_fin.engine.evaluation.seen import rows_seen
from adapterhub_fin.engine.inference.attach import max_length
from adapterhub_fin.engine.inference.find import AsOf, ResolvedVersion, base_source, find_version, is_same_head
from adapterhub_fin.engine.inference.load import load
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.registries import located
from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.registry_chain import LocatedVersion

if TYPE_CHECKING:
    import torch

    from adapterhub_fin_registry.model.version import AnyReference
else:
    torch = Lazy("torch")


def forgetting(
    reference: AnyReference,
    corpus: CorpusSource,
    *,
    metric: str | None = None,
    split: SplitName = "test",
    overrides: Sequence[str] = (),
    sample: int = 1000,
    resamples: int = RESAMPLES,
    seed: int = 0,
    batch_size: int = 32,
    record: bool = False,
    base: str | Path | None = None,
    as_of: AsOf = None,
    include_base: bool = True,
    lock: str | Path | None = None,
    registry: Registry | None = None,
    download: bool = False,
) -> Forgetting:
    """Return how much worse a version is on a corpus than before tuning, on the same rows.

    A head that writes text is measured by perplexity against its base; another head by its own metric, against the
    version that it started from. Raises NotFound for an unknown version, BadRecipe for one that has no score before
    training, BadCorpus for rows that it can't be measured on, and BaseNotFound.

    Example:
        >>> forgot = ahf.forgetting("acme/notes@1", "headlines")
        >>> forgot.change_kind, forgot.change, forgot.change_interval
        ('relative rise', 0.013, (0.002, 0.024))
    """
    check_split(split)
    for name, value in (("sample", sample), ("resamples", resamples)):
        if value < 1:
            raise BadRecipe(f"{name} is {value}: give at least 1")
    registry, version = located(reference, registry, as_of, include_base, lock)
    if record:
        registry.check_writable()  # refuse before the work, not after it
    check_is_adapter(version)
    if version.manifest.head is None:
        raise BadRecipe(f"{version.reference} has no head, and so no answers to measure: train one, or use probe")
    choice = corpus_choice(version, corpus, overrides)
    resolved = find_version(version, registry, None, True, None)
    base_source(resolved, base, download)
    assert resolved.head is not None, "it was refused before"
    head_name = version.manifest.head.name
    options = {"metric": metric, "split": split, "sample": sample, "seed": seed}
    rows = read_measured_rows(choice, head_name, resolved.head, **options)  # type: ignore[arg-type]
    against, before = _before(resolved, rows, base, batch_size, download)
    adapter = load(version, base=base, registry=registry, download=download)
    with adapter.answering():
        after = answer_rows(rows, adapter.model, adapter.tokenizer, adapter.max_length, batch_size=batch_size)
    seen = rows_seen(LocatedVersion(registry, version), rows.table)
    measured = compared(rows, before, after, against=against, seen=seen, resamples=resamples, seed=seed)
    if record:
        registry.add_event(version, "forgetting", measured.body())
    return replace(measured, version=version)


def _before(
    resolved: ResolvedVersion, rows: MeasuredRows, base: str | Path | None, batch_size: int, download: bool
) -> tuple[str, Answered]:
    """Return what the version is measured against, and that model's answers; it is gone when the version is loaded."""
    head, version = resolved.head, resolved.version
    assert head is not None, "it was refused before"
    _, source = base_source(resolved, base, download)
    with quiet_loading(), torch.random.fork_rng(devices=[]):
        model, drawn = load_base(source.folder, head, resolved.method)
        tokenizer = load_tokenizer(source.folder)
    length = max_length(version, tokenizer)
    if not drawn:
        align_padding(model, tokenizer)
        with computing(model):  # no other thread loads one meanwhile
            return "base", answer_rows(rows, model, tokenizer, length, batch_size=batch_size)
    start = start_of(resolved)
    head_name = version.manifest.head.name if version.manifest.head else ""
    if start is None or not is_same_head(_resolved(start), head_name, head):
        raise BadRecipe(
            f"the head of {version.reference} was new, so that the model had no score before training: measure a "
            "version that writes text, or one that started from a version with the same head; `ahf probe` compares "
            "the layers of any version with its base's"
        )
    adapter = load(start.version, base=base, registry=start.registry, download=download)
    with adapter.answering():
        answered = answer_rows(rows, adapter.model, adapter.tokenizer, length, batch_size=batch_size)
    return start.version.reference, answered


def _resolved(located: LocatedVersion) -> ResolvedVersion:
    return find_version(located.version, located.registry, None, True, None)
