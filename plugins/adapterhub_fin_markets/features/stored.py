"""Write features to parquet, and read them with their schema checked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from adapterhub_fin.plugin import BadCorpus
from adapterhub_fin_markets.features.table import Features
from adapterhub_fin_markets.prices.new_file import new_file

KEY: Final = b"adapterhub_fin_markets.features"
_INSTANT: Final = pa.timestamp("us", "UTC")


def write_features(features: Features, path: str | os.PathLike[str]) -> None:
    """Write features as parquet: `at`, `ticker`, `known_at` and a column a feature, one row a time and ticker.

    The metadata holds names, lookbacks, tickers, the calendar, the digest of the prices and that of the cells. The file
    appears whole, or stays as it was. Raises BadCorpus where its folder is not there.
    """
    check_folder(path)
    times, tickers = features.known_at.shape
    cells: dict[str, Any] = {
        "at": pa.array(np.repeat(features.at.astype("datetime64[us]"), tickers), _INSTANT),
        "ticker": pa.array(list(features.tickers) * times, pa.string()).dictionary_encode(),
        "known_at": pa.array(features.known_at.astype("datetime64[us]").ravel(), _INSTANT),
        **{name: pa.array(column.ravel(), from_pandas=True) for name, column in features.columns.items()},
    }
    facts = {
        "names": list(features.names),
        "lookbacks": dict(features.lookbacks),
        "tickers": list(features.tickers),
        "calendar": features.calendar,
        "prices": features.prices_digest,
    }
    facts["digest"] = _digest(facts, features)
    table = pa.table(cells).replace_schema_metadata({KEY: json.dumps(facts, sort_keys=True)})
    with new_file(path) as file:
        pyarrow.parquet.write_table(table, file)


def check_folder(path: str | os.PathLike[str]) -> None:
    """Raise BadCorpus where the folder that a file is to be written to is not there."""
    if not Path(path).parent.is_dir():
        raise BadCorpus(f"features can't be written to {path}: there is no folder {Path(path).parent}; make it first")


def read_features(path: str | os.PathLike[str]) -> Features:
    """Return the features that `write_features` wrote. Raises BadCorpus for any other file, or one that was altered."""
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadCorpus(f"{path}: no table of features can be read ({error}): give a file of write_features") from error
    held = (table.schema.metadata or {}).get(KEY)
    if held is None:
        raise BadCorpus(f"{path} is no table of features: give a file of write_features")
    facts = json.loads(held)
    names, tickers = facts["names"], tuple(facts["tickers"])
    _check_schema(table, names, f"{path}")
    count = max(len(tickers), 1)
    if table.num_rows % count or table["ticker"].to_pylist() != list(tickers) * (table.num_rows // count):
        raise BadCorpus(f"{path} does not hold each of its {len(tickers)} tickers at each time: compute it again")
    shape = (table.num_rows // count, len(tickers))
    at = table["at"].to_numpy().astype("datetime64[us]").reshape(shape)
    if (at != at[:, :1]).any() or (np.diff(at[:, :1], axis=0) <= np.timedelta64(0)).any():
        raise BadCorpus(f"{path} is not ordered by time: compute it again")
    features = Features(
        tickers=tickers,
        at=at[:, 0] if len(tickers) else at.ravel(),
        columns={name: table[name].to_numpy().astype(np.float64).reshape(shape) for name in names},
        known_at=table["known_at"].to_numpy().astype("datetime64[us]").reshape(shape),
        lookbacks=facts["lookbacks"],
        calendar=facts["calendar"],
        prices=facts["prices"],
    )
    digest = facts.pop("digest", None)
    if digest != _digest(facts, features):
        raise BadCorpus(f"{path} holds other features than when it was written: compute it again")
    return features


def _digest(facts: Mapping[str, Any], features: Features) -> str:
    """Return the SHA-256 of what is recorded of features, and of their cells; every NaN is the same."""
    total = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for times in (features.at, features.known_at):
        total.update(np.ascontiguousarray(times.astype("datetime64[us]")).tobytes())
    for column in features.columns.values():
        total.update(np.where(np.isnan(column), np.nan, column).tobytes())
    return f"sha256:{total.hexdigest()}"


def _check_schema(table: Any, names: list[str], path: str) -> None:
    expected = ["at", "ticker", "known_at", *names]
    if table.column_names != expected:
        raise BadCorpus(f"{path} has the columns {', '.join(table.column_names)}, and not {', '.join(expected)}")
    for name in expected:
        kind = table.schema.field(name).type
        instant, text = name in ("at", "known_at"), name == "ticker"
        right = kind == _INSTANT if instant else (pa.types.is_dictionary(kind) if text else kind == pa.float64())
        if not right:
            raise BadCorpus(f"{path}: {name} is of type {kind}: compute the file again")
