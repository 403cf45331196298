"""Let a version write an answer to each row, and measure the answers against the rows' own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.find import BaseSource
from adapterhub_fin.engine.base.positions import position_limit
from adapterhub_fin.engine.evaluation.measuring import Measures, Measuring, measure, values
from adapterhub_fin.engine.evaluation.outcomes import Outcomes, row_hashes
from adapterhub_fin.engine.evaluation.questions import Asked
from adapterhub_fin.engine.evaluation.token_states import ComparingModel, find_comparing_base
from adapterhub_fin.engine.inference.find import ResolvedVersion, base_source
from adapterhub_fin.errors import BadCorpus, BadRecipe, PluginError
from adapterhub_fin.plugin.descriptions import Head, Metric
from adapterhub_fin.plugin.faults import Faults
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.options import checked
from adapterhub_fin.plugin.progress_lines import progress
from adapterhub_fin.recipe.decoding import Decoding

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    from datasets import Dataset

    from adapterhub_fin.engine.inference.adapter import Adapter
    from adapterhub_fin_registry import Version
else:
    np, pyarrow = Lazy("numpy"), Lazy("pyarrow")

WRITTEN: Final = "written"  # metrics of texts
STATES: Final = "token-states"  # metrics of the hidden states of texts' tokens
OWN: Final = "own"  # the version's own base, without the adapter
CHUNK: Final = 64  # rows whose token states are in memory at a time
UNDEFINED: Final = "it is undefined on these rows, which have nothing that it counts"


@dataclass(frozen=True)
class Writing:
    """Say how a version writes, and which model compares its answers with the rows' own."""

    decoding: Decoding
    comparing: BaseSource | None

    @classmethod
    def prepare(
        cls,
        resolved: ResolvedVersion,
        decoding: Mapping[str, Any],
        similarity_base: str | Path | None,
        base: Any,
        download: bool,
    ) -> Writing:
        """Check all of it before torch is imported. Raises BadRecipe for wrong options, and BaseNotFound."""
        source = None
        if similarity_base == OWN:
            if base is not None and not isinstance(base, str | Path):
                raise BadRecipe("the model in memory has an adapter on it: name the base that compares texts")
            source = base_source(resolved, base, download)[1]
        elif similarity_base is not None:
            source = find_comparing_base(similarity_base, download=download)
        return cls(checked(Decoding, decoding, "evaluate"), source)


def check_writes(version: Version) -> None:
    """Raise BadRecipe for a version that writes no text."""
    head = version.manifest.head
    if head is None or not extensions().get(Head, head.name).generates:
        raise BadRecipe(
            f"{version.reference} writes no text: its head is {head.name if head else 'none'}; measure it without "
            "--generate (generate=False)"
        )


def write_answers(adapter: Adapter, asked: Asked, writing: Writing, batch_size: int) -> WrittenAnswers:
    """Return what a version writes to each question, with all that metrics need of it.

    Raises BadCorpus for prompts that leave no room for an answer, each by its row.
    """
    prompts = [question.prompt for question in asked.questions]
    sizes = _checked_sizes(adapter, prompts, writing.decoding, asked.source)
    answers = adapter.generate(prompts, batch_size, progress=True, **writing.decoding.model_dump(exclude_none=True))
    rows = np.arange(len(prompts))
    outcomes = Outcomes(
        truth=_texts([question.truth for question in asked.questions]),
        predicted=_texts(answers),
        rows=rows,
        units=rows,
        tokens=np.array(sizes),
        losses=None,
        scores=None,
    )
    metrics, left_out = _metrics(asked.labels, writing.comparing)
    written = WrittenAnswers(asked, writing, outcomes, metrics, left_out)
    for name, metric in metrics.items():
        if WRITTEN in metric.kinds:
            written.add(name, metric)
    if writing.comparing is not None:
        comparing = ComparingModel.load(writing.comparing)
        written.add_states(
            {name: each for name, each in metrics.items() if STATES in each.kinds}, comparing, batch_size
        )
    return written


def _checked_sizes(adapter: Adapter, prompts: Sequence[Any], decoding: Decoding, source: str) -> list[int]:
    """Return the tokens of each prompt. Raises BadCorpus for those that leave no room to write."""
    from adapterhub_fin.engine.inference.generating import prompt_sizes

    config: Any = adapter.model.config
    sizes, limit, faults = prompt_sizes(adapter, prompts), position_limit(config), Faults()
    for row, size in enumerate(sizes):
        if limit is not None and size + decoding.max_new_tokens > limit:
            faults.add(
                (row,),
                f"row {row}: the prompt and {decoding.max_new_tokens} new tokens make "
                f"{size + decoding.max_new_tokens}, and the base has {limit} positions; shorten it, lower "
                "max_new_tokens or drop the row",
            )
    faults.check(source)
    return sizes


def _texts(values: Sequence[str]) -> np.ndarray:
    """Return an array of texts, (rows,)."""
    texts: np.ndarray = np.empty(len(values), object)
    texts[:] = values
    return texts


def _metrics(labels: Sequence[str] | None, comparing: BaseSource | None) -> tuple[dict[str, Metric], dict[str, str]]:
    """Return the metrics of written text that can be measured, by name, and why each other one can't."""
    chosen, left_out = dict[str, Metric](), dict[str, str]()
    for name, metric in extensions().all(Metric).items():
        if not {WRITTEN, STATES}.intersection(metric.kinds):
            continue
        if reason := _reason(metric, labels, comparing):
            left_out[name] = reason
        else:
            chosen[name] = metric
    return chosen, left_out


def _reason(metric: Metric, labels: Sequence[str] | None, comparing: BaseSource | None) -> str | None:
    try:
        metric.check_installed()
    except PluginError as error:
        return str(error)
    if STATES in metric.kinds and metric.row_scores is None:
        return "it compares token states and names no row_scores, by which rows are measured one after the other"
    if STATES in metric.kinds and comparing is None:
        return "it needs a model that compares texts: name it with --similarity-base minilm (similarity_base=)"
    if labels is None and _wants_labels(metric.load(), required=True):
        return "it is of answers that are labels: name them with --labels a,b (labels=)"
    return None


def _wants_labels(function: Callable[..., Any], *, required: bool = False) -> bool:
    parameter = signature(function).parameters.get("labels")
    return parameter is not None and (not required or parameter.default is Parameter.empty)


@dataclass
class WrittenAnswers:
    """Hold the answers to a corpus's rows, in their order, and each metric of them.

    A metric is the scores and weights of rows, (rows,) each, or a function of the texts.
    """

    asked: Asked
    writing: Writing
    outcomes: Outcomes
    metrics: Mapping[str, Metric]
    left_out: Mapping[str, str]  # why a metric wasn't measured
    functions: dict[str, Callable[..., float]] = field(default_factory=dict)  # of metrics that are no mean over rows
    similarity: Mapping[str, Any] | None = None  # the model that compared token states

    @property
    def measuring(self) -> Measuring:
        """Return how the answers are measured: each metric that is a mean over rows has its scores in the outcomes."""
        return Measuring(self.metrics, self.functions)

    def add(self, name: str, metric: Metric) -> None:
        """Measure one metric of texts."""
        if (scores := metric.load_row_scores()) is None:
            self.functions[name] = self._labelled(metric.load())
        else:
            self._keep({name: _weighted(self._labelled(scores)(self.outcomes.truth, self.outcomes.predicted))})

    def _keep(self, scored: Mapping[str, np.ndarray]) -> None:
        self.outcomes = replace(self.outcomes, scored={**self.outcomes.scored, **scored})

    def _labelled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return partial(function, labels=self.asked.labels) if _wants_labels(function) else function

    def add_states(self, metrics: Mapping[str, Metric], comparing: ComparingModel, batch_size: int) -> None:
        """Measure the metrics of token states, some rows at a time; each has row scores."""
        functions = {name: metric.load_row_scores() for name, metric in metrics.items()}
        parts: dict[str, list[np.ndarray]] = {name: [] for name in functions}
        truth, predicted = self.outcomes.truth, self.outcomes.predicted
        with progress("comparing", len(truth)) as advance:
            for start in range(0, len(truth), CHUNK):
                rows = slice(start, start + CHUNK)
                given = [comparing.states(texts[rows].tolist(), batch_size) for texts in (truth, predicted)]
                for name, function in functions.items():
                    parts[name].append(_weighted(function(*given)))
                advance(len(given[0]))
        self._keep({name: np.concatenate(chunks) for name, chunks in parts.items()})
        source = self.writing.comparing
        assert source is not None, "there is a model because there is a source"
        self.similarity = {
            "base": source.repository,
            "revision": source.revision,
            "architecture": comparing.model.config.model_type,
            "layer": -1,
            "texts_cut": comparing.cut,
        }

    def in_units(self, units: np.ndarray) -> WrittenAnswers:
        """Return the answers with those of one unit of rows drawn together; `units`, (rows,), are integers."""
        return replace(self, outcomes=self.outcomes.in_units(units))

    def measure(self, *, resamples: int, seed: int) -> Measures:
        """Return each metric that is defined on the rows, with its interval.

        Raises BadCorpus where none is.
        """
        metrics = {name: value for name, value in values(self.measuring, self.outcomes).items() if math.isfinite(value)}
        if not metrics:
            raise BadCorpus(f"{self.asked.source}: no metric is defined on these rows: measure on others")
        with progress("resampling", resamples) as advance:
            measuring, drawing = self.measuring.only(metrics), {"resamples": resamples, "seed": seed}
            return measure(measuring, self.outcomes, where=self.asked.source, advance=advance, **drawing)

    def record(self, measured: Mapping[str, float]) -> dict[str, Any]:
        """Return what the event keeps of how the answers were made and compared."""
        undefined = dict.fromkeys(self.metrics.keys() - measured.keys(), UNDEFINED)
        return {
            "decoding": self.writing.decoding.model_dump(mode="json"),
            "labels": None if self.asked.labels is None else list(self.asked.labels),
            "prompt": self.asked.template,
            "similarity": self.similarity,
            "left_out": dict(sorted({**self.left_out, **undefined}.items())),
        }

    def table(self, table: Dataset) -> pyarrow.Table:
        """Return the outcomes by row: truth and answer, and the score of each metric that is a mean over rows.

        A row that has nothing that the metric counts has no score.
        """
        numbers = self.outcomes.rows
        columns: dict[str, Any] = {
            "row": pyarrow.array(numbers, pyarrow.int64()),
            "sha256": pyarrow.array(row_hashes(table), pyarrow.string()),
            "truth": pyarrow.array(self.outcomes.truth.tolist(), pyarrow.string()),
            "answer": pyarrow.array(self.outcomes.predicted.tolist(), pyarrow.string()),
        }
        for name, scored in sorted(self.outcomes.scored.items()):
            columns[f"score.{name}"] = pyarrow.array(scored[:, 0], pyarrow.float64(), mask=scored[:, 1] == 0)
        columns["unit"] = pyarrow.array(self.outcomes.units, pyarrow.int64())
        return pyarrow.table(columns)


def _weighted(scored: Any) -> np.ndarray:
    """Return row scores with their weights, (rows, 2); the weights are one where a metric gives none."""
    scores, weights = scored if isinstance(scored, tuple) else (scored, np.ones(len(scored)))
    return np.column_stack([np.asarray(scores, np.float64), np.asarray(weights, np.float64)])
