"""Collect what an adapter answers on the rows of one split, beside the truth, for the report's pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.locks import tokenizing
from adapterhub_fin.engine.data.corpus import check_targets
from adapterhub_fin.engine.data.sampling import LongestFirst
from adapterhub_fin.engine.evaluation.outcomes import raw_answers
from adapterhub_fin.errors import Unsupported
from adapterhub_fin.plugin.answers import Estimate, Likelihood, Prediction
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.plugin.examples import lengths
from adapterhub_fin.plugin.manager import extensions

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

    from adapterhub_fin.engine.inference.adapter import Adapter
else:
    torch = Lazy("torch")

Kind = Literal["classes", "numbers", "likelihoods"]
_KINDS: Mapping[type, Kind] = {Prediction: "classes", Estimate: "numbers", Likelihood: "likelihoods"}


@dataclass(frozen=True)
class Answers:
    """Hold one answer a row, in the order of the rows; every sequence has one entry a row."""

    kind: Kind
    labels: Sequence[str]  # of the head, in its order; empty unless the kind is `classes`
    texts: Sequence[str]
    truth: Sequence[Any]  # labels, numbers, or None for likelihoods
    given: Sequence[Any]  # labels, numbers, or the loss in nats a token
    confidence: Sequence[float]  # the probability of the label given; empty unless the kind is `classes`
    tokens: Sequence[int]
    instants: Sequence[datetime] | None  # `available_at`, where the rows have it

    @property
    def score_name(self) -> str:
        """Return what `scores` measures."""
        return {"classes": "accuracy", "numbers": "mean absolute error", "likelihoods": "mean loss (nats a token)"}[
            self.kind
        ]

    def scores(self) -> list[float]:
        """Return a number for each row, whose mean is the score: 1 or 0, the absolute error, or the loss."""
        if self.kind == "classes":
            return [float(given == truth) for given, truth in zip(self.given, self.truth, strict=True)]
        if self.kind == "numbers":
            return [abs(given - truth) for given, truth in zip(self.given, self.truth, strict=True)]
        return list(self.given)

    def worst(self, count: int) -> list[int]:
        """Return the rows most worth reading: wrong with the highest confidence, or the largest errors or losses."""
        if self.kind == "classes":
            wrong = [row for row in range(len(self.given)) if self.given[row] != self.truth[row]]
            return sorted(wrong, key=lambda row: (-self.confidence[row], row))[:count]
        scores = self.scores()
        return sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:count]


def collect_answers(adapter: Adapter, table: Dataset, corpus: str, split: str, batch_size: int) -> Answers:
    """Return the adapter's answers on the rows of a split.

    Raises BadCorpus for rows that the head can't read, and Unsupported where it doesn't give one answer a row of a kind
    that the report can draw.
    """
    head: Any = adapter.head
    assert adapter.manifest.head is not None, "refused before"
    name = adapter.manifest.head.name
    if not {"text", "messages"} & set(extensions().get(Head, name).inputs) or not hasattr(head, "predictions"):
        raise Unsupported(f"the head {name} compares texts, and gives no answer to a single row")
    check_targets(head, {split: table}, corpus)
    with tokenizing():
        examples = head.encode(table, adapter.tokenizer, adapter.max_length)
    if len(examples) != len(table):
        raise Unsupported(
            f"the head makes {len(examples):,} examples of {len(table):,} rows, so that rows have no answer"
        )
    tokens = lengths(examples)
    order = LongestFirst(tokens).order
    _, outputs = raw_answers(adapter, [examples[row] for row in order], batch_size)
    by_row: list[Any] = [None] * len(order)
    for row, answer in zip(order, head.predictions(torch.from_numpy(outputs)), strict=True):
        by_row[row] = answer
    kind = _KINDS.get(type(by_row[0])) if by_row else None
    column = {"classes": "label", "numbers": "target"}.get(str(kind), "")
    if kind is None or (column and (column not in table.column_names or None in table[column][:])):
        named = type(by_row[0]).__name__ if by_row else "nothing"
        raise Unsupported(f"the head answers with {named}, for which the report has no picture")
    truth = _truth(kind, table)
    if kind == "classes" and not set(truth) <= set(map(str, head.labels or ())):
        raise Unsupported("some of the rows have no label of the head's")
    return Answers(
        kind=kind,
        labels=tuple(map(str, head.labels or ())) if kind == "classes" else (),
        texts=[_text(row) for row in table],
        truth=truth,
        given=[_given(answer) for answer in by_row],
        confidence=[answer.score for answer in by_row] if kind == "classes" else [],
        tokens=list(tokens),
        instants=_instants(table),
    )


def _truth(kind: Kind, table: Dataset) -> list[Any]:
    if kind == "classes":
        return [str(label) for label in table["label"][:]]
    return [float(target) for target in table["target"][:]] if kind == "numbers" else [None] * len(table)


def _given(answer: Any) -> Any:
    if isinstance(answer, Prediction):
        return answer.label
    return answer.value if isinstance(answer, Estimate) else answer.loss


def _instants(table: Dataset) -> list[datetime] | None:
    if "available_at" not in table.column_names:
        return None
    return [at if at.tzinfo else at.replace(tzinfo=UTC) for at in table["available_at"][:]]


def _text(row: Mapping[str, Any]) -> str:
    if "text" in row:
        return str(row["text"])
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in row.get("messages") or ())
