"""Read conversations from a file: messages as chat templates take them, or instruction, input and output."""

from __future__ import annotations

from typing import Any

from datasets import Dataset

from adapterhub_fin.plugin import MARK, BadCorpus, CorpusImplementation, Rows, problem
from adapterhub_fin_plugins.corpora.columns import instants, names, origins
from adapterhub_fin_plugins.corpora.options import InstructionsOptions
from adapterhub_fin_plugins.corpora.records import Record, prefix_errors, read_records

ROLES = ("system", "user", "assistant")


class Instructions(CorpusImplementation):
    """Read one row for each conversation; `messages` has `role` and `content`, and the assistant's answer is last."""

    def __init__(self, options: InstructionsOptions) -> None:
        self.options = options

    def load(self) -> Rows:
        """Return the rows. Raises BadCorpus, naming the line, for a file or a conversation that can't be used."""
        with prefix_errors("instructions"):
            records = read_records(self.options.path)
            notes: dict[str, int] = {}
            table: dict[str, list[Any]] = {"messages": [_messages(record) for record in records]}
            if self.options.group is not None:
                table["group"] = names(records, self.options.group)
            if self.options.available_at is not None:
                dates = instants(records, self.options.available_at, self.options.timezone)
                table["available_at"] = dates.moments
                notes = dates.notes("available_at")
            return Rows(Dataset.from_dict({**table, "origin": origins(records)}), notes=notes)


def _messages(record: Record) -> list[dict[str, str]]:
    cells = record.cells
    if "messages" in cells:
        messages = cells["messages"]
    elif {"instruction", "output"} <= set(cells):
        prompt = [cells["instruction"], *([cells["input"]] if cells.get("input") else [])]
        if not all(isinstance(text, str) and text.strip() for text in prompt):
            raise BadCorpus(f"{record.place}: instruction and input must be text")
        messages = [
            {"role": "user", "content": "\n\n".join(prompt)},
            {"role": "assistant", "content": cells["output"]},
        ]
    else:
        raise BadCorpus(
            f"{record.place} has neither messages nor instruction and output; it has {', '.join(map(str, cells))}"
        )
    if not isinstance(messages, list) or not messages:
        raise BadCorpus(f"{record.place}: messages must be a list of turns with role and content")
    turns = [_turn(message, record, number) for number, message in enumerate(messages, start=1)]
    _check_order([turn["role"] for turn in turns], record)
    return turns


def _turn(message: Any, record: Record, number: int) -> dict[str, str]:
    role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
    if role not in ROLES:
        raise BadCorpus(f"{record.place}: turn {number} has the role {role!r}; it must be one of {', '.join(ROLES)}")
    if not isinstance(content, str) or not content.strip():
        raise BadCorpus(f"{record.place}: turn {number} ({role}) has no text; drop the row or fill it")
    if reason := problem(content):
        raise BadCorpus(f"{record.place}: turn {number} ({role}) {reason}; drop the row or fix it")
    return {"role": role, "content": content.removeprefix(MARK)}


def _check_order(roles: list[str], record: Record) -> None:
    if roles[-1] != "assistant":
        raise BadCorpus(f"{record.place}: the last turn is the {roles[-1]}'s; it must be the assistant's answer")
    if "system" in roles[1:]:
        raise BadCorpus(f"{record.place}: only the first turn may be the system's")
    if "user" not in roles:
        raise BadCorpus(f"{record.place}: no turn is the user's, so there is nothing to answer")
