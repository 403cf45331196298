"""Embed rows of a table with one version, and name those that can't be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.inference.rows import Row, input_rows, text_columns
from adapterhub_fin.engine.inference.table_reading import TableTexts
from adapterhub_fin.errors import BadText
from adapterhub_fin.plugin.faults import Faults
from adapterhub_fin.plugin.tables import TableRow

if TYPE_CHECKING:
    import numpy as np

    from adapterhub_fin.engine.inference.adapter import Adapter


@dataclass(frozen=True)
class VersionEmbedder:
    """Hold a loaded version, how it reads the text of a row, and how it pools."""

    adapter: Adapter
    texts: TableTexts
    batch_size: int
    options: Mapping[str, Any]

    def embed(self, rows: Sequence[TableRow], faults: Faults) -> tuple[Sequence[Row], np.ndarray] | None:
        """Return what was read of rows, and their vectors (rows, dimensions); None with what is wrong added.

        After the first fault rows are only checked. Raises BadText for rows that the adapter alone can't read.
        """
        if not faults.count and all(row.fault is None for row in rows):
            try:
                read = input_rows([self.texts.row(row) for row in rows], "embed", text_columns(self.adapter.version))
                return read, self.adapter.embed(read, self.batch_size, **self.options)
            except BadText:
                self.texts.collect(rows, self.adapter, faults)
                if not faults.count:
                    raise
                return None
        self.texts.collect(rows, self.adapter, faults)
        return None


def text_digest(row: Row) -> str:
    """Return the SHA-256 of the text that is embedded, or of a conversation's messages."""
    content = row["text"] if "text" in row else repr(row.get("messages"))
    return f"sha256:{sha256(str(content).encode()).hexdigest()}"
