"""Build the manifest of a trained version: provenance, data, and when both could have been known."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.provenance import environment, method_record
from adapterhub_fin.engine.data.known import knowledge_record
from adapterhub_fin.engine.training.checks import known_inputs
from adapterhub_fin.engine.training.start import ROLE, start_knowledge
from adapterhub_fin.plugin.options import checked
from adapterhub_fin_registry import Manifest
from adapterhub_fin_registry.model.manifest import Knowledge, KnowledgeInput

if TYPE_CHECKING:
    from adapterhub_fin.engine.training.prepare import LoadedRun
    from adapterhub_fin.recipe.recipe import Recipe
    from adapterhub_fin_registry import Version
    from adapterhub_fin_registry.model.manifest import Selection


def trained_manifest(
    loaded: LoadedRun, metrics: Mapping[str, float], bound: datetime, selection: Selection | None = None
) -> Manifest:
    """Return the manifest of a trained version; the registry adds its files and tensors.

    Inputs without a date count as known at `bound`, as in `knowledge_record`.
    """
    recipe, corpora = loaded.recipe, loaded.corpora
    return checked(
        Manifest,
        {
            "method": method_record(recipe.method.name, recipe.method.options),
            "head": {
                "name": recipe.head.name,
                "options": {**recipe.head.options, **loaded.head.fitted_options()},
                "labels": loaded.head.labels,
                "modules_to_save": loaded.context.modules_to_save,
            },
            "base": loaded.base.model_dump(),
            "corpus": {**corpora.record, "stages": [stage.record for stage in corpora.stages]},
            "knowledge": _knowledge(loaded, bound),
            "parents": [] if (start := loaded.start) is None else [_parent(start.version)],
            "metrics": metrics,
            "measured_on": {
                "split": "test",
                "rows": corpora.record["rows"]["test"],
                "corpus_digest": corpora.measured,
            },
            "selection": None if selection is None else selection.model_dump(),
            "recipe": recorded_recipe(recipe),
            "seed": recipe.training.seed,
            "environment": environment(),
            "description": recipe.description,
            "license": recipe.license,
            "tags": recipe.tags,
        },
        "manifest",
    )


def _knowledge(loaded: LoadedRun, bound: datetime) -> Mapping[str, Any]:
    """Return what the version knows: the base, the corpora, and all that the version knew that the run started from."""
    known = {**loaded.corpora.known, **known_inputs(loaded.checks)}
    own = knowledge_record({"base": loaded.source.known or loaded.undated, **known}, bound)
    if loaded.start is None:
        return own
    inherited = [entry.model_dump() for entry in start_knowledge(loaded.start)]
    inputs = sorted([*own["inputs"], *inherited], key=lambda entry: str(entry["input"]))
    return Knowledge.of(KnowledgeInput.model_validate(entry) for entry in inputs).model_dump()


def _parent(version: Version) -> dict[str, Any]:
    return {"digest": version.digest, "name": version.name, "role": ROLE}


def recorded_recipe(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as a plain document, without the folder of its base.

    A base with an id is found again by that id; of one without, the folder's name stays. The corpus keeps its options,
    a path included: `evaluate` and a new run read its rows there.
    """
    document = recipe.document()
    if recipe.base.path is not None:
        path = document["base"].pop("path")
        if recipe.base.id is None:
            document["base"]["path"] = PurePath(path).name
    return document
