"""Documents of one's own, one row each: a language model's head packs them into blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset

from adapterhub_fin.errors import BadCorpus
from adapterhub_fin.plugin.interfaces import CorpusImplementation, Rows
from adapterhub_fin.plugin.texts import problem
from adapterhub_fin_plugins.corpora.columns import Instants, instants, names
from adapterhub_fin_plugins.corpora.html_text import plain_text
from adapterhub_fin_plugins.corpora.options import TextOptions
from adapterhub_fin_plugins.corpora.records import decoded, read_records
from adapterhub_fin_plugins.corpora.refusals import refusing_as

MARKUP = (".html", ".htm")
SUFFIXES = (".txt", ".md", *MARKUP)


class Text(CorpusImplementation):
    """Documents in the order of their names, copies once; `group` is the name: a grouped split cuts none in two."""

    def __init__(self, options: TextOptions) -> None:
        self.options = options

    def load(self) -> Rows:
        notes: dict[str, int] = {}
        with refusing_as("text"):
            documents, others = self._found()
            rows: list[dict[str, Any]] = [
                {"text": _text_of(path, name), "group": name, "origin": name} for name, path in documents.items()
            ]
            if self.options.dates is not None:
                dates = self._dates(self.options.dates, list(documents))
                rows = [{**row, "available_at": moment} for row, moment in zip(rows, dates.moments, strict=True)]
                notes |= dates.notes("available_at")
        kept = _once(rows)
        return Rows(Dataset.from_list(kept), notes={"repeated": len(rows) - len(kept), "other files": others, **notes})

    def _found(self) -> tuple[dict[str, Path], int]:
        """The documents by name, sorted, and how many files beside them are none."""
        root = self.options.path.expanduser()
        if not root.exists():
            raise BadCorpus(f"{root} does not exist: name a file or a folder of {', '.join(SUFFIXES)} files")
        if root.is_file():
            root, files = root.parent, [root]
        else:
            files = [path for path in root.glob(self.options.glob) if path.is_file()]
        documents = {path.relative_to(root).as_posix(): path for path in files if path.suffix.lower() in SUFFIXES}
        if not documents:
            raise BadCorpus(f"{self.options.path} holds no {', '.join(SUFFIXES)} file that matches {self.options.glob}")
        return dict(sorted(documents.items())), len(files) - len(documents)

    def _dates(self, table: Path, documents: list[str]) -> Instants:
        records = read_records(table)
        dated: dict[str, int] = {}
        for place, (record, name) in enumerate(zip(records, names(records, "file"), strict=True)):
            if name in dated:
                raise BadCorpus(f"{record.place} dates {name} a second time: keep one of them")
            dated[name] = place
        found = instants(records, "available_at", self.options.timezone)
        if undated := [name for name in documents if name not in dated]:
            raise BadCorpus(
                f"{table.name} gives no date for {undated[0]} ({len(undated)} of {len(documents)} documents): "
                "add them, or leave them out with glob"
            )
        places = [dated[name] for name in documents]
        return Instants([found.moments[place] for place in places], [found.days[place] for place in places])


def _text_of(path: Path, name: str) -> str:
    text = decoded(path)
    text = plain_text(text, name) if path.suffix.lower() in MARKUP else text.strip()
    if problem(text):
        raise BadCorpus(f"{name} holds no text: fill it, remove it, or leave it out with glob")
    return text


def _once(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each text once, as it was first available: a copy under another name could stand in train and in test."""
    first: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row.get("available_at", 0)):
        first.setdefault(row["text"], row)
    return [row for row in rows if first[row["text"]] is row]
