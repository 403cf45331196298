"""Read cells of a table as numbers and times, a column at a time."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from adapterhub_fin.plugin import BadInstant, read_by, tells_time
from adapterhub_fin_markets.prices.bars import Labels
from adapterhub_fin_markets.prices.errors import BadPrices

EMPTY = ("", "null", "NULL", "None", "none", "NaN", "nan", "NA", "N/A", "n/a", "-", ".", "#N/A")
_ZONE = r"(?:[Zz]|[+-]\d\d:?\d\d)$"
_TIMES = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9}


def _written(digits: str) -> re.Pattern[str]:
    return re.compile(rf"(?P<sign>[+-]?)\s*[$€£¥]?\s*(?P<digits>{digits})\s*(?P<times>[KMBkmb]?)")


# By decimal sign; where none is stated, a comma may be either, and is refused.
_WRITTEN = {
    None: _written(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"),
    ".": _written(r"(?:\d{1,3}(?:[, '\u00a0\u202f]\d{3})+|\d+)(?:\.\d*)?(?:[eE][+-]?\d+)?"),
    ",": _written(r"(?:\d{1,3}(?:[. '\u00a0\u202f]\d{3})+|\d+)(?:,\d*)?(?:[eE][+-]?\d+)?"),
}
_UNITS = (10**11, 10**14, 10**17)  # below are seconds, milliseconds, microseconds, and above nanoseconds since 1970
_PARTS = (10**6, 1000, 1, 0)  # microseconds of each; 0: less than one
_EARLIEST, _LATEST = np.datetime64("1800-01-01", "us"), np.datetime64("2200-01-01", "us")


def read_numbers(column: Any, name: str, file: str, decimal: str | None = None) -> np.ndarray:
    """Return a column as float64, (rows,), NaN where it is empty.

    A cell may have a currency's sign before it and K, M or B behind it. Raises BadPrices with the row and the value.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    texts = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
    if texts:
        array = pc.utf8_trim_whitespace(array)
        array = pc.if_else(pc.is_in(array, value_set=pa.array(EMPTY, array.type)), None, array)
    try:
        if texts and decimal is not None:
            raise pa.ArrowInvalid("numbers with separators are read cell by cell")
        values: np.ndarray = pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if not texts:
            raise BadPrices(f"{file}: the column {name} holds {array.type}, not numbers") from None
        values = np.array([_number(cell, row, name, file, decimal) for row, cell in enumerate(array.to_pylist())])
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise BadPrices(f"{file}, row {row + 1}: {name} is infinite: mend the cell, or leave it empty")
    return values


def _number(cell: str | None, row: int, name: str, file: str, decimal: str | None) -> float:
    if cell is None:
        return math.nan
    match = _WRITTEN[decimal].fullmatch(cell)
    if match is None:
        mend = "mend the cell, or leave it empty"
        if decimal is None and "," in cell:
            mend = "say which sign is the decimal one, as in decimal='.' or --decimal ."
        raise BadPrices(f"{file}, row {row + 1}: {name} {cell!r} is not a number: {mend}")
    digits = match["digits"]
    if decimal is not None:
        digits = re.sub(r"[ '\u00a0\u202f]", "", digits.replace("." if decimal == "," else ",", "")).replace(",", ".")
    return float(match["sign"] + digits) * _TIMES[match["times"].upper()]


def read_times(column: Any, name: str, file: str, date_format: str | None = None) -> tuple[Labels, np.ndarray]:
    """Return the distinct times of a column, and which of them each row has, (rows,) int32.

    Texts are ISO dates and times, with or without a zone, or as `date_format` has them; integers are YYYYMMDD, or
    seconds to nanoseconds since 1970.
    Raises BadPrices with the row and the value.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = array if pa.types.is_dictionary(array.type) else pc.dictionary_encode(array)
    if encoded.null_count:
        row = int(np.flatnonzero(pc.is_null(encoded).to_numpy(zero_copy_only=False))[0])
        raise BadPrices(f"{file}, row {row + 1} has no {name}: give the bar's time, or remove the row")
    at = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    labels, bad = _labels(encoded.dictionary) if date_format is None else _by_format(encoded.dictionary, date_format)
    if bad.any():
        row = int(np.flatnonzero(bad[at])[0])
        value = encoded.dictionary[int(at[row])].as_py()
        mend = (
            "write it as 2024-01-31, with its zone, or say how it is written, as in --date-format %d.%m.%Y or unix_ms"
        )
        if date_format is not None:
            mend = f"the dates are to be read as {date_format}: mend the cell, or give another --date-format"
        raise BadPrices(f"{file}, row {row + 1}: {name} {value!r} is not a time: {mend}")
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
    local = None
    if zoned:  # as the column's own zone writes it
        local = pc.local_timestamp(values).cast(pa.timestamp("us"), safe=False).to_numpy(zero_copy_only=False)
    labels = _labelled(utc.astype("M8[us]"), everywhere & zoned, everywhere & pa.types.is_date(kind), local)
    return labels, ~everywhere


def _by_format(values: Any, date_format: str) -> tuple[Labels, np.ndarray]:
    read, timed = read_by(date_format), tells_time(date_format)
    utc, local = np.zeros(len(values), "M8[us]"), np.zeros(len(values), "M8[us]")
    zoned, bare, bad = (np.zeros(len(values), bool) for _ in range(3))
    for row, value in enumerate(values.to_pylist()):
        try:
            moment = read(value)
        except BadInstant:
            bad[row] = True
            continue
        bare[row] = not (timed or isinstance(value, datetime) or isinstance(moment, datetime))
        if isinstance(moment, datetime) and moment.tzinfo is not None:
            zoned[row], local[row] = True, moment.replace(tzinfo=None)
            utc[row] = moment.astimezone(UTC).replace(tzinfo=None)
        else:
            utc[row] = local[row] = np.datetime64(moment, "us")
    return _labelled(utc, zoned, bare, local), bad


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
    units = np.searchsorted(_UNITS, values, side="right")
    if (units == 0).any():
        bad |= units != units[0]  # seconds stand with nothing else
    else:
        bad |= _digits_of_a_date(values)
    for unit, parts in enumerate(_PARTS):
        utc[units == unit] = (values[units == unit] * parts if parts else values[units == unit] // 1000).astype(
            "M8[us]"
        )
    bad |= (utc < _EARLIEST) | (utc >= _LATEST)
    everywhere = np.ones(len(values), bool)
    return _labelled(utc, everywhere, ~everywhere), bad


def _digits_of_a_date(values: np.ndarray) -> np.ndarray:
    """Mark times (times,) that read as YYYYMMDDHHMM: all of them, or none. As milliseconds they are of 1973 to 2001."""
    days, clock = np.divmod(values, 10**4)
    months, day = np.divmod(days, 100)
    year, month = np.divmod(months, 100)
    dated = (year >= 1900) & (year < 2200) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    return np.full(len(values), bool((dated & (clock // 100 < 24) & (clock % 100 < 60)).all()))


def _labelled(utc: np.ndarray, zoned: np.ndarray, bare: np.ndarray, local: np.ndarray | None = None) -> Labels:
    written = utc if local is None else local
    day = written.astype("M8[D]")
    midnight = day.astype("M8[us]") == written
    return Labels(utc, np.where(midnight, day, np.datetime64("NaT", "D")), zoned, bare)
