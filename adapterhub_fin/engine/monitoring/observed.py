"""Observe what a version reads and answers: the arrays that a reference and a new table are compared by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.locks import tokenizing
from adapterhub_fin.engine.data.labels import labels_in
from adapterhub_fin.engine.inference.rows import Row, input_rows, text_columns
from adapterhub_fin.plugin.answers import Estimate, LabelSet, Likelihood, Prediction
from adapterhub_fin.plugin.examples import encode_inputs

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

    from adapterhub_fin.engine.inference.adapter import Adapter
else:
    np = Lazy("numpy")

WHOLE: Final = 1_000_000  # tokens: a text is counted whole, however little of it the model reads


@dataclass(frozen=True)
class Observed:
    """Hold what was observed of some rows; what the rows or the head don't have is None.

    All arrays have one entry a row but `vectors`, (sample, hidden).
    """

    rows: int
    tokens: np.ndarray | None = None  # the length of each text, in tokens, whole
    unknown: np.ndarray | None = None  # the share of them that the tokenizer doesn't know
    vectors: np.ndarray | None = None  # embeddings of a seeded sample of the rows
    labels: Sequence[str] | None = None  # the label that each row was given
    applied: Mapping[str, np.ndarray] = field(default_factory=dict)  # of label sets: whether a label applies
    numbers: Mapping[str, np.ndarray] = field(default_factory=dict)  # confidence, value or loss
    right: np.ndarray | None = None  # 1 for a right label, else 0, where the truth is known
    errors: np.ndarray | None = None  # the number given less the true one, where that is known


def observe(
    adapter: Adapter, rows: Sequence[Row], truths: Sequence[Any] | None, *, sample: int, seed: int, batch_size: int
) -> Observed:
    """Return what a version reads and answers of rows, as `Adapter.predict` takes them; `truths` has one a row."""
    read = input_rows(rows, "monitor", text_columns(adapter.version))
    with tokenizing():
        encode = encode_inputs if adapter.head is None else adapter.head.encode_inputs
        examples = encode(read, tokenizer=adapter.tokenizer, max_length=WHOLE)
    ids = [example["input_ids"] for example in examples]
    chosen = np.arange(len(read))
    if len(read) > sample:
        chosen = np.sort(np.random.default_rng(seed).choice(len(read), sample, replace=False))
    vectors = adapter.embed([read[index] for index in chosen], batch_size, progress=True)
    answers = adapter.predict(read, batch_size, progress=True) if adapter.head is not None else ()
    unknown = adapter.tokenizer.unk_token_id
    return Observed(
        rows=len(read),
        tokens=np.array([len(each) for each in ids], np.float64),
        unknown=None if unknown is None else np.array([each.count(unknown) / max(len(each), 1) for each in ids]),
        vectors=vectors,
        **_answered(answers, truths),
    )


def _answered(answers: Sequence[Any], truths: Sequence[Any] | None) -> dict[str, Any]:
    """Return the fields of what was answered, by the kind of answer."""
    first = answers[0] if len(answers) else None
    if isinstance(first, Prediction):
        labels = [answer.label for answer in answers]
        return _of_labels(labels, np.array([answer.score for answer in answers]), truths)
    if isinstance(first, LabelSet):
        names = sorted({name for answer in answers for name in answer.scores})
        return {"applied": {name: np.array([name in answer.labels for answer in answers]) for name in names}}
    if isinstance(first, Estimate):
        return _of_numbers(np.array([answer.value for answer in answers]), truths)
    if isinstance(first, Likelihood):
        return {"numbers": {"loss": np.array([answer.loss for answer in answers])}}
    return {}


def _of_labels(labels: Sequence[str], confidence: np.ndarray | None, truths: Sequence[Any] | None) -> dict[str, Any]:
    right = None
    if truths is not None:
        pairs = zip(labels, truths, strict=True)
        right = np.array([float(labels_in(truth) == (label,)) for label, truth in pairs])
    numbers = {} if confidence is None else {"confidence": confidence}
    return {"labels": labels, "numbers": numbers, "right": right}


def _of_numbers(values: np.ndarray, truths: Sequence[Any] | None) -> dict[str, Any]:
    errors = None if truths is None else values - np.array([float(truth) for truth in truths])
    return {"numbers": {"value": values}, "errors": errors}


def from_outcomes(path: Path) -> Observed:
    """Return what an evaluation stored of its rows: labels or numbers given, and the truths; it keeps no texts.

    The losses of a language model are left out: they are of documents as training cuts them, and not of texts as
    `predict` reads them.
    """
    from pyarrow import parquet

    table: pyarrow.Table = parquet.read_table(path)
    if "answer" not in table.column_names or not table.num_rows:
        return Observed(table.num_rows)
    answers, truths = table["answer"].to_pylist(), table["truth"].to_pylist()
    if isinstance(answers[0], str):
        scores = table["scores"].to_pylist()
        confidence = None if any(each is None for each in scores) else np.array([max(each) for each in scores])
        return Observed(table.num_rows, **_of_labels(answers, confidence, truths))
    if isinstance(answers[0], float):
        return Observed(table.num_rows, **_of_numbers(np.array(answers), truths))
    if all(isinstance(label, str) for row in (*answers, *truths) for label in row):
        names = sorted({label for row in (*answers, *truths) for label in row})
        return Observed(table.num_rows, applied={name: np.array([name in row for row in answers]) for name in names})
    return Observed(table.num_rows)
