"""Measure what tuning made a model forget: a metric on a corpus before and after, on the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.base.chat_template import with_chat_template
from adapterhub_fin.engine.base.locks import tokenizing
from adapterhub_fin.engine.data.batches import mapped, stacked
from adapterhub_fin.engine.data.corpus import (
    INSTANTS,
    check_targets,
    corpus_digest,
    divide_rows,
    portable_options,
    read_rows,
)
from adapterhub_fin.engine.data.known import bounded_now
from adapterhub_fin.engine.data.units import units_of
from adapterhub_fin.engine.evaluation.metrics import Function, check_defined, metric_for, metric_functions, metrics_for
from adapterhub_fin.engine.inference.in_batches import answer_in_batches
from adapterhub_fin.errors import BadCorpus, BadRecipe
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.stats.bootstrap import Interval, percentile, resampled

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.plugin.descriptions import Metric
    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin_registry import Version
else:
    np = Lazy("numpy")

LEVEL: Final = 0.95
RESAMPLES: Final = 1000
PERPLEXITY: Final = "perplexity"  # whose change is relative
WRITER: Final = "causal-lm"  # the head that measures it, for other heads that write text
Change = Literal["relative rise", "absolute fall"]


@dataclass(frozen=True)
class Forgetting:
    """Hold a metric of a model on a corpus before and after tuning, on the same rows.

    `change` is how much worse it got: after / before - 1 for perplexity, else the absolute loss of the metric, negative
    where it got better. Its interval is that of a paired bootstrap over rows. `against` is what the model was before:
    the base, or the version that training started from.
    """

    corpus: str
    corpus_options: Mapping[str, Any]  # without paths of this machine
    corpus_digest: str
    split: str
    rows: int
    rows_seen: int | None  # in training; None: unknown
    metric: str
    against: str
    before: float
    before_interval: Interval | None  # None where a resample is undefined, for want of rows
    after: float
    after_interval: Interval | None
    change_kind: Change
    change: float
    change_interval: Interval | None
    at_most: float | None  # None where no recipe limits it
    bootstrap: Mapping[str, Any]
    version: Version | None = field(default=None, repr=False)  # None of a run that is not stored yet

    @property
    def is_too_much(self) -> bool:
        """Tell whether the change is above its limit."""
        return self.at_most is not None and not self.change <= self.at_most

    def body(self) -> dict[str, Any]:
        """Return the event's body as plain values."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "version"}

    def sentence(self) -> str:
        """Return what was measured in one sentence."""
        ends = self.change_interval
        between = "" if ends is None else f", 95 % interval {ends[0]:+.4f} to {ends[1]:+.4f}"
        limit = "" if self.at_most is None else f"; at most {self.at_most:g} is allowed"
        return (
            f"{self.metric} on {self.corpus} ({self.split}, {self.rows:,} rows) was {self.before:.4f} and is "
            f"{self.after:.4f}: {self.change_kind} {self.change:+.4f}{between}{limit}"
        )


@dataclass(frozen=True)
class MeasuredRows:
    """Hold the rows that a model is measured on before and after, and how."""

    choice: CorpusChoice
    digest: str  # of the corpus
    split: str
    table: Dataset
    head_name: str
    head: HeadImplementation
    metric: Metric
    known: KnownAt  # when all of the rows, and their labels, were known

    @property
    def function(self) -> Function:
        """Return the metric as a function of truth and answers."""
        return metric_functions(self.head_name, self.head.labels, self.head)[self.metric.name]


@dataclass(frozen=True)
class Answered:
    """Hold a model's answers to the examples of some rows: truth and outputs, (examples, ...), and their rows."""

    examples: Sequence[Sequence[int]]  # the tokens of each
    truth: Any
    outputs: np.ndarray
    units: np.ndarray  # (examples,): examples of one unit are drawn together


def read_measured_rows(
    choice: CorpusChoice,
    head_name: str,
    head: HeadImplementation,
    *,
    metric: str | None,
    split: str,
    sample: int,
    seed: int,
) -> MeasuredRows:
    """Return the rows of a corpus on which a head is measured by one metric, of more than `sample` a seeded sample.

    A head that writes text is measured by perplexity where no metric is named. Raises BadCorpus for rows that the head
    can't be measured on, UnknownName for a metric that it hasn't, and BadRecipe for a head that compares its answers
    with the base's.
    """
    head_name, head, description = _measuring_head(head_name, head, metric)
    rows = read_rows(choice, head_name)
    undated = bounded_now()  # after the rows were read
    digest, table = corpus_digest(rows.table), rows.table
    if split != "all":
        table = divide_rows(rows, choice.splitter, choice.called).splits[split]
    if len(table) > sample:
        table = table.select(np.sort(np.random.default_rng(seed).choice(len(table), sample, replace=False)))
    check_targets(head, {split: table}, choice.called)
    check_defined(head, table, [description.name], choice.called, split)
    known = _latest(table, rows.known or undated)
    return MeasuredRows(choice, digest, split, table, head_name, head, description, known)


def _measuring_head(name: str, head: HeadImplementation, metric: str | None) -> tuple[str, HeadImplementation, Metric]:
    writes = head.task == "CAUSAL_LM"
    if writes and metric in (None, PERPLEXITY):
        if PERPLEXITY not in metrics_for(name, head):
            name, head = WRITER, build_plugin(Head, WRITER, {})
        return name, head, metric_for(name, PERPLEXITY, head)
    if head.num_references:
        raise BadRecipe(
            f"the head {name} compares its answers with those of the base, so that it has no score before training: "
            f"measure {PERPLEXITY}"
        )
    return name, head, metric_for(name, metric or head.selects_on, head)


def _latest(table: Dataset, undated: KnownAt) -> KnownAt:
    """Return when all of the rows were known: by their own dates, else by that of their source."""
    columns = [name for name in INSTANTS if name in table.column_names]
    dates = [KnownAt(max(table[name][:]), "observed", f"the latest {name} of the rows measured") for name in columns]
    if INSTANTS[0] not in columns:
        dates.append(undated)
    from datetime import UTC

    aware = [
        date if date.at.tzinfo else KnownAt(date.at.replace(tzinfo=UTC), date.kind, date.evidence) for date in dates
    ]
    return max(aware, key=lambda date: date.at)


def answer_rows(
    rows: MeasuredRows, model: nn.Module, tokenizer: PreTrainedTokenizerBase, max_length: int, *, batch_size: int
) -> Answered:
    """Return a model's answers to rows, in evaluation mode and the type of its weights.

    Raises BadCorpus for an answer that is NaN or infinite.
    """
    head: Any = rows.head
    read = with_chat_template(tokenizer, head)
    with tokenizing():
        examples = list(head.encode(rows.table, read, max_length))
        counts = [1] * len(examples)
        if len(examples) != len(rows.table):  # a long document gives several
            counts = [len(head.encode(rows.table.select([row]), read, max_length)) for row in range(len(rows.table))]
    joined = sum(counts) != len(examples)
    units = np.arange(len(examples)) if joined else np.repeat(units_of(rows.table), counts)
    collate = head.collator(read)

    def answer(batch: dict[str, Any]) -> Tensor:
        inputs = {"labels": batch.pop("labels")}
        answers: Tensor = head.answers(head.raw_outputs(model(**batch)), inputs)
        return answers

    answered = answer_in_batches(model, examples, collate, answer, batch_size=batch_size, title="forgetting")
    outputs = np.stack([each.numpy() for each in answered])
    if broken := int((~np.isfinite(outputs)).reshape(len(outputs), -1).any(1).sum()):
        raise BadCorpus(
            f"corpus {rows.choice.called}: {broken:,} of {len(outputs):,} answers are NaN or infinite, so that nothing "
            "can be measured on it: look at its rows"
        )
    truths = [mapped(lambda value: value.cpu().numpy(), collate([example])["labels"]) for example in examples]
    return Answered([example["input_ids"] for example in examples], stacked(truths), outputs, units)


def compared(
    rows: MeasuredRows,
    before: Answered,
    after: Answered,
    *,
    against: str,
    seen: int | None,
    at_most: float | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Forgetting:
    """Return how much worse the answers after tuning are than those before.

    Raises BadCorpus where the two were given other tokens, or the metric is undefined.
    """
    if list(map(list, before.examples)) != list(map(list, after.examples)):
        raise BadCorpus(
            f"corpus {rows.choice.called}: the model reads the rows as other tokens than before tuning, and a metric "
            "of each can't be compared: it has a tokenizer of its own"
        )
    function, name = rows.function, rows.metric.name
    values, drawn = [], []
    for answered in (before, after):
        truth, decided = rows.head.truth(answered.truth), rows.head.decide(answered.outputs)
        values.append(float(function(truth, decided)))
        drawn.append(resampled({name: function}, truth, decided, answered.units, resamples=resamples, seed=seed)[name])
    if not np.isfinite(values).all():
        raise BadCorpus(f"corpus {rows.choice.called}: {name} is NaN or infinite on these rows: measure on others")
    return Forgetting(
        corpus=rows.choice.name,
        corpus_options=portable_options(rows.choice),
        corpus_digest=rows.digest,
        split=rows.split,
        rows=len(rows.table),
        rows_seen=seen,
        metric=name,
        against=against,
        before=values[0],
        before_interval=percentile(drawn[0], LEVEL),
        after=values[1],
        after_interval=percentile(drawn[1], LEVEL),
        change_kind="relative rise" if name == PERPLEXITY else "absolute fall",
        change=float(_change(rows.metric, *values)),
        change_interval=percentile(_change(rows.metric, *drawn), LEVEL),
        at_most=at_most,
        bootstrap={"level": LEVEL, "resamples": resamples, "seed": seed, "units": len(np.unique(before.units))},
    )


def _change(metric: Metric, before: Any, after: Any) -> Any:
    """Return how much worse a metric got, of two numbers or of two arrays (resamples,)."""
    if metric.name == PERPLEXITY:
        return after / before - 1
    return before - after if metric.greater_is_better else after - before
