"""Tell the time, and refuse a clock that is behind what has happened already.

What carries no date is bounded by the moment at which it was read. A clock that is set back would make that bound a
lie, so it is held against what has passed for sure: the release of this package, and what a caller knows of (`passed`).
Every instant that dates knowledge, a record or an event comes from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from adapterhub_fin_registry.errors import Refused

RELEASED: Final = datetime(2026, 11, 29, tzinfo=UTC)  # set it with the version, when a release is cut
SKEW: Final = timedelta(hours=24)  # by which a clock may be behind


@dataclass(frozen=True)
class Passed:
    """A moment that has passed by something else than the clock, and what to do where that is wrong."""

    at: datetime
    what: str
    remedy: str = ""


def read_clock() -> datetime:
    """Return this instant; raises Refused where the clock is more than 24 hours before the release of this package."""
    now = _wall()
    _check(now, ())
    return now


def bounded_now(passed: Iterable[Passed] = ()) -> datetime:
    """Return the latest of this instant and of what has passed.

    Raises Refused where the clock is more than 24 hours behind: then it is wrong, or what is said to have passed is.
    """
    now, known = _wall(), list(passed)
    _check(now, known)
    return max([now, *(each.at for each in known)])


def _wall() -> datetime:
    return datetime.now(UTC)


def _check(now: datetime, passed: Iterable[Passed]) -> None:
    last = max([Passed(RELEASED, "this release of adapterhub_fin was made"), *passed], key=lambda each: each.at)
    if now < last.at - SKEW:
        cure = f", or, where the clock is right, {last.remedy}" if last.remedy else ""
        raise Refused(
            f"the clock says {_shown(now)}, and {last.what} at {_shown(last.at)}: what has no date would be dated too "
            f"early, so set the clock{cure}"
        )


def _shown(at: datetime) -> str:
    return f"{at.replace(microsecond=0, tzinfo=None).isoformat()}Z"
