"""Complete the names of plugins, and the keys and values of `--set`, as they are installed; torch is not needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click

from adapterhub_fin.cli.options import ReferenceType

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem
    from pydantic import BaseModel

    from adapterhub_fin.plugin.descriptions import Description

Keys = Mapping[str, tuple[str, ...]]  # a key of --set, such as method.rank, with the values that it can have if few


class PluginType(click.ParamType[str]):
    """Take the name of a plugin; completion suggests the installed ones, with `qualified` as KIND:NAME."""

    name = "plugin"

    def __init__(self, *kinds: str, qualified: bool = False) -> None:
        self.kinds, self.qualified = kinds, qualified

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        names = (f"{kind}:{name}" if self.qualified else name for kind in self.kinds for name in _names(kind))
        return _items(names, incomplete)


class SettingType(click.ParamType[str]):
    """Take KEY=VALUE; completion suggests the keys that `keys` returns, and a key's values."""

    name = "setting"

    def __init__(self, keys: Callable[[Mapping[str, Any]], Keys]) -> None:
        self.keys = keys  # from the command's other arguments

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from adapterhub_fin.errors import AdapterHubError

        try:
            keys = self.keys(_given(ctx))
        except AdapterHubError:
            return []  # a recipe that is half written: the command itself will say what is wrong
        key, equals, _ = incomplete.partition("=")
        fitting = [key] if equals else [name for name in keys if name.startswith(incomplete)]
        if len(fitting) == 1 and (values := keys.get(fitting[0])):
            return _items((f"{fitting[0]}={value}" for value in values), incomplete)
        return [] if equals else _items((f"{name}=" for name in fitting), incomplete)


class ReferenceOrFileType(ReferenceType):
    """Take a reference, or a file where no reference begins so."""

    name = "reference or file"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        return super().shell_complete(ctx, param, incomplete) or [CompletionItem(incomplete, type="file")]


def _given(ctx: click.Context) -> dict[str, Any]:
    """Return a command's parameters; click leaves the arguments apart where an option still lacks its value."""
    given, arguments = dict(ctx.params), list(ctx.args)
    for parameter in ctx.command.params:
        if isinstance(parameter, click.Argument) and parameter.name and arguments and not given.get(parameter.name):
            given[parameter.name] = tuple(arguments) if parameter.nargs < 0 else arguments.pop(0)
    return given


def recipe_keys(params: Mapping[str, Any]) -> Keys:
    """Return the keys of a recipe with the plugins that its file and the earlier --set choose.

    Raises BadRecipe for a file that can't be read.
    """
    from adapterhub_fin.plugin.documents import read_yaml
    from adapterhub_fin.recipe.recipe import Recipe

    data = read_yaml(_path(params["recipe"]), Recipe) if params.get("recipe") else {}
    return dict(_keys(Recipe, _overridden(data, params)))


def pretrain_keys(params: Mapping[str, Any]) -> Keys:
    """Return the keys of the recipe of a base. Raises BadRecipe for a file that can't be read."""
    from adapterhub_fin.plugin.documents import read_yaml
    from adapterhub_fin.recipe.pretrain_recipe import PretrainRecipe

    data = read_yaml(_path(params["recipe"]), PretrainRecipe) if params.get("recipe") else {}
    return dict(_keys(PretrainRecipe, _overridden(data, params)))


def corpus_keys(params: Mapping[str, Any]) -> Keys:
    """Return the options of the corpus that a command names, and of its splitter."""
    from adapterhub_fin.recipe.choices import CorpusChoice

    name = params.get("corpus") or params.get("check")
    keys = {key: values for key, values in _section(CorpusChoice, "", {"name": name} if name else {}) if key}
    return {key.removeprefix("."): values for key, values in keys.items() if key != ".name"}


def reading_keys(params: Mapping[str, Any]) -> Keys:
    """Return the options of reading a table."""
    from adapterhub_fin.plugin.reading import TableReading

    return dict(_keys(TableReading, {}))


def tokenize_keys(params: Mapping[str, Any]) -> Keys:
    """Return the keys of a recipe of token shards, with the options of the corpus that it chooses.

    Raises BadRecipe for a file that can't be read.
    """
    from adapterhub_fin.plugin.documents import read_yaml
    from adapterhub_fin.recipe.tokenize_recipe import TokenizeRecipe

    data = read_yaml(_path(params["recipe"]), TokenizeRecipe) if params.get("recipe") else {}
    return dict(_keys(TokenizeRecipe, _overridden(data, params)))


def merge_keys(params: Mapping[str, Any]) -> Keys:
    """Return the options of a merge's merger, or the keys of its recipe.

    Raises BadRecipe for a file that can't be read, and UnknownName for a merger that isn't installed.
    """
    from adapterhub_fin.plugin.descriptions import Merger
    from adapterhub_fin.plugin.documents import read_yaml
    from adapterhub_fin.plugin.manager import extensions
    from adapterhub_fin.recipe.merge_recipe import MergeRecipe

    files = [text for text in params.get("references") or () if text.endswith((".yaml", ".yml"))]
    if files:
        return dict(_keys(MergeRecipe, _overridden(read_yaml(_path(files[0]), MergeRecipe), params)))
    return dict(_keys(extensions().get(Merger, params.get("using") or "linear").load_options(), {}))


def _path(text: str) -> Any:
    from pathlib import Path

    return Path(text).expanduser()


def _overridden(data: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with the plugins that earlier --set choose, as method=qlora or method.name=qlora."""
    changed = dict(data)
    for item in params.get("overrides") or ():
        key, _, value = item.partition("=")
        section, _, option = key.partition(".")
        if option in ("", "name"):
            changed[section] = value
    return changed


def _keys(model: type[BaseModel], values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    from adapterhub_fin.recipe.choices import BaseChoice

    for name, field in model.model_fields.items():
        key = f"{above}{field.alias or name}"
        inner = _model(field.annotation)
        if inner is None:
            yield key, _bases() if (model, name) == (BaseChoice, "id") else tuple(_values(field.annotation))
            continue
        yield from _section(inner, key, values.get(field.alias or name))


def _section(model: type[BaseModel], key: str, value: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the keys of a section of the recipe, and the section's own, which takes a name alone."""
    from adapterhub_fin.recipe.choices import BaseChoice, Plugged

    chosen = value if isinstance(value, Mapping) else {"name": value} if isinstance(value, str) else {}
    if model is BaseChoice:
        yield key, _bases()
    if not issubclass(model, Plugged) or (kind := model.kind()) is None:
        yield from _keys(model, chosen, f"{key}.")
        return
    names = tuple(_names(kind.kind))
    yield key, names
    yield f"{key}.name", names
    yield from ((name, found) for name, found in _keys(model, chosen, f"{key}.") if name != f"{key}.name")
    yield from ((f"{key}.{name}", tuple(_values(type_))) for name, type_ in model.option_types(chosen).items())


def _model(annotation: Any) -> type[BaseModel] | None:
    from pydantic import BaseModel

    members = (annotation, *get_args(annotation))
    return next((each for each in members if isinstance(each, type) and issubclass(each, BaseModel)), None)


def _values(annotation: Any) -> Iterator[str]:
    """Yield the values of a type that has few."""
    if annotation is bool:
        yield from ("true", "false")
    elif get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    else:
        for member in get_args(annotation):
            yield from _values(member)


def _names(kind: str) -> list[str]:
    from adapterhub_fin.plugin.manager import extensions

    found: type[Description] = next(each for each in extensions().kinds.values() if each.kind == kind)
    return list(extensions().all(found))


def _bases() -> tuple[str, ...]:
    return tuple(_names("base"))


def _items(texts: Any, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(text) for text in texts if text.startswith(incomplete)]
