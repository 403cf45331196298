"""Measure a stored version on a corpus, and record that as an event of the version."""

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
from adapterhub_fin.engine.data.corpus import (
    check_targets,
    check_there,
    corpus_digest,
    portable_options,
    read_rows,
)
from adapterhub_fin.engine.data.labels import one_answer
from adapterhub_fin.engine.data.splits import SPLITS, divide, resolve
from adapterhub_fin.engine.evaluation.metrics import check_defined, metric_functions, metrics_for
from adapterhub_fin.engine.evaluation.seen import rows_seen
from adapterhub_fin.engine.inference.load import AsOf, base_source, find_version, load
from adapterhub_fin.errors import BadCorpus, BadRecipe
from adapterhub_fin.plugin.examples import IGNORED, lengths
from adapterhub_fin.recipe.recipe import CorpusChoice
from adapterhub_fin.registries import located
from adapterhub_fin.stats.bootstrap import Interval, intervals
from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.registry_chain import LocatedVersion

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from torch import nn

    from adapterhub_fin.engine.inference.adapter import Adapter
    from adapterhub_fin_registry import Version
    from adapterhub_fin_registry.model.manifest import Head
else:
    np = Lazy("numpy")

log = logging.getLogger(__name__)
CorpusSource = CorpusChoice | str | Mapping[str, Any] | None
SplitName = Literal["train", "validation", "test", "all"]
LEVEL = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Evaluation:
    """What a version scores on a part of a corpus; all but the first and the last field is the event's body."""

    version: Version
    corpus: str
    corpus_options: Mapping[str, Any]  # without paths of this machine
    corpus_digest: str
    split: str  # the part: train, validation, test or all
    divided: Mapping[str, Any] | None  # how; None for all
    rows: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval | None]  # None where too few rows leave a resample undefined
    bootstrap: Mapping[str, Any]
    seen_in_training: bool | None  # whether any of the rows could have influenced the weights; None: nobody knows
    rows_seen: int | None
    environment: Mapping[str, str]
    event: int | None = None  # the number it was recorded under

    @property
    def reference(self) -> str:
        return self.version.reference

    def body(self) -> dict[str, Any]:
        """The event, as plain values."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("version", "event")}


def evaluate(
    reference: str,
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
    """The metrics of a version on a part of a corpus, each with an interval, recorded unless `record` is false.

    Without a corpus it is the version's own, as its recipe has it; for the part `all` no split is made. Raises
    BadCorpus for rows that the head can't be measured on, and ReadOnly before anything is computed.
    """
    registry, version = located(reference, registry, as_of, include_base, lock)
    head = _head(version)
    choice = _choice(version, corpus, overrides)
    if record:
        registry.check_writable()  # told before the work, not after
    check_there(choice)
    if base is None or isinstance(base, str | Path):
        base_source(find_version(version.reference, registry, None, True, None), base, download)
    chosen = _rows(choice, LocatedVersion(registry, version), head.name, split)
    _check_labels(chosen.table, head.labels, choice.called, split)
    adapter = load(version.reference, base=base, registry=registry, download=download)
    metrics, ranges, units = _measured(adapter, chosen.table, choice.called, split, batch_size, resamples, seed)
    evaluation = Evaluation(
        version=version,
        corpus=choice.name,
        corpus_options=portable_options(choice),
        corpus_digest=chosen.digest,
        split=split,
        divided=None if split == "all" else _divided(choice, chosen.table),
        rows=len(chosen.table),
        metrics=metrics,
        intervals=ranges,
        bootstrap={"level": LEVEL, "resamples": resamples, "seed": seed, "units": units},
        seen_in_training=None if chosen.seen is None else chosen.seen > 0,
        rows_seen=chosen.seen,
        environment=environment(),
    )
    if not record:
        return evaluation
    return replace(evaluation, event=registry.add_event(version.reference, "evaluation", evaluation.body()))


def _divided(choice: CorpusChoice, table: Dataset) -> dict[str, Any]:
    """How the corpus was divided, with what the rows settled."""
    return resolve(choice.splitter, table.column_names).model_dump(mode="json", exclude_none=True)


def _head(version: Version) -> Head:
    head = version.manifest.head
    if head is None:
        raise BadRecipe(f"{version.reference} has no head, and so no answers to measure: train one, or use embed")
    if not metrics_for(head.name):
        raise BadRecipe(f"no metric is offered for the head {head.name} of {version.reference}: install a plugin's")
    return head


def _choice(version: Version, corpus: CorpusSource, overrides: Sequence[str]) -> CorpusChoice:
    """The corpus that was given, else the one of the version's recipe."""
    if isinstance(corpus, CorpusChoice):
        corpus = corpus.model_dump()
    if corpus is None:
        corpus = (version.manifest.recipe or {}).get("corpus")
    if corpus is None:
        raise BadRecipe(f"{version.reference} has no recipe that names a corpus: name one to measure it on")
    return CorpusChoice.read(corpus, overrides)


@dataclass(frozen=True)
class _Chosen:
    """The rows to measure on, the digest of their corpus, and how many of them training looked at, where known."""

    table: Dataset
    digest: str
    seen: int | None


def _rows(choice: CorpusChoice, located: LocatedVersion, head: str, split: SplitName) -> _Chosen:
    if split not in (*SPLITS, "all"):
        raise BadRecipe(f"there is no part {split!r}: choose {', '.join(SPLITS)} or all")
    table = read_rows(choice, head).table
    places = range(len(table)) if split == "all" else divide(table, choice.splitter, choice.called).places[split]
    digest = corpus_digest(table)
    chosen = table.select(places)
    return _Chosen(chosen, digest, rows_seen(located, chosen))


def _check_labels(table: Dataset, labels: Sequence[str] | None, corpus: str, split: str) -> None:
    if labels is None or "label" not in table.column_names:
        return
    if strange := sorted({str(label) for label in table["label"]} - set(labels)):
        raise BadCorpus(
            f"corpus {corpus}, {split} part: the head does not know the labels {', '.join(strange)}, and answers "
            f"{', '.join(labels)}: rename them or drop their rows"
        )


def _measured(
    adapter: Adapter, table: Dataset, corpus: str, split: str, batch_size: int, resamples: int, seed: int
) -> tuple[dict[str, float], dict[str, Interval | None], int]:
    """Each metric, its interval, and the number of units that were drawn from."""
    assert adapter.head is not None and adapter.manifest.head is not None, "evaluate refused it before"
    check_targets(adapter.head, {split: table}, corpus)
    from adapterhub_fin.engine.data.sampling import LongestFirst

    check_defined(adapter.head, table, metrics_for(adapter.manifest.head.name), corpus, split)
    try:
        with tokenizing():
            examples = adapter.head.encode(table, adapter.tokenizer, adapter.max_length)
        order = LongestFirst(lengths(examples)).order  # as training measures: the sums round alike
        truth, said = _answers(adapter, [examples[place] for place in order], batch_size)
    except BadCorpus as error:
        raise BadCorpus(f"corpus {corpus}, {split} part: {error}") from error
    if warning := one_answer(adapter.head, truth, said, split):
        log.warning("%s", warning)
    functions = metric_functions(adapter.manifest.head.name, adapter.head.labels)
    metrics = {name: float(function(truth, said)) for name, function in functions.items()}
    if wrong := sorted(name for name, value in metrics.items() if not math.isfinite(value)):
        raise BadCorpus(f"corpus {corpus}, {split} part: {wrong[0]} is no number on these rows: measure on others")
    units = _units(adapter, table, len(examples))[order]
    with progress("resampling", resamples) as advance:
        ranges = intervals(functions, truth, said, units, resamples=resamples, seed=seed, level=LEVEL, advance=advance)
    return metrics, ranges, len(np.unique(units))


def _units(adapter: Adapter, table: Dataset, examples: int) -> np.ndarray:
    """The row that each example is of: a long document gives several. One that mixes rows stands for itself."""
    if examples != len(table):
        encode: Any = adapter.head.encode  # type: ignore[union-attr]
        with tokenizing():
            each = [
                len(encode(table.select([row]), adapter.tokenizer, adapter.max_length)) for row in range(len(table))
            ]
        if sum(each) == examples:
            return np.repeat(np.arange(len(each)), each)
    return np.arange(examples)


def _answers(adapter: Adapter, examples: Sequence[dict[str, Any]], batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The truth and what was said, one row an example, as metrics take them."""
    head: Any = adapter.head
    collate, device = head.collator(adapter.tokenizer), next(adapter.model.parameters()).device
    labels, said = [], []
    with adapter.answering(), progress("measuring", len(examples)) as advance:
        for start in range(0, len(examples), batch_size):
            rows = list(examples[start : start + batch_size])
            batch = {name: value.to(device) for name, value in collate(rows).items()}
            asked = batch.pop("labels")
            answers = head.answers(adapter.model(**batch).logits, {"labels": asked})
            labels.append(asked.cpu().numpy())
            said.append(answers.float().cpu().numpy())
            advance(len(rows))
    answered = np.concatenate(said)
    if spoilt := int((~np.isfinite(answered)).reshape(len(answered), -1).any(1).sum()):
        raise BadCorpus(
            f"{spoilt:,} of {len(answered):,} answers hold no number (nan or inf), so that nothing can be measured: "
            "see to the weights of the adapter and its base (ahf verify), or measure in float32"
        )
    return head.truth(_stacked(labels)), head.decide(answered)


def _stacked(labels: Sequence[np.ndarray]) -> np.ndarray:
    """Batches one above the other; those of tokens are as wide as the widest."""
    if labels[0].ndim == 1:
        return np.concatenate(labels)
    width = max(batch.shape[1] for batch in labels)
    padded = [np.pad(each, ((0, 0), (0, width - each.shape[1])), constant_values=IGNORED) for each in labels]
    return np.concatenate(padded)
