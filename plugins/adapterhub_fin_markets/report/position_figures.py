"""Draw positions and signals on the prices of the tickers that had the most exposure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from adapterhub_fin.plugin import BLUE, GREY, ORANGE, label_text
from adapterhub_fin_markets.prices.timing import count_usable
from adapterhub_fin_markets.report.frame import Frame, date_axis, legend_of
from adapterhub_fin_markets.signals.table import BUY, SELL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adapterhub_fin_markets.backtest.result import BacktestResult

MOST: Final = 10  # tickers that a picture shows
WIDE: Final = 3  # up to so many have the whole width
MARKERS: Final = 150  # signals of a ticker up to which each has a triangle; above, a thin line
LOGARITHMIC: Final = 4.0  # how many times the lowest price the highest is, from which on a scale is logarithmic
FOOT: Final = 0.3  # share of an axis below the price, where the position stands
PRICE: Final = "{x:,.10g}"
DIGIT: Final = 0.066  # inches that a character of a price takes
LEFT, RIGHT, TOP, BOTTOM, APART = 0.75, 0.15, 0.3, 0.7, 0.42  # inches around the axes, and between rows of them


def largest(weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the columns with the largest mean exposure, up to MOST, and their share of all exposure.

    `weights` are (times, tickers); the columns stand by exposure, and tickers of none are left out.
    """
    exposure = np.nan_to_num(np.abs(weights)).mean(axis=0)
    columns = np.argsort(-exposure, kind="stable")[:MOST]
    columns = columns[exposure[columns] > 0]
    total = float(exposure.sum())
    return columns, float(exposure[columns].sum()) / total if total else 0.0


def positions(frame: Frame, result: BacktestResult, columns: np.ndarray) -> Figure:
    """Draw the closes of columns of the prices, (columns,) int, with the signals that could act, and positions."""
    across = 1 if len(columns) <= WIDE else 2
    down = -(-len(columns) // across)
    figure, axes = frame.figure((2.6 if across == 1 else 1.75) * down + 0.8, rows=down, columns=across, sharex=True)
    at = result.prices.closes_at
    for axis, column in zip(axes, columns, strict=False):
        level = _price(axis, result, int(column))
        _signals(axis, result, int(column), level, size=5.0 if across == 1 else 3.5)
        _position(axis, at, 100 * np.nan_to_num(result.ledger.weights[:, column]))
        axis.set_title(label_text(result.prices.tickers[column]), fontsize=9, loc="left", pad=3)
        axis.tick_params(labelsize=8)
    _lay_out(figure, frame.band, down, across, max(_digits(axis) for axis in axes[: len(columns)]))
    date_axis(axes[:across], at, 8 if across == 1 else 5)  # the axis of time is shared
    if len(columns) % across:
        axes[-1].set_visible(False)
        axes[-across].tick_params(labelbottom=True)
        axes[-across - 1].tick_params(labelbottom=True)
    legend_of(figure, axes[: len(columns)], 5, outside=False)
    return figure


def _digits(axis: Axes) -> int:
    """Return how many characters the longest price beside an axis has."""
    return max((len(PRICE.format(x=tick)) for tick in axis.get_yticks()), default=0)


def _lay_out(figure: Figure, band: float, down: int, across: int, digits: int) -> None:
    """Set where the axes stand by inches: to measure every text of them twice costs more than all pictures do.

    Prices of more than some characters need more room beside each axis.
    """
    room = max(LEFT, 0.42 + DIGIT * digits)
    figure.set_layout_engine(None)
    width, height = figure.get_size_inches()
    room = (height - band - TOP - BOTTOM - APART * (down - 1)) / down
    figure.subplots_adjust(
        left=room / width,
        right=1 - RIGHT / width,
        top=1 - (band + TOP) / height,
        bottom=BOTTOM / height,
        hspace=APART / room,
        wspace=0.22 if room == LEFT else across * room / (width - RIGHT - across * room),
    )


def _price(axis: Axes, result: BacktestResult, column: int) -> np.ndarray:
    """Draw the closes above the foot of the axis, and return them, (times,)."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

    close: np.ndarray = result.prices.close[:, column]
    axis.plot(result.prices.closes_at, close, color="black", lw=0.8, label="close")
    low, high = float(np.nanmin(close)), float(np.nanmax(close))
    if low > 0 and high / low >= LOGARITHMIC:
        axis.set_yscale("log")
        axis.yaxis.set_minor_locator(NullLocator())
        ticks = LogLocator(subs=(1, 2, 5), numticks=5).tick_values(low, high)
        bottom, top = low / (high / low) ** (FOOT + 0.1), high * (high / low) ** 0.08
    else:
        room = (high - low) or abs(high) or 1.0
        ticks = MaxNLocator(4).tick_values(low, high)
        bottom, top = low - (FOOT + 0.1) * room, high + 0.08 * room
    axis.set_ylim(bottom, top)
    axis.set_yticks([tick for tick in ticks if low <= tick <= top])  # the foot has no price
    axis.yaxis.set_major_formatter(StrMethodFormatter(PRICE))
    axis.set_ylabel("close", fontsize=8)
    axis.margins(x=0.01)
    return close


def _signals(axis: Axes, result: BacktestResult, column: int, close: np.ndarray, *, size: float) -> None:
    """Mark the signals that could act at the last close that their decision knew."""
    prices, signals = result.prices, result.signals
    ticker = prices.tickers[column]
    if ticker not in signals.tickers:
        return
    rows = (signals.ticker == signals.tickers.index(ticker)) & signals.actionable
    for direction, marker, colour, label in ((BUY, "^", BLUE, "BUY"), (SELL, "v", ORANGE, "SELL")):
        at = signals.at[rows & (signals.signal == direction)]
        level = close[np.maximum(count_usable(prices.closes_at, at) - 1, 0)]
        style: dict[str, Any] = {"marker": marker if rows.sum() <= MARKERS else "|", "ms": size, "color": colour}
        axis.plot(at, level, ls="", mfc=colour if direction == BUY else "white", label=label, **style)


def _position(axis: Axes, at: np.ndarray, weight: np.ndarray) -> None:
    """Draw weights in percent, (times,), at the foot of the axis; a few that are far larger are cut at its ends."""
    size = np.abs(weight[weight != 0])
    end = float(np.quantile(size, 0.98)) if len(size) else 1.0
    middle, half = FOOT / 2 - 0.02, FOOT / 2 - 0.04
    level = middle + half * np.clip(weight / end, -1, 1)
    strip: Any = {"transform": axis.get_xaxis_transform(), "step": "pre", "lw": 0}
    axis.plot(at[[0, -1]], [middle, middle], color=GREY, lw=0.5, transform=axis.get_xaxis_transform())
    axis.fill_between(at, middle, np.maximum(level, middle), color=BLUE, label="long", **strip)
    hatched: Any = {"facecolor": "white", "edgecolor": ORANGE, "hatch": "//////", "label": "short"}
    axis.fill_between(at, np.minimum(level, middle), middle, **hatched, **strip)
    most = float(size.max(initial=0.0))
    text = f"position, strip to {end:,.0f} %" + (f", at most {most:,.0f} %" if most > 1.005 * end else "")
    axis.set_title(text, fontsize=7, color="#555555", loc="right", pad=3)
