"""Draw what a backtest earned, lost and traded; each line is told by its style as well as by its colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from adapterhub_fin.plugin import BLUE, GREY, ORANGE
from adapterhub_fin_markets.backtest.regimes import BEAR, BULL
from adapterhub_fin_markets.report.frame import Frame, date_axis, legend_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adapterhub_fin_markets.backtest.ledger import Ledger

LINES: Final[tuple[dict[str, Any], ...]] = (
    {"color": ORANGE, "ls": "--", "lw": 1.2},
    {"color": GREY, "ls": "-.", "lw": 1.2},
    {"color": "black", "ls": ":", "lw": 1.2},
    {"color": ORANGE, "ls": (0, (1, 3)), "lw": 1.6},
)
LOGARITHMIC: Final = 4.0  # how many times the lowest level the highest is, from which on a scale is logarithmic


def growth(ledger: Ledger) -> np.ndarray:
    """Return what 1 of the capital became by each close, (times,)."""
    grown: np.ndarray = ledger.equity / ledger.rules.capital
    return grown


def equity(frame: Frame, ledger: Ledger, band: np.ndarray | None, others: dict[str, Ledger]) -> Figure:
    """Draw equity over time beside others' by their names, with the band (2, periods) of its resamples."""
    figure, (axes,) = frame.figure(4.2)
    own = growth(ledger)
    if band is not None:
        low, high = (np.concatenate([[1.0], side]) for side in band)
        axes.fill_between(
            ledger.at, low, high, color=BLUE, alpha=0.15, lw=0, label="95 % of resamples, each date alone"
        )
    for (name, other), style in zip(others.items(), LINES, strict=False):
        axes.plot(other.at, growth(other), label=name, **style)
    axes.plot(ledger.at, own, color=BLUE, lw=1.5, label="strategy")
    axes.axhline(1, color="black", lw=0.6)
    _level_scale(axes, [own, *(growth(other) for other in others.values())])
    axes.set_ylabel("equity, 1 at the start")
    date_axis([axes], ledger.at)
    legend_of(figure, [axes], 3)
    return figure


def _level_scale(axes: Axes, lines: list[np.ndarray]) -> None:
    """Take a logarithmic scale where the lines span much of it, with plain numbers at its ticks."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low, high = min(line.min() for line in lines), max(line.max() for line in lines)
    if low > 0 and high / low >= LOGARITHMIC:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def drawdown(frame: Frame, ledger: Ledger, others: dict[str, Ledger]) -> Figure:
    """Draw how far equity lies below its peak; the start counts as a peak."""
    figure, (axes,) = frame.figure(2.8)
    fall = falls(growth(ledger))
    axes.fill_between(ledger.at, 100 * fall, 0, color=BLUE, alpha=0.35, lw=0)
    axes.plot(ledger.at, 100 * fall, color=BLUE, lw=1, label="strategy")
    for (name, other), style in zip(others.items(), LINES, strict=False):
        axes.plot(other.at, 100 * falls(growth(other)), label=name, **style)
    axes.set_ylabel("below the peak, %")
    date_axis([axes], ledger.at)
    legend_of(figure, [axes])
    return figure


def falls(levels: np.ndarray) -> np.ndarray:
    """Return how far each level lies below the highest before it, (times,), at or below 0."""
    fall: np.ndarray = levels / np.maximum(np.maximum.accumulate(levels), 1.0) - 1
    return fall


def turnover_and_costs(frame: Frame, ledger: Ledger) -> Figure:
    """Draw what was traded in each bar, and below it what costs and income came to by then."""
    figure, (upper, lower) = frame.figure(4.4, rows=2, sharex=True, heights=(1, 1.3))
    upper.fill_between(ledger.at, 100 * ledger.turnover, 0, step="mid", color=BLUE, lw=0.6, ec=BLUE)
    upper.set_ylabel("traded in the bar,\n% of equity")
    upper.set_ylim(bottom=0)
    styles = ({"color": BLUE, "ls": "-", "lw": 1.4}, *LINES)
    for (name, booked), style in zip(costs_of(ledger).items(), styles, strict=False):
        lower.plot(ledger.at, 100 * np.cumsum(booked) / ledger.rules.capital, label=name, **style)
    lower.axhline(0, color="black", lw=0.6)
    lower.set_ylabel("in all by then,\n% of the capital")
    date_axis([lower], ledger.at)
    legend_of(figure, [lower], 3)
    figure.align_ylabels([upper, lower])
    return figure


def costs_of(ledger: Ledger) -> dict[str, np.ndarray]:
    """Return what was paid and received by name, (times,) each: commission and slippage, and what else there was."""
    booked = {
        "commission paid": ledger.commission,
        "slippage paid": ledger.slippage,
        "borrow and funding paid": ledger.borrow,
        "dividends received": ledger.dividends,
        "interest received": ledger.interest,
        "lost to delistings": ledger.delisted,
    }
    return {name: line for name, line in booked.items() if line.any() or name == "commission paid"}


def regimes(frame: Frame, ledger: Ledger, labels: np.ndarray) -> Figure:
    """Draw equity over the regimes, (periods,): bull markets are grey, bear markets hatched."""
    figure, (axes,) = frame.figure(3.0)
    regime = np.concatenate([labels[:1], labels])
    bands: Any = {"transform": axes.get_xaxis_transform(), "step": "pre"}
    bull: Any = {"color": "#d9d9d9", "lw": 0, "label": "bull"}
    bear: Any = {"facecolor": "white", "edgecolor": ORANGE, "hatch": "////", "lw": 0.6, "label": "bear"}
    axes.fill_between(ledger.at, 0, 1, where=regime == BULL, **bull, **bands)
    axes.fill_between(ledger.at, 0, 1, where=regime == BEAR, **bear, **bands)
    axes.plot(ledger.at, growth(ledger), color=BLUE, lw=1.5, label="strategy")
    _level_scale(axes, [growth(ledger)])
    axes.set_ylabel("equity, 1 at the start")
    date_axis([axes], ledger.at)
    legend_of(figure, [axes])
    return figure


def placebo(frame: Frame, own: float, shifted: np.ndarray) -> Figure:
    """Draw the Sharpe ratios per period of signals at the wrong time, (shifts,), and that at their own."""
    from matplotlib.ticker import MaxNLocator

    figure, (axes,) = frame.figure(2.6)
    bins = min(40, max(5, len(shifted) // 5))
    axes.hist(shifted, bins, histtype="step", color=BLUE, hatch="///", lw=1.2, label="shifted signals")
    axes.axvline(own, color="black", ls="--", lw=2, label="at their own time")
    axes.set_xlabel("Sharpe ratio per period, of weights times returns")
    axes.set_ylabel("shifts")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    legend_of(figure, [axes])
    return figure


def trials(frame: Frame, own: float | None, ratios: np.ndarray, expected: float | None) -> Figure:
    """Draw the annual Sharpe ratios of all trials, (ratios,), beside that which so many show by chance."""
    figure, (axes,) = frame.figure(1.9)
    axes.plot(ratios, np.zeros(len(ratios)), "|", color="black", ms=14, label="a trial")
    if own is not None:
        axes.plot([own], [0], "o", color=BLUE, ms=8, label="this one")
    if expected is not None:
        axes.axvline(expected, color=ORANGE, ls="--", label="the best of so many without skill")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("annual Sharpe ratio")
    legend_of(figure, [axes])
    return figure
