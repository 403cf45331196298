"""Test that a corpus gives the same rows every time, and says where they are from and when they were known."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from adapterhub_fin.plugin.descriptions import Corpus
from adapterhub_fin.plugin.interfaces import Rows
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.testing.description import DescriptionContract
from adapterhub_fin_registry.io.clock import read_clock

SPLITS = {
    "random": "text",
    "stratified": "label",
    "grouped": "group",
    "time": "available_at",
    "walk-forward": "available_at",
    "given": "split",
}


class CorpusContract(DescriptionContract):
    """Test a corpus: inherit this and name the corpus; override `options_for(folder)` to write a file that it reads."""

    kind = Corpus
    head: ClassVar[str | None] = None  # a head that can learn from it; by default one that the columns allow

    def _load(self, folder: Path) -> Rows:
        from adapterhub_fin.engine.base.build_plugin import build_plugin

        rows: Rows = build_plugin(Corpus, self.name, self.options_for(folder)).load()
        return rows

    @pytest.fixture
    def rows(self, tmp_path: Path) -> Rows:
        """Return the corpus's rows."""
        return self._load(tmp_path)

    def test_license_and_source_are_stated(self) -> None:
        description = self.description
        assert isinstance(description, Corpus)
        assert description.license not in ("", "unknown"), "state the license of the rows, as an SPDX id"
        assert description.source, "state where the rows come from: a paper, a URL, or what generates them"

    def test_loads_twice_alike(self, rows: Rows, tmp_path: Path) -> None:
        from adapterhub_fin.engine.data.corpus import corpus_digest

        assert corpus_digest(rows.table) == corpus_digest(self._load(tmp_path).table)

    def test_has_the_columns(self, rows: Rows) -> None:
        columns = set(rows.table.column_names)
        assert columns & {"text", "messages"}, f"a corpus has a column text or messages; this one has {sorted(columns)}"
        assert len(rows.table) > 0
        if "text" in columns:
            assert all(isinstance(text, str) and text.strip() for text in rows.table["text"])

    def test_dates_are_instants_in_utc(self, rows: Rows) -> None:
        for column in {"available_at", "label_known_at"} & set(rows.table.column_names):
            for row, value in enumerate(rows.table[column]):
                assert isinstance(value, datetime), f"{column} of row {row} is {value!r}, not an instant"
                assert value.utcoffset() == timedelta(0), f"{column} of row {row} is not in UTC: {value!r}"
                assert value <= read_clock(), f"{column} of row {row} is in the future: {value}"

    def test_says_when_it_could_have_been_known(self, rows: Rows, tmp_path: Path) -> None:
        from adapterhub_fin.engine.data.corpus import read_corpus

        dates = read_corpus(self._choice(tmp_path, "random"), self._learner(rows)).known
        now = read_clock()
        assert f"corpus:{self.name}" in dates
        for name, date in dates.items():
            assert date.at.utcoffset() == timedelta(0) and date.at <= now, f"{name} was known at {date.at}"
            assert date.evidence, f"{name} states no evidence of its date"

    def test_every_split_that_its_columns_allow_has_three_parts(self, rows: Rows, tmp_path: Path) -> None:
        from adapterhub_fin.engine.data.corpus import read_corpus

        for by, column in SPLITS.items():
            if column in rows.table.column_names:
                splits = read_corpus(self._choice(tmp_path, by), self._learner(rows)).splits
                assert all(len(splits[split]) for split in ("train", "validation", "test")), f"split by {by}"

    def _learner(self, rows: Rows) -> str:
        columns = rows.table.column_names
        return self.head or ("classify" if "label" in columns else "regress" if "target" in columns else "causal-lm")

    def _choice(self, folder: Path, by: str) -> CorpusChoice:
        split = {"by": by, **({"folds": 2, "fold": 2} if by == "walk-forward" else {})}
        return CorpusChoice.model_validate({"name": self.name, **self.options_for(folder), "splitter": split})
