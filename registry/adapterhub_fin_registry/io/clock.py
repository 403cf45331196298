"""Read the clock, and refuse one that is behind events that are known to have happened.

Data without a date is dated by the moment at which it was read. A clock that is set back would make that bound wrong,
so the clock is compared with moments that have certainly passed: the release of this package, and those that a caller
knows of (`passed`). Every instant that dates knowledge, a record or an event comes from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from adapterhub_fin_registry.errors import Refused

RELEASED: Final = datetime(2026, 11, 29, tzinfo=UTC)  # set it with the version, when a release is cut
SKEW: Final = timedelta(hours=24)  # how far a clock may be behind


@dataclass(frozen=True)
class Passed:
    """Represent a moment that has passed, shown by something other than the clock.

    `what` says what happened then; `remedy` says what to do if the moment is wrong.
    """

    at: datetime
    what: str
    remedy: str = ""


def read_clock() -> datetime:
    """Return the current instant. Raises Refused if the clock is over 24 hours behind this package's release."""
    now = _wall()
    _check(now, ())
    return now


def bounded_now(passed: Iterable[Passed] = ()) -> datetime:
    """Return the latest of the current instant and the moments that have passed.

    Raises Refused if the clock is more than 24 hours behind one of them: then the clock or that moment is wrong.
    """
    now, moments = _wall(), list(passed)
    _check(now, moments)
    return max([now, *(moment.at for moment in moments)])


def _wall() -> datetime:
    return datetime.now(UTC)


def _check(now: datetime, passed: Iterable[Passed]) -> None:
    last = max([Passed(RELEASED, "this release of adapterhub_fin was made"), *passed], key=lambda moment: moment.at)
    if now < last.at - SKEW:
        cure = f", or, where the clock is right, {last.remedy}" if last.remedy else ""
        raise Refused(
            f"the clock says {_shown(now)}, and {last.what} at {_shown(last.at)}: what has no date would be dated too "
            f"early, so set the clock{cure}"
        )


def _shown(at: datetime) -> str:
    return f"{at.replace(microsecond=0, tzinfo=None).isoformat()}Z"
