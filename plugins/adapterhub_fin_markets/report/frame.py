"""Frame the pictures of a backtest: axes of time, and a red band where look-ahead was allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from adapterhub_fin.plugin import blank_figure, png
from adapterhub_fin_markets.report.page import LOOKAHEAD, Part

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RED: Final = "#b00020"


@dataclass(frozen=True)
class Frame:
    """Make figures, and parts of a page from them; all carry a red band unless the result is strict."""

    strict: bool

    @property
    def band(self) -> float:
        """Return the height of the red band in inches; 0 where there is none."""
        return 0.0 if self.strict else 0.4

    def figure(self, height: float, **grid: Any) -> tuple[Figure, list[Axes]]:
        """Return a figure of some inches, above which the band comes, and its axes, as `blank_figure` takes them."""
        figure, axes = blank_figure(height + self.band, **grid)
        if not self.strict:
            band: dict[str, Any] = {"facecolor": RED, "edgecolor": RED, "boxstyle": "square,pad=0.4"}
            figure.suptitle(LOOKAHEAD, color="white", fontsize=10, fontweight="bold", bbox=band)
        return figure, axes

    def part(self, title: str, file: str, note: str, figure: Figure) -> Part:
        """Return a picture as a part of the page, with the file that it is also written to."""
        return Part(title, note, png=png(figure), file=f"{file}.png")


def date_axis(axes: Sequence[Axes], at: np.ndarray, ticks: int = 8) -> None:
    """Label axes of time, instants (times,), by the same dates, as few as fit; they are chosen once."""
    from matplotlib import dates

    untyped: Any = dates
    low, high = untyped.date2num(at[[0, -1]])
    locator = untyped.AutoDateLocator(minticks=2, maxticks=ticks)
    where = [tick for tick in locator.tick_values(*untyped.num2date([low, high])) if low <= tick <= high]
    texts = untyped.ConciseDateFormatter(locator)
    labels = texts.format_ticks(where)
    if labels and texts.get_offset():  # the year, where no tick has it
        labels[-1] += f"\n{texts.get_offset()}"
    for axis in axes:
        axis.set_xticks(where, labels)


def legend_of(figure: Figure, axes: Sequence[Axes], columns: int = 4, *, outside: bool = True) -> None:
    """Put one legend at the foot of a figure, of all that has a label; `outside` of axes that are laid out by it."""
    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    style: dict[str, Any] = {"ncols": columns, "fontsize": 9, "frameon": False}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center" if outside else "lower center", **style)
