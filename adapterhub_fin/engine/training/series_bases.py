"""Find the base of each window of a series, and compare it with the base of a version that is stored."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.adapter_names import new_adapter_name
from adapterhub_fin.engine.base.check import check_base
from adapterhub_fin.engine.base.load_base import fingerprint_key, hidden_size, load_config
from adapterhub_fin.engine.training.prepare import load_run, prepare, trusting
from adapterhub_fin.errors import WrongBase

if TYPE_CHECKING:
    from adapterhub_fin.engine.training.prepare import LoadedRun
    from adapterhub_fin.recipe.choices import BaseChoice
    from adapterhub_fin.recipe.recipe import Recipe
    from adapterhub_fin_registry import Registry, Version

log = logging.getLogger(__name__)


class WindowBases:
    """Find the bases of windows, each once: most series have one for all windows, those of vintages several."""

    def __init__(self, download: bool, registry: Registry | None) -> None:
        self._download, self._registry = download, registry
        self._sources: dict[BaseChoice, bases.BaseSource] = {}

    def first(self, recipe: Recipe) -> None:
        """Refuse the first window's base before the corpus is read: raise what `find_base` and `trusting` raise."""
        assert recipe.schedule is not None, "a series has a schedule"
        source = self._find(recipe.base.dated(recipe.schedule.start))
        with trusting(recipe, self._registry):
            load_config(source.folder)

    def of(self, window_recipe: Recipe) -> tuple[Recipe, bases.BaseSource]:
        """Return a window's recipe as its manifest records it, and its base; raises what `find_base` raises.

        It has the learning rate too, so that it can be compared with those that are stored.
        """
        choice = window_recipe.dated_base
        source = self._find(choice)
        recipe = window_recipe.model_copy(update={"base": bases.pinned(choice, source)})
        with trusting(recipe, self._registry):
            return recipe.resolved(hidden_size(load_config(source.folder))), source

    def _find(self, choice: BaseChoice) -> bases.BaseSource:
        if choice not in self._sources:
            self._sources[choice] = bases.find_base(choice, download=self._download, registry=self._registry)
        return self._sources[choice]


class BaseMatches:
    """Compare the bases of stored versions with those at hand, each pair once."""

    def __init__(self, download: bool, registry: Registry) -> None:
        self._download, self._registry = download, registry
        self._loaded: tuple[Path, LoadedRun] | None = None  # the last base alone: one may be large
        self._matches: dict[tuple[Path, str], bool] = {}

    def is_on(self, version: Version, recipe: Recipe, source: bases.BaseSource) -> bool:
        """Return whether a version was trained on the base that its window's recipe finds here now."""
        stored, base = source.version, version.manifest.base
        if stored is not None and base.version is not None and stored.digest == base.version.digest:
            return True  # the digest covers the weights, and the files were verified
        key = (source.folder, fingerprint_key(base))
        if key not in self._matches:
            self._matches[key] = self._compared(version, recipe, source)
        return self._matches[key]

    def _compared(self, version: Version, recipe: Recipe, source: bases.BaseSource) -> bool:
        if self._loaded is None or self._loaded[0] != source.folder:
            self._loaded = None
            prepared = prepare(recipe, download=self._download, registry=self._registry)
            self._loaded = source.folder, load_run(prepared, new_adapter_name())
        loaded, base = self._loaded[1], version.manifest.base
        try:
            check_base(loaded.model, loaded.tokenizer, base, loaded.context.modules_to_save, "the base at hand")
        except WrongBase as error:
            log.warning("%s was trained on another base, and its window is trained again: %s", version.reference, error)
            return False
        return True
