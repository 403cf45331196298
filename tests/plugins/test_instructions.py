"""Conversations: what a chat template could not take, or would teach nothing, is refused by file and line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.plugin.descriptions import Corpus
from adapterhub_fin.plugin.interfaces import Rows
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.testing.description import DescriptionContract
from adapterhub_fin_plugins.corpora.instructions import Instructions
from adapterhub_fin_plugins.corpora.options import InstructionsOptions


def turn(role: Any, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


ASKED, ANSWERED = turn("user", "What is a bond?"), turn("assistant", "A loan that is traded.")


def load(folder: Path, *rows: Any, name: str = "talks.jsonl", **options: Any) -> Rows:
    text = json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(text, encoding="utf-8")
    return Instructions(InstructionsOptions(path=folder / name, **options)).load()


class TestInstructions(DescriptionContract):
    kind = Corpus
    name = "instructions"

    def options_for(self, folder: Path) -> dict[str, Any]:
        return {"path": str(folder / "talks.jsonl")}


@pytest.mark.parametrize("name", ["talks.jsonl", "talks.json"])
def test_messages_come_as_role_and_content(tmp_path: Path, name: str) -> None:
    system = turn("system", "Answer briefly.")
    rows = load(
        tmp_path, {"messages": [ASKED, {**ANSWERED, "id": 7}]}, {"messages": [system, ASKED, ANSWERED]}, name=name
    )
    assert list(rows.table["messages"]) == [[ASKED, ANSWERED], [system, ASKED, ANSWERED]]
    assert list(rows.table["origin"]) == [f"{name}:1", f"{name}:2"]
    assert rows.table.column_names == ["messages", "origin"]


def test_instruction_input_and_output_become_two_turns(tmp_path: Path) -> None:
    plain = {"instruction": "Name the tone.", "output": "positive"}
    rows = load(tmp_path, {**plain, "input": "Sales rose."}, {**plain, "input": ""}, plain)
    asked = [messages[0]["content"] for messages in rows.table["messages"]]
    assert asked == ["Name the tone.\n\nSales rose.", "Name the tone.", "Name the tone."]
    assert [messages[1] for messages in rows.table["messages"]] == [turn("assistant", "positive")] * 3


def test_group_and_date_are_read(tmp_path: Path) -> None:
    row = {"messages": [ASKED, ANSWERED], "desk": 3, "at": "2021-06-30"}
    table = load(tmp_path, row, group="desk", available_at="at", timezone="UTC").table
    assert list(table["group"]) == ["3"]
    assert list(table["available_at"]) == [datetime(2021, 6, 30, 23, 59, 59, 999999, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"messages": [turn("human", "Hi"), ANSWERED]},
            "turn 1 has the role 'human'; it must be one of system, user, assistant",
        ),
        ({"messages": ["Hi"]}, "turn 1 has the role None"),
        ({"messages": [ASKED, turn("assistant", " ")]}, "turn 2 (assistant) has no text"),
        ({"messages": [ASKED, turn("assistant", None)]}, "turn 2 (assistant) has no text"),
        ({"messages": [ASKED, ANSWERED, ASKED]}, "the last turn is the user's"),
        ({"messages": [ASKED, turn("system", "Be kind."), ANSWERED]}, "only the first turn may be the system's"),
        ({"messages": [ANSWERED]}, "no turn is the user's"),
        ({"messages": []}, "messages must be a list of turns"),
        ({"messages": "Hi"}, "messages must be a list of turns"),
        ({"instruction": "Name it.", "output": ""}, "turn 2 (assistant) has no text"),
        ({"instruction": "", "output": "positive"}, "instruction and input must be text"),
        ({"instruction": "Name it.", "input": 5, "output": "positive"}, "instruction and input must be text"),
        ({"prompt": "Hi"}, "nor instruction and output; it has prompt: name them with rename"),
        (["Hi"], "and not an object with the row's cells"),
    ],
)
def test_a_fault_is_named_by_file_and_line(tmp_path: Path, row: Any, said: str) -> None:
    for name, place in (("talks.jsonl", "line 2"), ("talks.json", "item 2")):
        with pytest.raises(ahf.BadCorpus) as caught:
            load(tmp_path, {"messages": [ASKED, ANSWERED]}, row, name=name)
        assert str(caught.value).startswith(f"corpus instructions: {name}, {place}") and said in str(caught.value)


def test_a_missing_group_or_date_is_named_by_file_and_line(tmp_path: Path) -> None:
    row = {"messages": [ASKED, ANSWERED]}
    with pytest.raises(ahf.BadCorpus, match="talks.jsonl, line 1 has no column 'desk'; it has messages"):
        load(tmp_path, row, group="desk")
    with pytest.raises(ahf.BadCorpus, match="talks.jsonl, line 2: at is missing"):
        load(tmp_path, {**row, "at": "2021-06-30"}, {**row, "at": None}, available_at="at", timezone="UTC")


def test_a_zone_without_dates_is_refused() -> None:
    with pytest.raises(ahf.BadRecipe, match="timezone UTC is for dates, and there are none"):
        extensions().options(Corpus, "instructions", {"path": "talks.jsonl", "timezone": "UTC"})
