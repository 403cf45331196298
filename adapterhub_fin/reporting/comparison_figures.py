"""Draw comparisons: differences with their intervals, and each side's metrics, readable in grey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin.plugin.pictures import BLUE, GREY, ORANGE, blank_figure, label_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST: Final = 40  # rows of one picture


@dataclass(frozen=True)
class Bar:
    """Hold a value with its interval for a picture; `marked` fills its point, for what is shown to differ."""

    name: str
    value: float
    interval: tuple[float, float] | None
    marked: bool = False
    reach: float | None = None  # the smallest difference that would be shown, on both sides of 0


def differences(bars: Sequence[Bar], metric: str, pair: str) -> Figure:
    """Draw differences with intervals around a line at 0, one below the other; a bracket is what would be shown."""
    figure, (axes,) = blank_figure(1.3 + 0.42 * len(bars))
    axes.axvline(0, color=GREY, ls=":")
    for place, bar in enumerate(bars):
        if bar.reach is not None:
            ends: dict[str, Any] = {"color": GREY, "marker": "|", "ms": 9, "lw": 0}
            axes.plot([-bar.reach, bar.reach], [place, place], label="smallest shown" if not place else None, **ends)
        _draw(axes, place, bar)
    axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlabel(f"difference in {metric}: {pair}".replace("$", r"\$"))
    if any(bar.reach is not None for bar in bars):
        figure.legend(loc="outside upper right")
    return figure


def sides(bars: Sequence[Bar], metric: str) -> Figure:
    """Draw each side's metric with its interval, one below the other."""
    figure, (axes,) = blank_figure(1.1 + 0.42 * len(bars))
    for place, bar in enumerate(bars):
        _draw(axes, place, bar)
    axes.set_yticks(range(len(bars)), [label_text(bar.name) for bar in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlabel(metric)
    return figure


def _draw(axes: Any, place: int, bar: Bar) -> None:
    if bar.interval is not None:
        axes.plot(bar.interval, [place, place], color=BLUE, lw=1.6)
    face = ORANGE if bar.marked else "white"
    axes.plot([bar.value], [place], marker="s" if bar.marked else "o", ms=7, color=BLUE, markerfacecolor=face)
