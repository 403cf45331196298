"""Conversations to imitate: messages as chat templates take them, or instruction, input and output."""

from __future__ import annotations

from typing import Any

from datasets import Dataset

from adapterhub_fin.errors import BadCorpus
from adapterhub_fin.plugin.interfaces import CorpusImplementation, Rows
from adapterhub_fin.plugin.texts import MARK, problem
from adapterhub_fin_plugins.corpora.columns import instants, names, origins
from adapterhub_fin_plugins.corpora.options import InstructionsOptions
from adapterhub_fin_plugins.corpora.records import Record, read_records
from adapterhub_fin_plugins.corpora.refusals import refusing_as

ROLES = ("system", "user", "assistant")


class Instructions(CorpusImplementation):
    """One row a conversation that ends in the assistant's answer; `messages` holds `role` and `content`."""

    def __init__(self, options: InstructionsOptions) -> None:
        self.options = options

    def load(self) -> Rows:
        with refusing_as("instructions"):
            records = read_records(self.options.path)
            notes: dict[str, int] = {}
            table: dict[str, list[Any]] = {"messages": [_messages(record) for record in records]}
            if self.options.group is not None:
                table["group"] = names(records, self.options.group)
            if self.options.available_at is not None:
                found = instants(records, self.options.available_at, self.options.timezone)
                table["available_at"] = found.moments
                notes = found.notes("available_at")
            return Rows(Dataset.from_dict({**table, "origin": origins(records)}), notes=notes)


def _messages(record: Record) -> list[dict[str, str]]:
    cells = record.cells
    if "messages" in cells:
        given = cells["messages"]
    elif {"instruction", "output"} <= set(cells):
        asked = [cells["instruction"], *([cells["input"]] if cells.get("input") else [])]
        if not all(isinstance(text, str) and text.strip() for text in asked):
            raise BadCorpus(f"{record.place}: instruction and input must be texts")
        given = [
            {"role": "user", "content": "\n\n".join(asked)},
            {"role": "assistant", "content": cells["output"]},
        ]
    else:
        raise BadCorpus(
            f"{record.place} has neither messages nor instruction and output; it has {', '.join(map(str, cells))}"
        )
    if not isinstance(given, list) or not given:
        raise BadCorpus(f"{record.place}: messages must be a list of turns with role and content")
    turns = [_turn(each, record, number) for number, each in enumerate(given, start=1)]
    _check_order([turn["role"] for turn in turns], record)
    return turns


def _turn(given: Any, record: Record, number: int) -> dict[str, str]:
    role, content = (given.get("role"), given.get("content")) if isinstance(given, dict) else (None, None)
    if role not in ROLES:
        raise BadCorpus(f"{record.place}: turn {number} has the role {role!r}; it may be {', '.join(ROLES)}")
    if not isinstance(content, str) or not content.strip():
        raise BadCorpus(f"{record.place}: turn {number}, of the {role}, has no text; drop the row or fill it")
    if wrong := problem(content):
        raise BadCorpus(f"{record.place}: turn {number}, of the {role}, {wrong}; drop the row or mend it")
    return {"role": role, "content": content.removeprefix(MARK)}


def _check_order(roles: list[str], record: Record) -> None:
    if roles[-1] != "assistant":
        raise BadCorpus(f"{record.place}: the last turn is the {roles[-1]}'s; it must be the answer of the assistant")
    if "system" in roles[1:]:
        raise BadCorpus(f"{record.place}: a system turn may stand first alone")
    if "user" not in roles:
        raise BadCorpus(f"{record.place}: no turn is the user's, so that nothing is answered")
