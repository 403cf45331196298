"""Measure a stored version on a corpus and record the result as an event of that version."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.locks import tokenizing
from adapterhub_fin.engine.base.progress import progress
from adapterhub_fin.engine.base.provenance import environment
from adapterhub_fin.engine.data.batches import mapped, on_device, stacked
from adapterhub_fin.engine.data.corpus import (
    check_targets,
    check_there,
    corpus_digest,
    portable_options,
    read_rows,
)
from adapterhub_fin.engine.data.labels import labels_in, one_answer
from adapterhub_fin.engine.data.splits import SPLITS, divide, resolve
from adapterhub_fin.engine.evaluation.metrics import check_defined, metric_functions, metrics_for
from adapterhub_fin.engine.evaluation.references import base_answers
from adapterhub_fin.engine.evaluation.seen import rows_seen
from adapterhub_fin.engine.inference.find import AsOf, base_source, find_version
from adapterhub_fin.engine.inference.load import load
from adapterhub_fin.errors import BadCorpus, BadRecipe
from adapterhub_fin.plugin.examples import lengths
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.registries import located
from adapterhub_fin.stats.bootstrap import Interval, percentile, resampled
from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.registry_chain import LocatedVersion

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from torch import nn

    from adapterhub_fin.engine.inference.adapter import Adapter
    from adapterhub_fin_registry import Version
    from adapterhub_fin_registry.model.manifest import Head
    from adapterhub_fin_registry.model.version import AnyReference
else:
    np = Lazy("numpy")

log = logging.getLogger(__name__)
CorpusSource = CorpusChoice | str | Mapping[str, Any] | None
SplitName = Literal["train", "validation", "test", "all"]
LEVEL = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Evaluation:
    """Hold the metrics of a version on a split of a corpus: all that the event records, its number and the version."""

    version: Version
    corpus: str
    corpus_options: Mapping[str, Any]  # without paths of this machine
    corpus_digest: str
    split: str  # train, validation, test or all
    splitter: Mapping[str, Any] | None  # the splitter's options; None for all
    rows: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval | None]  # None where a resample is undefined, for want of rows
    bootstrap: Mapping[str, Any]
    seen_in_training: bool | None  # whether any row could have influenced the weights; None: unknown
    rows_seen: int | None
    environment: Mapping[str, str]
    event: int | None = None  # the event's number, once recorded

    def __repr__(self) -> str:
        metrics = ", ".join(f"{name}={value:.4f}" for name, value in self.metrics.items())
        return f"Evaluation({self.reference} on {self.corpus}, {self.split}, {self.rows:,} rows: {metrics})"

    def _repr_html_(self) -> str:
        from adapterhub_fin_registry.io.html_table import html_table

        ends = {name: " to ".join(f"{end:.4g}" for end in between or ()) for name, between in self.intervals.items()}
        rows = [(name, value, ends.get(name)) for name, value in self.metrics.items()]
        title = f"{self.reference} on {self.corpus}, {self.split}: {self.rows:,} rows"
        return html_table(title, rows, ("metric", "value", "95 % interval"))

    @property
    def reference(self) -> str:
        """Return the version's reference."""
        return self.version.reference

    def body(self) -> dict[str, Any]:
        """Return the event's body as plain values."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in ("version", "event")}


def evaluate(
    reference: AnyReference,
    corpus: CorpusSource = None,
    *,
    split: SplitName = "test",
    overrides: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
    batch_size: int = 32,
    record: bool = True,
    base: str | Path | nn.Module | None = None,
    as_of: AsOf = None,
    include_base: bool = True,
    lock: str | Path | None = None,
    registry: Registry | None = None,
    download: bool = False,
) -> Evaluation:
    """Return the metrics of a version on a split of a corpus, each with a confidence interval; record them by default.

    Without `corpus`, the one of the version's own recipe is read. The split `all` measures every row. Raises NotFound
    for an unknown version, BaseNotFound, ReadOnly for a registry that can't record the event, BadCorpus for rows that
    the head can't be measured on, and BadRecipe where the version has no head, no corpus is known or `resamples` is
    below 1.

    Example:
        >>> evaluation = ahf.evaluate("acme/tone@1", "headlines", split="validation")
        >>> evaluation.metrics["accuracy"], evaluation.intervals["accuracy"]  # 95 %, by bootstrap
        (0.84, (0.79, 0.89))
    """
    if resamples < 1:
        raise BadRecipe(f"resamples is {resamples}: give at least 1, or leave it at {RESAMPLES}")
    registry, version = located(reference, registry, as_of, include_base, lock)
    head = _head(version)
    choice = corpus_choice(version, corpus, overrides)
    if record:
        registry.check_writable()  # refuse before the work, not after it
    check_there(choice)
    resolved = find_version(version, registry, None, True, None)
    if base is None or isinstance(base, str | Path):
        base_source(resolved, base, download)
    rows = _rows(choice, LocatedVersion(registry, version), head.name, split)
    _check_labels(rows.table, head.labels, choice.called, split)
    untrained = base_answers(resolved, base, rows.table, batch_size, download)
    adapter = load(version, base=base, registry=registry, download=download)
    metrics, ranges, unit_count = _measured(
        adapter, rows.table, untrained, choice.called, split, batch_size, resamples, seed
    )
    evaluation = Evaluation(
        version=version,
        corpus=choice.name,
        corpus_options=portable_options(choice),
        corpus_digest=rows.digest,
        split=split,
        splitter=None if split == "all" else _splitter(choice, rows.table),
        rows=len(rows.table),
        metrics=metrics,
        intervals=ranges,
        bootstrap={"level": LEVEL, "resamples": resamples, "seed": seed, "units": unit_count},
        seen_in_training=None if rows.seen is None else rows.seen > 0,
        rows_seen=rows.seen,
        environment=environment(),
    )
    if not record:
        return evaluation
    return replace(evaluation, event=registry.add_event(version, "evaluation", evaluation.body()))


def _splitter(choice: CorpusChoice, table: Dataset) -> dict[str, Any]:
    """Return the splitter's options, with the defaults that depend on the rows filled in."""
    return resolve(choice.splitter, table.column_names).model_dump(mode="json", exclude_none=True)


def _head(version: Version) -> Head:
    head = version.manifest.head
    if head is None:
        raise BadRecipe(f"{version.reference} has no head, and so no predictions to measure: train one, or use embed")
    if not metrics_for(head.name):
        raise BadRecipe(
            f"no installed plugin has a metric for the head {head.name} of {version.reference}: install one"
        )
    return head


def corpus_choice(version: Version, corpus: CorpusSource, overrides: Sequence[str]) -> CorpusChoice:
    """Return the given corpus, else the one of the version's recipe. Raises BadRecipe where there is none."""
    if isinstance(corpus, CorpusChoice):
        corpus = corpus.model_dump()
    if corpus is None:
        corpus = (version.manifest.recipe or {}).get("corpus")
    if corpus is None:
        raise BadRecipe(f"{version.reference} has no recipe that names a corpus: name one to measure it on")
    return CorpusChoice.read(corpus, overrides)


@dataclass(frozen=True)
class _EvaluationRows:
    """Hold the rows to measure on, the digest of their corpus, and how many of them training saw, where known."""

    table: Dataset
    digest: str
    seen: int | None


def _rows(choice: CorpusChoice, located: LocatedVersion, head: str, split: SplitName) -> _EvaluationRows:
    if split not in (*SPLITS, "all"):
        raise BadRecipe(f"there is no split {split!r}: choose {', '.join(SPLITS)} or all")
    table = read_rows(choice, head).table
    indices = range(len(table)) if split == "all" else divide(table, choice.splitter, choice.called).row_indices[split]
    digest = corpus_digest(table)
    rows = table.select(indices)
    return _EvaluationRows(rows, digest, rows_seen(located, rows))


def _check_labels(table: Dataset, labels: Sequence[str] | None, corpus: str, split: str) -> None:
    if labels is None or "label" not in table.column_names:
        return
    if unknown := sorted({label for cell in table["label"] for label in labels_in(cell)} - set(labels)):
        raise BadCorpus(
            f"corpus {corpus}, {split} part: the head does not know the labels {', '.join(unknown)}, and answers "
            f"{', '.join(labels)}: rename them or drop their rows"
        )


def _measured(
    adapter: Adapter,
    table: Dataset,
    untrained: Sequence[Sequence[float]] | None,
    corpus: str,
    split: str,
    batch_size: int,
    resamples: int,
    seed: int,
) -> tuple[dict[str, float], dict[str, Interval | None], int]:
    """Return each metric, its interval, and the number of units that the bootstrap draws from."""
    assert adapter.head is not None and adapter.manifest.head is not None, "evaluate refused it before"
    check_targets(adapter.head, {split: table}, corpus)
    from adapterhub_fin.engine.data.sampling import LongestFirst

    name = adapter.manifest.head.name
    check_defined(adapter.head, table, metrics_for(name, adapter.head), corpus, split)
    try:
        with tokenizing():
            examples = adapter.head.encode(table, adapter.tokenizer, adapter.max_length)
        if untrained is not None:
            examples = [{**each, "reference": answer} for each, answer in zip(examples, untrained, strict=True)]
        order = LongestFirst(lengths(examples)).order  # as training measures: the sums round alike
        truth, predicted = _answers(adapter, [examples[index] for index in order], batch_size)
    except BadCorpus as error:
        raise BadCorpus(f"corpus {corpus}, {split} part: {error}") from error
    if warning := one_answer(adapter.head, truth, predicted, split):
        log.warning("%s", warning)
    functions = metric_functions(name, adapter.head.labels, adapter.head)
    metrics = {name: float(function(truth, predicted)) for name, function in functions.items()}
    if undefined := sorted(name for name, value in metrics.items() if not math.isfinite(value)):
        raise BadCorpus(f"corpus {corpus}, {split} part: {undefined[0]} is undefined on these rows: measure on others")
    unit_ids = _units(adapter, table, len(examples))[order]
    with progress("resampling", resamples) as advance:
        drawn = resampled(functions, truth, predicted, unit_ids, resamples=resamples, seed=seed, advance=advance)
    ranges = {name: percentile(values, LEVEL) for name, values in drawn.items()}
    return metrics, ranges, len(np.unique(unit_ids))


def _units(adapter: Adapter, table: Dataset, examples: int) -> np.ndarray:
    """Return the row index of each example, of shape (examples,): the unit that the bootstrap draws.

    A long document gives several examples. Where a head joins rows into one example, each example is a unit of its own.
    """
    if examples != len(table):
        encode: Any = adapter.head.encode  # type: ignore[union-attr]
        with tokenizing():
            counts = [
                len(encode(table.select([row]), adapter.tokenizer, adapter.max_length)) for row in range(len(table))
            ]
        if sum(counts) == examples:
            return np.repeat(np.arange(len(counts)), counts)
    return np.arange(examples)


def _answers(adapter: Adapter, examples: Sequence[dict[str, Any]], batch_size: int) -> tuple[Any, Any]:
    """Return truth and predictions, one row an example, in the form that metrics take; raises as `raw_answers`."""
    head: Any = adapter.head
    truth, outputs = raw_answers(adapter, examples, batch_size)
    return head.truth(truth), head.decide(outputs)


def raw_answers(adapter: Adapter, examples: Sequence[dict[str, Any]], batch_size: int) -> tuple[Any, np.ndarray]:
    """Return the encoded truth and the head's float32 outputs, (examples, ...), in the order of the examples.

    Raises BadCorpus where any model output is NaN or infinite.
    """
    head: Any = adapter.head
    collate, device = head.collator(adapter.tokenizer), next(adapter.model.parameters()).device
    truths, outputs = [], []
    with adapter.answering(), progress("measuring", len(examples)) as advance:
        for start in range(0, len(examples), batch_size):
            rows = list(examples[start : start + batch_size])
            batch = on_device(collate(rows), device)
            truth = batch.pop("labels")
            output = head.answers(head.raw_outputs(adapter.model(**batch)), {"labels": truth})
            truths.append(mapped(lambda value: value.cpu().numpy(), truth))
            outputs.append(output.float().cpu().numpy())
            advance(len(rows))
    answered = np.concatenate(outputs)
    if broken := int((~np.isfinite(answered)).reshape(len(answered), -1).any(1).sum()):
        raise BadCorpus(
            f"{broken:,} of {len(answered):,} predictions are NaN or infinite, so nothing can be measured: check the "
            "weights of the adapter and its base (ahf verify), or measure in float32"
        )
    return stacked(truths), answered
