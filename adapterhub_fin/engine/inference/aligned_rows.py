"""Fit the rotation of each version's vectors onto one version's, on texts from before a date or of another table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.inference.aligning import Alignment, Procrustes
from adapterhub_fin.engine.inference.dated_rows import DatedRows, numpy_instant, utc_instant
from adapterhub_fin.engine.inference.row_instants import TimeColumn, row_instants
from adapterhub_fin.engine.inference.table_parts import row_chunks
from adapterhub_fin.engine.inference.version_embedder import VersionEmbedder, text_digest
from adapterhub_fin.errors import BadCorpus, BadInstant, BadRecipe, BadText
from adapterhub_fin.plugin.faults import Faults
from adapterhub_fin.plugin.tables import table_rows
from adapterhub_fin_registry.model.knowledge import as_of_instant

if TYPE_CHECKING:
    import numpy as np

    from adapterhub_fin.engine.inference.adapter import Adapter
    from adapterhub_fin_registry import Version
else:
    np = Lazy("numpy")

FIRST: Final = "first"


@dataclass(frozen=True, eq=False)
class FitRows:
    """Hold the rows that rotations are fitted on, and the version that they are fitted onto."""

    onto: Version
    source: Path
    chosen: np.ndarray  # (rows of the file,) bool
    instants: np.ndarray  # (rows of the file,)
    before: datetime | None  # None: all rows of another table
    until: np.datetime64  # the latest instant that a rotation knows of

    def refused(self, rows: DatedRows) -> np.ndarray:
        """Mark the rows, (rows,), whose version is to be rotated, and whose time is not after what that knows of."""
        rotated = np.array([version.digest != self.onto.digest for version in rows.versions] + [False])
        early: np.ndarray = rotated[rows.numbers] & (rows.instants <= self.until)
        return early


def fit_rows(rows: DatedRows, align: str, on: str | Path | date, column: TimeColumn) -> FitRows | None:
    """Return what rotations are fitted on: a table's rows from before an instant, or all those of another table.

    `align` is a reference, or `first` for the version that knew least. None where every row has that version. Raises
    BadCorpus where there is no such row, BadRecipe for an `on` that is no date and no file, and what resolving raises.
    """
    if align == FIRST:
        onto = min(rows.versions, key=lambda version: (version.knows_until(rows.include_base), version.number))
    else:
        onto = rows.registry.resolve(align)
    if all(version.digest == onto.digest for version in rows.versions):
        return None
    before = _before(on)
    source, instants = rows.source, rows.instants
    if before is None:
        source = Path(str(on)).expanduser()
        if not source.exists():
            raise BadRecipe(f"align_on={str(on)!r} is no date and no file: write 2021-06-30, or name a table")
        instants = row_instants(source, rows.reading, column)
    chosen = np.ones(len(instants), bool) if before is None else instants < numpy_instant(before)
    if not chosen.any():
        raise BadCorpus(f"{source.name} has no row from before {on} to align on: name a later date, or another table")
    until = max(instants[chosen].max(), numpy_instant(onto.knows_until(rows.include_base)))
    return FitRows(onto, source, chosen, instants, before, until)


def fit_rotations(
    fit: FitRows, embedders: Mapping[str, VersionEmbedder], size: int, advance: Callable[[int], None]
) -> tuple[dict[str, np.ndarray], Alignment]:
    """Return each other version's rotation, (dimensions, dimensions), by its digest, and what is recorded of them.

    Versions are given by digest; `size` rows are in memory at a time. Raises BadCorpus for fewer distinct texts than
    dimensions, which leave a rotation open, and BadText for rows that can't be read.
    """
    first = embedders[fit.onto.digest]
    sums: dict[str, Procrustes] = {}
    faults, total, count, distinct = Faults(), sha256(), 0, set[str]()
    for chunk in row_chunks(table_rows(fit.source, first.texts.reading.form), faults, size):
        chosen = fit.chosen[count : count + len(chunk)]
        instants = fit.instants[count : count + len(chunk)][chosen]
        rows = [row for row, of in zip(chunk, chosen, strict=True) if of]
        count += len(chunk)
        if not rows or (answer := first.embed(rows, faults)) is None:
            continue
        read, onto = answer
        for row, instant in zip(read, instants, strict=True):
            distinct.add(digest := text_digest(row))
            total.update(f"{instant} {digest}\n".encode())
        for key, embedder in embedders.items():
            if embedder is not first and (other := embedder.embed(rows, faults)) is not None:
                check_dimensions(embedder.adapter, other[1].shape[1], onto.shape[1])
                sums.setdefault(key, Procrustes(onto.shape[1])).add(other[1], onto)
        advance(len(rows) * len(embedders))
    faults.check("embed", BadText)
    if len(distinct) < onto.shape[1]:
        raise BadCorpus(
            f"{fit.source.name} has {len(distinct):,} texts to align on, and {onto.shape[1]} dimensions need as many: "
            "align on more"
        )
    solved = {key: procrustes.solve() for key, procrustes in sums.items()}
    alignment = Alignment(
        onto=fit.onto.reference,
        digest=fit.onto.digest,
        before=fit.before,
        until=utc_instant(fit.until),
        rows=int(fit.chosen.sum()),
        rows_digest=f"sha256:{total.hexdigest()}",
        residuals={key: residual for key, (_, residual) in solved.items()},
    )
    return {key: rotation for key, (rotation, _) in solved.items()}, alignment


def check_dimensions(adapter: Adapter, dimensions: int, others: int) -> None:
    """Raise BadRecipe for a version whose vectors have another length than those before."""
    if dimensions != others:
        raise BadRecipe(
            f"{adapter.reference} gives vectors of {dimensions} dimensions, and the others have {others}: embed by "
            "versions of one base"
        )


def _before(on: str | Path | date) -> datetime | None:
    if isinstance(on, Path):
        return None
    try:
        return as_of_instant(on)
    except BadInstant:
        return None
