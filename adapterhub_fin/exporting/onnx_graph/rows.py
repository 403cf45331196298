"""Take the rows on which an exported graph is compared with torch."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.data.corpus import corpus_digest, divide_rows, read_rows, read_texts
from adapterhub_fin.engine.evaluation.evaluate import corpus_choice
from adapterhub_fin.engine.inference.rows import input_rows, text_columns
from adapterhub_fin.engine.inference.table_reading import TableTexts
from adapterhub_fin.errors import BadCorpus, BadRecipe, BadText
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.plugin.faults import Faults
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.tables import TableRow, table_rows
from adapterhub_fin_registry.io.safe_read import hash_file

if TYPE_CHECKING:
    from adapterhub_fin.engine.inference.adapter import Adapter
    from adapterhub_fin.engine.inference.rows import Row
    from adapterhub_fin.exporting.onnx_graph.options import OnnxOptions
    from adapterhub_fin.recipe.choices import CorpusChoice
    from adapterhub_fin_registry import Version

SEED = 0  # of the sample


@dataclass(frozen=True)
class MeasuredRows:
    """Hold rows to answer, and where they are from."""

    rows: Sequence[Row]
    source: Mapping[str, Any]


@dataclass(frozen=True)
class RowSource:
    """Say where the rows come from: checked, and not read yet."""

    version: Version
    choice: CorpusChoice | None
    texts: TableTexts | None
    options: OnnxOptions

    @classmethod
    def of(cls, version: Version, options: OnnxOptions) -> RowSource:
        """Check that the table or the corpus is there, without torch.

        Raises BadRecipe where no corpus is given and the version has none of its own, and BadCorpus for a missing file.
        """
        if options.table is not None:
            texts = TableTexts.of(options.table, version, options.text, options.reading)
            return cls(version, None, texts, options)
        recipe = version.manifest.recipe or {}
        if options.corpus is None and recipe.get("corpus") is None:
            raise BadRecipe(
                f"{version.reference} has no recipe that names a corpus, and its graph is compared with torch on rows: "
                "give some with --table FILE or --corpus NAME (table=..., corpus=...)"
            )
        return cls(version, corpus_choice(version, options.corpus, options.overrides), None, options)

    def read(self, adapter: Adapter) -> MeasuredRows:
        """Return the rows, at most `options.sample` of them, drawn with a fixed seed and in their order.

        Raises BadCorpus or BadText for rows that can't be read, and BadCorpus where there is none.
        """
        read = self._of_table(self.texts, adapter) if self.texts is not None else self._of_corpus()
        if not read.rows:
            raise BadCorpus(f"there is no row to compare {self.version.reference} with torch on: give others")
        return MeasuredRows(input_rows(read.rows, "export", text_columns(self.version)), read.source)

    def _of_table(self, texts: TableTexts, adapter: Adapter) -> MeasuredRows:
        faults, draw = Faults(), random.Random(SEED)
        chosen: list[tuple[int, TableRow]] = []
        for number, row in enumerate(table_rows(texts.source, texts.reading.form)):
            if len(chosen) < self.options.sample:
                chosen.append((number, row))
            elif (slot := draw.randrange(number + 1)) < self.options.sample:  # reservoir sampling: one pass
                chosen[slot] = (number, row)
        chosen.sort(key=lambda pair: pair[0])
        texts.collect([row for _, row in chosen], adapter, faults)
        faults.check("export", BadText)
        rows = [texts.row(row) for _, row in chosen]
        digest = hash_file(texts.source)[1]
        return MeasuredRows(rows, {"table": texts.source.name, "sha256": digest, "rows": len(rows)})

    def _of_corpus(self) -> MeasuredRows:
        choice, split, head = self.choice, self.options.split, self.version.manifest.head
        assert choice is not None, "RowSource.of made one"
        rows = read_rows(choice, head.name) if head is not None else read_texts(choice)
        table, digest = rows.table, corpus_digest(rows.table)
        if split != "all":
            table = table.select(divide_rows(rows, choice.splitter, choice.called).row_indices[split])
        column = self._text_column(table.column_names)
        size = len(table)
        drawn = sorted(random.Random(SEED).sample(range(size), min(size, self.options.sample)))
        chosen = [dict(row) for row in table.select(drawn)]
        texts = [{"text": row[column]} for row in chosen] if column else chosen
        return MeasuredRows(texts, {"corpus": choice.name, "digest": digest, "split": split, "rows": len(texts)})

    def _text_column(self, columns: Sequence[str]) -> str | None:
        """Return the column that a head without `text` and `messages` reads, such as an anchor; None for the others."""
        head = self.version.manifest.head
        if head is None or {"text", "messages"} & {*columns}:
            return None
        inputs = extensions().get(Head, head.name).inputs
        return next((name for name in inputs if name in columns), None)
