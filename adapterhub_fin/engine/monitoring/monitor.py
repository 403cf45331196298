"""Watch a version: does a new table look, and is it answered, like what the version was tested on?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin.engine.base.stored_base import check_is_adapter
from adapterhub_fin.engine.data.corpus import divide_rows, read_rows
from adapterhub_fin.engine.data.splits import check_split
from adapterhub_fin.engine.evaluation.evaluate import CorpusSource, SplitName, corpus_choice
from adapterhub_fin.engine.inference.find import AsOf, base_source, find_version
from adapterhub_fin.engine.inference.load import load
from adapterhub_fin.engine.inference.table_reading import TableTexts
from adapterhub_fin.engine.monitoring.observed import Observed, from_outcomes, observe
from adapterhub_fin.engine.monitoring.result import Monitoring
from adapterhub_fin.engine.monitoring.signals import Thresholds, compare
from adapterhub_fin.errors import BadCorpus, BadRecipe, BadText, NotFound
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.plugin.faults import Faults
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.tables import TableRow, table_rows
from adapterhub_fin.registries import located

if TYPE_CHECKING:
    from adapterhub_fin.engine.inference.adapter import Adapter
    from adapterhub_fin.recipe.choices import CorpusChoice
    from adapterhub_fin_registry import Registry, Version
    from adapterhub_fin_registry.model.version import AnyReference

LEAST_ALPHA: Final = 1e-4  # below it a test by permutation would draw for minutes
SAMPLE: Final = 1000  # rows of a side whose embeddings are compared


def monitor(
    reference: AnyReference,
    table: str | Path,
    *,
    text: str | Sequence[str] | None = None,
    label: str | None = None,
    corpus: CorpusSource = None,
    overrides: Sequence[str] = (),
    split: SplitName = "test",
    evaluation: int | None = None,
    alpha: float = Thresholds.alpha,
    min_psi: float = Thresholds.min_psi,
    min_rows: int = Thresholds.min_rows,
    sample: int = SAMPLE,
    seed: int = 0,
    batch_size: int = 32,
    report: str | Path | None = None,
    base: str | Path | None = None,
    as_of: AsOf = None,
    include_base: bool = True,
    lock: str | Path | None = None,
    registry: Registry | None = None,
    download: bool = False,
    **reading: Any,
) -> Monitoring:
    """Compare the rows of a file, and a version's answers to them, with what the version was tested on.

    That is the test part of its recipe's corpus, another `corpus` and `split`, or the stored outcomes of an
    `evaluation`, by the event's number. `table` and `text` are as for `Adapter.predict_table`, and `reading` says how
    the file is read where not as in the version's recipe; `label` is the column of the true labels or numbers, where
    they are known. A signal is an alarm as `alpha`, `min_psi` and `min_rows` say. `report` is a folder for a page with
    pictures.

    Raises NotFound for an unknown version or event, BadCorpus and BadText for rows that can't be read, which are named,
    BadRecipe for options that don't fit, BadConfiguration where a report's libraries are missing, and BaseNotFound.

    Example:
        >>> watched = ahf.monitor("acme/tone", "today.parquet")
        >>> watched.drifted, watched.sentence
        (False, 'no drift was shown')
    """
    thresholds = _thresholds(alpha, min_psi, min_rows, sample)
    check_split(split)
    if evaluation is not None and (corpus is not None or overrides or split != "test"):
        raise BadRecipe(
            "an evaluation has its own rows: give either its number, or a corpus with its options and split"
        )
    if report is not None:
        from adapterhub_fin.reporting.report import check_installed

        check_installed()
    registry, version = located(reference, registry, as_of, include_base, lock)
    source = Path(table).expanduser()
    texts = TableTexts.of(source, version, text, reading)
    if source.is_file() and next(table_rows(source, texts.reading.form), None) is None:
        raise _empty(source)
    outcomes = None if evaluation is None else _outcomes(registry, version, evaluation)
    choice = None if evaluation is not None else _choice(version, corpus, overrides)
    base_source(find_version(version, registry, None, True, None), base, download)
    adapter = load(version, base=base, registry=registry, download=download)
    options: Any = {"sample": sample, "seed": seed, "batch_size": batch_size}
    rows = _read(texts, source, adapter)
    truths = None if label is None else _truths(rows, label, source, adapter)
    new = observe(adapter, [texts.row(row) for row in rows], truths, **options)
    if outcomes is not None:
        before, described = from_outcomes(outcomes), {"evaluation": evaluation}
    else:
        assert choice is not None, "one of both is given"
        before, described = _observed_part(adapter, choice, split, options)
    if not (signals := compare(before, new, thresholds, seed=seed)):
        raise BadRecipe(
            f"event {evaluation} of {version.reference} stored no labels or numbers that its answers can be compared "
            "with: compare with a corpus"
        )
    watched = Monitoring(version, source.name, new.rows, {**described, "rows": before.rows}, signals, thresholds)
    if report is None:
        return watched
    from adapterhub_fin.engine.monitoring.page import write_page

    return write_page(watched, before, new, Path(report))


def _thresholds(alpha: float, min_psi: float, min_rows: int, sample: int) -> Thresholds:
    if not LEAST_ALPHA <= alpha < 1:
        raise BadRecipe(f"alpha is {alpha}: give the rate of false alarms, from {LEAST_ALPHA} to below 1")
    if min_psi < 0 or min_rows < 2 or sample < 2:
        raise BadRecipe("give min_psi from 0, and min_rows and sample from 2")
    return Thresholds(alpha, min_psi, min_rows)


def _outcomes(registry: Registry, version: Version, event: int) -> Path:
    path = registry.outcomes(version, event)
    if path is None:
        raise NotFound(
            f"event {event} of {version.reference} is no evaluation with outcomes by row: evaluate the version here "
            "(ahf evaluate), or compare with a corpus"
        )
    return path


def _choice(version: Version, corpus: CorpusSource, overrides: Sequence[str]) -> CorpusChoice:
    check_is_adapter(version)
    head = version.manifest.head
    if head is None:
        raise BadRecipe(f"{version.reference} has no head, and so was tested on nothing: monitor a version with a head")
    return corpus_choice(version, corpus, overrides)


def _observed_part(
    adapter: Adapter, choice: CorpusChoice, split: SplitName, options: Mapping[str, Any]
) -> tuple[Observed, dict[str, Any]]:
    head = adapter.manifest.head
    assert head is not None, "refused before"
    read = read_rows(choice, head.name)
    table = read.table if split == "all" else divide_rows(read, choice.splitter, choice.called).splits[split]
    consumed = extensions().get(Head, head.name).consumes
    truth = next((name for name in ("label", "target") if name in consumed and name in table.column_names), None)
    rows = [{name: row[name] for name in row if name in ("text", "messages", "features")} for row in table]
    observed = observe(adapter, rows, None if truth is None else table[truth][:], **options)
    return observed, {"corpus": choice.name, "split": split}


def _read(texts: TableTexts, source: Path, adapter: Adapter) -> list[TableRow]:
    """Return the rows of a file. Raises BadText with each row that can't be answered, and BadCorpus without a row."""
    rows, faults = list(table_rows(source, texts.reading.form)), Faults()
    texts.collect(rows, adapter, faults)
    faults.check("monitor", BadText)
    if not rows:
        raise _empty(source)
    return rows


def _empty(source: Path) -> BadCorpus:
    return BadCorpus(f"{source.name} has no row: there is nothing to compare")


def _truths(rows: Sequence[TableRow], label: str, source: Path, adapter: Adapter) -> list[Any]:
    """Return the true label or number of each row. Raises BadCorpus, which names each row without a usable one."""
    if label not in rows[0].cells:
        raise BadRecipe(f"{source.name} has no column {label!r}; it has {', '.join(map(str, rows[0].cells))}")
    known, truths, faults = getattr(adapter.head, "labels", None), list[Any](), Faults()
    for row in rows:
        cell = row.cells.get(label)
        try:
            truth: Any = cell if known else float("" if cell is None else cell)
        except (TypeError, ValueError):
            truth = None
        if truth is None or (known and truth not in known):
            expected = f"none of {', '.join(known)}" if known else "no number"
            faults.add((row.number,), f"{source.name}, {row.unit} {row.number}: {label} is {cell!r}, {expected}")
        truths.append(truth)
    faults.check("monitor")
    return truths
