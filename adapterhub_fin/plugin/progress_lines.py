"""Show the progress of long work: a bar on a terminal, a line that changes in a notebook, elsewhere lines."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib import import_module

EVERY = 30.0  # seconds between two lines where stderr is no terminal
NOTEBOOK_EVERY = 2.0  # seconds between two states of a notebook's line; what takes less shows none


class ProgressLines:
    """Print how far work has come on stderr, at most once in `EVERY` seconds unless a line is asked for.

    In a notebook it is one line below the cell, which changes. `done` is where the work begins, such as the step that
    a run resumes from.
    """

    def __init__(self, title: str, total: int, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.title, self.total = title, total
        self._line = NotebookLine() if in_notebook() else None
        self._clock, self._first, self._start = clock, done, clock()
        self._last = self._start

    def show(self, done: int, note: str = "", *, at_once: bool = False) -> None:
        """Print a line with a note if one is due, or `at_once`."""
        now = self._clock()
        if not at_once and not self._is_due(now, done):
            return
        self._last = now
        parts = [f"{done:,} of {self.total:,}", *([note] if note else [])]
        if self._first < done < self.total:
            left = (now - self._start) / (done - self._first) * (self.total - done)
            parts.append(f"{time_text(left)} left")
        (say if self._line is None else self._line.show)(f"{self.title} {', '.join(parts)}")

    def _is_due(self, now: float, done: int) -> bool:
        if self._line is None:
            return now - self._last >= EVERY
        return now - self._last >= NOTEBOOK_EVERY or (self._line.is_shown and done >= self.total)


class NotebookLine:
    """Show a line below a notebook's cell, in the place of the one before."""

    def __init__(self) -> None:
        self._handle = import_module("IPython.display").DisplayHandle()
        self.is_shown = False

    def show(self, line: str) -> None:
        """Show the line."""
        (self._handle.update if self.is_shown else self._handle.display)({"text/plain": line}, raw=True)
        self.is_shown = True


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def say(line: str) -> None:
    """Print a line on stderr; work goes on where nobody can read it any more."""
    with suppress(OSError, ValueError):  # the pipe or the file is closed, which is no reason to lose hours of training
        print(line, file=sys.stderr, flush=True)


def time_text(seconds: float) -> str:
    """Return a duration in the unit that fits it, such as `40 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def progress(title: str, total: int, *, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Show a progress bar for a block; the yielded function advances it by a count.

    Where stderr is no terminal it prints a line every half a minute. Nothing is shown if `shown` is false.
    """
    if not shown:
        yield lambda count: None
        return
    if not sys.stderr.isatty():
        lines, done = ProgressLines(title, total), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            lines.show(done)

        yield advance
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)


_announcing: ContextVar[bool] = ContextVar("long silences are announced", default=False)


@contextmanager
def announcing(announced: bool = True) -> Iterator[None]:
    """Let `announce` print in this block, or keep it from that: a command lets it, and Python code stays silent."""
    token = _announcing.set(announced and os.environ.get("RANK", "0") == "0")  # of several processes, only the first
    try:
        yield
    finally:
        _announcing.reset(token)


def announce(text: str) -> None:
    """Print a line to standard error at once, before seconds in which nothing else shows."""
    if _announcing.get():
        say(text)
