"""Say when EDGAR shows a filing that it accepted: on business days, from 6:00 to 22:00 in New York.

What begins to arrive after 17:30 is filed, and shown, on the next business day (17 CFR 232.13(a)(2)). Reports of
insiders and large holders, such as Forms 3, 4, 5 and 144, keep the day's date until 22:00 and are shown at once
(232.13(a)(4)): their filing date says so. EDGAR neither accepts nor shows anything at other times, on weekends or on
federal holidays (SEC, EDGAR Filer Manual, volume II).
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from adapterhub_fin.plugin import end_of_day, instant

NEW_YORK = "America/New_York"
OPENS, CUT_OFF, SHUTS = time(6), time(17, 30), time(22)
_DAY = timedelta(days=1)


def available_at(accepted: datetime | None, filed: date | None) -> datetime:
    """Return the instant in UTC from which a filing could be read, by its acceptance (New York time) and filing date.

    Without a time it is the end of the filing date in New York. A time at which EDGAR shows nothing means the next one
    at which it does; so does a time after 17:30, unless the filing date is that day. A midnight, as it is written or in
    New York, is no time but its day: EDGAR's lists have it for old filings. Raises ValueError where both are missing.
    """
    if accepted is not None and (day := _day_of_midnight(accepted)) is not None:
        accepted, filed = None, max(day, filed or day)
    if accepted is None:
        if filed is None:
            raise ValueError("a filing needs a time of acceptance or a filing date")
        return end_of_day(filed, NEW_YORK)
    naive = accepted.replace(tzinfo=None)
    moments = [instant(_shown(naive, filed), NEW_YORK)]
    if accepted.tzinfo is not None:
        moments.append(accepted.astimezone(UTC))
    if filed is not None and filed > naive.date():
        moments.append(instant(datetime.combine(filed, OPENS), NEW_YORK))
    return max(moments)


def _day_of_midnight(accepted: datetime) -> date | None:
    local = accepted if accepted.tzinfo is None else accepted.astimezone(ZoneInfo(NEW_YORK))
    return next((each.date() for each in (local, accepted) if each.time() == time()), None)


def _shown(accepted: datetime, filed: date | None) -> datetime:
    """Return the first time in New York at which what was accepted then is shown."""
    day, clock = accepted.date(), accepted.time()
    if is_business_day(day) and clock < OPENS:
        return datetime.combine(day, OPENS)
    if is_business_day(day) and (clock <= CUT_OFF or (clock < SHUTS and filed == day)):
        return accepted
    day += _DAY
    while not is_business_day(day):
        day += _DAY
    return datetime.combine(day, OPENS)


def is_business_day(day: date) -> bool:
    """Return whether EDGAR is open on a day: neither on a weekend nor on a federal holiday, as it is observed."""
    return day.weekday() < 5 and day not in _holidays(day.year)


@lru_cache(maxsize=128)
def _holidays(year: int) -> AbstractSet[date]:
    from pandas.tseries.holiday import USFederalHolidayCalendar

    days = USFederalHolidayCalendar().holidays(f"{year - 1}-12-01", f"{year + 1}-01-31")  # observed in the year before
    return frozenset(at.date() for at in days)
