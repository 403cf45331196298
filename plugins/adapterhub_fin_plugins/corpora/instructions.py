"""Read conversations from a file: messages as chat templates take them, or instruction, input and output."""

from __future__ import annotations

from typing import Any

from datasets import Dataset

from adapterhub_fin.plugin import MARK, BadCorpus, CorpusImplementation, Rows, collected, problem
from adapterhub_fin_plugins.corpora.cells import Source
from adapterhub_fin_plugins.corpora.options import TURNS, InstructionsOptions
from adapterhub_fin_plugins.corpora.records import PART, Record
from adapterhub_fin_plugins.corpora.sources import all_records

ROLES = ("system", "user", "assistant")


class Instructions(CorpusImplementation):
    """Read one row for each conversation; `messages` has `role` and `content`, and the assistant's answer is last."""

    def __init__(self, options: InstructionsOptions) -> None:
        self.options = options

    def load(self) -> Rows:
        """Return the rows. Raises BadCorpus, naming the line, for a file or a conversation that can't be used."""
        with collected("corpus instructions") as faults:
            records = all_records(self.options.path, self.options.data, faults)
            source = Source(records, self.options, faults)
            notes = source.clean(self._read_columns())
            system = self.options.system
            messages = [faults.caught(record.position, _messages, record, system) for record in source.records]
            table: dict[str, list[Any]] = {"messages": messages}
            if source.has(PART):
                table["split"] = source.parts(PART)
            if self.options.group is not None:
                table["group"] = source.names(self.options.group)
            if self.options.available_at is not None:
                dates = source.instants(self.options.available_at)
                table["available_at"] = dates.moments
                notes |= dates.notes("available_at")
            if faults.count:
                return Rows(Dataset.from_dict({}))  # the faults are raised when all are collected
            return Rows(Dataset.from_dict({**table, "origin": source.origins()}), notes=notes)

    def _read_columns(self) -> list[str]:
        """Return the columns of which a row needs a cell; an instruction's input may be empty."""
        turns = {*TURNS, *self.options.rename} - {"input", "system"}
        return [*sorted(turns), *filter(None, (self.options.group, self.options.available_at))]


def _messages(record: Record, system: str | None) -> list[dict[str, str]]:
    """Return the turns of a row. Raises BadCorpus for a row that is no conversation with an answer."""
    cells = record.cells
    if "messages" in cells:
        messages = cells["messages"]
    elif {"user", "assistant"} <= set(cells):
        messages = [{"role": role, "content": cells[role]} for role in ("user", "assistant")]
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
            f"{record.place} has neither messages, nor user and assistant, nor instruction and output; it has "
            f"{', '.join(record.columns)}: name them with rename, such as user: question"
        )
    if not isinstance(messages, list) or not messages:
        raise BadCorpus(f"{record.place}: messages must be a list of turns with role and content")
    opens = isinstance(messages[0], dict) and messages[0].get("role") == "system"
    if not opens and (system := cells.get("system") or system):
        messages = [{"role": "system", "content": system}, *messages]
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
