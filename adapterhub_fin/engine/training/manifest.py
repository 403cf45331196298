"""What a manifest says of a run: where it came from, what it saw, and when that could have been known."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.data.known import knowledge_record
from adapterhub_fin.errors import AdapterHubError, BadRecipe, PluginError
from adapterhub_fin.plugin.descriptions import Method
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.options import checked
from adapterhub_fin_registry import Manifest

if TYPE_CHECKING:
    from adapterhub_fin.engine.training.prepare import Setup
    from adapterhub_fin.recipe.recipe import Recipe

LIBRARIES = ("adapterhub-fin", "torch", "transformers", "peft", "accelerate", "datasets", "safetensors", "tokenizers")


def draft_manifest(setup: Setup, metrics: Mapping[str, float], bound: datetime) -> Manifest:
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
                "options": {**recipe.head.options, **setup.head.learnt()},
                "labels": setup.head.labels,
                "modules": setup.site.head_modules,
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
            "licence": recipe.licence,
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


def method_record(name: str, options: Mapping[str, Any], *, whole: bool = True) -> dict[str, Any]:
    """Return a method as a manifest holds it: its options, and the distribution that a reader must install.

    Unless `whole`, options that were not given are left out: of an import they are unknown, and no default of ours.
    """
    description = extensions().get(Method, name)
    owner = extensions().owner(description)
    provider = {"distribution": owner.distribution, "version": owner.version} if owner.version else None
    found = extensions().options(Method, name, options).model_dump(mode="json", exclude_unset=not whole)
    return {"name": name, "options": found, "provider": provider, "traits": description.traits}


def method_record_for(config: Mapping[str, Any]) -> dict[str, Any]:
    """The method that a foreign PEFT configuration is of; one that no plugin knows is stored all the same."""
    kind = str(config["peft_type"])
    methods = extensions().all(Method)
    for name in sorted(methods, key=lambda name: (":" in name, name)):  # one written for the type before a generic one
        description = methods[name]
        if description.peft_type != kind:
            continue
        try:
            return method_record(name, _options_from(description, config), whole=False)
        except BadRecipe:
            continue  # others may have trained with what no recipe here may ask for; the generic type takes it
    given = {key: value for key, value in config.items() if value is not None and key != "base_model_name_or_path"}
    return {"name": f"peft:{kind.lower().replace('_', '-')}", "options": given}


def _options_from(description: Method, config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        options: dict[str, Any] = description.load().options_from(config)
    except AdapterHubError:
        raise
    except Exception as error:  # a plugin reads here what anybody may have written
        owner = extensions().owner(description)
        raise PluginError(
            f"the method {description.name} of plugin {owner.label} can't read this adapter's configuration "
            f"({type(error).__name__}: {error}): tell its author, or set AHF_DISABLE_PLUGINS={owner.name}"
        ) from error
    return options


def environment() -> dict[str, str]:
    """Library versions and the device, without a word of the machine; where torch was not needed, it was the CPU."""
    torch: Any = sys.modules.get("torch")
    gpu = torch is not None and torch.cuda.is_available()
    found = {"python": platform.python_version(), "device": torch.cuda.get_device_name() if gpu else "cpu"}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue  # run from a source tree that is not installed
    return found
