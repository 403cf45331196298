"""Join predictions with their targets, a meta model and factors, and count what has none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from adapterhub_fin.plugin import BadCorpus
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.scoring.intervals import count_independent
from adapterhub_fin_markets.scoring.options import ScoreOptions
from adapterhub_fin_markets.scoring.predictions import (
    Eras,
    Predictions,
    read_eras,
    read_factors,
    read_meta,
    read_predictions,
)
from adapterhub_fin_markets.scoring.table_columns import TableColumns, load_columns
from adapterhub_fin_markets.scoring.targets import JoinedTargets, targets_of_prices, targets_of_table
from adapterhub_fin_markets.signals.table import KEY, Signals, read_signals, table_of

META: Final = "prediction of the meta model"
HORIZON: Final = 5  # bars, where prices are given without one: that of `direction_targets`


@dataclass(frozen=True, eq=False)
class JoinedRows:
    """Hold the predictions that have a target, with what belongs to each, (rows,)."""

    predictions: Predictions
    eras: Eras
    target: np.ndarray
    meta: np.ndarray | None
    factors: tuple[np.ndarray, ...]
    independent: int | None  # eras whose targets don't overlap; None: the targets' ends are unknown
    facts: Mapping[str, Any]


def join_tables(
    predictions: Any,
    against: Prices | Any,
    meta: Any,
    factors: Any,
    columns: Mapping[str, str],
    target_columns: Mapping[str, str],
    options: ScoreOptions,
) -> JoinedRows:
    """Return the predictions with their targets, and the facts that a report needs: what was joined and what had none.

    Raises as `score`, and BadCorpus where no prediction has a target.
    """
    table = load_columns(_rows(predictions), columns, options.timezone, options.date_format, _name(predictions))
    facts_of_signals = _signal_facts(table)
    read = read_predictions(table, allow_late=facts_of_signals.get("strict") is False)
    eras = read_eras(table, read.at, options.era)
    targets = _targets(read, against, target_columns, options)
    there = np.isfinite(targets.value)
    if not there.any():
        raise BadCorpus(
            f"no prediction of {read.file} has a target: the first is decided at {read.at.min()}Z and the last at "
            f"{read.at.max()}Z; give targets of that time, or join the next one (--next)"
        )
    extra = _beside(read, meta, factors, options)
    rows = there & _complete(read, extra, there, options)
    present = _present(eras, rows)
    independent = None
    if targets.ends_at is not None:
        independent = count_independent(present.codes, targets.begins_at[rows], targets.ends_at[rows])
    facts = {
        "predictions": _name(predictions),
        "against": f"prices {against.source}".strip() if isinstance(against, Prices) else _name(against),
        "era": options.era,
        "rows": int(rows.sum()),
        "without_target": int((~there).sum()),
        "left_out": int((there & ~rows).sum()),
        "tickers": len(read.tickers),
        "first": f"{read.at[rows].min()}Z",
        "last": f"{read.at[rows].max()}Z",
        "eras": len(present.names),
        "eras_without_target": sorted(set(eras.names) - set(present.names)),
        "independent_eras": independent,
        "neutralised_against": [name for name in extra if name != META],
        **facts_of_signals,
        **targets.facts,
    }
    taken = {name: column[rows] for name, column in extra.items()}
    meta_model = taken.pop(META, None)
    value = targets.value[rows]
    return JoinedRows(read.select(rows), present, value, meta_model, tuple(taken.values()), independent, facts)


def _complete(
    read: Predictions, extra: Mapping[str, np.ndarray], there: np.ndarray, options: ScoreOptions
) -> np.ndarray:
    """Mark the rows that lack no factor and no meta model, (rows,).

    Raises BadCorpus where one of those with a target, `there`, lacks some and `leave_out` is not given, or all do.
    """
    full = np.ones(len(there), bool)
    for column in extra.values():
        full &= np.isfinite(column)
    lacking = there & ~full
    if lacking.any() and not (options.leave_out and (there & full).any()):
        row = int(np.flatnonzero(lacking)[0])
        what = next(name for name, column in extra.items() if not np.isfinite(column[row]))
        raise BadCorpus(
            f"{read.file}, row {row + 1}: {read.tickers[read.ticker[row]]} has no {what} at {read.at[row]}Z, and "
            f"{int(lacking.sum()):,} of {int(there.sum()):,} rows lack one: give them, or leave these out (--leave-out)"
        )
    return full


def _targets(
    read: Predictions, against: Any, target_columns: Mapping[str, str], options: ScoreOptions
) -> JoinedTargets:
    if isinstance(against, Prices):
        return targets_of_prices(read, against, options.horizon or HORIZON, unscaled=options.unscaled)
    table = load_columns(against, target_columns, options.timezone, options.date_format)
    return targets_of_table(read, table, options.horizon, following=options.next)


def _beside(read: Predictions, meta: Any, factors: Any, options: ScoreOptions) -> dict[str, np.ndarray]:
    """Return the meta model's predictions, and the factors by name, (rows,) each."""
    extra: dict[str, np.ndarray] = {}
    if factors is not None:
        extra |= read_factors(load_columns(factors, {}, options.timezone, options.date_format), read)
    if meta is not None:
        extra[META] = read_meta(load_columns(meta, {}, options.timezone, options.date_format), read)
    return extra


def _present(eras: Eras, rows: np.ndarray) -> Eras:
    """Return the eras of some rows, (all rows,) bool, without those that none of them is in."""
    used, codes = np.unique(eras.codes[rows], return_inverse=True)
    return Eras(tuple(eras.names[code] for code in used), codes)


def _rows(predictions: Any) -> Any:
    """Return the table of signals, checked against their digest; any other table as it is."""
    if isinstance(predictions, str | PathLike) and Path(predictions).suffix == ".parquet":
        with suppress(OSError, pa.ArrowInvalid):  # `load_columns` says what is wrong
            if KEY in (pyarrow.parquet.read_schema(predictions).metadata or {}):
                return _described(read_signals(predictions))
    return _described(predictions) if isinstance(predictions, Signals) else predictions


def _described(signals: Signals) -> Any:
    """Return signals as a pyarrow table, with their facts and digest as its metadata."""
    described = {"facts": dict(signals.facts), "digest": signals.digest}
    return table_of(signals).replace_schema_metadata({KEY: json.dumps(described)})


def _signal_facts(table: TableColumns) -> dict[str, Any]:
    """Return the digest of a table of signals, the adapter and what marks it, {} for any other table.

    It is not strict where it was made with look-ahead allowed, or without what the base knew.
    """
    written = (table.cells.schema.metadata or {}).get(KEY)
    if written is None:
        return {}
    described = json.loads(written)
    facts = described["facts"]
    strict = not facts.get("allow_lookahead") and facts.get("include_base", True)
    digest = {"signals": described["digest"], "adapter": facts.get("adapter")}
    return {**digest, "strict": bool(strict), "marks": list(facts.get("marks", ()))}


def _name(table: Any) -> str:
    return Path(table).name if isinstance(table, str | PathLike) else "the table"
