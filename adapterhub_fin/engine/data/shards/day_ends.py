"""Read the dates of a column one by one as a corpus reads them all at once: midnights with a zone may be days."""

from __future__ import annotations

from datetime import date, datetime

from adapterhub_fin.plugin.instants import day_end, instant


class DayEnds:
    """Tell from all of a column's cells whether its midnights with a zone are days, and read cells by that.

    They are if every cell with a zone is a midnight: in the zone that the user names, or else in its own. A date, and
    a midnight without a zone, always is a day.
    """

    def __init__(self, zone: str | None, mode: str | None = None) -> None:
        self.zone = zone
        self._named = mode in (None, "named") and zone is not None
        self._own = mode in (None, "own")

    @property
    def mode(self) -> str:
        """Return how midnights with a zone are read, for another object: named, own or instants."""
        return "named" if self._named else "own" if self._own else "instants"

    def add(self, moment: date | datetime) -> date | datetime:
        """Take in a cell's time or day, and return it."""
        if isinstance(moment, datetime) and moment.tzinfo is not None and (self._named or self._own):
            own, named = day_end([moment], None), day_end([moment], self.zone)
            self._own = self._own and own is not None
            self._named = self._named and named is not None and named is not own
        return moment

    def instant(self, moment: date | datetime) -> datetime:
        """Return the instant in UTC of a cell's time or day. Raises BadInstant for one that has no zone."""
        is_zoned = isinstance(moment, datetime) and moment.tzinfo is not None
        if not is_zoned or not (self._named or self._own):
            return instant(moment, self.zone)
        return instant(moment, self.zone, day_end([moment], self.zone if self._named else None))
