"""Draw pictures for pages that hold them: readable in grey, the same bytes for the same numbers, without pyplot."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH: Final = 7.2  # inches
DPI: Final = 130
BLUE, ORANGE, GREY = "#1f4e79", "#c55a11", "#767676"  # their line, marker or hatch distinguishes them in grey
LABEL: Final = 24  # characters of a label in a picture


def blank_figure(
    height: float,
    *,
    width: float = WIDTH,
    rows: int = 1,
    columns: int = 1,
    sharex: bool = False,
    heights: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Return a figure of some inches and its axes; without pyplot, whose state threads would share."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, sharex=sharex, squeeze=False, height_ratios=heights)
    axes = [axis for row in grid for axis in row]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=9)
    return figure, axes


def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG, without the time or the versions of libraries."""
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)  # a box is drawn
        figure.set_dpi(DPI)
        canvas: Any = figure.canvas
        canvas.print_png(file, metadata={"Software": None})  # savefig draws all twice to lay it out once
    return file.getvalue()


def label_text(label: str) -> str:
    """Return a label as a picture shows it: its middle cut out, on one line, and never read as a formula."""
    line = " ".join(label.split())
    half = (LABEL - 3) // 2  # labels often begin alike
    return (line if len(line) <= LABEL else f"{line[:-half][: LABEL - 3 - half]}...{line[-half:]}").replace("$", r"\$")


def inline_png(data: bytes) -> str:
    """Return a picture as base64, for the page that holds it; an empty string if there is none."""
    return base64.b64encode(data).decode()


@cache
def page_style() -> str:
    """Return the CSS of a report's page, which its HTML holds."""
    return Path(__file__).with_name("page.css").read_text(encoding="utf-8")
