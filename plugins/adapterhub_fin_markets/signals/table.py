"""Hold signals, one dated opinion a row about one instrument, and write and read them as parquet."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from adapterhub_fin import LookAhead
from adapterhub_fin.plugin import BadCorpus, Corrupted
from adapterhub_fin_markets.prices.new_file import new_file
from adapterhub_fin_markets.prices.timing import usable
from adapterhub_fin_markets.signals.lists import Lists

SELL, HOLD, BUY = -1, 0, 1
KEY: Final = b"adapterhub_fin_markets.signals"
ARRAYS: Final = ("at", "signal", "score", "confidence", "actionable", "probabilities", "text_at", "known_at")
_INSTANT: Final = pa.timestamp("us", "UTC")
SCHEMA: Final = pa.schema(
    [
        ("at", _INSTANT),
        ("ticker", pa.dictionary(pa.int32(), pa.string())),
        ("signal", pa.int8()),
        ("score", pa.float64()),
        ("confidence", pa.float64()),
        ("actionable", pa.bool_()),
        ("probabilities", pa.list_(pa.float64(), 3)),
        ("texts", pa.list_(pa.string())),
        ("text_at", _INSTANT),
        ("known_at", _INSTANT),
        ("adapters", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True, eq=False)
class Signals:
    """Hold signals: one dated, signed opinion a row about one instrument, ordered by (at, ticker), each pair once.

    Instants are datetime64[us] in UTC. Raises ValueError for arrays of another shape or rows out of order, and
    LookAhead for a row that isn't known before its decision, unless `facts` allow it.
    """

    at: np.ndarray  # (rows,): the instant of the decision; at a close, a microsecond after it
    ticker: np.ndarray  # (rows,) int32 into tickers
    tickers: tuple[str, ...]  # ascending
    signal: np.ndarray  # (rows,) int8: -1 SELL, 0 HOLD, 1 BUY
    score: np.ndarray  # (rows,) float64, signed: probability of BUY less that of SELL, or a regression's estimate
    confidence: np.ndarray  # (rows,) float64 in 0..1, NaN where there is none
    actionable: np.ndarray  # (rows,) bool: a BUY or SELL past the threshold
    probabilities: np.ndarray  # (rows, 3) float64 of SELL, HOLD, BUY; NaN for a regression
    texts: Sequence[tuple[str, ...]]  # a row's texts: digests of text, availability and ticker
    text_at: np.ndarray  # (rows,): when the latest of them could be read; NaT where there is none
    known_at: np.ndarray  # (rows,): the latest of texts, the adapters' knowledge ends and what was fitted
    adapters: Sequence[tuple[str, ...]]  # digests of the versions that answered a row's texts
    facts: Mapping[str, Any] = field(default_factory=dict)  # in JSON's types: how the signals were made

    def __post_init__(self) -> None:
        rows = len(self.at)
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name not in ("tickers", "facts") and len(value) != rows:
                raise ValueError(f"{item.name} has {len(value)} rows, and at has {rows}")
        if self.probabilities.shape != (rows, 3):
            raise ValueError(f"probabilities have shape {self.probabilities.shape}, and not {(rows, 3)}")
        if list(self.tickers) != sorted(set(self.tickers)):
            raise ValueError("tickers are not ascending and distinct")
        if ((self.ticker < 0) | (self.ticker >= len(self.tickers))).any():
            raise ValueError("ticker points outside of tickers")
        if not np.isin(self.signal, (SELL, HOLD, BUY)).all():
            raise ValueError("signal holds another number than -1, 0 and 1")
        for name in ("confidence", "probabilities"):
            shares = getattr(self, name)
            if ((shares < 0) | (shares > 1 + 1e-9)).any():
                raise ValueError(f"{name} holds a number outside of 0 to 1")
        step = np.diff(self.at)
        tick = np.timedelta64(0, "us")
        if not ((step > tick) | ((step == tick) & (np.diff(self.ticker) > 0))).all():
            raise ValueError("rows are not ordered by at and ticker, each pair once")
        late = np.flatnonzero(~usable(self.known_at, self.at))
        if len(late) and not self.facts.get("allow_lookahead"):
            raise LookAhead(
                f"signal {late[0]} of {self.tickers[self.ticker[late[0]]]} is decided at {self.at[late[0]]}, and known "
                f"only at {self.known_at[late[0]]}: a decision may use what was known strictly before it"
            )

    def __len__(self) -> int:
        return len(self.at)

    def __repr__(self) -> str:
        span = f"{self.at[0]} to {self.at[-1]}" if len(self) else "no row"
        return f"Signals({len(self):,} rows, {len(self.tickers)} tickers, {span})"

    def take(self, keep: np.ndarray) -> Signals:
        """Return the rows that a mask (rows,) keeps, with the same tickers and facts."""
        if keep.all():
            return self
        apart = ("tickers", "facts", "texts", "adapters")
        cut: dict[str, Any] = {
            item.name: getattr(self, item.name)[keep] for item in fields(self) if item.name not in apart
        }
        lists: dict[str, Any] = {name: Lists.of(getattr(self, name)).take(keep) for name in ("texts", "adapters")}
        return replace(self, **cut, **lists)

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of rows and facts, whatever file they are in; every NaN is the same."""
        total = hashlib.sha256(_canonical({"facts": dict(self.facts), "tickers": list(self.tickers)}))
        for name in ("at", "ticker", "signal", "actionable", "text_at", "known_at"):
            values = np.ascontiguousarray(getattr(self, name))
            total.update(values.view(f"V{values.itemsize}").data)  # times have no buffer of their own
        for name in ("score", "confidence", "probabilities"):
            array = getattr(self, name)
            total.update(np.ascontiguousarray(np.where(np.isnan(array), np.nan, array + 0.0)).data)
        for name in ("texts", "adapters"):
            column = Lists.of(getattr(self, name)).arrow()
            items = column.flatten()
            total.update(column.offsets.to_numpy().astype(np.int64).tobytes())
            total.update(np.asarray(pc.binary_length(items)).tobytes())
            total.update(items.buffers()[2] or b"")  # the texts themselves, one after the other: `take` made them anew
        return f"sha256:{total.hexdigest()}"


def yanked_by(signals: Signals) -> Any:
    """Return what yanked versions counted for; tables from before there was a choice left them out."""
    return signals.facts.get("yanked", "left_out")


def table_of(signals: Signals) -> Any:
    """Return signals as a pyarrow table of `SCHEMA`, one row a signal."""
    nan = signals.probabilities.reshape(-1)
    cells = {
        "at": pa.array(signals.at, _INSTANT),
        "ticker": pa.DictionaryArray.from_arrays(pa.array(signals.ticker, pa.int32()), pa.array(signals.tickers)),
        **{name: pa.array(getattr(signals, name)) for name in ("signal", "score", "confidence", "actionable")},
        "probabilities": pa.FixedSizeListArray.from_arrays(pa.array(nan), 3),
        "texts": Lists.of(signals.texts).arrow(),
        "text_at": pa.array(signals.text_at, _INSTANT),
        "known_at": pa.array(signals.known_at, _INSTANT),
        "adapters": Lists.of(signals.adapters).arrow(),
    }
    return pa.table(cells, schema=SCHEMA)


def write_signals(signals: Signals, path: str | os.PathLike[str]) -> str:
    """Write signals as parquet, with the facts and a digest in the metadata, and return the digest.

    The file appears whole, or stays as it was. Raises BadCorpus where its folder is not there.
    """
    target, digest = Path(path), signals.digest
    check_folder(target)
    described = {"facts": dict(signals.facts), "tickers": list(signals.tickers), "digest": digest}
    table = table_of(signals).replace_schema_metadata({KEY: _canonical(described)})
    with new_file(target) as file:
        pyarrow.parquet.write_table(table, file)
    return digest


def check_folder(path: str | os.PathLike[str]) -> None:
    """Raise BadCorpus where the folder that signals are to be written to is not there."""
    if not Path(path).parent.is_dir():
        raise BadCorpus(f"signals can't be written to {path}: there is no folder {Path(path).parent}; make it first")


def read_signals(path: str | os.PathLike[str]) -> Signals:
    """Return the signals that `write_signals` wrote.

    Raises BadCorpus for any other file, and Corrupted for one that was altered since.
    """
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadCorpus(f"{path}: no table of signals can be read ({error}): give a file of write_signals") from error
    written = (table.schema.metadata or {}).get(KEY)
    if written is None:
        raise BadCorpus(f"{path} is no table of signals: give a file of write_signals")
    _check_schema(table, f"{path}")
    try:
        described = json.loads(written)
        _check_facts(described["facts"])
        signals = _signals(table, described)
        altered = signals.digest != described["digest"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Corrupted(f"{path} holds no valid signals ({error}): make them again") from error
    if altered:
        raise Corrupted(f"{path} holds other signals than when it was written: make them again")
    return signals


def _signals(table: Any, described: Mapping[str, Any]) -> Signals:
    tickers = tuple(described["tickers"])
    columns = {name: table[name] for name in table.column_names}
    if bad := [name for name in columns if name not in ("text_at",) and columns[name].null_count]:
        raise ValueError(f"{bad[0]} has an empty cell")
    encoded = columns["ticker"].combine_chunks()
    position = {name: index for index, name in enumerate(tickers)}
    codes = np.array([position[name] for name in encoded.dictionary.to_pylist()], np.int32)
    instants = {name: columns[name].to_numpy().astype("datetime64[us]") for name in ("at", "text_at", "known_at")}
    plain = {name: columns[name].to_numpy() for name in ("signal", "score", "confidence", "actionable")}
    return Signals(
        **instants,
        **plain,
        ticker=codes[encoded.indices.to_numpy()].astype(np.int32),
        tickers=tickers,
        probabilities=columns["probabilities"].combine_chunks().flatten().to_numpy().reshape(-1, 3),
        texts=Lists.read(columns["texts"]),
        adapters=Lists.read(columns["adapters"]),
        facts=described["facts"],
    )


def _check_schema(table: Any, path: str) -> None:
    if table.column_names != SCHEMA.names:
        raise BadCorpus(f"{path} has the columns {', '.join(table.column_names)}, and not {', '.join(SCHEMA.names)}")
    for column in SCHEMA:
        kind = table.schema.field(column.name).type
        if not kind.equals(column.type):
            raise BadCorpus(f"{path}: {column.name} is of type {kind}, and not {column.type}: make the signals again")


def _check_facts(facts: Any) -> None:
    """Raise ValueError, KeyError or TypeError for facts that don't date what was fitted, or are of another kind."""
    if not isinstance(facts.get("adapter", ""), str) or not isinstance(facts.get("corpus") or {}, dict):
        raise TypeError("its facts name no adapter, or no corpus")
    items = facts.get("fitted", ())
    fitted = {str(fact["what"]): np.datetime64(str(fact["until"]).removesuffix("Z"), "us") for fact in items}
    if any(np.isnat(until) for until in fitted.values()) or (facts.get("calibration") and "calibration" not in fitted):
        raise ValueError("its facts don't date what was fitted")


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, allow_nan=False).encode()
