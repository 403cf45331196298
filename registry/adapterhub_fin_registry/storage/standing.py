"""Say at which instants a version that was yanked since may still be chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final, Literal, get_args

from adapterhub_fin_registry.errors import BadInstant, Corrupted
from adapterhub_fin_registry.model.events import Yank, yanks
from adapterhub_fin_registry.model.knowledge import parse_instant
from adapterhub_fin_registry.model.version import Version

Yanked = Literal["as_then", "before_yank", "left_out"]
YANKED: Final[tuple[str, ...]] = get_args(Yanked)


@dataclass(frozen=True)
class DatedChoice:
    """Hold for each instant the version that it allows, None where there is none.

    `passed_over` has by index the yanked version that would answer, had it not been yanked.
    """

    versions: Sequence[Version | None]
    passed_over: Mapping[int, Version] = field(default_factory=dict)


@dataclass(frozen=True)
class Standing:
    """Say of one version when it could be chosen; instants are aware.

    `as_then` counts a yanked version from when it was added here until it was yanked: what stood then could not know
    what came after. `before_yank` counts it for every instant before it was yanked, also from before it was added;
    `left_out` for none.
    """

    version: Version
    end: datetime  # of its knowledge
    changes: Sequence[tuple[datetime, Yank | None]]  # yanks, and None where one was undone, in the order of numbers

    @classmethod
    def of(cls, version: Version, include_base: bool) -> Standing:
        """Return that of a version. Raises Corrupted if its events can't be read, or one has no date."""
        return cls(version, version.knows_until(include_base), yanks(version.events))

    @property
    def rank(self) -> tuple[datetime, int]:
        """Return what the choice goes by: the latest knowledge end, then the highest number."""
        return self.end, self.version.number

    @property
    def is_yanked(self) -> bool:
        """Return whether it is yanked today."""
        return bool(self.changes) and self.changes[-1][1] is not None

    @cached_property
    def _added_at(self) -> datetime:
        try:
            return parse_instant(str(self.version.record["added_at"]))
        except (BadInstant, KeyError) as error:
            raise Corrupted(f"{self.version.folder / 'record.json'} has no date: restore it from a copy") from error

    def counts(self, moment: datetime, yanked: Yanked) -> bool:
        """Return whether an instant may choose the version, whatever the version knows. Raises Corrupted."""
        if not self.changes:
            return True
        if yanked == "left_out":
            return not self.is_yanked
        until = [change for at, change in self.changes if at <= moment]
        if until and until[-1] is not None:
            return False
        return yanked == "before_yank" or not self.is_yanked or self._added_at < moment


def check_yanked(yanked: Any) -> Yanked:
    """Return a choice of what yanked versions count for. Raises BadInstant for any other value."""
    for choice in get_args(Yanked):
        if yanked == choice:
            return choice  # type: ignore[no-any-return]
    raise BadInstant(f"yanked is {yanked!r}: use {', '.join(YANKED[:-1])} or {YANKED[-1]}")
