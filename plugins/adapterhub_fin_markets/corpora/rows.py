"""Make a corpus's rows of a source's documents: at once where they are few, from shards where they are many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow
from datasets import Dataset, concatenate_datasets

from adapterhub_fin.plugin import BadCorpus, Rows, collected
from adapterhub_fin_markets.corpora.documents import DocumentSource, Unit, document_schema, unit_rows
from adapterhub_fin_markets.corpora.filters import filtered
from adapterhub_fin_markets.corpora.options import DocumentOptions
from adapterhub_fin_markets.corpora.shards import Shards

SMALL = 64 << 20  # bytes of sources that are read at once, without the cache


def document_rows(source: DocumentSource, options: DocumentOptions) -> Rows:
    """Return the rows of a source: all documents, less those that the options drop, which the notes count.

    Raises BadCorpus with all faults, and where no row is left.
    """
    units = source.units()
    sharded = options.sharded
    if sharded if sharded is not None else sum(unit.size for unit in units) > SMALL:
        tables, notes = Shards(source, units, options.normalise).read()
    else:
        tables, notes = _read_at_once(source, units, options.normalise)
    if not tables:
        left_out = ", ".join(f"{reason}: {count}" for reason, count in notes.items() if count)
        raise BadCorpus(f"corpus {source.name}: no text is left ({left_out or 'the files hold none'})")
    kept, dropped = filtered(concatenate_datasets(tables) if len(tables) > 1 else tables[0], options)
    if not len(kept):
        reasons = ", ".join(f"{reason}: {count}" for reason, count in dropped.items() if count)
        raise BadCorpus(f"corpus {source.name}: no text is left ({reasons}): loosen the options that drop texts")
    return Rows(kept, notes={**notes, **dropped})


def _read_at_once(
    source: DocumentSource, units: Sequence[Unit], normalised: bool
) -> tuple[list[Dataset], dict[str, int]]:
    notes: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    with collected(f"corpus {source.name}") as faults:
        for number, unit in enumerate(units):
            rows += unit_rows(source, unit, normalised, notes, faults, number)
    schema = document_schema(source)
    return [Dataset(pyarrow.Table.from_pylist(rows, schema))] if rows else [], notes
