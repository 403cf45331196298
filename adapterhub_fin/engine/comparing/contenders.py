"""Find what is compared, and what each answers on the same rows: versions, the bare base, a bag of words."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.chat_template import with_chat_template
from adapterhub_fin.engine.base.load_base import load_base, load_tokenizer
from adapterhub_fin.engine.base.padding import align_padding
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.comparing.checks import BASE, WORDS, head_name, head_of
from adapterhub_fin.engine.comparing.rows import Rows
from adapterhub_fin.engine.data.batches import on_device
from adapterhub_fin.engine.evaluation.linear import INSTALL, NAMES, fit_linear, is_installed, mean_states
from adapterhub_fin.engine.evaluation.measuring import Measuring
from adapterhub_fin.engine.evaluation.metrics import metric_for, metric_functions
from adapterhub_fin.engine.evaluation.outcomes import Outcomes, collect_outcomes
from adapterhub_fin.engine.evaluation.references import base_answers
from adapterhub_fin.engine.inference.adapter import Adapter
from adapterhub_fin.engine.inference.attach import max_length
from adapterhub_fin.engine.inference.find import ResolvedVersion, base_source, own_tokenizer
from adapterhub_fin.engine.inference.load import load
from adapterhub_fin.errors import BadConfiguration, BadRecipe, Unsupported

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from torch import nn

    from adapterhub_fin.plugin.heads import HeadImplementation
else:
    np = Lazy("numpy")
    torch = Lazy("torch")

TIMED: Final = 20  # rows that are answered one by one for the latency


@dataclass(frozen=True)
class Efficiency:
    """Hold what a contender costs: parameters, bytes in memory, and milliseconds for one row alone.

    `parameters` are those beside the base's, and `memory` is that of all weights. A linear model on words has neither a
    model in memory nor a latency worth telling.
    """

    parameters: int
    memory: int | None
    latency: float | None  # median milliseconds
    rows_per_second: float | None


@dataclass(frozen=True)
class Contender:
    """Hold one side of a comparison: its name, what each row gets, and what it costs."""

    name: str  # an exact reference, base, or bag-of-words
    described: str
    outcomes: Outcomes
    efficiency: Efficiency


@dataclass(frozen=True)
class Loading:
    """Say how contenders are loaded: the base in place of the recorded one, rows a batch, whether a Hub is asked."""

    base: str | Path | None
    batch_size: int
    download: bool


def answer_all(
    contenders: Sequence[str], versions: Mapping[str, ResolvedVersion], rows: Rows, loading: Loading
) -> tuple[list[Contender], Measuring, str]:
    """Return what each contender answers, in the order of the first version's labels; and how that is measured.

    The third is the name of the metric that the head selects on.
    """
    first = next(iter(versions.values()))
    head, answered = head_of(first), []
    for name in contenders:
        if name == WORDS:
            answered.append(answered_by_words(first, rows))
        elif name == BASE:
            answered.append(answered_by_base(first, rows, loading))
        else:
            contender = answered_by_version(versions[name], rows, loading)
            outcomes = in_label_order(contender.outcomes, head_of(versions[name]), head)
            answered.append(replace(contender, outcomes=outcomes))
    return answered, Measuring.of_head(head_name(first), head), str(head.selects_on)


def answered_by_version(resolved: ResolvedVersion, rows: Rows, loading: Loading) -> Contender:
    """Return what a version answers."""
    base, batch_size, download = loading.base, loading.batch_size, loading.download
    untrained = base_answers(resolved, base, rows.measured, batch_size, download)
    adapter = load(resolved.version, base=base, registry=resolved.registry, download=download)
    manifest = resolved.version.manifest
    described = f"{manifest.method.name} on {manifest.base.called}"
    own = stored_size(resolved)
    return _answered(adapter, resolved.version.reference, described, own, rows, untrained, batch_size)


def answered_by_base(resolved: ResolvedVersion, rows: Rows, loading: Loading) -> Contender:
    """Return what the bare base of a version answers.

    A language model answers as it is. For classes and numbers it is a linear model on its embeddings, fitted to the
    corpus's training part. Raises Unsupported for a head that has neither, and BadConfiguration without scikit-learn.
    """
    head = head_of(resolved)
    if (head.baseline is None and head.task != "CAUSAL_LM") or head.num_references:
        raise Unsupported(
            f"the head {head_name(resolved)} has no counterpart on the bare base: leave {BASE} out of the comparison"
        )
    if head.baseline is not None:
        _check_linear(rows)
    batch_size, adapter = loading.batch_size, adapter_on_base(resolved, loading)
    model, tokenizer = adapter.model, adapter.tokenizer
    called = resolved.version.manifest.base.called
    if head.baseline is None:
        return _answered(adapter, BASE, f"{called} as it is", 0, rows, None, batch_size)
    examples = {part: list(head.encode(table, tokenizer, adapter.max_length)) for part, table in rows.parts.items()}
    every = [example for part in examples.values() for example in part]
    vectors = mean_states(model, head.collator(tokenizer), every, batch_size)
    inputs = dict(
        zip(examples, np.split(vectors, np.cumsum([len(part) for part in examples.values()])[:-1]), strict=True)
    )
    labels = {part: np.array([example["labels"] for example in table]) for part, table in examples.items()}
    outcomes, options = _linear(resolved, inputs, labels, scaled=True)
    model_name = NAMES[str(head.baseline)]
    width = vectors.shape[1] + 1
    memory = footprint(adapter)
    size = width * (len(head.labels) if head.labels else 1)
    described = f"{model_name} on the embeddings of {called} ({_written(options)})"
    return Contender(BASE, described, outcomes, Efficiency(size, memory, None, None))


def adapter_on_base(resolved: ResolvedVersion, loading: Loading) -> Adapter:
    """Return a version's base and head without the adapter, ready to answer as an adapter does."""
    head = head_of(resolved)
    _, source = base_source(resolved, loading.base, loading.download)
    with quiet_loading(), torch.random.fork_rng(devices=[]):
        model, _ = load_base(source.folder, head, resolved.method)
        tokenizer = with_chat_template(load_tokenizer(own_tokenizer(model, resolved) or source.folder), head)
    align_padding(model, tokenizer)
    nothing: Any = _NoMethod()
    return Adapter(resolved.version, model, tokenizer, nothing, head, BASE, max_length(resolved.version, tokenizer))


def answered_by_words(resolved: ResolvedVersion, rows: Rows) -> Contender:
    """Return what a linear model on the words of the texts answers, fitted to the corpus's training part.

    Its inputs are TF-IDF weights of words and pairs of words. Raises Unsupported for a head or rows without classes,
    numbers or texts, and BadConfiguration without scikit-learn.
    """
    head = head_of(resolved)
    if head.baseline is None or "text" not in rows.measured.column_names:
        raise Unsupported(f"a bag of words answers texts with classes or numbers: leave {WORDS} out of the comparison")
    _check_linear(rows)
    from sklearn.feature_extraction.text import TfidfVectorizer

    weigh = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)
    try:
        weigh.fit(rows.parts["train"]["text"][:])
    except ValueError as error:
        raise Unsupported(f"no word is in two training texts, so that there is no bag of words ({error})") from error
    inputs = {part: weigh.transform(table["text"][:]) for part, table in rows.parts.items()}
    labels = {part: np.array([head.target(row) for row in table]) for part, table in rows.parts.items()}
    outcomes, options = _linear(resolved, inputs, labels, scaled=False)
    words = len(weigh.vocabulary_)
    described = f"{NAMES[str(head.baseline)]} on {words:,} words and pairs of words ({_written(options)})"
    size = (words + 1) * (len(head.labels) if head.labels else 1)
    return Contender(WORDS, described, outcomes, Efficiency(size, None, None, None))


class _NoMethod:
    """Stand where a model has no adapter to activate."""

    num_virtual_tokens = 0

    def activate(self, model: nn.Module, adapter_name: str) -> None:
        """Do nothing."""


def _check_linear(rows: Rows) -> None:
    if not is_installed():
        raise BadConfiguration(f"{BASE} and {WORDS} are fitted by a package that is missing: {INSTALL}")
    if rows.split != "test":
        raise BadRecipe(
            f"{BASE} and {WORDS} are fitted to the corpus's train and validation parts: compare on the test part"
        )


def _linear(
    resolved: ResolvedVersion, inputs: Mapping[str, Any], labels: Mapping[str, np.ndarray], *, scaled: bool
) -> tuple[Outcomes, dict[str, Any]]:
    head: Any = resolved.head
    name = head_name(resolved)
    metric = metric_for(name, head.selects_on, head)
    function, truth = metric_functions(name, head.labels, head)[metric.name], head.truth(labels["validation"])
    sign = 1 if metric.greater_is_better else -1

    def decided(predicted: np.ndarray) -> np.ndarray:
        answers: np.ndarray = head.decide(predicted[:, None]) if head.baseline == "ridge" else predicted
        return answers

    options, predicted = fit_linear(
        head.baseline, inputs, labels, lambda given: sign * function(truth, decided(given)), scaled=scaled
    )
    rows = np.arange(len(predicted))
    return Outcomes(
        head.truth(labels["test"]), decided(predicted), rows, rows, np.zeros(len(rows)), None, None
    ), options


def _answered(
    adapter: Adapter,
    name: str,
    described: str,
    own: int,
    rows: Rows,
    untrained: Sequence[Sequence[float]] | None,
    batch_size: int,
) -> Contender:
    begun = time.perf_counter()
    outcomes = collect_outcomes(adapter, rows.measured, untrained, rows.corpus, rows.split, batch_size).by_row()
    taken = time.perf_counter() - begun
    if (outcomes.rows < 0).any():
        raise Unsupported(f"the head of {name} joins rows into one example, so that rows can't be paired")
    cost = Efficiency(own, footprint(adapter), _latency(adapter, rows.measured), len(rows.measured) / taken)
    return Contender(name, described, outcomes, cost)


def _latency(adapter: Adapter, table: Dataset) -> float | None:
    """Return the median milliseconds that one row alone takes, encoding left out; None where a row is no example."""
    head: Any = adapter.head
    examples = list(head.encode(table.select(range(min(TIMED, len(table)))), adapter.tokenizer, adapter.max_length))
    if head.num_references:
        examples = [{**example, "reference": [0.0] * head.num_references} for example in examples]
    collate, device = head.collator(adapter.tokenizer), next(adapter.model.parameters()).device
    times = []
    with adapter.answering():
        for example in examples:
            batch = on_device(collate([example]), device)
            batch.pop("labels")
            begun = time.perf_counter()
            adapter.model(**batch)
            times.append(1000 * (time.perf_counter() - begun))
    return float(np.median(times))


def footprint(adapter: Adapter) -> int:
    """Return the bytes of all weights in memory."""
    return sum(each.numel() * each.element_size() for each in adapter.model.parameters())


def stored_size(resolved: ResolvedVersion) -> int:
    """Return the number of elements that the version stores."""
    from adapterhub_fin.engine.base.tensor_file import TensorFile

    paths = [file.path for file in resolved.version.manifest.files if file.path.endswith(".safetensors")]
    return sum(
        int(np.prod(tensor.shape, dtype=np.int64))
        for path in paths
        for tensor in TensorFile(resolved.folder / path).tensors.values()
    )


def _written(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())


def in_label_order(outcomes: Outcomes, own: HeadImplementation, first: HeadImplementation) -> Outcomes:
    """Return outcomes whose label numbers are those of another head with the same labels, in its order."""
    if own.labels is None or list(own.labels) == list(first.labels or ()):
        return outcomes
    order = np.array([list(first.labels or ()).index(label) for label in own.labels])

    def renumbered(values: Any) -> Any:
        if isinstance(values, Mapping):
            return {kind: renumbered(array) if kind == "classification" else array for kind, array in values.items()}
        return order[values] if values.ndim == 1 else values[:, np.argsort(order)]

    return replace(outcomes, truth=renumbered(outcomes.truth), predicted=renumbered(outcomes.predicted), scores=None)
