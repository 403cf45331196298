"""Parse sizes such as 512MB and times such as 90d on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from adapterhub_fin_registry.io.clock import read_clock

_PERIODS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}
_UNITS = {"KB": 2**10, "MB": 2**20, "GB": 2**30}


class Size(click.ParamType[int]):
    """Parse a number of bytes, such as 512MB (KB, MB and GB are powers of 1,024)."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes. Fails with a usage error for text that isn't a size."""
        if isinstance(value, int):
            return value
        text = value.strip().upper()
        unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
        number = text.removesuffix(unit).strip()
        if not (number.isascii() and number.isdigit() and len(number) < 16 and int(number)):
            self.fail(f"{value!r} isn't a size: write bytes, or 512MB, or 2GB.", param, ctx)
        return int(number) * _UNITS.get(unit, 1)


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
