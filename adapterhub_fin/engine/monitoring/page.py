"""Write what was monitored as a page with pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin.errors import WriteFailed
from adapterhub_fin.plugin.pictures import png
from adapterhub_fin.reporting import figures
from adapterhub_fin.reporting.page import Part, Section, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from adapterhub_fin.engine.monitoring.observed import Observed
    from adapterhub_fin.engine.monitoring.result import Monitoring

PAGE = "monitor.html"


def write_page(watched: Monitoring, before: Observed, now: Observed, folder: Path) -> Monitoring:
    """Return what was monitored with its page, `monitor.html`, which holds its pictures; they are PNG files beside it.

    Raises WriteFailed where the folder can't be written.
    """
    parts = list(_pictures(before, now))
    sections = [
        Section("verdict", "Verdict", [_table(watched)]),
        Section("pictures", "Before and now", parts),
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part in parts:
            if part.png:
                (folder / part.file).write_bytes(part.png)
        page = folder / PAGE
        page.write_text(render(watched.version, sections), encoding="utf-8")
    except OSError as error:
        raise WriteFailed(f"the page can't be written to {folder} ({error.strerror}): give another folder") from error
    return replace(watched, page=page)


def _table(watched: Monitoring) -> Part:
    compared = ", ".join(f"{key} {value}" for key, value in watched.reference.items())
    limits = watched.thresholds
    note = (
        f"{watched.table}, {watched.rows:,} rows, against {compared}: {watched.sentence}. A signal is an alarm if its "
        f"p, corrected by Holm over all of them, is below {limits.alpha:g}, and its PSI exceeds what chance gives by "
        f"{limits.min_psi:g}, where it has one."
    )
    columns = ("signal", "before", "now", "test", "p", "corrected p", "PSI", "PSI by chance", "verdict")
    rows = [
        (
            signal.name,
            signal.before,
            signal.now,
            signal.test,
            *(
                "" if value is None else f"{value:.3g}"
                for value in (signal.p, signal.corrected_p, signal.psi, signal.expected_psi)
            ),
            signal.verdict + (f": {signal.reason}" if signal.reason else ""),
        )
        for signal in watched.signals
    ]
    return Part("", note, columns, rows, numeric=columns[4:8])


def _pictures(before: Observed, now: Observed) -> Iterator[Part]:
    """Yield a picture of each signal that both sides have."""
    for name in ("tokens", "unknown"):
        old, new = getattr(before, name), getattr(now, name)
        if old is not None and new is not None:
            title = {"tokens": "Length in tokens", "unknown": "Share of unknown tokens"}[name]
            figure = figures.two_distributions(old.tolist(), new.tolist(), title)
            yield _part(title, name, "The share of rows up to each value.", figure)
    if before.vectors is not None and now.vectors is not None:
        note = "Embeddings on the two directions in which all of them vary most."
        yield _part("Embeddings", "embeddings", note, figures.two_clouds(before.vectors, now.vectors))
    if before.labels is not None and now.labels is not None:
        names = sorted({*before.labels, *now.labels})
        shares = [[list(side.labels or ()).count(name) / side.rows for name in names] for side in (before, now)]
        note = "The share of rows that were given each label."
        yield _part("Labels given", "labels", note, figures.two_shares(names, *shares))
    for name in sorted(before.numbers.keys() & now.numbers.keys()):
        figure = figures.two_distributions(before.numbers[name].tolist(), now.numbers[name].tolist(), name)
        yield _part(name.capitalize(), name, "The share of rows up to each value.", figure)


def _part(title: str, file: str, note: str, figure: Figure) -> Part:
    return Part(title, note, png=png(figure), file=f"monitor-{file}.png")
