"""Draw the scores of a sweep against one of its options, with intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin.pictures import BLUE, GREY, ORANGE, blank_figure, label_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLES = (("o", "-"), ("s", "--"), ("^", ":"), ("D", "-."), ("v", "-"), ("P", "--"))  # told apart in grey
TICKS = 8  # values of an option up to which their labels stand straight


@dataclass(frozen=True)
class Point:
    """Hold one combination of a sweep as a picture of one option shows it."""

    value: str  # of the option
    others: str  # the values of the other options, in one line
    score: float
    interval: tuple[float, float] | None
    scores: Sequence[float]  # by seed
    is_winner: bool


def scores_by_option(key: str, points: Sequence[Point], name: str, *, scale: str | None) -> Figure:
    """Draw the score over an option's values, each value a place of its own, or on a `scale`: linear or log.

    Combinations whose other options are the same have a marker of their own, where there are six such rows or fewer;
    without a scale they are joined.
    """
    rows = dict[str, list[Point]]()
    for point in points:
        rows.setdefault(point.others, []).append(point)
    are_told_apart = len(rows) <= len(_STYLES)
    lines = len(rows) if are_told_apart and len(rows) > 1 else 0
    figure, (axes,) = blank_figure(3.6 + 0.24 * lines)
    values = list(dict.fromkeys(point.value for point in points))
    place = {value: float(value) if scale else number for number, value in enumerate(values)}
    for number, (others, members) in enumerate(rows.items()):
        is_apart = are_told_apart and scale is None
        offset = (number - (len(rows) - 1) / 2) * 0.12 if is_apart else 0.0
        marker, line = _STYLES[number] if are_told_apart else _STYLES[0]
        title = others if lines else "" if number else "mean"
        _row(
            axes, members, [place[point.value] + offset for point in members], (marker, line if is_apart else ""), title
        )
    if scale is None:
        turned: dict[str, Any] = {"rotation": 45, "ha": "right"} if len(values) > TICKS else {}
        axes.set_xticks(range(len(values)), [label_text(value) for value in values], **turned)
        axes.set_xlim(-0.5, len(values) - 0.5)
    else:
        axes.set_xscale(scale)
    axes.set_xlabel(key.replace("$", r"\$"))
    axes.set_ylabel(f"validation {name}")
    figure.legend(loc="outside upper left", ncols=1 if lines else 3, fontsize=9)
    return figure


def _row(axes: Axes, members: Sequence[Point], at: Sequence[float], style: tuple[str, str], title: str) -> None:
    """Draw combinations that differ in one option alone: each mean with its interval, and its seeds as short lines."""
    for where, point in zip(at, members, strict=True):
        axes.plot([where] * len(point.scores), list(point.scores), ls="", marker="_", color=GREY, ms=7, zorder=1)
        if point.is_winner:
            ring: dict[str, Any] = {"marker": "o", "ms": 15, "mfc": "none", "mec": ORANGE, "mew": 1.6, "ls": ""}
            axes.plot([where], [point.score], label="winner", **ring)
    ends = [point.interval or (point.score, point.score) for point in members]
    spread = [
        [point.score - low for point, (low, _) in zip(members, ends, strict=True)],
        [high - point.score for point, (_, high) in zip(members, ends, strict=True)],
    ]
    has_intervals = any(point.interval for point in members)
    shown: dict[str, Any] = {"label": title.replace("$", r"\$")} if title else {}
    axes.errorbar(
        at, [point.score for point in members], yerr=spread if has_intervals else None, color=BLUE, marker=style[0],
        ls=style[1], capsize=4, lw=1.2, **shown,
    )  # fmt: skip
