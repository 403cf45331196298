"""Draw what a probe measured, with matplotlib: readable in grey, and the same bytes for the same numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin.plugin.pictures import BLUE, GREY, ORANGE, blank_figure, label_text

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adapterhub_fin.stats.representations import Components, Measured

WRITTEN: Final = 14  # layers up to which CKA is written into the cells
SHOWN_LABELS: Final = 6
MARKERS: Final = ("o", "s", "^", "D", "v", "P")
SHADES: Final = ("#111111", "#c55a11", "#1f4e79", "#767676", "#2e7d32", "#9c27b0")
LINES: Final = {
    "within": (BLUE, "-", "o", "pairs within a label"),
    "between": (ORANGE, "--", "s", "pairs of two labels"),
    "anisotropy": (GREY, ":", "^", "all pairs (anisotropy)"),
}


def scores_by_layer(
    base: Sequence[Measured],
    tuned: Sequence[Measured],
    differences: Sequence[Measured],
    p_values: Sequence[float],
    name: str,
    constant: float,
) -> Figure:
    """Draw the probes' scores over the layers, and below them the differences, filled where p is below 0.05."""
    figure, (upper, lower) = blank_figure(5.6, rows=2, sharex=True, heights=(3, 2))
    upper.axhline(constant, color=GREY, ls=":", label="one answer for all rows")
    _line(upper, base, ORANGE, "--", "s", "bare base", shift=-0.06)
    _line(upper, tuned, BLUE, "-", "o", "this version", shift=0.06)
    upper.set_ylabel(f"{name} of the probes")
    figure.legend(loc="outside upper right", ncols=3)
    lower.axhline(0, color=GREY, ls=":")
    _line(lower, differences, BLUE, "", "", "")
    for layer, (each, p) in enumerate(zip(differences, p_values, strict=True)):
        face = BLUE if p < 0.05 else "white"
        lower.plot(layer, each.value, marker="o", ms=7, color=BLUE, markerfacecolor=face)
    lower.set_ylabel("version minus base")
    _layer_axis(lower, len(base))
    figure.align_ylabels([upper, lower])
    return figure


def cka_matrix(values: Sequence[Sequence[float | None]]) -> Figure:
    """Draw CKA of each layer of the base (down) and of the version (across), from white at 0 to black at 1."""
    count = len(values)
    size = min(max(4.0, 1.6 + 0.5 * count), 9.0)
    figure, (axes,) = blank_figure(size, width=size + 1.2)
    shades = [[math.nan if value is None else value for value in row] for row in values]
    image = axes.imshow(shades, cmap="Greys", vmin=0, vmax=1, origin="lower")
    figure.colorbar(image, ax=axes, label="CKA, debiased", shrink=0.8)
    step = max(1, count // 12)
    axes.set_xticks(range(0, count, step))
    axes.set_yticks(range(0, count, step))
    axes.set_xlabel("layer of this version (0: embeddings)")
    axes.set_ylabel("layer of the bare base")
    for row, column in ((r, c) for r in range(count) for c in range(count)) if count <= WRITTEN else ():
        value = values[row][column]
        colour = "white" if value is not None and value > 0.55 else "black"
        text = "-" if value is None else f"{value:.2f}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9 if count <= 8 else 7)
    return figure


def components(found: Components, groups: np.ndarray | None, names: Sequence[str]) -> Figure:
    """Draw the vectors of both models on the same axes, side by side; `groups`, (rows,), are numbers of labels."""
    figure, axes = blank_figure(4.2, columns=2)
    width = len(found.shares)
    for each, vectors, title in zip(axes, (found.base, found.tuned), ("bare base", "this version"), strict=True):
        ordinates = vectors[:, 1] if width > 1 else vectors[:, 0] * 0
        if groups is None:
            _dots(each, vectors[:, 0], ordinates, "o", BLUE, None)
        else:
            for number, name in enumerate(names):
                rows = groups == number
                _dots(each, vectors[rows, 0], ordinates[rows], MARKERS[number], SHADES[number], label_text(name))
        each.set_title(title, fontsize=10)
        each.set_xlabel(f"component 1 ({found.shares[0]:.1%} of the variance)")
    for setter in ("set_xlim", "set_ylim"):  # the axes are the same, and so is their scale
        ends = [end for each in axes for end in getattr(each, setter.replace("set_", "get_"))()]
        for each in axes:
            getattr(each, setter)(min(ends), max(ends))
    if width > 1:
        axes[0].set_ylabel(f"component 2 ({found.shares[1]:.1%})")
    if groups is not None:
        handles, texts = axes[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper center", ncols=min(len(texts), 3))
    return figure


def cosines_by_layer(base: Sequence[Mapping[str, Measured]], tuned: Sequence[Mapping[str, Measured]]) -> Figure:
    """Draw the mean cosines of pairs over the layers, of the base and of the version side by side."""
    figure, axes = blank_figure(3.8, columns=2)
    for each, layers, title in zip(axes, (base, tuned), ("bare base", "this version"), strict=True):
        for name, (colour, line, marker, text) in LINES.items():
            values = [layer.get(name) for layer in layers]
            if any(value is not None for value in values):
                _line(each, values, colour, line, marker, text)
        each.set_title(title, fontsize=10)
        _layer_axis(each, len(layers))
    ends = [end for each in axes for end in each.get_ylim()]
    for each in axes:
        each.set_ylim(min(ends), max(ends))
    axes[0].set_ylabel("mean cosine of pairs of texts")
    handles, texts = axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside upper center", ncols=3)
    return figure


def _line(
    axes: Axes,
    values: Sequence[Measured | None],
    colour: str,
    line: str,
    marker: str,
    text: str,
    shift: float = 0.0,
) -> None:
    """Draw values over the layers with their intervals; a layer without a value is left out."""
    drawn = [(layer, value) for layer, value in enumerate(values) if value is not None]
    ends = [value.interval or (value.value, value.value) for _, value in drawn]
    spread = [
        [max(0.0, value.value - low) for (_, value), (low, _) in zip(drawn, ends, strict=True)],
        [max(0.0, high - value.value) for (_, value), (_, high) in zip(drawn, ends, strict=True)],
    ]
    style: dict[str, Any] = {"color": colour, "ls": line, "marker": marker, "ms": 5, "lw": 1.3, "capsize": 3}
    where, heights = [layer + shift for layer, _ in drawn], [value.value for _, value in drawn]
    axes.errorbar(where, heights, yerr=spread, label=text or None, **style)


def _dots(axes: Axes, x: Any, y: Any, marker: str, colour: str, text: str | None) -> None:
    axes.scatter(x, y, s=16, marker=marker, facecolor="none", edgecolor=colour, linewidth=0.8, label=text)


def _layer_axis(axes: Axes, count: int) -> None:
    axes.set_xticks(range(0, count, max(1, count // 12)))
    axes.set_xlim(-0.4, count - 0.6)
    axes.set_xlabel("layer (0: embeddings)")
