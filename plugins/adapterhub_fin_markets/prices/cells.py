"""Read cells of a table as numbers and times, a column at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from adapterhub_fin_markets.prices.bars import Labels
from adapterhub_fin_markets.prices.errors import BadPrices

EMPTY = ("", "null", "NULL", "None", "none", "NaN", "nan", "NA", "N/A", "n/a", "-", ".", "#N/A")
_ZONE = r"(?:[Zz]|[+-]\d\d:?\d\d)$"
_MICROSECONDS = ((10**11, 10**6), (10**14, 1000), (10**17, 1), (2**63, 0))  # seconds below 10**11, and so on; 0: less


def read_numbers(column: Any, name: str, file: str) -> np.ndarray:
    """Return a column as float64, (rows,), NaN where it is empty. Raises BadPrices with the row and the value."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        array = pc.utf8_trim_whitespace(array)
        array = pc.if_else(pc.is_in(array, value_set=pa.array(EMPTY, array.type)), None, array)
    try:
        values: np.ndarray = pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise BadPrices(_unread_number(array, name, file)) from error
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise BadPrices(f"{file}, row {row + 1}: {name} is infinite: mend the cell, or leave it empty")
    return values


def _unread_number(array: Any, name: str, file: str) -> str:
    for row, cell in enumerate(array):
        try:
            pc.cast(cell, pa.float64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return f"{file}, row {row + 1}: {name} {cell.as_py()!r} is not a number: mend the cell, or leave it empty"
    return f"{file}: the column {name} holds {array.type}, not numbers"


def read_times(column: Any, name: str, file: str) -> tuple[Labels, np.ndarray]:
    """Return the distinct times of a column, and which of them each row has, (rows,) int32.

    Texts are ISO dates and times, with or without a zone; integers are YYYYMMDD, or seconds to nanoseconds since 1970.
    Raises BadPrices with the row and the value.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = array if pa.types.is_dictionary(array.type) else pc.dictionary_encode(array)
    if encoded.null_count:
        row = int(np.flatnonzero(pc.is_null(encoded).to_numpy(zero_copy_only=False))[0])
        raise BadPrices(f"{file}, row {row + 1} has no {name}: give the bar's time, or remove the row")
    at = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    labels, bad = _labels(encoded.dictionary)
    if bad.any():
        row = int(np.flatnonzero(bad[at])[0])
        value = encoded.dictionary[int(at[row])].as_py()
        raise BadPrices(f"{file}, row {row + 1}: {name} {value!r} is not a time: write it as 2024-01-31, with its zone")
    return labels, at


def _labels(values: Any) -> tuple[Labels, np.ndarray]:
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        values = pc.utf8_trim_whitespace(values)
        if not pc.all(pc.match_substring_regex(values, r"^\d{5,19}$"), min_count=0).as_py():
            return _from_text(values)
        values = pc.cast(values, pa.int64())
        kind = values.type
    if pa.types.is_floating(kind):
        values, kind = pc.cast(values, pa.int64(), safe=False), pa.int64()
    if pa.types.is_integer(kind):
        return _from_integers(values.cast(pa.int64()).to_numpy(zero_copy_only=False))
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        no = np.zeros(len(values), bool)
        return _labelled(np.zeros(len(values), "M8[us]"), no, no), ~no
    zoned = pa.types.is_timestamp(kind) and kind.tz is not None
    utc = pc.cast(values, pa.timestamp("us", "UTC" if zoned else None), safe=False).to_numpy(zero_copy_only=False)
    everywhere = np.ones(len(values), bool)
    return _labelled(utc.astype("M8[us]"), everywhere & zoned, everywhere & pa.types.is_date(kind)), ~everywhere


def _from_text(values: Any) -> tuple[Labels, np.ndarray]:
    values = values.cast(pa.string())
    zoned = np.asarray(pc.match_substring_regex(values, r"\d\d:\d\d.*" + _ZONE))
    bare = np.asarray(pc.match_substring_regex(values, r"^\d{4}-?\d\d-?\d\d$"))
    utc, local = np.zeros(len(values), "M8[us]"), np.zeros(len(values), "M8[us]")
    bad = np.zeros(len(values), bool)
    texts = pc.replace_substring_regex(values, r"^(\d{4})(\d\d)(\d\d)", r"\1-\2-\3")
    for rows, kind in ((zoned, pa.timestamp("us", "UTC")), (~zoned, pa.timestamp("us"))):
        utc[rows], bad[rows] = _cast_times(texts.filter(pa.array(rows)), kind)
    plain = pc.replace_substring_regex(texts, r"\s*" + _ZONE, "").filter(pa.array(zoned))
    local[zoned], local[~zoned] = _cast_times(plain, pa.timestamp("us"))[0], utc[~zoned]
    return _labelled(utc, zoned, bare, local), bad


def _cast_times(texts: Any, kind: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return instants, (texts,) datetime64[us], and which texts could not be read."""
    try:
        return pc.cast(texts, kind).to_numpy(zero_copy_only=False).astype("M8[us]"), np.zeros(len(texts), bool)
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return np.zeros(1, "M8[us]"), np.ones(1, bool)
        half = len(texts) // 2
        first, last = _cast_times(texts[:half], kind), _cast_times(texts[half:], kind)
        return np.concatenate([first[0], last[0]]), np.concatenate([first[1], last[1]])


def _from_integers(values: np.ndarray) -> tuple[Labels, np.ndarray]:
    dates = (values >= 19000101) & (values <= 21991231)
    utc, bad = np.zeros(len(values), "M8[us]"), values <= 0
    if dates.all():
        texts = pa.array([f"{value // 10000:04}-{value // 100 % 100:02}-{value % 100:02}" for value in values.tolist()])
        utc, bad = _cast_times(texts, pa.timestamp("us"))
        return _labelled(utc, np.zeros(len(values), bool), dates), bad
    factor = next(factor for limit, factor in _MICROSECONDS if values.max() < limit)
    scaled = values * factor if factor else values // 1000
    everywhere = np.ones(len(values), bool)
    return _labelled(scaled.astype("M8[us]"), everywhere, ~everywhere), bad


def _labelled(utc: np.ndarray, zoned: np.ndarray, bare: np.ndarray, local: np.ndarray | None = None) -> Labels:
    written = utc if local is None else local
    day = written.astype("M8[D]")
    midnight = day.astype("M8[us]") == written
    return Labels(utc, np.where(midnight, day, np.datetime64("NaT", "D")), zoned, bare)
