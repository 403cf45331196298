"""Draw the scores of a sweep against one of its options, with intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapterhub_fin.reporting.figures import BLUE, GREY, ORANGE, blank_figure, label_text

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

    Combinations that differ in this option alone are joined, where there are six such rows or fewer.
    """
    rows = dict[str, list[Point]]()
    for point in points:
        rows.setdefault(point.others, []).append(point)
    is_joined = scale is None and 1 <= len(rows) <= len(_STYLES)
    height = 3.6 + (0.24 * len(rows) if is_joined and len(rows) > 1 else 0.0)
    figure, (axes,) = blank_figure(height)
    values = list(dict.fromkeys(point.value for point in points))
    place = {value: float(value) if scale else number for number, value in enumerate(values)}
    for number, (others, members) in enumerate(rows.items()):
        offset = (number - (len(rows) - 1) / 2) * 0.12 if is_joined else 0.0
        _row(axes, members, place, offset, _STYLES[number] if is_joined else ("o", ""), others if is_joined else "")
    for point in points:
        if point.is_winner:
            row = list(rows).index(point.others)
            at = place[point.value] + ((row - (len(rows) - 1) / 2) * 0.12 if is_joined else 0.0)
            ring: dict[str, Any] = {"marker": "o", "ms": 15, "mfc": "none", "mec": ORANGE, "mew": 1.6, "ls": ""}
            axes.plot([at], [point.score], label="winner", **ring)
    if scale is None:
        turned: dict[str, Any] = {"rotation": 45, "ha": "right"} if len(values) > TICKS else {}
        axes.set_xticks(range(len(values)), [label_text(value) for value in values], **turned)
        axes.set_xlim(-0.5, len(values) - 0.5)
    else:
        axes.set_xscale(scale)
    axes.set_xlabel(label_text(key) if len(key) <= 24 else key)
    axes.set_ylabel(f"validation {name}")
    figure.legend(loc="outside upper left", ncols=1 if is_joined and len(rows) > 1 else 3, fontsize=9)
    return figure


def _row(
    axes: Axes, members: Sequence[Point], place: dict[str, Any], offset: float, style: tuple[str, str], others: str
) -> None:
    at = [place[point.value] + offset for point in members]
    ends = [point.interval or (point.score, point.score) for point in members]
    spread = [
        [point.score - low for point, (low, _) in zip(members, ends, strict=True)],
        [high - point.score for point, (_, high) in zip(members, ends, strict=True)],
    ]
    for where, point in zip(at, members, strict=True):
        axes.plot([where] * len(point.scores), list(point.scores), ls="", marker="_", color=GREY, ms=7, zorder=1)
    name = others or "mean"
    if any(point.interval for point in members):
        name += " (mean, 95 % interval over seeds)" if not others else ""
    axes.errorbar(
        at, [point.score for point in members], yerr=spread, color=BLUE, marker=style[0], ls=style[1], capsize=4,
        lw=1.2, label=label_text(name) if len(name) <= 24 else name.replace("$", r"\$"),
    )  # fmt: skip
