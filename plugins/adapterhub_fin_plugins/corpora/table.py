"""Read your own table: csv, JSON or parquet files, or rows from memory, whose columns the options name."""

from __future__ import annotations

from dataclasses import replace

from adapterhub_fin.plugin import CorpusImplementation, Rows, collected
from adapterhub_fin_plugins.corpora.columns import corpus_rows
from adapterhub_fin_plugins.corpora.options import TableOptions
from adapterhub_fin_plugins.corpora.sources import all_records


class Table(CorpusImplementation):
    """Read every row of the files, in their order."""

    def __init__(self, options: TableOptions) -> None:
        self.options = options

    def load(self) -> Rows:
        """Return the rows. Raises BadCorpus, naming the line and the column, for what can't be used."""
        with collected("corpus table") as faults:
            records = all_records(self.options.path, self.options.data, faults, self.options.form)
            return replace(corpus_rows(records, self.options, faults), known=self.options.known)
