"""Write a comparison as an HTML page with its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.comparing.evidence import Evidence
from adapterhub_fin.plugin.pictures import png
from adapterhub_fin.reporting.page import Part, Section, render_page
from adapterhub_fin.reporting.report import PAGE, write_files
from adapterhub_fin.stats.paired import PairedTest

if TYPE_CHECKING:
    from adapterhub_fin.engine.comparing.differences import Difference
    from adapterhub_fin.reporting import comparison_figures
else:
    comparison_figures = Lazy("adapterhub_fin.reporting.comparison_figures")


def write_comparison(folder: Path, evidence: Evidence) -> Path:
    """Write the page of a comparison and its pictures to a folder, and return the page.

    Raises WriteFailed where the folder can't be written.
    """
    sections = [
        Section("verdict", "Verdict", [Part(note=" ".join(evidence.verdicts)), *_caveats(evidence)]),
        Section("differences", f"Differences in {evidence.metric}", list(_pictures(evidence))),
        Section("metrics", "All metrics", [_sides(evidence), _table(evidence), _beside(evidence)]),
        Section("cost", "Cost", [_costs(evidence)]),
        Section("protocol", "Rows and protocol", [_protocol(evidence)]),
    ]
    pictures = {part.file: part.png for section in sections for part in section.parts if part.png}
    names = " and ".join(side.name for side in evidence.sides)
    write_files(folder, PAGE, render_page(names, evidence.corpus_digest, "", sections), pictures)
    return folder / PAGE


def _caveats(evidence: Evidence) -> Iterator[Part]:
    if evidence.caveats:
        yield Part("What limits it", rows=[(sentence,) for sentence in evidence.caveats], columns=("caveat",))


def _pictures(evidence: Evidence) -> Iterator[Part]:
    by_side = [
        comparison_figures.Bar(side.name, side.metrics[evidence.metric], side.intervals[evidence.metric])
        for side in evidence.sides
    ]
    note = f"The {evidence.metric} of each side on the same {evidence.rows:,} rows, with its interval."
    yield Part("Each side", note, png=png(comparison_figures.sides(by_side, evidence.metric)), file="sides.png")
    decided = [each for each in evidence.differences if each.metric == evidence.metric]
    for number, pair in enumerate(dict.fromkeys((each.a, each.b) for each in decided), 1):
        of_pair = [each for each in decided if (each.a, each.b) == pair][: comparison_figures.MOST]
        bars = [_bar(each, evidence.protocol["level"]) for each in of_pair]
        note = (
            "A filled square is a difference that is shown after correction; the brackets are the smallest one that so "
            "many rows show in 4 of 5 cases. Where an interval leaves out 0 and the point is empty, the correction for "
            "all that was compared makes the difference."
        )
        title = f"{pair[0]} - {pair[1]}"
        picture = png(comparison_figures.differences(bars, evidence.metric, title))
        yield Part(title, note, png=picture, file=f"difference-{number}.png")


def _bar(of: Difference, level: float) -> Any:
    shown = of.corrected is not None and of.corrected < 1 - level
    return comparison_figures.Bar(f"{of.part} ({of.rows:,})", of.difference, of.interval, shown, of.smallest)


def _sides(evidence: Evidence) -> Part:
    metrics = list(evidence.sides[0].metrics)
    rows = [
        (side.name, side.described, *(_value(side.metrics[name], side.intervals[name]) for name in metrics))
        for side in evidence.sides
    ]
    return Part("Sides", "", ("side", "is", *metrics), rows, numeric=metrics)


def _table(evidence: Evidence) -> Part:
    columns = ("a - b", "metric", "rows", "difference", "p", "corrected p", "smallest shown")
    rows = [
        (
            f"{each.a} - {each.b}",
            each.metric,
            f"{each.part} ({each.rows:,})",
            _value(each.difference, each.interval, "+"),
            _p(each.test) or each.test,
            _number(each.corrected),
            _number(each.smallest),
        )
        for each in evidence.differences
    ]
    note = "The metric fixes the test. P-values are corrected over this whole table, by Holm."
    return Part("Differences", note, columns, rows, numeric=columns[3:])


def _beside(evidence: Evidence) -> Part:
    """Return all tests, the effect sizes and the evidence, on all rows."""
    rows = []
    for each in evidence.differences:
        if each.part != "all rows":
            continue
        tests = {_name(each.test): each.test, **each.others}
        effects = (f"{name} {value:+.3f}" for name, value in each.effects.items() if not isinstance(value, str))
        factor, chance = each.bayes, ""
        if not isinstance(each.bayes, str):
            factor, chance = f"10^{each.bayes.log10_factor:.2f}", f"{each.bayes.improvement:.3f}"
        rows.append(
            (
                f"{each.a} - {each.b}",
                each.metric,
                "; ".join(f"{name} {_p(test)}" for name, test in tests.items() if _p(test)),
                _number(each.discovery),
                "; ".join(effects),
                factor,
                chance,
            )
        )
    columns = ("a - b", "metric", "p by test", "false discovery", "effect sizes", "Bayes factor", "P(a - b > 0)")
    note = (
        "The fixed test first, then the others; the p-value corrected by Benjamini-Hochberg; effect sizes; the JZS "
        "Bayes factor for a difference. They are for metrics that are a mean over rows."
    )
    return Part("Tests, effect sizes and evidence on all rows", note, columns, rows, numeric=columns[3:4] + columns[6:])


def _costs(evidence: Evidence) -> Part:
    columns = ("side", "parameters", "memory (MiB)", "ms a row", "rows a second")
    rows = []
    for side in evidence.sides:
        cost = side.efficiency
        memory = "" if cost["memory"] is None else f"{cost['memory'] / 2**20:,.1f}"
        times = ("" if cost[name] is None else f"{cost[name]:.1f}" for name in ("latency", "rows_per_second"))
        rows.append((side.name, f"{cost['parameters']:,}", memory, *times))
    note = "Parameters beside the base's; memory of all weights; the median of single rows; the rate in batches."
    return Part("", note, columns, rows, numeric=columns[1:])


def _protocol(evidence: Evidence) -> Part:
    rows = [
        ("corpus", f"{evidence.corpus} ({evidence.corpus_digest})"),
        ("part", f"{evidence.split}, {evidence.rows:,} rows"),
        ("drawn and swapped by", evidence.units),
        *((name, str(value)) for name, value in evidence.protocol.items()),
        *evidence.environment.items(),
    ]
    return Part(rows=rows)


def _value(value: float, interval: tuple[float, float] | None, sign: str = "") -> str:
    ends = "" if interval is None else f" ({interval[0]:{sign}.4f} to {interval[1]:{sign}.4f})"
    return f"{value:{sign}.4f}{ends}"


def _name(test: PairedTest | str) -> str:
    return test.name if isinstance(test, PairedTest) else test


def _p(test: PairedTest | str) -> str:
    return f"{test.p:.4f}" if isinstance(test, PairedTest) else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
