"""Embed the rows of a file, each by the version that its own time allows, and write them a part at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin.engine.inference.aligned_rows import fit_rotations, fit_rows
from adapterhub_fin.engine.inference.dated_rows import dated_rows, instant_text
from adapterhub_fin.engine.inference.dated_versions import load_versions
from adapterhub_fin.engine.inference.embedding import Embedding
from adapterhub_fin.engine.inference.processes import spread
from adapterhub_fin.engine.inference.row_instants import TimeColumn
from adapterhub_fin.engine.inference.table_reading import TableTexts
from adapterhub_fin.engine.inference.table_writing import check_suffix
from adapterhub_fin.engine.inference.vector_rows import EmbeddedTable, VectorRows
from adapterhub_fin.engine.inference.version_embedder import VersionEmbedder
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.options import checked
from adapterhub_fin.plugin.progress_lines import progress as bar
from adapterhub_fin.plugin.reading import TableReading

if TYPE_CHECKING:
    from adapterhub_fin_registry import Registry
    from adapterhub_fin_registry.model.version import AnyReference
    from adapterhub_fin_registry.storage.standing import Yanked

CHUNK: Final = 4096  # rows in memory at a time


def embed_table(
    reference: AnyReference,
    table: str | Path,
    out: str | Path,
    *,
    time: str,
    text: str | Sequence[str] | None = None,
    timezone: str | None = None,
    date_format: str | None = None,
    include_base: bool = True,
    yanked: Yanked = "as_then",
    skip_refused: bool = False,
    align: str | None = None,
    align_on: str | Path | date | None = None,
    reading: Mapping[str, Any] | None = None,
    base: str | Path | None = None,
    registry: Registry | None = None,
    download: bool = False,
    batch_size: int = 32,
    workers: int = 1,
    progress: bool = False,
    **options: Any,
) -> EmbeddedTable:
    """Write a file's rows with a vector each, of the version that the row's own time allows, and return what was done.

    Both files are .csv, .tsv, .jsonl or .parquet. `time` names the column of when a text could first be read: a date is
    its last microsecond, and a time without a zone needs `timezone`. `out` has the columns of `table`, `text_id`, `at`,
    `known_at` (the latest of the row's time, its version's knowledge end and its rotation), `reference`, `digest` and
    one column a dimension, `e000` on; it appears when all rows are embedded. The registry is read once.
    `yanked` is that of `ahf.versions_as_of`; `workers` is the number of processes, as in `Adapter.predict_table`.

    `align` rotates the vectors of every version onto those of one, a reference or `first`, fitted on the rows from
    before the date `align_on`, or on those of another table. `options` are pooling, layer and normalize; `reading` has
    the options of `TableReading`. Raises LookAhead for rows that no version may answer, or whose rotation knows of them
    or later, unless `skip_refused`; BadCorpus, BadText and BadRecipe as `Adapter.predict_table`.

    Example:
        >>> ahf.embed_table("acme/tone", "news.parquet", "features.parquet", time="published", text="title").rows
        1200
    """
    source, target = Path(table).expanduser(), Path(out).expanduser()
    check_suffix(target)
    checked(Embedding, options, "embed")
    if (align is None) != (align_on is None):
        raise BadRecipe("align needs align_on, and align_on needs align: name a version, and a date or a table")
    form, column = checked(TableReading, reading or {}, "embed"), TimeColumn(time, timezone, date_format)
    dated: dict[str, Any] = {"include_base": include_base, "registry": registry, "yanked": yanked}
    rows = dated_rows(reference, source, form, column, skip=skip_refused, **dated)
    names = (text,) if isinstance(text, str) else tuple(text or ())
    fit = None
    if align is not None and align_on is not None:
        fit = fit_rows(rows, align, align_on, column)
    if fit is not None:
        reason = f"{fit.onto.reference} and the texts that it was aligned on are known until {instant_text(fit.until)}"
        rows = rows.without(fit.refused(rows), lambda row: reason, skip=skip_refused)
    versions = {version.digest: version for version in (*rows.versions, *([fit.onto] if fit else []))}
    texts = {digest: TableTexts(source, version, names, form) for digest, version in versions.items()}
    for of_version in texts.values():
        of_version.check()
    loaded = load_versions([*versions.values()], base=base, registry=rows.registry, download=download)
    steps = len(rows.instants) + (int(fit.chosen.sum()) * len(versions) if fit else 0)
    with (
        spread((adapter for adapter, _ in loaded), workers) as adapters,
        bar("embedding", steps, shown=progress) as advance,
    ):
        embedders = {
            adapter.version.digest: VersionEmbedder(adapter, texts[adapter.version.digest], batch_size, options)
            for adapter in adapters
        }
        rotations, alignment = fit_rotations(fit, embedders, CHUNK, advance) if fit else ({}, None)
        return VectorRows(rows, embedders, rotations, alignment, column.name).write(target, CHUNK, advance)
