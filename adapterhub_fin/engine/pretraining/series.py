"""Make vintages: one base for each cut-off of a schedule, each going on from the one before, each strict.

A window whose inputs have not changed is skipped. The inputs are its recipe, the digest of its rows, and the base
before it, as the manifests of the stored versions record them.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.data.corpus import check_there
from adapterhub_fin.engine.data.dated_rows import DatedRows, read_dated
from adapterhub_fin.engine.pretraining.cut import TextCut, read_cut
from adapterhub_fin.engine.pretraining.prepare import end_of, find_earlier, prepare_base
from adapterhub_fin.engine.pretraining.pretrain import Source, read_pretrain_recipe, run_base
from adapterhub_fin.engine.training.run_folder import refuse_both
from adapterhub_fin.errors import AdapterHubError, BadCorpus, BadRecipe
from adapterhub_fin.plugin.memory import restored
from adapterhub_fin.recipe.given import require_name
from adapterhub_fin.recipe.pretrain_recipe import NO_BASE_NAME, PretrainRecipe, start_of
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry.io.canonical_json import canonical

if TYPE_CHECKING:
    from datetime import date, datetime

    from adapterhub_fin_registry import Registry, Version

log = logging.getLogger(__name__)
APART = ("corpus", "description", "license", "tags", "test_until")  # keys of a recipe that no weight depends on


@dataclass(frozen=True)
class PlannedVintage:
    """Hold one window of a schedule with its rows, before the base that it goes on from is known."""

    cutoff: date
    recipe: PretrainRecipe  # of this window alone, from scratch
    cut: TextCut


@dataclass(frozen=True)
class Vintage:
    """Hold one base of a series: its cut-off, its version, and whether it was trained now."""

    cutoff: date
    version: Version
    trained: bool  # False where a version with the same inputs was stored before


class Vintages(list[Vintage]):
    """Hold the bases of a schedule, oldest first: a list, which a notebook shows as a table."""

    @property
    def versions(self) -> list[Version]:
        """Return the version of each window, oldest first."""
        return [vintage.version for vintage in self]

    def _repr_html_(self) -> str:
        from adapterhub_fin_registry.io.html_table import html_table

        columns = ("cut-off", "version", "", "knows until", "metrics")
        rows = [
            (
                each.cutoff,
                each.version.reference,
                "trained" if each.trained else "unchanged",
                each.version.manifest.knowledge.end,
                dict(each.version.manifest.metrics),
            )
            for each in self
        ]
        return html_table(f"{len(self):,} bases", rows, columns)


def pretrain_series(
    recipe: Source = None,
    *,
    registry: Registry | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    restart: bool = False,
    **keys: Any,
) -> Vintages:
    """Train one base for each cut-off of the recipe's schedule, except those that are stored with the same inputs.

    The first is from scratch, or goes on from the recipe's base; each later one goes on from the one before, on the
    rows after its end. Their loss is measured on the rows of the next window. Every window is divided before the first
    is trained, and one that was interrupted resumes from its last checkpoint. Raises what `pretrain` raises.

    Example:
        >>> [version.reference for version in ahf.pretrain_series("recipes/vintages.yaml").versions]
        ['acme/fin@1', 'acme/fin@2', 'acme/fin@3']
    """
    refuse_both(resume, restart)
    scheduled = require_name(read_pretrain_recipe(recipe, overrides, keys), NO_BASE_NAME)
    registry = registry or configured_registries().writable()
    registry.check_writable()
    memory_rows = restored(scheduled.document(), registry.root / "runs")
    rows, plan = plan_vintages(scheduled, registry)
    done, stored = Vintages(), _stored(registry, str(scheduled.name))
    for number, planned in enumerate(plan, 1):
        before = done[-1].version if done else _first_base(scheduled, planned.recipe, registry)
        version = stored.get(_inputs(planned.recipe.document(), planned.cut.record["digest"], before))
        if is_new := version is None:
            title = f"base {number} of {len(plan)}, cut-off {planned.cutoff}"
            window = _going_on(planned.recipe, before)
            prepared = prepare_base(window, registry, rows)
            version = run_base(prepared, registry, resume=None, restart=restart, title=title).version
            log.info("%s is %s", title, version.reference)
            gc.collect()  # a Trainer and its callbacks refer to one another, and keep the model alive until then
        done.append(Vintage(planned.cutoff, version, is_new))
    del memory_rows
    return done


def plan_vintages(recipe: PretrainRecipe, registry: Registry | None = None) -> tuple[DatedRows, list[PlannedVintage]]:
    """Return the rows that `read_dated` gives, and every window of the schedule with its own, oldest first.

    Imports no torch. Raises BadRecipe without a schedule, and BadCorpus for a window without rows.
    """
    if recipe.schedule is None or recipe.corpus is None:
        raise BadRecipe("the recipe has no schedule: use ahf.pretrain, or give one (schedule.windows, start)")
    check_there(recipe.check().corpus)  # type: ignore[arg-type]
    rows = read_dated(recipe.corpus)
    available, planned = rows.available, list[PlannedVintage]()
    windows = list(recipe.schedule.until(max(available).date()))
    if not windows:
        raise BadCorpus(
            f"corpus {recipe.corpus.called} ends on {max(available):%Y-%m-%d}, before the first cut-off "
            f"{recipe.schedule.start}: start earlier"
        )
    after: datetime | None = None
    for number, window in enumerate(windows, 1):
        later = any(start_of(window.cutoff) <= at < start_of(window.until) for at in available)
        alone = recipe.window(window, later=later)
        if after is None and recipe.base.version is not None:
            after = end_of(find_earlier(alone, recipe.base.version, "base", registry))
        try:
            cut = read_cut(alone, after, rows)
        except BadCorpus as error:
            raise BadCorpus(f"window {number} of {len(windows)}: {error}") from error
        planned.append(PlannedVintage(window.cutoff, alone, cut))
        after = cut.known.at
    return rows, planned


def _first_base(recipe: PretrainRecipe, first: PretrainRecipe, registry: Registry) -> Version | None:
    return None if recipe.base.version is None else find_earlier(first, recipe.base.version, "base", registry)


def _going_on(recipe: PretrainRecipe, before: Version | None) -> PretrainRecipe:
    return recipe if before is None else recipe.going_on(f"{before.name}@{before.digest}")


def _stored(registry: Registry, name: str) -> dict[bytes, Version]:
    """Return the bases of a name by their inputs; the latest of those with the same inputs."""
    versions = {}
    for version in registry.versions(name):
        try:
            manifest = version.manifest
            if manifest.kind != "base" or manifest.recipe is None or manifest.corpus is None:
                continue
            parents = [parent.digest for parent in manifest.parents]
            key = _key(manifest.recipe, str(manifest.corpus.digest), parents[0] if parents else None)
            versions[key] = version
        except AdapterHubError:
            continue  # an unreadable manifest belongs to no window of this schedule
    return versions


def _inputs(document: Mapping[str, Any], rows: str, before: Version | None) -> bytes:
    return _key(document, rows, None if before is None else before.digest)


def _key(document: Mapping[str, Any], rows: str, before: str | None) -> bytes:
    """Return, as canonical JSON, all that decides the weights of a base; the digest of its rows stands for them."""
    recipe = {key: value for key, value in document.items() if key not in APART}
    recipe["training"] = {key: value for key, value in document["training"].items() if key != "report_to"}
    if before is not None:
        recipe["base"] = before
    return canonical({"recipe": recipe, "rows": rows})
