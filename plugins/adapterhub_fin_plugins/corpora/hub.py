"""Any data set of the Hugging Face Hub, or a copy of one in a folder, through `datasets`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import ClassLabel, load_dataset_builder

from adapterhub_fin.errors import BadCorpus
from adapterhub_fin.plugin.interfaces import BoundedNow, CorpusImplementation, Rows
from adapterhub_fin_plugins.corpora.columns import corpus_rows
from adapterhub_fin_plugins.corpora.options import HubOptions
from adapterhub_fin_plugins.corpora.records import Record
from adapterhub_fin_plugins.corpora.refusals import refusing_as


class Hub(CorpusImplementation):
    """Rows in the data set's order, split after split; the numbers of a ClassLabel become its names."""

    def __init__(self, options: HubOptions) -> None:
        self.options = options
        self.source = options.id or str(options.path)

    def load(self) -> Rows:
        with refusing_as("hub"):
            with self._reading():
                builder = self._builder()
                commit = self._commit(builder)
                read = {split: list(self._records(builder, split, commit)) for split in self.options.splits}
            found = corpus_rows([record for records in read.values() for record in records], self.options)
        table = found.table
        if len(read) > 1:
            table = table.add_column("split", [split for split, records in read.items() for _ in records])
        # Where rows carry dates those say when they were known; else this moment does, of this commit.
        evidence = f"{self.source} at commit {commit}, when it was read here"
        known = BoundedNow.of(evidence) if commit else None
        return Rows(table, known=known, notes=found.notes, read={"revision": commit} if commit else {})

    def _builder(self) -> Any:
        """What `load_dataset` makes first; one for all splits, so that they are of one commit."""
        options = self.options
        if options.path is None:
            if Path(str(options.id)).exists():
                raise BadCorpus(
                    f"{options.id} is a folder here too, and `datasets` would read it instead of the Hub's: "
                    "name it as path, or run elsewhere"
                )
            return load_dataset_builder(str(options.id), options.config, revision=options.revision)
        folder = options.path.expanduser()
        if not folder.is_dir():
            raise BadCorpus(f"{folder} is no folder: download the data set with `hf download --repo-type dataset`")
        return load_dataset_builder(str(folder.resolve()), options.config)

    def _commit(self, builder: Any) -> str | None:
        """The commit that is read; a copy in a folder does not say which it is of."""
        commit, revision = str(builder.hash or ""), self.options.revision
        # Where the Hub does not answer, `datasets` takes the latest it has in its cache, whatever was asked for.
        if revision is not None and builder.name == "cache" and revision != commit:
            raise BadCorpus(
                f"revision {revision} of {self.source} is not at hand, and the cache holds commit {commit}: connect, "
                "or name that commit"
            )
        return commit if self.options.path is None and re.fullmatch("[0-9a-f]{40}", commit) else None

    def _records(self, builder: Any, split: str, commit: str | None) -> Iterator[Record]:
        rows = self._rows(builder, split)
        classes = {name: kind.names for name, kind in (rows.features or {}).items() if isinstance(kind, ClassLabel)}
        source = f"{self.source}{'@' + commit[:12] if commit else ''}:{split}"
        number = 0
        for number, cells in enumerate(self._first(rows), start=1):
            yield Record({**cells, **_named(cells, classes)}, source, number, "row")
        if not number:
            raise BadCorpus(f"{source} holds no rows")

    def _rows(self, builder: Any, split: str) -> Any:
        if self.options.streaming:
            return builder.as_streaming_dataset(split=split)
        builder.download_and_prepare()
        return builder.as_dataset(split=split)

    def _first(self, rows: Any) -> Iterable[dict[str, Any]]:
        """The rows that are wanted, in their order."""
        limit = self.options.rows
        wanted: Iterable[dict[str, Any]] = rows
        if self.options.streaming:
            wanted = rows.take(limit)
        elif limit is not None:
            wanted = rows.select(range(min(limit, len(rows))))
        return wanted

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Say what to do about what `datasets`, the Hub's client and the network raise."""
        try:
            yield
        except BadCorpus:
            raise
        except ConnectionError as error:
            raise BadCorpus(
                f"{self.source} can't be reached ({_reason(error)}): connect, unset HF_HUB_OFFLINE, or download it "
                "elsewhere with `hf download --repo-type dataset` and name its folder as path"
            ) from error
        except Exception as error:  # many libraries lie below, each with errors of its own; the cause is kept
            raise BadCorpus(
                f"{self.source} can't be read ({_reason(error)}): check id, config, revision and splits, and log in "
                "with `hf auth login` where it is gated"
            ) from error


def _named(cells: dict[str, Any], classes: dict[str, list[str]]) -> dict[str, str | None]:
    """The names behind class numbers; -1, which stands for a label that is held back, becomes none."""
    found = {name: cells[name] for name in classes}
    return {name: None if cell is None or cell < 0 else classes[name][cell] for name, cell in found.items()}


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
