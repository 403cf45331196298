"""Dated rows that are made up with a seed, and a recipe of them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORDS = [
    "margin",
    "rose",
    "fell",
    "rates",
    "growth",
    "loan",
    "bank",
    "euro",
    "Zürich",
    "net",
    "12.5%",
    "loss",
    "steady",
]


def made_up_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of 2001 to 2020 in a shuffled order, every tenth a copy of an earlier one but for case."""
    draw, rows = random.Random(seed), []
    for number in range(count):
        text = " ".join(draw.choices(WORDS, k=draw.randint(3, 60)))
        if number % 10 == 9:
            text = str(rows[draw.randrange(len(rows))]["text"]).upper()
        rows.append({"text": text, "available_at": f"{2001 + number * 7 % 20}-{1 + number % 12:02}-15T12:00:00Z"})
    return rows


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Two hundred rows."""
    return made_up_rows(200)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[list[dict[str, Any]]], Path]:
    """A function that writes rows as JSON lines and returns the file."""

    def write(rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write
