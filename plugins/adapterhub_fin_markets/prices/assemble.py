"""Put bars into a panel, and find what has no place in one: off the exchange's sessions, twice, or without a close."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from adapterhub_fin_markets.prices.bars import FIELDS, Bars
from adapterhub_fin_markets.prices.clock import DAILY, Clock, Placed, label_days, local_days, place
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.findings import Finding, instant
from adapterhub_fin_markets.prices.panel import COLUMNS, Prices


def assemble(
    bars: Bars, facts: Mapping[str, Any], *, timezone: str | None, label: str, instruments: Any = None
) -> tuple[Prices, list[Finding]]:
    """Return the bars as a panel, and what was found while each row took its place.

    Rows off the calendar's sessions, without a close, and contradicting rows of one bar have no cell. Nothing depends
    on the order of the rows. Raises BadPrices where the calendar is not named or can't be had.
    """
    calendar, interval = facts.get("calendar"), facts.get("interval") or DAILY
    if calendar is None:
        raise BadPrices("name the exchange whose sessions the bars are of, such as calendar='XNYS' or '24/7'")
    placed, clock = place(bars.labels, calendar, interval, timezone, label)
    time = placed.index[bars.at]
    if instruments is not None:
        days = label_days(bars.labels, clock) if interval == DAILY else local_days(bars.labels.utc, clock.zone)
        bars = instruments.rename(bars, days[bars.at])
    findings = [*_off_session(bars, time, calendar), *_mixed_zones(bars, clock, interval)]
    inside = time >= 0
    if not inside.all():
        bars, time = bars.select(inside), time[inside]
    null = np.isnan(bars.fields["close"])
    if null.any():
        findings += _null_closes(bars, time, placed, null)
        kept = ~null | _has_event(bars)
        bars, time = _emptied(bars, null).select(kept), time[kept]
    cell = time.astype(np.int64) * len(bars.tickers) + bars.ticker
    shape = (len(placed.starts), len(bars.tickers))
    taken = np.zeros(shape[0] * shape[1], bool)
    taken[cell] = True
    if np.count_nonzero(taken) < len(cell):
        twice, keep = _duplicates(bars, cell, placed, clock)
        findings += twice
        bars, cell = bars.select(keep), cell[keep]
    arrays = {name: _spread(bars.fields.get(name), cell, shape) for name in FIELDS}
    empty = np.full(shape, np.nan)
    extra: dict[str, Any] = {name: arrays[name] for name in FIELDS if name not in COLUMNS}
    columns: dict[str, Any] = {name: empty if arrays[name] is None else arrays[name] for name in COLUMNS}
    prices = Prices(
        tickers=bars.tickers,
        starts_at=placed.starts,
        closes_at=placed.closes,
        days=placed.days,
        calendar=calendar,
        interval=interval,
        currency=facts.get("currency"),
        adjusted_as_of=facts.get("adjusted_as_of"),
        split_adjusted=facts.get("split_adjusted"),
        dividend_adjusted=bool(facts.get("dividend_adjusted")),
        source=facts.get("source") or "",
        **columns,
        **extra,
    )
    return prices, findings


def _spread(values: np.ndarray | None, cell: np.ndarray, shape: tuple[int, int]) -> np.ndarray | None:
    if values is None:
        return None
    panel = np.full(shape[0] * shape[1], np.nan)
    panel[cell] = values
    return panel.reshape(shape)


def _off_session(bars: Bars, time: np.ndarray, calendar: str) -> Iterator[Finding]:
    rows = np.flatnonzero(time < 0)
    for row in rows[np.lexsort((bars.labels.utc[bars.at[rows]], bars.ticker[rows]))].tolist():
        number = bars.at[row]
        day, utc = bars.labels.day[number], bars.labels.utc[number]
        written = str(day if not np.isnat(day) else utc)
        weekday = instant(utc if np.isnat(day) else day.astype("M8[us]")).strftime("%A")
        ticker = bars.tickers[bars.ticker[row]]
        sentence = f"{ticker} has a bar at {written}, a {weekday} on which {calendar} has no session then"
        yield Finding("no-session", ticker, instant(utc), 1, written, sentence, refused=True)


def _mixed_zones(bars: Bars, clock: Clock, interval: str) -> Iterator[Finding]:
    """Yield tickers whose days are midnights of several zones: as written in some rows, the exchange's in others."""
    labels = bars.labels
    if interval != DAILY or not labels.zoned.any() or clock.zone == "UTC":
        return
    days = local_days(labels.utc, clock.zone)
    since = labels.utc - _midnights(days, clock.zone)
    form = np.where(~np.isnat(labels.day), 0, np.where(since == np.timedelta64(0, "us"), 1, 2))
    form = np.where(~np.isnat(labels.day) & (since == np.timedelta64(0, "us")), -1, form)  # both: says nothing
    seen = np.zeros((len(bars.tickers), 4), bool)
    seen[bars.ticker, form[bars.at]] = True  # -1 is the last column
    for number, ticker in enumerate(bars.tickers):
        if np.count_nonzero(seen[number, :3]) > 1:
            used = bars.at[bars.ticker == number]
            hours = sorted({str(at)[11:16] for at in np.unique(labels.utc[used])})
            text = ", ".join(hours[:6])
            sentence = f"{ticker} dates its days at {text} UTC: by midnights of several zones; each is read as its day"
            yield Finding("mixed-zones", ticker, instant(labels.utc[used].min()), len(used), text, sentence, False)


def _midnights(days: np.ndarray, zone: str) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    local = pa.array(days.astype("M8[us]"), pa.timestamp("us"))
    utc = pc.assume_timezone(local, zone, ambiguous="earliest", nonexistent="earliest")
    instants: np.ndarray = utc.cast(pa.timestamp("us", "UTC")).to_numpy(zero_copy_only=False).astype("M8[us]")
    return instants


def _has_event(bars: Bars) -> np.ndarray:
    """Return which rows, (rows,) bool, list a dividend or a split: it counts, though the bar has no close."""
    cells = bars.fields
    events = np.zeros(len(bars), bool)
    for name, none in (("dividends", 0.0), ("splits", 1.0), ("capital_gains", 0.0)):
        if name in cells:
            events |= ~np.isnan(cells[name]) & (cells[name] != 0) & (cells[name] != none)
    return events


def _emptied(bars: Bars, rows: np.ndarray) -> Bars:
    levels = (*COLUMNS, "adj_close", "turnover")
    cells = {name: np.where(rows, np.nan, of) if name in levels else of for name, of in bars.fields.items()}
    return replace(bars, fields=cells)


def _null_closes(bars: Bars, time: np.ndarray, placed: Placed, null: np.ndarray) -> Iterator[Finding]:
    rows = np.flatnonzero(null)
    for row in rows[np.lexsort((time[rows], bars.ticker[rows]))].tolist():
        number, ticker = int(time[row]), bars.tickers[bars.ticker[row]]
        sentence = f"{ticker} has no close on {placed.days[number]}: the bar is left out"
        cells = (number, number + 1, int(bars.ticker[row]))
        yield Finding("null-close", ticker, instant(placed.closes[number]), 1, None, sentence, False, cells)


def _duplicates(bars: Bars, cell: np.ndarray, placed: Placed, clock: Clock) -> tuple[list[Finding], np.ndarray]:
    """Return what stands twice, and the rows to keep, (rows,) int: the first of equals, none of those that differ."""
    names = sorted(bars.fields)
    order = np.lexsort((*(bars.fields[name] for name in names), cell))
    ordered = cell[order]
    first = np.r_[True, ordered[1:] != ordered[:-1]]
    same = np.ones(len(order), bool)
    for name in names:
        values = bars.fields[name][order]
        same[1:] &= (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    group = np.cumsum(first) - 1
    differs = np.zeros(group[-1] + 1, bool)
    differs[group[~same & ~first]] = True
    findings = []
    starts, sizes = np.flatnonzero(first), np.bincount(group)
    for number in np.flatnonzero(sizes > 1).tolist():
        rows = order[starts[number] : starts[number] + sizes[number]]
        time, column = divmod(int(ordered[starts[number]]), len(bars.tickers))
        ticker, day = bars.tickers[column], placed.days[time]
        closes = ", ".join(f"{close:g}" for close in np.unique(bars.fields["close"][rows]))
        how = f"that differ (closes {closes})" if differs[number] else "that agree"
        sentence = f"{ticker} has {sizes[number]} rows for the bar of {day} {how}"
        at = instant(placed.closes[time])
        findings.append(
            Finding("duplicate-bar", ticker, at, int(sizes[number]), closes, sentence, True, (time, time + 1, column))
        )
    keep = np.sort(order[first & ~differs[group]])
    return sorted(findings, key=lambda finding: (finding.ticker, str(finding.at))), keep
