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
from adapterhub_fin.plugin.pictures import png
from adapterhub_fin.reporting.page import Part, Section, picture_tags, render_page
from adapterhub_fin.reporting.report import check_installed, write_files

if TYPE_CHECKING:
    from adapterhub_fin.engine.sweeping.scores import Scores
    from adapterhub_fin.reporting import figures, option_figures
    from adapterhub_fin_registry import Version
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


def write_report(scores: Scores, version: Version, sweep: Path, into: Path) -> SweepReport:
    """Write the page of the sweep in a folder, and its pictures, into another; a report there is replaced.

    Raises BadConfiguration where matplotlib or jinja2 isn't installed, and WriteFailed for a folder that can't be
    written.
    """
    check_installed()
    definition = json.loads((sweep / RECORD).read_text(encoding="utf-8"))["definition"]
    pictures = list(_pictures(scores, definition["over"]))
    sections = [
        Section("result", "Result", _result(scores, version)),
        Section("options", "Score against each option", pictures),
        Section("runs", "Runs", [_runs(scores)]),
        Section("protocol", "Protocol", [_protocol(definition)]),
    ]
    title = f"Sweep of {version.name}: {version.reference}"
    page = render_page(title, version.digest, version.manifest.description, sections)
    written = write_files(into, PAGE, page, {part.file: part.png for part in pictures if part.png})
    return SweepReport(into / PAGE, written)


def _result(scores: Scores, version: Version) -> list[Part]:
    manifest, measured = version.manifest, version.manifest.measured_on
    selection = manifest.selection
    assert selection is not None, "a sweep's version has one"
    facts = [
        ("version", f"{version.reference}, trained with seed {scores.seed}"),
        ("selected by", selection.validated()),
        *((f"test {name}", f"{value:.4f}, {selection.tested()}") for name, value in sorted(manifest.metrics.items())),
        ("rows of the test part", measured.rows if measured else "unknown"),
    ]
    columns = (*scores.winner.options, f"validation {scores.metric}", "95 % interval", "seeds", "note")
    note = (
        "The best first. A score is the mean over seeds on the validation part, with Student's interval. The winner's "
        "is the best of many, and so too good by chance: the test metrics are not."
    )
    numeric = (f"validation {scores.metric}", "seeds")
    return [Part("", "", (), facts), Part("Combinations", note, columns, scores.table(), numeric=numeric)]


def _pictures(scores: Scores, over: Mapping[str, object]) -> Iterator[Part]:
    for option in read_over(over):
        key = option.key
        points = [
            option_figures.Point(
                value=row.options[key],
                others=", ".join(f"{name}={text}" for name, text in row.options.items() if name != key),
                score=row.score,
                interval=row.interval,
                scores=[*row.scores.values()],
                is_winner=row is scores.winner,
            )
            for row in scores.rows
            if row.score is not None
        ]
        scale = ("log" if option.log else "linear") if isinstance(option, Range) else None
        figure = option_figures.scores_by_option(key, points, scores.metric, scale=scale)
        note = (
            f"Validation {scores.metric} against {key}: means with 95 % intervals over the seeds, whose scores are the "
            "short lines. Combinations without a score are left out; the table above has them."
        )
        yield Part(f"Score against {key}", note, png=png(figure), file=f"{key}.png")


def _runs(scores: Scores) -> Part:
    seeds = sorted({seed for row in scores.rows for seed in row.scores})
    rows = [
        (*row.options.values(), *(f"{row.scores[seed]:.4f}" if seed in row.scores else "" for seed in seeds))
        for row in scores.ranked()
    ]
    columns = (*scores.winner.options, *(f"seed {seed}" for seed in seeds))
    return Part("Score by seed", "", columns, rows, numeric=columns[len(scores.winner.options) :])


def _protocol(definition: Mapping[str, object]) -> Part:
    over = read_over(definition["over"])  # type: ignore[arg-type]
    facts = [
        *((f"over {option.key}", _tried(definition, option.key)) for option in over),
        *((name, definition[name]) for name in ("search", "trials", "search_seed", "seeds", "folds")),
        *((f"recipe, {key}", _text(value)) for key, value in definition["recipe"].items() if value),  # type: ignore[attr-defined]
    ]
    return Part("", "", (), [(name, value) for name, value in facts if value is not None])


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False).replace('"', "")


def _tried(definition: Mapping[str, object], key: str) -> str:
    values = definition["over"][key]  # type: ignore[index]
    return values if isinstance(values, str) else ", ".join(values)
