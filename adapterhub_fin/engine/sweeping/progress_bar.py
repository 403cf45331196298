"""Show how a sweep goes on: a bar on a terminal, a line that changes in a notebook, and elsewhere lines."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from adapterhub_fin.plugin.progress_lines import ProgressLines


class SweepBar:
    """Show the runs that ended, the time left and the best score so far on stderr; a context manager."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._best = total, 0, ""
        self._bar: Any = None
        self._lines: ProgressLines | None = None

    def __enter__(self) -> SweepBar:
        if not sys.stderr.isatty():
            self._lines = ProgressLines("sweep: run", self._total)
            return self
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("sweep"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        columns = (*columns, TextColumn("{task.description}"))  # type: ignore[assignment]
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=self._total)
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def best(self, text: str) -> None:
        """Show the best combination so far."""
        self._best = text

    def ended(self, runs: int) -> None:
        """Show that so many runs have ended in all."""
        if runs == self._done:
            return
        self._done = runs
        if self._bar is not None:
            self._bar.update(self._task, completed=runs, description=self._best)
        elif self._lines is not None:
            self._lines.show(runs, self._best, at_once=runs == self._total)
