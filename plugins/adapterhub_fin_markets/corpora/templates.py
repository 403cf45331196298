"""Make instructions of the documents of another corpus; every answer is what the document holds, or was given.

What is drawn for a document depends on the seed and its text alone, so that other documents, such as later ones, change
nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

from datasets import Dataset

from adapterhub_fin.plugin import (
    BadCorpus,
    BadInstant,
    CorpusImplementation,
    KnownAt,
    Rows,
    instant,
    load_corpus,
    moment,
    table_rows,
)
from adapterhub_fin_markets.corpora.options import TASKS, TemplateOptions
from adapterhub_fin_markets.corpora.template_kinds import MAKERS, Instruction, excerpt, sentences

PLACES: Final = 8  # of a document that are tried for an instruction of a kind
TOO_LONG: Final = "answers to documents over max_chars"


@dataclass(frozen=True)
class Answer:
    """Hold a given answer to a question about a document, and when it was given; None where with the document."""

    question: str
    answer: str
    available_at: datetime | None


class Templates(CorpusImplementation):
    """Make instructions in the order of the documents; `slices` has the kind, `task`."""

    def __init__(self, options: TemplateOptions) -> None:
        self.options = options

    def load(self) -> Rows:
        """Return the rows.

        Raises BadCorpus as the corpus of the documents does, for a given answer whose document isn't there, and where
        no instruction is made.
        """
        options = self.options
        documents = load_corpus(options.corpus.name, options.corpus.options)
        if "text" not in documents.table.column_names:
            raise BadCorpus(f"corpus templates: {options.corpus.name} has no column text: choose one of documents")
        answers = {} if options.answers is None else given_answers(options.answers, options.answers_available_at)
        notes = dict.fromkeys([*TASKS, "without an instruction"], 0)
        if answers:
            self._check_origins(documents.table, answers)
            notes |= {TOO_LONG: 0}
        latest: list[datetime] = []  # of the answers that rows without `available_at` hold
        rows = list(self._rows(documents.table, answers, notes, latest))
        if not rows:
            longer = f", or a max_chars above {options.max_chars}" if notes.get(TOO_LONG) else ""
            raise BadCorpus(
                f"corpus templates: no document gives an instruction: choose other weights or longer texts{longer}"
            )
        known = documents.known
        if known is not None and latest and max(latest) > known.at:
            known = KnownAt(max(latest), "observed", "the latest available_at of the given answers")
        return replace(documents, table=Dataset.from_list(rows), known=known, notes={**documents.notes, **notes})

    def _check_origins(self, table: Dataset, answers: Mapping[str, Sequence[Answer]]) -> None:
        origins = map(str, table["origin"] if "origin" in table.column_names else range(len(table)))
        missing = dict.fromkeys(answers)
        first = ""
        for origin in origins:
            first = first or origin
            missing.pop(origin, None)
        if missing:
            some = ", ".join(sorted(missing)[:5])
            raise BadCorpus(
                f"corpus templates: {len(missing)} of {len(answers)} origins of the answers are of no document: "
                f"{some}: correct them (a document's is such as {first}), or remove their rows"
            )

    def _rows(
        self,
        table: Dataset,
        answers: Mapping[str, Sequence[Answer]],
        notes: dict[str, int],
        latest: list[datetime],
    ) -> Iterator[dict[str, Any]]:
        kept = [name for name in ("available_at", "group") if name in table.column_names]
        for number, document in enumerate(row for batch in table.iter(batch_size=16) for row in _rows_of(batch)):
            origin = str(document.get("origin", number))
            given = answers.get(origin, ())
            if given and len(document["text"]) > self.options.max_chars:
                notes[TOO_LONG] += len(given)  # each may rest on what wouldn't be shown
                given = ()
            for draw in range(self.options.per_document):
                made = self._instruction(document["text"], draw, given)
                if made is None:
                    notes["without an instruction"] += 1
                    continue
                notes[made.task] += 1
                row = {"messages": self._messages(made), **{name: document[name] for name in kept}}
                if made.available_at is not None and "available_at" in row:
                    row["available_at"] = max(_aware(row["available_at"]), made.available_at)
                elif made.available_at is not None:
                    latest.append(made.available_at)
                yield {**row, "slices": {"task": made.task}, "origin": origin}

    def _instruction(self, text: str, draw: int, answers: Sequence[Answer]) -> Instruction | None:
        seed = sha256(f"{self.options.seed}\n{draw}\n{text}".encode()).digest()
        generator = random.Random(int.from_bytes(seed[:8], "big"))
        weights = {str(task): weight for task, weight in self.options.weights.items() if weight}
        whole = sentences(text)
        while weights:
            [task] = generator.choices([*weights], [*weights.values()])
            del weights[task]  # where a document gives none of a kind, another is drawn
            if task == "questions" and self.options.answers is not None:
                instruction = _given(text, answers, generator)
            else:
                shown = (excerpt(whole, self.options.max_chars, generator) for _ in range(PLACES))
                instruction = next(filter(None, (MAKERS[task](each, generator) for each in shown)), None)
            if instruction is not None:
                return instruction
        return None

    def _messages(self, made: Instruction) -> list[dict[str, str]]:
        system = [] if self.options.system is None else [{"role": "system", "content": self.options.system}]
        return [*system, {"role": "user", "content": made.question}, {"role": "assistant", "content": made.answer}]


def given_answers(path: Path, undated: datetime | Literal["document"] | None) -> dict[str, list[Answer]]:
    """Return the given answers by the origin of their document; those without a date are `undated`.

    Raises BadCorpus, which names the row, for a missing cell and for a time without a zone.
    """
    answers: dict[str, list[Answer]] = {}
    for row in table_rows(path.expanduser()):
        source = f"{path.name}, {row.unit} {row.number}"
        if row.fault is not None:
            raise BadCorpus(f"{source} {row.fault}")
        if lacking := [name for name in ("origin", "question", "answer") if not row.cells.get(name)]:
            raise BadCorpus(f"{source} has no {lacking[0]}: give every row an origin, a question and an answer")
        try:
            at = instant(moment(row.cells["available_at"]), None) if row.cells.get("available_at") else undated
        except BadInstant as error:
            raise BadCorpus(f"{source}: available_at: {error}") from error
        if at is None:
            raise BadCorpus(
                f"{source} has no available_at: give the time, with its zone, at which the answer was given, or set "
                "answers_available_at for those without one"
            )
        given = Answer(str(row.cells["question"]), str(row.cells["answer"]), at if isinstance(at, datetime) else None)
        answers.setdefault(str(row.cells["origin"]), []).append(given)
    return answers


def _given(text: str, answers: Sequence[Answer], generator: random.Random) -> Instruction | None:
    if not answers:
        return None
    chosen = generator.choice(list(answers))
    question = f"{chosen.question}\n\n{text}"
    return Instruction("questions", question, chosen.answer, chosen.available_at)


def _rows_of(batch: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in zip(*batch.values(), strict=True):
        yield dict(zip(batch, values, strict=True))


def _aware(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)
