"""Options of `table`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from adapterhub_fin_plugins.corpora.options import Columns


class TableOptions(Columns):
    """Where the file lies, and what its columns are."""

    path: Path = Field(description="The .csv, .json, .jsonl or .parquet file.")
