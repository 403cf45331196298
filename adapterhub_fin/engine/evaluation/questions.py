"""Make prompts with their true answers from the rows of a corpus, for a version that writes its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin.errors import BadCorpus, BadRecipe
from adapterhub_fin.plugin.faults import Faults
from adapterhub_fin.plugin.texts import problem

if TYPE_CHECKING:
    from datasets import Dataset

    from adapterhub_fin.plugin.conversations import Messages

PLACE: Final = "{text}"  # where a prompt's template takes the row's text


@dataclass(frozen=True)
class Question:
    """Hold what a version is asked, a text or a conversation, and the answer that the row gives."""

    prompt: str | Messages
    truth: str


@dataclass(frozen=True)
class Asked:
    """Hold a question for each row of a table, in its order, and the labels to choose from, if answers are labels."""

    source: str  # names the rows in errors
    questions: Sequence[Question]
    labels: tuple[str, ...] | None
    template: Mapping[str, Any] | None  # how a row's text was asked; None for conversations


@dataclass(frozen=True)
class Asking:
    """Say how the rows are asked: `prompt` is the template of a row's text, and `chat` makes it a user's message.

    `labels` are the answers that there are, where answers are labels. Raises BadRecipe for a template without
    `{text}`, and for labels that are fewer than two, empty or alike.
    """

    labels: tuple[str, ...] | None = None
    prompt: str = PLACE
    chat: bool = False

    def __post_init__(self) -> None:
        if PLACE not in self.prompt:
            raise BadRecipe(f"the prompt {self.prompt!r} has no {PLACE}, where the row's text stands: write it there")
        if self.labels is None:
            return
        if len(self.labels) < 2 or not all(label.strip() for label in self.labels):
            raise BadRecipe("labels are the answers to choose from: give two or more that are not empty")
        if len({label.casefold() for label in self.labels}) < len(self.labels):
            raise BadRecipe(f"two of the labels {', '.join(self.labels)} differ in case at most: give each once")

    def ask(self, table: Dataset, source: str) -> Asked:
        """Return a question for each row: its conversation up to the last answer, or its text, whose label is true.

        Of texts, the labels to choose from are those of the rows where none are given.

        Raises BadCorpus, which names each row that has no answer to compare with, or one that is not among the labels.
        """
        columns = table.column_names
        if "messages" not in columns and not {"text", "label"} <= {*columns}:
            raise BadCorpus(
                f"{source}: the rows have no answer to compare with: give conversations (messages), whose last turn is "
                f"the assistant's, or texts with a label; they have {', '.join(columns)}"
            )
        ask = self._of_conversation if "messages" in columns else self._of_text
        faults, questions = Faults(), list[Question]()
        for number, row in enumerate(table):
            origin = f" ({row['origin']})" if row.get("origin") else ""
            try:
                questions.append(self._checked(ask(row)))
            except BadCorpus as error:
                faults.add((number,), f"row {number}{origin} {error}")
        faults.check(source)
        if "messages" in columns:
            return Asked(source, questions, self.labels, None)
        labels = self.labels or tuple(sorted({question.truth for question in questions}))
        return Asked(source, questions, labels, {"text": self.prompt, "chat": self.chat})

    def _of_conversation(self, row: Mapping[str, Any]) -> Question:
        messages = row["messages"]
        if not messages or messages[-1]["role"] != "assistant":
            raise BadCorpus("has no answer of the assistant as its last turn: add it or drop the row")
        if len(messages) < 2:
            raise BadCorpus("has an answer and no turn before it: add the question or drop the row")
        return Question(messages[:-1], messages[-1]["content"])

    def _of_text(self, row: Mapping[str, Any]) -> Question:
        if not isinstance(row["label"], str):
            raise BadCorpus(f"has the label {row['label']!r}, which is no text to compare with: give one label a row")
        text = self.prompt.replace(PLACE, row["text"])
        return Question([{"role": "user", "content": text}] if self.chat else text, row["label"])

    def _checked(self, question: Question) -> Question:
        """Return a question whose answer can be compared with; an answer that is a label is named as the labels are."""
        if wrong := problem(question.truth):
            raise BadCorpus(f"has an answer that {wrong}: mend it or drop the row")
        if self.labels is None:
            return question
        for label in self.labels:
            if question.truth.strip().casefold() == label.casefold():
                return Question(question.prompt, label)
        raise BadCorpus(
            f"has the answer {question.truth[:60]!r}, which is none of {', '.join(self.labels)}: name all labels"
        )
