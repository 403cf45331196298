"""Train a walk-forward series: one version for each window of a schedule, each with its own knowledge end.

A window whose inputs have not changed is skipped. The inputs are the recipe of the window, the digest of the rows it
was trained on, and the base's fingerprint. They are read from the manifests of the stored versions, so no other record
is kept.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Unpack

from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.base.provenance import method_record
from adapterhub_fin.engine.data.corpus import (
    check_labels,
    corpus_lines,
    divide_rows,
    lines_digest,
    read_rows,
    seen_row_indices,
)
from adapterhub_fin.engine.data.splits import SPLITS, Division, dates
from adapterhub_fin.engine.evaluation.metrics import check_parts, metric_for
from adapterhub_fin.engine.training.manifest import recorded_recipe
from adapterhub_fin.engine.training.prepare import prepare
from adapterhub_fin.engine.training.run_folder import refuse_both
from adapterhub_fin.engine.training.series_bases import BaseMatches, WindowBases
from adapterhub_fin.engine.training.train import Source, read_recipe, run
from adapterhub_fin.errors import AdapterHubError, BadCorpus, BadRecipe
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.progress_lines import announce
from adapterhub_fin.recipe.given import require_name
from adapterhub_fin.recipe.recipe import NO_NAME, Recipe
from adapterhub_fin.recipe.schedule import Window
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.model.knowledge import as_of_instant

if TYPE_CHECKING:
    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.plugin.interfaces import Rows
    from adapterhub_fin.recipe.keys import RecipeKeys
    from adapterhub_fin_registry import Version

log = logging.getLogger(__name__)
APART = ("report_to", "baseline", "forgetting")  # keys of training that no weight depends on


@dataclass(frozen=True)
class Planned:
    """Represent one window of a series, with its version where one with the same inputs is stored."""

    window: Window
    recipe: Recipe  # of this window alone
    rows: Mapping[str, int]  # by split
    notes: Mapping[str, int]  # numbers of rows that were left out, by reason
    knowledge_end: datetime  # of its training rows; the base's is not counted
    base: bases.BaseSource
    version: Version | None

    def __repr__(self) -> str:
        stored = self.version.reference if self.version is not None else "to be trained"
        return f"Planned({self.window.cutoff}, rows: {dict(self.rows)}, {stored})"


class SeriesPlan(list[Planned]):
    """Hold the windows of a schedule: a list of `Planned`, which a notebook shows as a table."""

    def _repr_html_(self) -> str:
        from adapterhub_fin_registry.io.html_table import html_table

        columns = ("cut-off", "test until", "train", "validation", "test", "knows until", "version")
        rows = [
            (
                planned.window.cutoff,
                planned.window.until,
                *(f"{planned.rows[split]:,}" for split in SPLITS),
                f"{planned.knowledge_end:%Y-%m-%d %H:%M}",
                planned.version.reference if planned.version is not None else "to be trained",
            )
            for planned in self
        ]
        return html_table(f"{len(self):,} windows", rows, columns)


@dataclass(frozen=True)
class Step:
    """Represent one finished window of a series: its version, and whether it was trained now."""

    window: Window
    version: Version
    trained: bool  # False where a version with the same inputs was stored before


@dataclass(frozen=True)
class Series:
    """Hold the result of training a schedule, oldest window first."""

    name: str
    steps: Sequence[Step]

    def __repr__(self) -> str:
        return f"Series({self.name}, {len(self.steps):,} windows)"

    def _repr_html_(self) -> str:
        from adapterhub_fin_registry.io.html_table import html_table

        rows = [
            (
                step.window.cutoff,
                step.version.reference,
                f"{step.version.knows_until(include_base=False):%Y-%m-%d %H:%M}",
                "trained" if step.trained else "unchanged",
                dict(step.version.manifest.metrics),
            )
            for step in self.steps
        ]
        columns = ("cut-off", "version", "knows until, without the base", "", "metrics")
        return html_table(f"Series {self.name}", rows, columns)

    @property
    def versions(self) -> list[Version]:
        """Return the version of each window, oldest window first."""
        return [step.version for step in self.steps]


def train_series(
    recipe: Source = None,
    *,
    registry: Registry | None = None,
    overrides: Sequence[str] = (),
    download: bool = False,
    resume: bool = False,
    restart: bool = False,
    **keys: Unpack[RecipeKeys],
) -> Series:
    """Train one version for each window of the recipe's schedule, except windows that have one.

    Every window is divided and checked before the first is trained. A window that was interrupted resumes from its last
    checkpoint, with or without `resume`, or starts again with `restart`. Raises what `train` raises; versions trained
    until then stay stored.

    Example:
        >>> series = ahf.train_series("recipes/walk.yaml")
        >>> [version.reference for version in series.versions]
        ['acme/walk@1', 'acme/walk@2']
    """
    refuse_both(resume, restart)
    scheduled = _scheduled(require_name(read_recipe(recipe, overrides, keys), NO_NAME))
    registry = registry or configured_registries().writable()
    registry.check_writable()  # refuse before the work, not after it
    sources = WindowBases(download, registry)
    sources.first(scheduled)
    announce("loading torch and the corpus ...")
    rows = read_rows(scheduled.corpus, scheduled.head.name)
    plan = _without_other_bases(_planned(scheduled, rows, sources, registry), download, registry)
    _warn_of_late_base(plan)
    steps = []
    for number, planned in enumerate(plan, 1):
        version = planned.version
        if version is None:
            title = f"window {number} of {len(plan)}, cut-off {planned.window.cutoff}"
            prepared = prepare(planned.recipe, download=download, rows=rows, registry=registry)
            version = run(prepared, registry, resume=None, restart=restart, title=title).version
            log.info("%s is %s", title, version.reference)
            gc.collect()  # a Trainer and its callbacks refer to one another, and keep the model alive until then
        steps.append(Step(planned.window, version, trained=planned.version is None))
    return Series(str(scheduled.name), steps)


def preview_series(
    recipe: Source = None,
    *,
    registry: Registry | None = None,
    overrides: Sequence[str] = (),
    download: bool = False,
    **keys: Unpack[RecipeKeys],
) -> SeriesPlan:
    """Return the windows of a recipe's schedule with the rows of each split, oldest first; train nothing.

    The first window is checked as `preview` checks a run. No weight is read, so a base whose weights changed under the
    same name is not noticed here. Raises what `preview` raises.

    Example:
        >>> windows = ahf.preview_series("recipes/walk.yaml")
        >>> [planned.rows["train"] for planned in windows]
        [1200, 1800]
    """
    scheduled = _scheduled(read_recipe(recipe, overrides, keys))
    sources = WindowBases(download, registry)
    sources.first(scheduled)
    rows = read_rows(scheduled.corpus, scheduled.head.name)
    plan = _planned(scheduled, rows, sources, registry or configured_registries().writable_or_first())
    prepare(plan[0].recipe, download=download, rows=rows, registry=registry)
    _warn_of_late_base(plan)
    return SeriesPlan(plan)


def largest_window(recipe: Recipe, *, download: bool = False) -> Recipe:
    """Return the recipe of the window with the most training rows. Raises BadRecipe without a schedule."""
    scheduled = _scheduled(recipe)
    rows = read_rows(scheduled.corpus, scheduled.head.name)
    plan = _planned(scheduled, rows, WindowBases(download, None), None)
    return max(plan, key=lambda planned: planned.rows["train"]).recipe


def _scheduled(recipe: Recipe) -> Recipe:
    if recipe.schedule is None:
        raise BadRecipe("the recipe has no schedule: train it with ahf.train, or give it one (schedule.windows, start)")
    return recipe.check()


def _planned(recipe: Recipe, rows: Rows, sources: WindowBases, registry: Registry | None) -> list[Planned]:
    """Return every window, oldest first; without a registry none has a version."""
    table, corpus = rows.table, recipe.corpus.called
    windows = _windows(recipe, rows)
    trained_versions = {} if recipe.name is None or registry is None else _versions_by_inputs(registry, recipe.name)
    method = method_record(recipe.method.name, recipe.method.options)["options"]
    lines = list(corpus_lines(table))  # once: windows share most of their rows
    labels = table["label"][:] if "label" in extensions().get(Head, recipe.head.name).consumes else None
    planned = []
    for number, window in enumerate(windows, 1):
        window_recipe, source = sources.of(recipe.window(window))
        try:
            division = divide_rows(rows, window_recipe.corpus.splitter, corpus)
            if labels is not None:
                check_labels((labels[row] for row in division.row_indices["train"]), corpus)
            _check_head(window_recipe, division)
        except BadCorpus as error:
            raise BadCorpus(f"window {number} of {len(windows)}: {error}") from error
        seen = seen_row_indices(division)
        inputs = _inputs(window_recipe, method, lines_digest(lines[row] for row in seen))
        sizes = {split: len(row_indices) for split, row_indices in division.row_indices.items()}
        knowledge_end = max(dates(table)[1][row] for row in seen)
        planned.append(
            Planned(
                window,
                window_recipe,
                sizes,
                {**rows.notes, **division.notes},
                knowledge_end,
                source,
                trained_versions.get(inputs),
            )
        )
    return planned


def _check_head(recipe: Recipe, division: Division) -> None:
    """Raise BadCorpus where the head can't learn from a window's rows or be measured on them."""
    head: HeadImplementation = build_plugin(Head, recipe.head.name, recipe.head.options)
    head.fit_labels(division.splits["train"])
    metric = metric_for(recipe.head.name, recipe.training.metric or head.selects_on, head)
    check_parts(recipe.head.name, head, division.splits, metric, recipe.corpus.called)


def _windows(recipe: Recipe, rows: Rows) -> list[Window]:
    assert recipe.schedule is not None
    table, corpus = rows.table, recipe.corpus.called
    if "available_at" not in table.column_names:
        raise BadCorpus(f"corpus {corpus}: a schedule needs a column 'available_at'; it has {table.column_names}")
    last = max(table["available_at"][:])
    windows = list(recipe.schedule.until(as_of_instant(last if last.tzinfo else last.date()).date()))
    if not windows:
        raise BadCorpus(
            f"corpus {corpus} ends on {last.date()}, before the first cut-off {recipe.schedule.start}: start earlier"
        )
    return windows


def _inputs(recipe: Recipe, method: Mapping[str, Any], corpus: str) -> bytes:
    """Return, as canonical JSON, all that decides the weights of a window's version except the base's own weights.

    Descriptions, tags, local paths and library versions are left out: an upgrade is no reason to train every window
    again.
    """
    recorded = recorded_recipe(recipe)
    head = extensions().options(Head, recipe.head.name, recipe.head.options)
    return canonical(
        {
            "base": recorded["base"],
            "method": [recipe.method.name, dict(method)],
            "head": [recipe.head.name, head.model_dump(mode="json")],
            "corpus": [recipe.corpus.name, corpus],
            "splitter": recorded["corpus"]["splitter"],
            "training": {key: value for key, value in recorded["training"].items() if key not in APART},
        }
    )


def _versions_by_inputs(registry: Registry, name: str) -> dict[bytes, Version]:
    """Return the versions of a name that came from a recipe, by their inputs; the latest of those with the same inputs.

    A yanked version counts: training it again would give the same weights.
    """
    versions = {}
    for version in registry.versions(name):
        try:
            manifest = version.manifest
            if manifest.recipe is None or manifest.corpus is None or manifest.corpus.digest is None:
                continue
            recipe = Recipe.read(manifest.recipe)
            options = method_record(manifest.method.name, manifest.method.options)["options"]  # with newer defaults
            versions[_inputs(recipe, options, manifest.corpus.digest)] = version
        except AdapterHubError:
            continue  # an unreadable manifest or recipe belongs to no window of this schedule
    return versions


def _without_other_bases(plan: Sequence[Planned], download: bool, registry: Registry) -> list[Planned]:
    """Return the same plan, without versions that were trained on a base with other weights than the one here."""
    matches = BaseMatches(download, registry)
    return [
        replace(planned, version=None)
        if planned.version is not None and not matches.is_on(planned.version, planned.recipe, planned.base)
        else planned
        for planned in plan
    ]


def _warn_of_late_base(plan: Sequence[Planned]) -> None:
    """Warn where the base itself knows of events after the cut-offs of the series."""
    late = [
        planned.base.known
        for planned in plan
        if planned.base.known is None or planned.base.known.at >= as_of_instant(planned.window.cutoff)
    ]
    if late:
        log.warning(
            "the base %s: of %d windows, %d are resolved as of their own dates only with include_base=False",
            bases.knowledge_text(late[0]),
            len(plan),
            len(late),
        )
