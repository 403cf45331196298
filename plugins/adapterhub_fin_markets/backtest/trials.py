"""Count what was tried: a log of every backtest of a registry, one line each, which is only appended to.

The log is `ROOT/backtests/trials.jsonl`. A crash may cut off the last line: its backtest showed no result, so the line
counts for none, and the next backtest takes it away. The count is a lower bound: what was tried by other tools, in
other registries or in one's head is not in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from filelock import FileLock

from adapterhub_fin import Corrupted, WriteFailed
from adapterhub_fin.stats.undefined import Undefined

LOG: Final = Path("backtests", "trials.jsonl")
COUNTED: Final = "every recipe of this registry's log on a span that overlaps, of whatever instruments"
LOWER_BOUND: Final = f"a lower bound: {COUNTED}"


@dataclass(frozen=True)
class Trial:
    """Hold one backtest as the log has it."""

    recipe: str  # digest of all that the result depends on
    name: str
    first: str  # the first and the last instant of the test, as `instant_text`
    last: str
    sharpe: float | None  # per period; None where it is undefined
    periods: int
    a_year: float  # periods
    at: str = ""  # when it was logged

    def overlaps(self, other: Trial) -> bool:
        """Say whether two tests have an instant in common."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, eq=False)
class Trials:
    """Hold how many distinct recipes were tried on overlapping spans, and the ratios of those that have one."""

    count: int
    ratios: np.ndarray  # (ratios,), per period of the backtest that is judged; `count` or fewer

    @property
    def variance(self) -> float:
        """Return the variance of the ratios, over n - 1; 0 of one trial. Raises Undefined for fewer than two ratios."""
        if self.count == 1:
            return 0.0
        if len(self.ratios) < 2:
            raise Undefined(f"of {self.count:,} trials, {len(self.ratios)} have a Sharpe ratio: a variance needs two")
        return float(np.var(self.ratios, ddof=1))


def instant_text(instant: np.datetime64) -> str:
    """Return an instant of UTC as the log has it: texts are in the order of the instants."""
    return f"{np.datetime_as_string(instant.astype('M8[us]'), unit='us')}Z"


def log_trial(root: Path, trial: Trial) -> None:
    """Append a backtest to the log of the registry at `root`, and sync it; log it before its result is shown.

    Many threads and processes may do so at once. Raises WriteFailed where the log can't be written, so that no backtest
    runs uncounted.
    """
    at = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    line = json.dumps({**asdict(trial), "at": f"{at}Z"}, sort_keys=True, allow_nan=False).encode() + b"\n"
    path = root / LOG
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                _cut_torn_line(descriptor)
                if os.write(descriptor, line) != len(line):
                    raise OSError("the disk took a part of the line")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise WriteFailed(
            f"the backtest can't be counted in {path} ({error}): make the folder writable, or name another registry"
        ) from error


def read_trials(root: Path) -> list[Trial]:
    """Return the backtests in the log of the registry at `root`, in the order of their lines.

    A last line that a crash cut off is left out. Raises Corrupted for any other line that is no trial.
    """
    path = root / LOG
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [_parsed(path, number, line) for number, line in enumerate(lines[:-1], 1)]


def trials_beside(trial: Trial, logged: Iterable[Trial]) -> Trials:
    """Return the distinct recipes on spans that overlap a trial's, itself included; the last line of each counts.

    Ratios of tests by another interval are made comparable by the root of the periods of a year.
    """
    last = {other.recipe: other for other in logged if other.overlaps(trial)}
    last[trial.recipe] = trial
    ratios = [
        other.sharpe * (other.a_year / trial.a_year) ** 0.5 for other in last.values() if other.sharpe is not None
    ]
    return Trials(len(last), np.array(ratios))


def _cut_torn_line(descriptor: int) -> None:
    """Take away what a crash left after the last whole line."""
    size = os.fstat(descriptor).st_size
    if not size or os.pread(descriptor, 1, size - 1) == b"\n":
        return
    data = os.pread(descriptor, size, 0)
    os.ftruncate(descriptor, data.rfind(b"\n") + 1)


_TYPES: Final[dict[str, Any]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "float | None": (int, float, type(None)),
}


def _parsed(path: Path, number: int, line: bytes) -> Trial:
    try:
        values = json.loads(line)
        for item in fields(Trial):
            if not isinstance(values[item.name], _TYPES[str(item.type)]):
                raise TypeError(f"{item.name} is {values[item.name]!r}")
        return Trial(**values)
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupted(
            f"line {number} of {path} is no trial ({error}): restore the file from a copy, or delete that line, whose "
            "backtest then isn't counted"
        ) from error
