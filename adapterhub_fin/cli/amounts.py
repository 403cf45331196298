"""Parse sizes such as 512MiB and times such as 90d on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.byte_sizes import read_bytes
from adapterhub_fin_registry.io.clock import read_clock

_PERIODS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}


class Size(click.ParamType[int]):
    """Parse a number of bytes, such as 512MiB or 5GB (KiB and MiB are powers of 1,024, KB and MB of 1,000)."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes. Fails with a usage error for text that isn't a size."""
        try:
            return read_bytes(value)
        except BadRecipe as error:
            self.fail(f"{error}.", param, ctx)


class Duration(click.ParamType[timedelta]):
    """Parse a length of time such as 90d, 12h or 30m, or the time left until a day begins (00:00 UTC)."""

    name = "time"

    def convert(self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the length of time. Fails with a usage error for text that isn't one, or a day in the past."""
        if isinstance(value, timedelta):
            return value
        number, unit = value[:-1], value[-1:]
        try:
            if unit in _PERIODS and number.isascii() and number.isdigit() and len(number) < 6 and int(number):
                return int(number) * _PERIODS[unit]
            left = datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC) - read_clock()
        except ValueError:
            left = timedelta()
        if left <= timedelta():
            self.fail(
                f"{value!r} isn't a time in the future: write 90d, 12h or 30m, or a day as 2027-01-31.", param, ctx
            )
        return left
