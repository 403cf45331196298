"""Write what was asked of a base as a page with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.contamination.recall import Recalled, Side
from adapterhub_fin.engine.contamination.result import Contamination
from adapterhub_fin.plugin.pictures import BLUE, GREY, ORANGE, blank_figure, png
from adapterhub_fin.reporting.page import Part, Section, render_page
from adapterhub_fin.reporting.report import write_files
from adapterhub_fin_registry.model.knowledge import format_instant

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
else:
    np = Lazy("numpy")

PAGE: Final = "contamination.html"
LISTED: Final = 20  # facts on the page
COLUMNS: Final = (
    "facts", "events", "probes", "right", "propensity", "by frequencies", "excess", "interval", "p", "smallest"
)  # fmt: skip


def write_page(result: Contamination, folder: Path) -> Path:
    """Write the page, `contamination.html`, with its pictures beside it, and return it.

    Raises WriteFailed where the folder can't be written.
    """
    sections = [
        Section("verdict", "Verdict", [_facts(result), _sides(result)]),
        Section("time", "By time", [_picture(result)]),
        Section("interaction", "Forecasts", [_interactions(result)]),
        Section("facts", "Facts after the end", [_best(result.after)]),
    ]
    pictures = {part.file: part.png for section in sections for part in section.parts if part.png}
    title = f"What {result.base} knows of dated facts"
    write_files(folder, PAGE, render_page(title, result.probes_digest, result.sentence, sections), pictures)
    return folder / PAGE


def _facts(result: Contamination) -> Part:
    settings = result.settings
    exchanged = "permutes free events" if settings.independent else "shifts the answers in time"
    rows = [
        ("base", f"{result.base}, a {result.kind} language model"),
        ("knowledge end", f"{format_instant(result.end)} ({result.evidence})"),
        ("probes", result.probes),
        ("test", f"{exchanged}, one-sided, alpha {settings.alpha:g}"),
        ("left out", f"{result.left_out:,} probes of the day of the end"),
        *([("options", result.note)] if result.note else []),
    ]
    return Part(rows=rows)


def cells(side: Side) -> tuple[str, ...]:
    """Return the numbers of a side as tables show them, in the order of COLUMNS; an empty cell where one is missing."""
    interval = "" if side.interval is None else f"{side.interval[0]:+.4f} to {side.interval[1]:+.4f}"
    counts = (f"{count:,}" for count in (len(side.facts), side.events, side.probes))
    shares = ("" if value is None else f"{value:.4f}" for value in (side.right, side.propensity, side.expected))
    excess = "" if side.excess is None else f"{side.excess:+.4f}"
    test = ("" if value is None else f"{value:.3g}" for value in (side.p, side.smallest))
    return (*counts, *shares, excess, interval, *test)


def _sides(result: Contamination) -> Part:
    note = (
        "Propensity: the probability of the right option among the options. By frequencies: what the same answers of "
        "the base would give to the outcomes of other events. Smallest: the true excess that the test would show with "
        f"a power of {result.settings.power:g}. The interval is of 95 %."
    )
    rows = [(side.name, *cells(side)) for side in (result.before, result.after)]
    missing = [f"{side.name}: {side.reason}." for side in (result.before, result.after) if side.reason]
    return Part("", " ".join([note, *missing]), ("side", *COLUMNS), rows, numeric=COLUMNS)


def _interactions(result: Contamination) -> Part:
    if not result.interactions:
        return Part("", missing="No probe has a forecast, so that none can be set beside what the base recalls.")
    note = (
        "Does a forecast that was made with this base hit more often where the base gives the outcome more "
        "probability when it is told the date alone? Slope: the gain in accuracy from a propensity of 0 to 1, among "
        "facts of one family and one answer; p is of a positive one."
    )
    columns = ("facts", "accuracy", "slope", "interval", "p")
    rows = []
    for each in result.interactions:
        interval = "" if each.interval is None else f"{each.interval[0]:+.3f} to {each.interval[1]:+.3f}"
        numbers = ("" if value is None else f"{value:.3g}" for value in (each.accuracy, each.slope))
        test = each.reason or ("" if each.p is None else f"{each.p:.3g}")
        rows.append((each.side, f"{each.facts:,}", *numbers, interval, test))
    return Part("", note, ("side", *columns), rows, numeric=columns)


def _best(side: Side) -> Part:
    if not side.facts:
        return Part("", missing=side.reason)
    best = sorted(side.facts, key=lambda fact: -fact.excess)[:LISTED]
    rows = [
        (
            fact.day,
            fact.family,
            fact.options[fact.answer],
            f"{fact.propensities[fact.answer]:.3f}",
            f"{fact.excess:+.3f}",
        )
        for fact in best
    ]
    columns = ("day", "family", "answer", "propensity", "excess")
    note = f"The {len(rows)} with the largest excess, of {len(side.facts):,}; chance alone has such."
    return Part("", note, columns, rows, numeric=columns[3:])


def _picture(result: Contamination) -> Part:
    note = "Mean excess of the facts of each year, one standard error to each side; the line is the knowledge end."
    return Part("", note, png=png(excess_by_year(result)), file="contamination-excess.png")


def excess_by_year(result: Contamination) -> Figure:
    """Draw the mean excess by year, before and after the end."""
    figure, (axes,) = blank_figure(3.2)
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    end = result.end.year + (date(result.end.year, result.end.month, result.end.day).timetuple().tm_yday - 1) / 365.25
    axes.axvline(end, color=GREY, linestyle="--", linewidth=1.0)
    styles: Sequence[tuple[Side, dict[str, Any]]] = (
        (result.before, {"color": BLUE, "marker": "o", "linestyle": "-"}),
        (result.after, {"color": ORANGE, "marker": "s", "linestyle": "--"}),
    )
    for side, style in styles:
        if side.facts:
            years, means, errors = _by_year(side.facts)
            axes.errorbar(years, means, yerr=errors, label=side.name, markersize=4, linewidth=1.2, capsize=2, **style)
    axes.set_xlabel("year")
    axes.set_ylabel("propensity beyond frequencies")
    axes.legend(frameon=False, fontsize=9)
    return figure


def _by_year(facts: Sequence[Recalled]) -> tuple[list[float], list[float], list[float]]:
    """Return the middle of each year, the mean excess of its facts, and its standard error (0 for one fact)."""
    years: dict[int, list[float]] = {}
    for fact in facts:
        years.setdefault(int(fact.day[:4]), []).append(fact.excess)
    ordered = sorted(years)
    means = [float(np.mean(years[year])) for year in ordered]
    errors = [
        float(np.std(years[year], ddof=1) / len(years[year]) ** 0.5) if len(years[year]) > 1 else 0.0
        for year in ordered
    ]
    return [year + 0.5 for year in ordered], means, errors
