"""What a manifest says of a run: where it came from, what it saw, and when that could have been known."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.provenance import environment, method_record
from adapterhub_fin.engine.data.known import knowledge_record
from adapterhub_fin.plugin.options import checked
from adapterhub_fin_registry import Manifest

if TYPE_CHECKING:
    from adapterhub_fin.engine.training.prepare import LoadedRun
    from adapterhub_fin.recipe.recipe import Recipe


def draft_manifest(setup: LoadedRun, metrics: Mapping[str, float], bound: datetime) -> Manifest:
    """All that is known of a trained version; the registry adds its files and tensors.

    What carries no date is not before `bound`, as for `knowledge_record`.
    """
    recipe, corpora = setup.recipe, setup.corpora
    return checked(
        Manifest,
        {
            "method": method_record(recipe.method.name, recipe.method.options),
            "head": {
                "name": recipe.head.name,
                "options": {**recipe.head.options, **setup.head.fitted_options()},
                "labels": setup.head.labels,
                "modules_to_save": setup.site.modules_to_save,
            },
            "base": setup.base.model_dump(),
            "corpus": corpora.record,
            "knowledge": knowledge_record({"base": setup.source.known or setup.undated, **corpora.known}, bound),
            "metrics": metrics,
            "measured_on": {
                "split": "test",
                "rows": corpora.record["rows"]["test"],
                "corpus_digest": corpora.measured,
            },
            "recipe": recorded_recipe(recipe),
            "seed": recipe.training.seed,
            "environment": environment(),
            "description": recipe.description,
            "license": recipe.license,
            "tags": recipe.tags,
        },
        "manifest",
    )


def recorded_recipe(recipe: Recipe) -> dict[str, Any]:
    """The run as it was, but for the folder of its base: a base is found again by its id, or asked for by its name."""
    document = recipe.document()
    if recipe.base.path is not None:
        path = document["base"].pop("path")
        if recipe.base.id is None:
            document["base"]["path"] = PurePath(path).name
    return document
