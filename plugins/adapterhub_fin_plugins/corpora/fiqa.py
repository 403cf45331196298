"""Read FiQA 2018, task 1 (Maia et al. 2018) from a local copy; it is never shipped and never downloaded.

The snippets and aspects in the files are Python literals in strings; they are not needed and not read.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datasets import Dataset

from adapterhub_fin.plugin import BadCorpus, CorpusImplementation, KnownAt, Rows, decoded
from adapterhub_fin_plugins.corpora.options import FiqaOptions
from adapterhub_fin_plugins.corpora.records import prefix_errors

PUBLISHED = KnownAt(
    at=datetime(2018, 5, 1, 12, tzinfo=UTC),  # the end of the challenge's month in the last time zone
    kind="bounded",
    evidence="Maia et al., WWW'18 Open Challenge, Companion of The Web Conference, Lyon, 23 to 27 April 2018",
)


class Fiqa(CorpusImplementation):
    """Read one row for each sentence and firm: repeated rows once, rows with conflicting scores not at all."""

    def __init__(self, options: FiqaOptions) -> None:
        self.options = options

    def load(self) -> Rows:
        """Return the rows. Raises BadCorpus for a file that is missing or isn't FiQA's task 1."""
        with prefix_errors("fiqa"):
            rows = [row for path, split in self._files() for row in self._rows(path, split)]
        targets: dict[str, set[float]] = defaultdict(set)
        first: dict[str, dict[str, Any]] = {}
        for row in rows:
            targets[row["text"]].add(row["target"])
            first.setdefault(row["text"], row)
        unique = [row for text, row in first.items() if len(targets[text]) == 1]
        conflicting = sum(len(targets[row["text"]]) > 1 for row in rows)
        notes = {"repeated": len(rows) - conflicting - len(unique), "conflicting": conflicting}
        return Rows(Dataset.from_list(unique), known=PUBLISHED, notes=notes)

    def _files(self) -> Iterator[tuple[Path, str]]:
        kinds = ("headline", "post") if self.options.kind == "both" else (self.options.kind,)
        for kind in kinds:
            for split in ("train", "test"):  # the files called test are labelled too
                yield self.options.path.expanduser() / f"task1_{kind}_ABSA_{split}.json", split

    def _rows(self, path: Path, split: str) -> Iterator[dict[str, Any]]:
        for number, entry in _entries(path):
            origin = f"{path.name}, entry {number}"
            sentence = _field(entry, "sentence", origin)
            opinions = entry.get("info")
            if not isinstance(opinions, list) or not opinions:
                raise BadCorpus(f"{origin} has no list 'info' of firms and scores")
            for opinion in opinions:
                entity = _field(opinion, "target", origin)
                yield {
                    "text": f"{entity}: {sentence}" if self.options.name_entity else sentence,
                    "target": _score(_field(opinion, "sentiment_score", origin), origin),
                    "group": sentence,
                    "split": split,
                    "origin": f"{path.name}:{number}",
                }


def _entries(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        entries = json.loads(decoded(path))
    except json.JSONDecodeError as error:
        raise BadCorpus(f"{path.name}, line {error.lineno} is not JSON: {error.msg}") from error
    if not isinstance(entries, dict) or not entries:
        raise BadCorpus(f"{path.name} must map a number to a sentence and its scores: is it FiQA's task 1?")
    yield from entries.items()


def _field(entry: Any, name: str, origin: str) -> str:
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise BadCorpus(f"{origin} has no text {name!r}")
    return value.strip()


def _score(text: str, origin: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not -1 <= score <= 1:
        raise BadCorpus(f"{origin}: sentiment_score is {text!r} and not a number from -1 to 1")
    return score
