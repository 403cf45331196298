"""Read a data set of the Hugging Face Hub, or a copy of one in a folder, with `datasets`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import ClassLabel, load_dataset_builder

from adapterhub_fin.plugin import BadCorpus, BoundedNow, CorpusImplementation, Rows, class_names, collected
from adapterhub_fin_plugins.corpora.columns import corpus_rows
from adapterhub_fin_plugins.corpora.options import HubOptions
from adapterhub_fin_plugins.corpora.records import PART, Record

# What data sets call their splits, and which part each is.
PARTS = {"train": "train", "test": "test", **dict.fromkeys(("validation", "valid", "val", "dev"), "validation")}


class Hub(CorpusImplementation):
    """Read the rows in the data set's order, split after split; the numbers of a ClassLabel become its names."""

    def __init__(self, options: HubOptions) -> None:
        self.options = options
        self.source = options.id or str(options.path)

    def load(self) -> Rows:
        """Return the rows. Raises BadCorpus if the data set can't be reached or read, or has no rows."""
        with collected("corpus hub") as faults:
            with self._explain_errors():
                builder = self._builder()
                commit = self._commit(builder)
                read = {split: list(self._records(builder, split, commit)) for split in self.options.splits}
            records = [record for of_split in read.values() for record in of_split]
            rows = corpus_rows(records, self.options, faults)
        # Dated rows say when they were known; otherwise the corpus counts as known now, at this commit.
        evidence = f"{self.source} at commit {commit}, when it was read here"
        if commit is None:
            return rows
        return Rows(rows.table, known=BoundedNow.of(evidence), notes=rows.notes, read={"revision": commit})

    def _builder(self) -> Any:
        """Return one builder for all splits, so that they are of the same commit."""
        options = self.options
        if options.path is None:
            if Path(str(options.id)).exists():
                raise BadCorpus(
                    f"{options.id} is also a folder here, which `datasets` would read instead of the Hub: "
                    "give it as path, or run in another folder"
                )
            return load_dataset_builder(str(options.id), options.config, revision=options.revision)
        folder = options.path.expanduser()
        if not folder.is_dir():
            raise BadCorpus(f"{folder} isn't a folder: download the data set with `hf download --repo-type dataset`")
        return load_dataset_builder(str(folder.resolve()), options.config)

    def _commit(self, builder: Any) -> str | None:
        """Return the commit that is read, or None for a copy in a folder, whose commit is unknown.

        Raises BadCorpus if the Hub can't be reached and the cache has another commit than `revision`.
        """
        commit, revision = str(builder.hash or ""), self.options.revision
        # If the Hub does not answer, `datasets` uses the latest commit in its cache, whatever the revision.
        if revision is not None and builder.name == "cache" and revision != commit:
            raise BadCorpus(
                f"revision {revision} of {self.source} is not available offline, and the cache has commit {commit}: "
                "connect, or give that commit"
            )
        return commit if self.options.path is None and re.fullmatch("[0-9a-f]{40}", commit) else None

    def _records(self, builder: Any, split: str, commit: str | None) -> Iterator[Record]:
        rows = self._rows(builder, split)
        classes = {name: kind.names for name, kind in (rows.features or {}).items() if isinstance(kind, ClassLabel)}
        source = f"{self.source}{'@' + commit[:12] if commit else ''}:{split}"
        part = self._part(split)
        number = 0
        for number, cells in enumerate(self._first(rows), start=1):
            yield Record({**cells, **class_names(cells, classes), **part}, source, number, "row")
        if not number:
            raise BadCorpus(f"{source} has no rows")

    def _part(self, split: str) -> dict[str, str]:
        """Return a cell with the part that a split is, if all splits that are read are parts by their names."""
        parts = [PARTS.get(each) for each in self.options.splits]
        return {} if len(parts) < 2 or None in parts else {PART: str(PARTS[split])}

    def _rows(self, builder: Any, split: str) -> Any:
        if self.options.streaming:
            return builder.as_streaming_dataset(split=split)
        builder.download_and_prepare()
        return builder.as_dataset(split=split)

    def _first(self, rows: Any) -> Iterable[dict[str, Any]]:
        """Return the first rows, at most as many as the option `rows`."""
        limit = self.options.rows
        selected: Iterable[dict[str, Any]] = rows
        if self.options.streaming:
            selected = rows.take(limit)
        elif limit is not None:
            selected = rows.select(range(min(limit, len(rows))))
        return selected

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        """Turn the errors of `datasets`, the Hub's client and the network into a BadCorpus that says what to do."""
        try:
            yield
        except BadCorpus:
            raise
        except ConnectionError as error:
            raise BadCorpus(
                f"{self.source} can't be reached ({_reason(error)}): connect, unset HF_HUB_OFFLINE, or download it "
                "elsewhere with `hf download --repo-type dataset` and give its folder as path"
            ) from error
        except Exception as error:  # several libraries are involved, each with its own errors; the cause is chained
            raise BadCorpus(
                f"{self.source} can't be read ({_reason(error)}): check id, config, revision and splits, and log in "
                "with `hf auth login` if it is gated"
            ) from error


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
