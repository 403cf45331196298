"""Generate the default corpus: invented companies and news, with dates to practise point-in-time work."""

from __future__ import annotations

from dataclasses import asdict

from datasets import Dataset

from adapterhub_fin.plugin import CorpusImplementation, Rows
from adapterhub_fin_plugins.corpora.headlines_text import generate
from adapterhub_fin_plugins.corpora.options import HeadlinesOptions


class Headlines(CorpusImplementation):
    """Generate sentences from families of patterns; `group` is the family, for a grouped split."""

    def __init__(self, options: HeadlinesOptions) -> None:
        self.options = options

    def load(self) -> Rows:
        """Return the generated rows. Raises ValueError if no weekday lies between the two dates."""
        options = self.options
        rows = [asdict(row) for row in generate(options.rows, options.seed, options.start, options.end)]
        return Rows(Dataset.from_list(rows))
