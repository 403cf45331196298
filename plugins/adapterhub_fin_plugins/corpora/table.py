"""Read your own table: a csv, JSON or parquet file whose columns the options name."""

from __future__ import annotations

from adapterhub_fin.plugin import CorpusImplementation, Rows
from adapterhub_fin_plugins.corpora.columns import corpus_rows
from adapterhub_fin_plugins.corpora.options import TableOptions
from adapterhub_fin_plugins.corpora.records import prefix_errors, read_records


class Table(CorpusImplementation):
    """Read every row of the file, in the file's order."""

    def __init__(self, options: TableOptions) -> None:
        self.options = options

    def load(self) -> Rows:
        """Return the rows. Raises BadCorpus, naming the line and the column, for what can't be used."""
        with prefix_errors("table"):
            return corpus_rows(read_records(self.options.path), self.options)
