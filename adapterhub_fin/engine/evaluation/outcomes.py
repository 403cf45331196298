"""Collect what each row gets from a version: truth, answer, loss; in arrays for metrics, and as a table to keep."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.locks import tokenizing
from adapterhub_fin.engine.data.batches import mapped, on_device, stacked
from adapterhub_fin.engine.data.corpus import check_targets
from adapterhub_fin.engine.data.labels import one_answer
from adapterhub_fin.engine.evaluation.metrics import check_defined, metrics_for
from adapterhub_fin.errors import BadCorpus
from adapterhub_fin.plugin.examples import lengths
from adapterhub_fin.plugin.progress_lines import progress

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    import torch
    from datasets import Dataset
    from pyarrow import parquet

    from adapterhub_fin.engine.inference.adapter import Adapter
else:
    np = Lazy("numpy")
    pyarrow = Lazy("pyarrow")
    parquet = Lazy("pyarrow.parquet")
    torch = Lazy("torch")

log = logging.getLogger(__name__)
# Columns that a model reads: two rows that agree in them, and in their truth, are the same question.
INPUTS: Final = ("text", "messages", "features", "prompt", "chosen", "rejected", "anchor", "positive", "negative")


@dataclass(frozen=True)
class Outcomes:
    """Hold what some rows got, with one entry an example in each array, the longest examples first.

    `truth` and `predicted` are as the head's metrics take them: arrays, or mappings of arrays by kind of metric.
    """

    truth: Any
    predicted: Any
    rows: np.ndarray  # (examples,): the row of the table that an example is of; -1 where several rows are joined
    units: np.ndarray  # (examples,): examples of one unit are drawn together
    tokens: np.ndarray  # (examples,): the length of the input
    losses: np.ndarray | None  # (examples,); None where a row alone has no loss
    scores: np.ndarray | None  # (examples, labels): probabilities; None for a head without them
    scored: Mapping[str, np.ndarray] = field(default_factory=dict)  # (examples, 2) by metric: score and weight of each

    def select(self, examples: np.ndarray) -> Outcomes:
        """Return the outcomes of some examples, by a mask (examples,) or by their indices."""

        def taken(values: Any) -> Any:
            return None if values is None else mapped(lambda array: array[examples], values)

        return replace(self, **{name: taken(values) for name, values in vars(self).items()})

    def in_units(self, units: np.ndarray) -> Outcomes:
        """Return the outcomes with the examples of one unit of rows drawn together; `units`, (rows,), are integers.

        An example that joins several rows stays a unit of its own.
        """
        return self if (self.rows < 0).any() else replace(self, units=units[self.rows])

    def by_row(self) -> Outcomes:
        """Return the outcomes in the order of the rows."""
        return self.select(np.argsort(self.rows, kind="stable"))


def collect_outcomes(
    adapter: Adapter,
    table: Dataset,
    untrained: Sequence[Sequence[float]] | None,
    corpus: str,
    split: str,
    batch_size: int,
) -> Outcomes:
    """Return what each row of a part of a corpus gets.

    `untrained` are the answers of the model before training, (examples, num_references), where the head compares with
    them. Raises BadCorpus for rows that the head can't be measured on.
    """
    head: Any = adapter.head
    assert head is not None and adapter.manifest.head is not None, "refused before"
    check_targets(head, {split: table}, corpus)
    check_defined(head, table, metrics_for(adapter.manifest.head.name, head), corpus, split)
    from adapterhub_fin.engine.data.sampling import LongestFirst

    try:
        with tokenizing():
            examples = head.encode(table, adapter.tokenizer, adapter.max_length)
        if untrained is not None:
            examples = [{**each, "reference": answer} for each, answer in zip(examples, untrained, strict=True)]
        tokens = lengths(examples)
        order = np.array(LongestFirst(tokens).order)  # as training measures: the sums round alike
        labels, outputs = raw_answers(adapter, [examples[index] for index in order], batch_size)
    except BadCorpus as error:
        raise BadCorpus(f"corpus {corpus}, {split} part: {error}") from error
    truth, predicted = head.truth(labels), head.decide(outputs)
    if warning := one_answer(head, truth, predicted, split):
        log.warning("%s", warning)
    rows = _rows_of(adapter, table, len(examples))
    units = np.arange(len(examples)) if rows is None else rows
    return Outcomes(
        truth=truth,
        predicted=predicted,
        rows=np.full(len(order), -1) if rows is None else rows[order],
        units=units[order],
        tokens=np.array(tokens)[order],
        losses=_losses(head, outputs, labels),
        scores=_scores(head, outputs),
    )


def _rows_of(adapter: Adapter, table: Dataset, examples: int) -> np.ndarray | None:
    """Return the row of each example, (examples,): a long document gives several. None where a head joins rows."""
    if examples == len(table):
        return np.arange(examples)
    encode: Any = adapter.head.encode  # type: ignore[union-attr]
    with tokenizing():
        counts = [len(encode(table.select([row]), adapter.tokenizer, adapter.max_length)) for row in range(len(table))]
    return np.repeat(np.arange(len(counts)), counts) if sum(counts) == examples else None


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


def _losses(head: Any, outputs: np.ndarray, labels: Any) -> np.ndarray | None:
    """Return the loss of each example alone, (examples,), as the head computes it; None where it has none."""
    with torch.no_grad():
        losses = head.row_losses(torch.from_numpy(outputs), mapped(torch.from_numpy, labels))
    return None if losses is None else losses.double().numpy()


def _scores(head: Any, outputs: np.ndarray) -> np.ndarray | None:
    """Return the probabilities of the head's labels, (examples, labels); None for a head without labels."""
    if not head.labels or not hasattr(head, "predictions"):
        return None
    predictions = head.predictions(torch.from_numpy(outputs))
    if not all(set(getattr(each, "scores", ())) == set(head.labels) for each in predictions):
        return None
    return np.array([[each.scores[label] for label in head.labels] for each in predictions])


def row_hashes(table: Dataset) -> list[str]:
    """Return the SHA-256 of what a model reads of each row, as canonical JSON."""
    columns = [name for name in INPUTS if name in table.column_names]
    return [_hash(row) for row in table.select_columns(columns)]


def _hash(row: Mapping[str, Any]) -> str:
    line = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(line.encode()).hexdigest()


def outcomes_table(outcomes: Outcomes, table: Dataset, labels: Sequence[str] | None) -> pyarrow.Table:
    """Return the outcomes in the order of the rows, as docs/reference/format.md describes the columns."""
    ordered, hashes = outcomes.by_row(), row_hashes(table)
    joined = bool((ordered.rows < 0).any())
    numbers = [None] * len(ordered.rows) if joined else ordered.rows.tolist()
    columns: dict[str, Any] = {
        "row": pyarrow.array(numbers, pyarrow.int64()),
        "sha256": pyarrow.array([None if row is None else hashes[row] for row in numbers], pyarrow.string()),
    }
    for name, values in (("truth", ordered.truth), ("answer", ordered.predicted)):
        by_kind = values if isinstance(values, Mapping) else {"": values}
        for kind, array in by_kind.items():
            columns[f"{name}.{kind}" if kind else name] = _cells(array, labels)
    columns["scores"] = pyarrow.array(
        [None] * len(numbers) if ordered.scores is None else ordered.scores.tolist(), pyarrow.list_(pyarrow.float64())
    )
    losses = [None] * len(numbers) if ordered.losses is None else ordered.losses.tolist()
    columns["loss"] = pyarrow.array(losses, pyarrow.float64())
    columns["unit"] = pyarrow.array(ordered.units, pyarrow.int64())
    return pyarrow.table(columns)


def parquet_bytes(table: pyarrow.Table) -> bytes:
    """Return a table as the bytes of a parquet file."""
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _cells(array: np.ndarray, labels: Sequence[str] | None) -> pyarrow.Array:
    """Return labels as text, label sets as lists of text, and numbers as they are."""
    if labels and array.dtype.kind in "iu" and array.ndim == 1:
        return pyarrow.array([labels[index] for index in array.tolist()], pyarrow.string())
    if labels and array.dtype.kind == "b" and array.ndim == 2:
        sets = [[label for label, applies in zip(labels, row, strict=True) if applies] for row in array.tolist()]
        return pyarrow.array(sets, pyarrow.list_(pyarrow.string()))
    if array.ndim == 1:
        return pyarrow.array(array.astype(np.float64), pyarrow.float64())
    return pyarrow.array(array.astype(np.float64).tolist(), pyarrow.list_(pyarrow.float64()))
