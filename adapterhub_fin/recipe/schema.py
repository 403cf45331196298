"""Describe recipes as JSON Schema, with the options of every installed plugin, for editors that complete YAML.

JSON Schema of draft 7, which editors know best. Which options a mapping may have depends on its `name`, by if/then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from adapterhub_fin.errors import PluginError
from adapterhub_fin.plugin.descriptions import Description
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.recipe.choices import DEFAULTS, Plugged
from adapterhub_fin.recipe.curriculum import Stage
from adapterhub_fin.recipe.merge_recipe import MergeRecipe
from adapterhub_fin.recipe.pretrain_recipe import PretrainRecipe
from adapterhub_fin.recipe.recipe import Recipe

if TYPE_CHECKING:
    from pydantic import BaseModel

DRAFT = "http://json-schema.org/draft-07/schema#"
Document = Literal["recipe", "merge", "pretrain"]
DOCUMENTS: Mapping[str, type[BaseModel]] = {"recipe": Recipe, "merge": MergeRecipe, "pretrain": PretrainRecipe}


def schema(document: Document = "recipe") -> dict[str, Any]:
    """Return the JSON Schema of a recipe, or of the recipe of a merge or of a base. Imports no torch.

    Raises PluginError for another name. The options of a plugin that is broken are left open.

    Example:
        >>> import json
        >>> Path("recipe.schema.json").write_text(json.dumps(ahf.schema()))
    """
    if document not in DOCUMENTS:
        raise PluginError(f"there is no schema of {document!r}: name one of {', '.join(DOCUMENTS)}")
    result = DOCUMENTS[document].model_json_schema()
    definitions: dict[str, Any] = result["$defs"]
    for choice in _subclasses(Plugged):
        if choice.__name__ in definitions and (kind := choice.kind()) is not None:
            within = "stage-corpus" if choice is Stage else ""  # whose mappings have further keys
            definitions[choice.__name__] = _chosen(kind, definitions[choice.__name__], definitions, within)
    for base in ("BaseChoice", "PretrainBase"):  # a text is an id, a folder or a version
        if base in definitions:
            described = definitions[base]
            definitions[base] = {"anyOf": [{"type": "string"}, described]}
            definitions[base]["description"] = described.pop("description")
    if document == "pretrain":
        result["properties"]["corpora"] = {"$ref": "#/$defs/corpus-mixture/properties/corpora"}
        result["anyOf"] = [{"required": [key]} for key in ("corpus", "corpora", "shards")]
    if "corpus" in result["required"]:  # in one of three ways
        result["required"].remove("corpus")
        result["properties"]["corpora"] = {"$ref": "#/$defs/corpus-mixture/properties/corpora"}
        result["anyOf"] = [{"required": [key]} for key in ("corpus", "corpora", "curriculum")]
    if "license" in result["properties"]:
        result["properties"]["licence"] = {"type": "string", "description": "The same as license."}
    return {"$schema": DRAFT, **result}


def _subclasses(kind: type[Plugged]) -> list[type[Plugged]]:
    return [one for child in kind.__subclasses__() for one in (child, *_subclasses(child))]


def _chosen(
    kind: type[Description],
    choice: Mapping[str, Any],
    definitions: dict[str, Any],
    within: str = "",
) -> dict[str, Any]:
    """Return the schema of a plugin's name, or of a mapping with its name and options.

    The choice may be an option of another plugin, whose definition is `within`.
    """
    plugins = extensions().all(kind)
    default, names = DEFAULTS.get(kind.kind), list(plugins)
    own = {key: value for key, value in choice["properties"].items() if key not in ("name", "options")}
    listed = {"type": "string", "enum": names, "enumDescriptions": [each.summary for each in plugins.values()]}
    branches = []
    for name, plugin in plugins.items():
        reference = f"{within}-{name}" if within else f"{kind.kind}-{name}"
        definitions[reference] = _options(plugin, own, definitions)
        condition: dict[str, Any] = {"properties": {"name": {"const": name}}}
        if name != default:
            condition["required"] = ["name"]
        branches.append({"if": condition, "then": {"$ref": f"#/$defs/{reference}"}})
    named = {**choice["properties"]["name"], **listed, **({"default": default} if default else {})}
    mapping = {"type": "object", "properties": {"name": named, **own}, "allOf": branches}
    if default is None:
        mapping["required"] = ["name"]
    return {"description": choice.get("description", ""), "anyOf": [listed, mapping]}


def _options(plugin: Description, own: Mapping[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a mapping with one plugin's options; what it refers to goes into `definitions`.

    What an option refers to is the same wherever the plugin is chosen, also within itself: a mixture in a mixture.
    """
    base = f"{plugin.kind}-{plugin.name}"
    try:
        options = plugin.load_options().model_json_schema(ref_template=f"#/$defs/{base}-{{model}}")
    except PluginError as error:
        return {"type": "object", "description": f"{plugin.summary} Its options can't be read here: {error}"}
    for inner, value in options.pop("$defs", {}).items():
        reference = f"{base}-{inner}"
        if reference in definitions:
            continue
        definitions[reference] = value
        if "x-plugin" in value:  # itself a plugin's name with its options, as a part of a mixture is
            kind = next(each for each in extensions().kinds.values() if each.kind == value["x-plugin"])
            definitions[reference] = _chosen(kind, value, definitions, reference)
    options["properties"] = {
        "name": {"const": plugin.name, "description": plugin.summary},
        **options.get("properties", {}),
        **own,
    }
    return {**options, "title": plugin.name, "description": plugin.summary}
