"""Dates that are read one by one are those of a column that is read at once."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapterhub_fin.engine.data.shards.day_ends import DayEnds
from adapterhub_fin.errors import BadInstant
from adapterhub_fin.plugin.instants import day_end, instant, moment

ZONES = [ZoneInfo("America/New_York"), ZoneInfo("Asia/Kolkata"), ZoneInfo("UTC"), timezone(timedelta(hours=5))]
DAYS = st.dates(datetime(1990, 1, 1).date(), datetime(2030, 1, 1).date())


@st.composite
def columns(draw: st.DrawFn) -> list[Any]:
    """Cells of which all, or all but a few, are midnights of one or of several zones."""
    zones = draw(st.lists(st.sampled_from([*ZONES, None]), min_size=1, max_size=2))
    cells = []
    for _ in range(draw(st.integers(1, 8))):
        hours = draw(st.sampled_from([0, 0, 0, 0, 0, 16]))
        day = draw(DAYS)
        cells.append(datetime(day.year, day.month, day.day, hours, tzinfo=draw(st.sampled_from(zones))))
    return cells


@settings(max_examples=int(os.environ.get("AHF_CASES", "200")), deadline=None)
@example(  # a midnight in the named zone alone, then one in its own alone: neither zone has all
    cells=[
        datetime(2010, 1, 1, 16, tzinfo=timezone(timedelta(hours=-8))),
        datetime(2010, 1, 2, tzinfo=ZoneInfo("Asia/Kolkata")),
    ],
    zone="UTC",
)
@given(cells=columns(), zone=st.sampled_from([None, "America/New_York", "UTC", "Asia/Kolkata"]))
def test_one_by_one_as_all_at_once(cells: list[Any], zone: str | None) -> None:
    values = [moment(cell) for cell in cells]
    taught = DayEnds(zone)
    for value in values:
        taught.add(value)
    alone = DayEnds(zone, taught.mode)
    for value in values:
        try:
            expected = instant(value, zone, day_end(values, zone))
        except BadInstant:
            with pytest.raises(BadInstant):
                alone.instant(value)
        else:
            assert alone.instant(value) == expected
