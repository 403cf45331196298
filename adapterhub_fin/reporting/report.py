"""Write the report of a version: an HTML page and its pictures, each part of it or the reason why it is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.corpus import divide_rows, read_rows
from adapterhub_fin.engine.data.labels import count_labels
from adapterhub_fin.engine.data.splits import check_split
from adapterhub_fin.engine.evaluation.evaluate import SplitName, corpus_choice
from adapterhub_fin.errors import AdapterHubError, BadConfiguration, Unsupported, WriteFailed
from adapterhub_fin.plugin.pictures import png
from adapterhub_fin.registries import located
from adapterhub_fin.reporting import facts, scoring
from adapterhub_fin.reporting.page import Part, Section, render

if TYPE_CHECKING:
    from datasets import Dataset
    from matplotlib.figure import Figure

    from adapterhub_fin.engine.evaluation.evaluate import CorpusSource
    from adapterhub_fin.engine.inference.adapter import Adapter
    from adapterhub_fin.engine.inference.find import AsOf
    from adapterhub_fin.reporting import figures
    from adapterhub_fin.reporting.answers import Answers
    from adapterhub_fin_registry import Registry, Version
    from adapterhub_fin_registry.model.version import AnyReference
else:
    figures = Lazy("adapterhub_fin.reporting.figures")

PAGE = "report.html"
ERRORS = 25  # rows that the page shows to be read
SHOWN = 600  # characters of each of them
CLASSES = 40  # up to which the pictures by class are drawn
GROUPS = 8
T = TypeVar("T")


@dataclass(frozen=True)
class Report:
    """Hold where a report was written, and why each part that it lacks is missing, by the part's title."""

    version: Version
    page: Path
    pictures: Sequence[Path]
    missing: Mapping[str, str]

    def __repr__(self) -> str:
        lacking = f", without {', '.join(self.missing)}" if self.missing else ""
        return f"Report({self.version.reference}, {str(self.page)!r}, {len(self.pictures):,} pictures{lacking})"

    def _repr_html_(self) -> str:
        from adapterhub_fin.reporting.page import picture_tags
        from adapterhub_fin_registry.io.html_table import html_table

        missing = [(f"no {title.lower()}", reason) for title, reason in self.missing.items()]
        table = html_table(f"Report of {self.version.reference}", [("page", self.page), *missing])
        return table + picture_tags(self.pictures)


@dataclass(frozen=True)
class _Rows:
    """Hold the rows of the report's corpus: those that are answered, and how many have each label in each part."""

    table: Dataset
    labels: Mapping[str, Mapping[str, int]]
    corpus: str


def report(
    reference: AnyReference,
    corpus: CorpusSource = None,
    *,
    into: str | Path | None = None,
    split: SplitName = "test",
    overrides: Sequence[str] = (),
    batch_size: int = 32,
    base: str | Path | None = None,
    adapter: Adapter | None = None,
    as_of: AsOf = None,
    include_base: bool = True,
    lock: str | Path | None = None,
    registry: Registry | None = None,
    download: bool = False,
) -> Report:
    """Write a report of a version into a folder: `report.html`, which holds everything, and its pictures as PNG.

    The folder is `report-NAMESPACE-NAME-N` by default; a report in it is replaced. Without `corpus` the rows are those
    of the version's recipe. A part that can't be made, such as the answers where the corpus or the base isn't at hand,
    is named on the page with the reason, and in `missing`. `adapter` is the version, loaded already. Raises NotFound
    for an unknown version, BadConfiguration where matplotlib or jinja2 isn't installed, BadRecipe for an unknown split
    and WriteFailed where the folder can't be written.

    Example:
        >>> report = ahf.report("acme/tone@1")
        >>> report.page.name, report.missing
        ('report.html', {})
    """
    check_installed()
    check_split(split)
    registry, version = located(reference, registry, as_of, include_base, lock)
    folder = Path(into) if into is not None else Path(f"report-{version.name.replace('/', '-')}-{version.number}")
    rows, reason = _attempt(lambda: _read(version, corpus, overrides, split))
    answers: Answers | None = None
    if rows is not None:
        answers, reason = _attempt(
            lambda: _answered(version, rows, split, batch_size, base, adapter, registry, download)
        )
    sections = [
        Section("run", "Run", [facts.metrics(version), facts.baseline(version), _curves(version, registry)]),
        Section("answers", f"Answers on the {split} part" if split != "all" else "Answers on all rows", []),
        facts.protocol(version),
        facts.data(version, rows.labels if rows else None, reason),
        facts.knowledge(version, registry),
    ]
    sections[1].parts = [Part("Answers", missing=reason)] if answers is None else list(_pictures(answers))
    parts = [part for section in sections for part in section.parts]
    pictures = write_files(folder, PAGE, render(version, sections), {part.file: part.png for part in parts if part.png})
    return Report(version, folder / PAGE, pictures, {part.title: part.missing for part in parts if part.missing})


def check_installed() -> None:
    """Raise BadConfiguration where what draws the report isn't installed."""
    if missing := [name for name in ("matplotlib", "jinja2") if find_spec(name) is None]:
        raise BadConfiguration(f"a report needs {' and '.join(missing)}: pip install 'adapterhub-fin[report]'")


def _attempt(make: Callable[[], T]) -> tuple[T | None, str]:
    """Return what a function makes, or None and the reason why it can't."""
    try:
        return make(), ""
    except AdapterHubError as error:
        return None, str(error).rstrip(".")


def _read(version: Version, corpus: CorpusSource, overrides: Sequence[str], split: SplitName) -> _Rows:
    head = version.manifest.head
    if head is None:
        raise Unsupported("the version has no head, and so gives no answers")
    choice = corpus_choice(version, corpus, overrides)
    rows = read_rows(choice, head.name)
    splits = divide_rows(rows, choice.splitter, choice.called).splits
    return _Rows(rows.table if split == "all" else splits[split], count_labels(splits), choice.called)


def _answered(
    version: Version,
    rows: _Rows,
    split: str,
    batch_size: int,
    base: str | Path | None,
    adapter: Adapter | None,
    registry: Registry,
    download: bool,
) -> Answers:
    from adapterhub_fin.engine.inference.load import load
    from adapterhub_fin.reporting.answers import collect_answers

    loaded = adapter or load(version, base=base, registry=registry, download=download)
    return collect_answers(loaded, rows.table, rows.corpus, split, batch_size)


def _curves(version: Version, registry: Registry) -> Part:
    history = registry.history(version)
    if history is None or not history["training"]["step"]:
        return Part(
            "Training curves",
            missing="no history of its training is stored in this registry: it was trained elsewhere, or by a release "
            "that kept none",
        )
    training = (version.manifest.recipe or {}).get("training") or {}
    metric = training.get("metric") or _selects_on(version)
    note = (
        "Loss, validation metric, learning rate and gradient norm over the optimizer steps. The stored weights are "
        "those of the checkpoint with the best validation metric."
    )
    if "stage" in history["training"]:
        note += " Each stage is measured on its own validation rows, and the last one picks the checkpoint."
    return _picture("Training curves", "training", note, figures.training_curves(history, metric))


def _selects_on(version: Version) -> str | None:
    from adapterhub_fin.engine.base.build_plugin import build_plugin
    from adapterhub_fin.plugin.descriptions import Head

    head = version.manifest.head
    built: Any = _attempt(lambda: build_plugin(Head, head.name, head.options))[0] if head else None
    return None if built is None else str(built.selects_on)


def _pictures(answers: Answers) -> Iterator[Part]:
    """Yield the pictures that the kind of answers allows, and the rows most worth reading."""
    scores, name = answers.scores(), answers.score_name
    if answers.kind == "classes":
        yield from _by_class(answers, scores)
    else:
        yield Part("Confusion matrix", missing="the head gives no classes")
        yield Part("Calibration", missing="the head gives no probabilities of classes")
    if answers.kind == "numbers":
        note = "Each row is a circle; a perfect answer lies on the dotted line. Both axes have the target's units."
        figure = figures.predicted_and_true(answers.truth, answers.given)
        yield _picture("Numbers given and residuals", "residuals", note, figure)
    shares = answers.kind == "classes"
    by_length = scoring.grouped(scores, answers.tokens, GROUPS, shares=shares)
    note = f"The {name} of rows of like length, the number of rows in brackets."
    yield _picture("Score by text length", "length", note, figures.scores_by_length(by_length, name))
    if answers.instants is None:
        yield Part("Score over time", missing="the rows have no column available_at")
    else:
        by_time = scoring.grouped(scores, answers.instants, GROUPS + 4, shares=shares)
        note = f"The {name} of rows that became available one after another, in groups of like size."
        yield _picture("Score over time", "time", note, figures.scores_by_time(by_time, name))
    yield _errors(answers, scores)


def _by_class(answers: Answers, scores: Sequence[float]) -> Iterator[Part]:
    labels = answers.labels
    if len(labels) > CLASSES:
        reason = f"the head has {len(labels):,} classes, and pictures are drawn of up to {CLASSES}"
        yield Part("Confusion matrix", missing=reason)
    else:
        counts = scoring.confusion(answers.truth, answers.given, labels)
        note = "Rows by true label (down) and label given (across), shaded by the share of the true class."
        yield _picture("Confusion matrix", "confusion", note, figures.confusion_matrix(counts, labels))
        by_class = figures.scores_by_class(scoring.class_scores(counts), labels, counts.sum(1).tolist())
        note = "Precision, recall and F1 of each class, on the rows of this part."
        yield _picture("Score by class", "classes", note, by_class)
    bins, error = scoring.calibration(answers.confidence, scores)
    note = (
        f"Expected calibration error (ECE) {error:.4f}, over {scoring.BINS} bins of one width: how far the confidence "
        "is from the share that is right. Above the dotted line the version is too modest, below it too sure."
    )
    yield _picture("Calibration", "calibration", note, figures.reliability(bins, error))


def _errors(answers: Answers, scores: Sequence[float]) -> Part:
    rows = answers.worst(ERRORS)
    columns, note = {
        "classes": (("text", "truth", "answer", "confidence"), "Wrong answers, the most confident first."),
        "numbers": (("text", "truth", "answer", "error"), "The largest errors first, in the target's units."),
        "likelihoods": (("text", "loss"), "The texts that the model finds least likely, in nats a token."),
    }[answers.kind]
    cells: dict[str, Callable[[int], tuple[str, ...]]] = {
        "classes": lambda row: (answers.truth[row], answers.given[row], f"{answers.confidence[row]:.3f}"),
        "numbers": lambda row: (f"{answers.truth[row]:g}", f"{answers.given[row]:g}", f"{scores[row]:.4g}"),
        "likelihoods": lambda row: (f"{scores[row]:.4f}",),
    }
    table = [(_cut(answers.texts[row]), *cells[answers.kind](row)) for row in rows]
    if not table:
        return Part("Errors most worth reading", "There is none: every answer is right.")
    return Part("Errors most worth reading", note, columns, table, numeric=("confidence", "error", "loss"))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text):,} characters)"


def _picture(title: str, file: str, note: str, figure: Figure) -> Part:
    return Part(title, note, png=png(figure), file=f"{file}.png")


def write_files(folder: Path, name: str, page: str, pictures: Mapping[str, bytes]) -> list[Path]:
    """Write a page under a name and its pictures into a folder; return the pictures' paths.

    Raises WriteFailed where the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, data in pictures.items():
            (folder / file).write_bytes(data)
        (folder / name).write_text(page, encoding="utf-8")
    except OSError as error:
        raise WriteFailed(f"the report can't be written to {folder} ({error.strerror}): give another folder") from error
    return [folder / file for file in pictures]
