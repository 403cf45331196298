"""Write the report of a sweep: its table, and a picture of the scores against each option."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.sweeping.folder import RECORD
from adapterhub_fin.engine.sweeping.options import Range, read_over
from adapterhub_fin.reporting.page import Part, Section, picture_tags, render_page
from adapterhub_fin.reporting.report import check_installed, write_files

if TYPE_CHECKING:
    from adapterhub_fin.engine.sweeping.sweep import Sweep
    from adapterhub_fin.reporting import figures, option_figures
else:
    figures = Lazy("adapterhub_fin.reporting.figures")
    option_figures = Lazy("adapterhub_fin.reporting.option_figures")

PAGE = "sweep.html"


@dataclass(frozen=True)
class SweepReport:
    """Hold where the report of a sweep was written."""

    page: Path
    pictures: Sequence[Path]

    def _repr_html_(self) -> str:
        return picture_tags(self.pictures)


def write_report(sweep: Sweep, folder: Path) -> SweepReport:
    """Write the page and its pictures into a folder; a report in it is replaced.

    Raises BadConfiguration where matplotlib or jinja2 isn't installed, and WriteFailed for a folder that can't be
    written.
    """
    check_installed()
    definition = json.loads((sweep.folder / RECORD).read_text(encoding="utf-8"))["definition"]
    pictures = list(_pictures(sweep, definition["over"]))
    sections = [
        Section("result", "Result", _result(sweep)),
        Section("options", "Score against each option", pictures),
        Section("runs", "Runs", [_runs(sweep)]),
        Section("protocol", "Protocol", [_protocol(definition)]),
    ]
    title = f"Sweep of {sweep.version.name}: {sweep.version.reference}"
    page = render_page(title, sweep.version.digest, sweep.version.manifest.description, sections)
    written = write_files(folder, PAGE, page, {part.file: part.png for part in pictures if part.png})
    return SweepReport(folder / PAGE, written)


def _result(sweep: Sweep) -> list[Part]:
    selection, manifest = sweep.selection, sweep.version.manifest
    measured = manifest.measured_on
    facts = [
        ("version", f"{sweep.version.reference}, trained with seed {sweep.seed}"),
        ("selected by", selection.validated()),
        *((f"test {name}", f"{value:.4f}, {selection.tested()}") for name, value in sorted(manifest.metrics.items())),
        ("rows of the test part", measured.rows if measured else "unknown"),
    ]
    columns = (*sweep.winner.options, f"validation {sweep.metric}", "95 % interval", "seeds", "note")
    note = (
        "The best first. A score is the mean over seeds on the validation part, which chose; its interval is Student's. "
        "The winner's score is the best of many, and so too good by chance: the test metrics are not."
    )
    numeric = (f"validation {sweep.metric}", "seeds")
    return [Part("", "", (), facts), Part("Combinations", note, columns, sweep.table(), numeric=numeric)]


def _pictures(sweep: Sweep, over: Mapping[str, object]) -> Iterator[Part]:
    for option in read_over(over):
        key = option.key
        points = [
            option_figures.Point(
                value=row.options[key],
                others=", ".join(f"{name}={text}" for name, text in row.options.items() if name != key),
                score=row.score,
                interval=row.interval,
                scores=[*row.scores.values()],
                is_winner=row is sweep.winner,
            )
            for row in sweep.rows
            if row.score is not None
        ]
        scale = ("log" if option.log else "linear") if isinstance(option, Range) else None
        figure = option_figures.scores_by_option(key, points, sweep.metric, scale=scale)
        note = (
            f"Validation {sweep.metric} against {key}: means with 95 % intervals over the seeds, whose scores are the "
            "short lines. Combinations without a score are left out; the table above has them."
        )
        yield Part(f"Score against {key}", note, png=figures.png(figure), file=f"{key}.png")


def _runs(sweep: Sweep) -> Part:
    seeds = sorted({seed for row in sweep.rows for seed in row.scores})
    rows = [
        (*row.options.values(), *(f"{row.scores[seed]:.4f}" if seed in row.scores else "" for seed in seeds))
        for row in sweep.ranked()
    ]
    columns = (*sweep.winner.options, *(f"seed {seed}" for seed in seeds))
    return Part("Score by seed", "", columns, rows, numeric=columns[len(sweep.winner.options) :])


def _protocol(definition: Mapping[str, object]) -> Part:
    over = read_over(definition["over"])  # type: ignore[arg-type]
    facts = [
        *((f"over {option.key}", _tried(definition, option.key)) for option in over),
        *((name, definition[name]) for name in ("search", "trials", "search_seed", "seeds", "folds")),
        ("recipe", definition["recipe"]),
    ]
    return Part("", "", (), [(name, value) for name, value in facts if value is not None])


def _tried(definition: Mapping[str, object], key: str) -> str:
    values = definition["over"][key]  # type: ignore[index]
    return values if isinstance(values, str) else ", ".join(values)
