"""Train a walk-forward series: one version for each window of a schedule, each with its own knowledge end.

A window whose inputs have not changed is skipped. What its inputs were is read from the manifests of the versions that
are there, so that nothing else need be kept: the recipe of the window, the digest of the rows that it learnt from, and
the base's pin.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.adapter_names import new_adapter_name
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.base.check import check_base
from adapterhub_fin.engine.base.load_base import fingerprint_key
from adapterhub_fin.engine.base.provenance import method_record
from adapterhub_fin.engine.data.corpus import check_labels, corpus_lines, learnt_places, lines_digest, read_rows
from adapterhub_fin.engine.data.splits import Division, dates, divide
from adapterhub_fin.engine.evaluation.metrics import check_parts, metric_for
from adapterhub_fin.engine.training.manifest import recorded_recipe
from adapterhub_fin.engine.training.prepare import load_run, prepare
from adapterhub_fin.engine.training.run_folder import refuse_both
from adapterhub_fin.engine.training.train import Source, named, read_recipe, run
from adapterhub_fin.errors import AdapterHubError, BadCorpus, BadRecipe, WrongBase
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.recipe.recipe import Recipe
from adapterhub_fin.recipe.schedule import Window
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.model.knowledge import as_of_instant, format_instant

if TYPE_CHECKING:
    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.plugin.interfaces import Rows
    from adapterhub_fin_registry import Version

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Planned:
    """One window of a series, and the version that it has already, where its inputs are those of one."""

    window: Window
    recipe: Recipe  # of this window alone
    rows: Mapping[str, int]  # by part
    notes: Mapping[str, int]  # rows that were left out, counted
    knowledge_end: datetime  # of what it learns from, the base left out
    version: Version | None


@dataclass(frozen=True)
class Step:
    """One window of a series that was trained: its version, and whether it was there before."""

    window: Window
    version: Version
    trained: bool  # False: its inputs were those of this version already


@dataclass(frozen=True)
class Series:
    """What training a schedule gave, oldest window first."""

    name: str
    steps: Sequence[Step]

    @property
    def versions(self) -> list[Version]:
        return [step.version for step in self.steps]


def train_series(
    recipe: Source = None,
    *,
    registry: Registry | None = None,
    overrides: Sequence[str] = (),
    download: bool = False,
    resume: bool = False,
    restart: bool = False,
    **keys: Any,
) -> Series:
    """Train one version for each window of the recipe's schedule, but for those that have theirs.

    Every window is divided and checked before the first is trained. A window that broke off goes on from its last
    checkpoint, with `resume` or without, or begins anew with `restart`. Raises what `train` raises; what was trained
    until then is stored.
    """
    refuse_both(resume, restart)
    whole = _scheduled(named(read_recipe(recipe, overrides, keys)))
    registry = registry or configured_registries().writable()
    registry.check_writable()  # told before the work, not after
    bases.find_base(whole.base, download=download)
    rows = read_rows(whole.corpus, whole.head.name)
    plan = _still_on_this_base(_planned(whole, rows, registry), download)
    _tell_of_the_base(whole, plan)
    steps = []
    for number, each in enumerate(plan, 1):
        version = each.version
        if version is None:
            title = f"window {number} of {len(plan)}, cut-off {each.window.cutoff}"
            drafted = prepare(each.recipe, download=download, rows=rows)
            version = run(drafted, registry, resume=None, restart=restart, title=title).version
            log.info("%s is %s", title, version.reference)
            gc.collect()  # a Trainer and its callbacks name one another, and hold the model until they are collected
        steps.append(Step(each.window, version, trained=each.version is None))
    return Series(str(whole.name), steps)


def preview_series(
    recipe: Source = None,
    *,
    registry: Registry | None = None,
    overrides: Sequence[str] = (),
    download: bool = False,
    **keys: Any,
) -> list[Planned]:
    """The windows of a recipe's schedule with the rows of each part, oldest first; nothing is trained.

    The first is checked as `preview` checks a run. No weight is read, so that a base whose weights changed under its
    name is not noticed here.
    """
    whole = _scheduled(read_recipe(recipe, overrides, keys))
    bases.find_base(whole.base, download=download)
    rows = read_rows(whole.corpus, whole.head.name)
    plan = _planned(whole, rows, registry or configured_registries().writable_or_first())
    prepare(plan[0].recipe, download=download, rows=rows)
    _tell_of_the_base(whole, plan)
    return plan


def largest_window(recipe: Recipe) -> Recipe:
    """The run of the window that learns from the most rows."""
    whole = _scheduled(recipe)
    plan = _planned(whole, read_rows(whole.corpus, whole.head.name), None)
    return max(plan, key=lambda planned: planned.rows["train"]).recipe


def _scheduled(recipe: Recipe) -> Recipe:
    if recipe.schedule is None:
        raise BadRecipe("the recipe has no schedule: train it with ahf.train, or give it one (schedule.windows, start)")
    return recipe.check().resolved()


def _planned(recipe: Recipe, rows: Rows, registry: Registry | None) -> list[Planned]:
    """Every window; without a registry none has its version."""
    table, corpus = rows.table, recipe.corpus.called
    windows = _windows(recipe, rows)
    there = {} if recipe.name is None or registry is None else _versions_by_inputs(registry, recipe.name)
    method = method_record(recipe.method.name, recipe.method.options)["options"]
    lines = list(corpus_lines(table))  # once: windows share most of their rows
    labels = table["label"][:] if "label" in extensions().get(Head, recipe.head.name).consumes else None
    found = []
    for number, window in enumerate(windows, 1):
        alone = recipe.window(window)
        try:
            division = divide(table, alone.corpus.splitter, corpus)
            if labels is not None:
                check_labels((labels[place] for place in division.places["train"]), corpus)
            _check_head(alone, division)
        except BadCorpus as error:
            raise BadCorpus(f"window {number} of {len(windows)}: {error}") from error
        learnt = learnt_places(division)
        inputs = _inputs(alone, method, lines_digest(lines[place] for place in learnt))
        sizes = {split: len(places) for split, places in division.places.items()}
        end = max(dates(table)[1][place] for place in learnt)
        found.append(Planned(window, alone, sizes, {**rows.notes, **division.notes}, end, there.get(inputs)))
    return found


def _check_head(recipe: Recipe, division: Division) -> None:
    """Raise BadCorpus where the head can learn nothing from a window's rows, or not be measured on them."""
    head: HeadImplementation = build_plugin(Head, recipe.head.name, recipe.head.options)
    head.fit_labels(division.splits["train"])
    metric = metric_for(recipe.head.name, recipe.training.metric or head.selects_on)
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
    """All that decides the weights of a window's version but for the base's own, in one form.

    Descriptions, tags and the paths of a machine are left out, and so are releases of libraries: a new one is no reason
    to train every window again.
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
            "training": recorded["training"],
        }
    )


def _versions_by_inputs(registry: Registry, name: str) -> dict[bytes, Version]:
    """Every version of a name that came from a recipe, by its inputs; of several with the same, the latest.

    One that was yanked counts: trained again it would be the same version.
    """
    found = {}
    for version in registry.versions(name):
        try:
            manifest = version.manifest
            if manifest.recipe is None or manifest.corpus is None or manifest.corpus.digest is None:
                continue
            recipe = Recipe.read(manifest.recipe)
            found[_inputs(recipe, manifest.method.options, manifest.corpus.digest)] = version
        except AdapterHubError:
            continue  # a manifest or a recipe that can't be read is of no window of the one at hand
    return found


def _still_on_this_base(plan: Sequence[Planned], download: bool) -> list[Planned]:
    """The same plan, without the versions that were trained on a base whose weights are no longer those at hand."""
    known = [each for each in plan if each.version is not None]
    if not known:
        return list(plan)
    setup = load_run(prepare(known[0].recipe, download=download), new_adapter_name())
    same: dict[str, bool] = {}

    def fits(version: Version) -> bool:
        base = version.manifest.base
        key = fingerprint_key(base)
        if key not in same:
            try:
                check_base(setup.model, setup.tokenizer, base, setup.site.modules_to_save, "the base at hand")
                same[key] = True
            except WrongBase as error:
                log.warning(
                    "%s was trained on another base, and its window is trained again: %s", version.reference, error
                )
                same[key] = False
        return same[key]

    return [replace(each, version=each.version if each.version and fits(each.version) else None) for each in plan]


def _tell_of_the_base(recipe: Recipe, plan: Sequence[Planned]) -> None:
    """Say it where the base itself knows too much for the dates that the series is for."""
    known = bases.known_of(recipe.base)
    late = [each for each in plan if known is None or known.at >= as_of_instant(each.window.cutoff)]
    if late:
        until = f"knows until {format_instant(known.at)}" if known else "has no known end (set base.knowledge_end)"
        log.warning(
            "the base %s: of %d windows, %d are found on their own dates only with include_base=False",
            until,
            len(plan),
            len(late),
        )
