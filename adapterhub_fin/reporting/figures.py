"""Draw the report's pictures with matplotlib: readable in grey, and the same bytes for the same numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin.pictures import BLUE, GREY, ORANGE, blank_figure, label_text
from adapterhub_fin.reporting.scoring import Bin, Group

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adapterhub_fin_registry.model.history import History

CELLS = 12  # classes up to which a confusion matrix has its counts written in


def training_curves(history: History, metric: str | None) -> Figure:
    """Draw loss, validation metric, learning rate and gradient norm over the optimizer steps, one below the other."""
    training, validation = history["training"], history["validation"]
    shown = metric if metric in validation else None
    figure, axes = blank_figure(8.2 if shown else 6.4, rows=4 if shown else 3, sharex=True)
    marker = "." if len(training["step"]) <= 60 else ""
    axes[0].plot(
        _floats(training["step"]), _floats(training["loss"]), color=BLUE, marker=marker, lw=1.2, label="training"
    )
    if "loss" in validation and validation["step"]:
        points: dict[str, Any] = {"color": ORANGE, "ls": "--", "marker": "s", "ms": 5, "label": "validation"}
        axes[0].plot(*_by_stage(validation, "loss"), **points)
    axes[0].set_ylabel("loss")
    figure.legend(loc="outside upper right", ncols=2)
    if shown:
        axes[1].plot(*_by_stage(validation, shown), color=ORANGE, ls="--", marker="s", ms=5)
        axes[1].set_ylabel(f"validation\n{shown}")
    axes[-2].plot(_floats(training["step"]), _floats(training["learning_rate"]), color=BLUE)
    axes[-2].set_ylabel("learning rate")
    axes[-2].ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))
    axes[-1].plot(_floats(training["step"]), _floats(training["grad_norm"]), color=BLUE, marker=marker, lw=1.2)
    axes[-1].set_ylabel("gradient norm\n(L2, unclipped)")
    axes[-1].set_xlabel("optimizer step")
    _mark_stages(axes, training)
    _whole_numbers(axes[-1])
    figure.align_ylabels(axes)
    return figure


def _by_stage(validation: Mapping[str, Sequence[Any]], name: str) -> tuple[list[float], list[float]]:
    """Return the steps and the values of a metric, with a gap between stages, whose validation rows differ."""
    steps, values = _floats(validation["step"]), _floats(validation[name])
    stages = validation.get("stage", ())
    for index in range(len(stages) - 1, 0, -1):
        if stages[index] != stages[index - 1]:
            steps.insert(index, math.nan)
            values.insert(index, math.nan)
    return steps, values


def _mark_stages(axes: Sequence[Axes], training: Mapping[str, Sequence[Any]]) -> None:
    """Draw a dotted line where a stage of a curriculum begins, with its number above."""
    first: dict[Any, float] = {}
    for step, stage in zip(training["step"], training.get("stage", ()), strict=False):
        first.setdefault(stage, float(step) - 0.5)
    for stage, step in first.items():
        for each in axes:
            each.axvline(step, color=GREY, ls=":", lw=1)
        axes[0].annotate(
            f"stage {stage}",
            (step, 1.0),
            (2, 2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=9,
        )


def confusion_matrix(counts: np.ndarray, labels: Sequence[str]) -> Figure:
    """Draw a confusion matrix, (true, given): shaded by the share of the true class, with counts if there is room."""
    size = min(max(4.2, 1.6 + 0.55 * len(labels)), 11.0)
    figure, (axes,) = blank_figure(size, width=size + 1.2)
    share = counts / counts.sum(1, keepdims=True).clip(1)
    image = axes.imshow(share, cmap="Greys", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    named = [label_text(label) for label in labels]
    axes.set_xticks(
        range(len(labels)), named, rotation=45 if len(labels) > 3 else 0, ha="right" if len(labels) > 3 else "center"
    )
    axes.set_yticks(range(len(labels)), named)
    axes.set_xlabel("label given")
    axes.set_ylabel("true label")
    for row, column in _cells(len(labels)) if len(labels) <= CELLS else ():
        colour = "white" if share[row, column] > 0.55 else "black"
        axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour)
    return figure


def reliability(bins: Sequence[Bin], error: float) -> Figure:
    """Draw the share that is right over the confidence, and below it how many answers have that confidence."""
    figure, (upper, lower) = blank_figure(5.4, rows=2, sharex=True, heights=(3, 1))
    upper.plot([0, 1], [0, 1], color=GREY, ls=":", label="calibrated")
    where = [each.confidence for each in bins]
    upper.plot(where, [each.accuracy for each in bins], color=BLUE, marker="o", label=f"this version (ECE {error:.3f})")
    upper.set_ylabel("share that is right")
    upper.set_ylim(-0.03, 1.03)
    figure.legend(loc="outside upper right", ncols=2)
    lower.bar(where, [each.rows for each in bins], width=0.04, color="white", edgecolor=BLUE, hatch="///")
    lower.set_ylabel("answers")
    lower.set_xlabel("confidence (probability of the label given)")
    lower.set_xlim(0, 1.03)
    figure.align_ylabels([upper, lower])
    return figure


def scores_by_class(scores: Mapping[str, Sequence[float]], labels: Sequence[str], rows: Sequence[int]) -> Figure:
    """Draw precision, recall and F1 of each class as bars, side by side."""
    figure, (axes,) = blank_figure(max(2.2, 0.9 + 0.62 * len(labels)))
    height = 0.26
    for place, (name, hatch, colour) in enumerate(
        (("precision", "", BLUE), ("recall", "///", "white"), ("F1", "...", "#d9d9d9"))
    ):
        at = [index + (place - 1) * height for index in range(len(labels))]
        axes.barh(at, scores[name], height, color=colour, edgecolor=BLUE, hatch=hatch, label=name)
    axes.set_yticks(
        range(len(labels)), [f"{label_text(label)} ({count:,})" for label, count in zip(labels, rows, strict=True)]
    )
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("score")
    axes.set_ylabel("true label (rows)")
    figure.legend(loc="outside upper right", ncols=3)
    return figure


def predicted_and_true(truth: Sequence[float], given: Sequence[float]) -> Figure:
    """Draw the numbers given over the true ones, and the residuals over the numbers given, in the target's units."""
    figure, (left, right) = blank_figure(3.6, columns=2)
    ends = min(*truth, *given), max(*truth, *given)
    left.plot(ends, ends, color=GREY, ls=":", label="exact")
    dots: dict[str, Any] = {"s": 14, "facecolor": "none", "edgecolor": BLUE, "linewidth": 0.8}
    left.scatter(truth, given, label="rows", **dots)
    left.set_xlabel("true target")
    left.set_ylabel("number given")
    figure.legend(loc="outside upper right", ncols=2)
    right.axhline(0, color=GREY, ls=":")
    right.scatter(given, [answer - true for answer, true in zip(given, truth, strict=True)], **dots)
    right.set_xlabel("number given")
    right.set_ylabel("residual (given - true)")
    return figure


def scores_by_length(groups: Sequence[Group], name: str) -> Figure:
    """Draw the mean score by the number of tokens, with 95 % intervals."""
    figure, (axes,) = blank_figure(3.2)
    _points(figure, axes, range(len(groups)), groups, name, line="")
    spans = [f"{g.low}" if g.low == g.high else f"{g.low}-{g.high}" for g in groups]
    axes.set_xticks(
        range(len(groups)), [f"{span}\n({group.rows:,})" for span, group in zip(spans, groups, strict=True)]
    )
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.set_xlabel("text length in tokens, from-to (rows)")
    return figure


def scores_by_time(groups: Sequence[Group], name: str) -> Figure:
    """Draw the mean score by `available_at`, with 95 % intervals; a point stands in the middle of its rows' span."""
    from matplotlib import dates

    figure, (axes,) = blank_figure(3.2)
    _points(figure, axes, [g.low + (g.high - g.low) / 2 for g in groups], groups, name, line="-")
    untyped: Any = dates
    locator = untyped.AutoDateLocator(maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(untyped.ConciseDateFormatter(locator))
    axes.set_xlabel("available_at (UTC)")
    return figure


def two_distributions(before: Sequence[float], now: Sequence[float], name: str) -> Figure:
    """Draw the distribution functions of a reference and of new values, over each other."""
    figure, (axes,) = blank_figure(3.0)
    axes.ecdf(before, color=BLUE, label=f"reference ({len(before):,} rows)")
    axes.ecdf(now, color=ORANGE, ls="--", label=f"now ({len(now):,} rows)")
    axes.set_xlabel(name)
    axes.set_ylabel("share of rows")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def two_clouds(before: np.ndarray, now: np.ndarray) -> Figure:
    """Draw two sets of vectors, (n, hidden) and (m, hidden), on the first two principal components of both."""
    import numpy

    both = numpy.concatenate([before, now]).astype(float)
    both -= both.mean(0)
    directions = numpy.linalg.svd(both, full_matrices=False)[2][:2]
    placed = both @ directions.T
    if placed.shape[1] < 2:
        placed = numpy.column_stack([placed, numpy.zeros(len(placed))])
    figure, (axes,) = blank_figure(4.2)
    for rows, marker, colour, label in (
        (placed[: len(before)], "o", BLUE, f"reference ({len(before):,})"),
        (placed[len(before) :], "x", ORANGE, f"now ({len(now):,})"),
    ):
        style: dict[str, Any] = {"facecolor": "none", "edgecolor": colour} if marker == "o" else {"color": colour}
        axes.scatter(rows[:, 0], rows[:, 1], s=16, marker=marker, linewidth=0.8, label=label, **style)
    axes.set_xlabel("first principal component")
    axes.set_ylabel("second principal component")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def two_shares(labels: Sequence[str], before: Sequence[float], now: Sequence[float]) -> Figure:
    """Draw the share of rows with each label, of a reference and of new rows, as bars side by side."""
    figure, (axes,) = blank_figure(max(2.0, 0.9 + 0.5 * len(labels)))
    where = range(len(labels))
    axes.barh([at - 0.2 for at in where], before, 0.38, color=BLUE, edgecolor=BLUE, label="reference")
    axes.barh([at + 0.2 for at in where], now, 0.38, color="white", edgecolor=ORANGE, hatch="///", label="now")
    axes.set_yticks(where, [label_text(label) for label in labels])
    axes.invert_yaxis()
    axes.set_xlabel("share of rows")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def _points(figure: Figure, axes: Axes, where: Any, groups: Sequence[Group], name: str, *, line: str) -> None:
    spread = [[g.score - g.interval[0] for g in groups], [g.interval[1] - g.score for g in groups]]
    style: dict[str, Any] = {"color": BLUE, "marker": "o", "ls": line, "capsize": 4, "label": "mean with 95 % interval"}
    axes.errorbar(list(where), [g.score for g in groups], yerr=spread, **style)
    axes.set_ylabel(name)
    if name == "accuracy":
        axes.set_ylim(-0.03, 1.03)
    figure.legend(loc="outside upper right")


def _floats(column: Sequence[float | int | None]) -> list[float]:
    return [math.nan if value is None else float(value) for value in column]


def _cells(size: int) -> list[tuple[int, int]]:
    return [(row, column) for row in range(size) for column in range(size)]


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
