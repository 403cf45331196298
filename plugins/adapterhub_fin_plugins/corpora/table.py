"""A table of one's own: a csv, JSON or parquet file whose columns the options name."""

from __future__ import annotations

from adapterhub_fin.plugin.interfaces import CorpusImplementation, Rows
from adapterhub_fin_plugins.corpora.columns import corpus_rows
from adapterhub_fin_plugins.corpora.options import TableOptions
from adapterhub_fin_plugins.corpora.records import read_records
from adapterhub_fin_plugins.corpora.refusals import refusing_as


class Table(CorpusImplementation):
    """One row a row of the file, in the file's order; nothing is dropped."""

    def __init__(self, options: TableOptions) -> None:
        self.options = options

    def load(self) -> Rows:
        with refusing_as("table"):
            return corpus_rows(read_records(self.options.path), self.options)
