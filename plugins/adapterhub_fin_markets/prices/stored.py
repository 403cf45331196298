"""Write prices to parquet with a digest, and read the facts that such a file holds."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from adapterhub_fin.plugin import Corrupted
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.marks import KEY as MARKS
from adapterhub_fin_markets.prices.marks import marks_of
from adapterhub_fin_markets.prices.new_file import new_file
from adapterhub_fin_markets.prices.panel import COLUMNS, Prices

KEY = b"adapterhub_fin_markets.prices"
FACTS = ("calendar", "interval", "currency", "adjusted_as_of", "split_adjusted", "dividend_adjusted", "source")
_OPTIONAL = ("adj_close", "dividends", "splits", "capital_gains", "turnover")


def read_facts(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return what a file that `write_prices` wrote says of its bars, {} for another. Raises BadPrices."""
    if KEY not in metadata:
        return {}
    try:
        held = json.loads(metadata[KEY])
        return {name: held[name] for name in FACTS if held.get(name) is not None}
    except (ValueError, AttributeError) as error:
        raise BadPrices("the table's own description can't be read: fetch it again") from error


def table_of(prices: Prices) -> Any:
    """Return the bars as a pyarrow table, one row a bar that there is, by ticker and time; shape (bars, columns)."""
    rows, columns = np.nonzero(~np.isnan(prices.close.T))
    cells = {"ticker": pa.array(prices.tickers).take(pa.array(rows)).dictionary_encode()}
    for name in ("starts_at", "closes_at"):
        cells[name] = pa.array(getattr(prices, name)[columns], pa.timestamp("us", "UTC"))
    names = [*COLUMNS, *(name for name in _OPTIONAL if getattr(prices, name) is not None)]
    cells |= {name: pa.array(getattr(prices, name)[columns, rows], from_pandas=True) for name in names}
    return pa.table(cells)


def prices_digest(prices: Prices) -> str:
    """Return the SHA-256 of the bars and of what is recorded of them, whatever file they are in."""
    return _digest(_facts(prices), table_of(prices))


def verify_table(table: Any, file: str) -> None:
    """Raise Corrupted where a table of `write_prices` is not what its digest says; another table passes."""
    held = json.loads((table.schema.metadata or {}).get(KEY) or "{}")
    if held and _digest({name: held[name] for name in FACTS if name in held}, table) != held.get("digest"):
        raise Corrupted(f"{file} holds other bars than when it was written: fetch it again")


def _digest(facts: Mapping[str, Any], table: Any) -> str:
    total = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, column in zip(table.column_names, table.columns, strict=True):
        array = column.combine_chunks()
        total.update(name.encode())
        if name == "ticker":
            encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
            total.update("\0".join(encoded.dictionary.to_pylist()).encode())
            array = encoded.indices.cast(pa.int32())
        values = np.ascontiguousarray(array.to_numpy(zero_copy_only=False))
        total.update(values.view(f"V{values.itemsize}").data)  # times have no buffer of their own
    return f"sha256:{total.hexdigest()}"


def write_prices(prices: Prices, path: str | os.PathLike[str]) -> str:
    """Write the bars as parquet, with what was repaired and flagged of them, and return their digest.

    The file appears whole, or stays as it was.
    """
    digest = prices_digest(prices)
    described = json.dumps({**_facts(prices), "digest": digest}, sort_keys=True)
    table = table_of(prices)
    metadata = {**(table.schema.metadata or {}), KEY: described.encode()}
    if marks := marks_of(prices):
        metadata[MARKS] = json.dumps(marks, sort_keys=True).encode()
    table = table.replace_schema_metadata(metadata)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with new_file(target) as file:
        pyarrow.parquet.write_table(table, file)
    return digest


def stored_digest(path: str | os.PathLike[str]) -> str | None:
    """Return the digest that a file of `write_prices` says it has, None for another file."""
    held = (pyarrow.parquet.read_schema(path).metadata or {}).get(KEY)
    return None if held is None else json.loads(held)["digest"]


def _facts(prices: Prices) -> dict[str, Any]:
    return {
        name: value
        for name in FACTS
        if (value := getattr(prices, name)) not in (None, "", False) or (value is False and name == "split_adjusted")
    }
