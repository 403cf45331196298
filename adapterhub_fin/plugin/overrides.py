"""Apply `--set KEY=VALUE`: a text field takes the value as it was typed, and any other field reads it as YAML.

YAML reads `runs #2` as `runs`, 01234567 as 342391 and `no` as false. So a value is read by the type of its field, and
the items of lists and mappings by the types of theirs. A field that takes text or another type takes the text, unless
the other type accepts the value: `[title, body]`, `0.5`, `false`.
"""

from __future__ import annotations

import re
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretBytes, SecretStr, TypeAdapter, ValidationError

from adapterhub_fin.errors import BadRecipe

# Types that pydantic reads from a text. Times and durations are among them, since YAML 1.1 reads 12:30 as 750.
TEXT = (str, bytes, PurePath, SecretStr, SecretBytes, re.Pattern, time, timedelta)
NOTHING = ("", "~", "null", "Null", "NULL")
EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")  # a number, though YAML 1.1 wants a dot and a sign


def override(data: Mapping[str, Any], overrides: Sequence[str], model: type[BaseModel]) -> dict[str, Any]:
    """Return `data` with `a.b=value` overrides, each value read by the type of its field in `model`.

    A model that allows extra keys may have a class method `option_types(values)`, which returns their types by name.
    Raises BadRecipe for an override that can't be read.
    """
    changed = dict(data)
    for item in overrides:
        _put(changed, item)
    try:
        read: dict[str, Any] = _read(changed, model)
    except RecursionError as error:
        raise BadRecipe(
            "--set: a value contains itself, or is nested deeper than any recipe is: write it out"
        ) from error
    return read


@dataclass(frozen=True)
class _Given:
    """Hold a value from the command line that is not read yet; `node` is set for an item inside another value."""

    text: str
    override: str
    node: yaml.Node | None = None

    def parsed(self) -> yaml.Node | None:
        """Return the value's YAML node, or None for an empty one. Raises BadRecipe if it is not YAML."""
        if self.node is not None:
            return self.node
        try:
            return yaml.compose(self.text, Loader=yaml.SafeLoader)
        except (yaml.YAMLError, ValueError) as error:  # a ValueError for characters that YAML doesn't allow
            raise BadRecipe(
                f"--set {self.override}: the value is not YAML; put it in quotes: {' '.join(str(error).split())}"
            ) from error


class _Name(str):
    """Hold a text of the file in whose place a mapping is set: a plugin's name, or a path that the mapping replaces."""


def _put(data: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    parts = key.split(".")
    if not separator or not all(parts):
        raise BadRecipe(f"--set takes KEY.KEY=VALUE, such as method.rank=16, not {override!r}")
    here = data
    for part in parts[:-1]:
        inner = _opened(here.get(part))
        if inner is not None and not isinstance(inner, Mapping):
            raise BadRecipe(f"--set {override}: {part} is not a mapping, so that no key in it can be set")
        here[part] = inner = dict(inner or {})
        here = inner
    here[parts[-1]] = _Given(text, override)


def _opened(value: Any) -> Any:
    """Turn a value into a mapping in which a key can be set, so that method=lora and method.rank=16 go together."""
    if isinstance(value, str):
        return {"name": _Name(value)}
    if not isinstance(value, _Given):
        return value
    node = value.parsed()
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value in NOTHING):
        return None
    if isinstance(node, yaml.ScalarNode):
        return {"name": value}
    if not isinstance(node, yaml.MappingNode):
        return [value]
    return {key.value: _Given(inner.value, value.override, inner) for key, inner in node.value}


def _read(value: Any, kind: Any) -> Any:
    """Read the command line's values inside a value of type `kind`; values from a file are not changed."""
    if isinstance(value, _Given):
        return _value(value, kind)
    if isinstance(value, _Name):
        return str(value)
    if not isinstance(value, Mapping):
        return value
    model: Any = next(filter(_is_model, _members(kind)), None)
    if model is None:
        return {key: _read(inner, Any) for key, inner in value.items()}
    fields = model.model_fields.items()
    declared = {key: field.annotation for name, field in fields for key in (name, field.alias) if key}
    replaced = {"name"} if isinstance(value.get("name"), _Name) and "name" not in declared else set()
    given = {key: inner for key, inner in value.items() if key not in replaced}
    read = {key: _read(inner, declared[key]) if key in declared else inner for key, inner in given.items()}
    extra = model.option_types(read) if hasattr(model, "option_types") else {}
    return {key: inner if key in declared else _read(inner, extra.get(key, Any)) for key, inner in read.items()}


def _value(given: _Given, kind: Any) -> Any:
    """Read a value from the command line by the type of its field."""
    members = list(_members(kind))
    texts = [member for member in members if _is_text(member)]
    non_texts = [member for member in members if not _is_text(member) and member is not types.NoneType]
    if not texts:
        return _parsed(given, non_texts)
    if given.node is None and given.text == "" and types.NoneType in members:
        return None  # the only way to unset a text
    if not non_texts:
        return _text(given, types.NoneType in members)
    try:
        value = _parsed(given, non_texts)
    except BadRecipe:
        return _text(given, False)
    return value if any(_takes(member, value) for member in non_texts) else _text(given, False)


def _text(given: _Given, optional: bool) -> Any:
    """Return the text as it was typed, or inside a list or mapping as YAML reads it; None for `~` if `optional`."""
    node = given.node
    if node is None:
        return given.text
    if not isinstance(node, yaml.ScalarNode):
        return _plain(given)
    return None if optional and node.style is None and node.value in NOTHING else node.value


def _parsed(given: _Given, kinds: Sequence[Any]) -> Any:
    """Return the value that YAML reads, except that text items inside it stay text."""
    node = given.parsed()
    if node is None:
        return None
    model = next(filter(_is_model, kinds), None)
    if isinstance(node, yaml.SequenceNode):
        item_type = _item(kinds)
        return [_value(_Given("", given.override, item), item_type) for item in node.value]
    if isinstance(node, yaml.MappingNode) and (model is not None or _item(kinds, 1) is not Any):
        pairs = {str(key.value): _Given("", given.override, item) for key, item in node.value}
        if "<<" in pairs:
            return _plain(given)
        if model is not None:
            return _read(pairs, model)
        value_type = _item(kinds, 1)
        return {key: _value(item, value_type) for key, item in pairs.items()}
    if isinstance(node, yaml.ScalarNode) and model is not None and node.value not in NOTHING:
        return given.text if given.node is None else node.value  # the name of a plugin or a base
    value = _plain(given)
    bare = isinstance(node, yaml.ScalarNode) and node.style is None
    return float(value) if bare and isinstance(value, str) and EXPONENT.fullmatch(value) else value


def _plain(given: _Given) -> Any:
    """Return the value as YAML reads it. Raises BadRecipe if it is not YAML."""
    node = given.parsed()
    loader = yaml.SafeLoader("")
    try:
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise BadRecipe(
            f"--set {given.override}: the value is not YAML; put it in quotes: {' '.join(str(error).split())}"
        ) from error
    finally:
        loader.dispose()


def _members(kind: Any) -> Iterator[Any]:
    """Yield the types of a union, without their constraints."""
    if hasattr(kind, "__value__"):  # a named alias
        yield from _members(kind.__value__)
    elif get_origin(kind) is Annotated:
        yield from _members(get_args(kind)[0])
    elif get_origin(kind) in (Union, types.UnionType):
        for member in get_args(kind):
            yield from _members(member)
    elif get_origin(kind) is Literal:
        for value in get_args(kind):  # `"all"` is text, and 50 is not
            yield Literal[value]
    else:
        yield getattr(kind, "__supertype__", kind)


def _is_text(kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return isinstance(get_args(kind)[0], str)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return all(isinstance(member.value, str) for member in kind)
    return isinstance(kind, type) and issubclass(kind, TEXT)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _item(kinds: Sequence[Any], index: int = 0) -> Any:
    """Return the type of a collection's items, or with `index` 1 that of a mapping's values."""
    for kind in kinds:
        origin, inner = get_origin(kind), get_args(kind)
        if not isinstance(origin, type) or not issubclass(origin, Collection):
            continue
        if issubclass(origin, tuple) and inner[1:] != (...,):
            return Any  # each position has a type of its own
        if issubclass(origin, Mapping) == bool(index) and len(inner) > index:
            return inner[index]
    return Any


def _takes(kind: Any, value: Any) -> bool:
    """Return whether a type accepts a value without conversion: a number is not a bool, and a text not a number."""
    scalar = isinstance(value, bool | int | float | str | date | datetime) or value is None
    try:
        TypeAdapter(kind).validate_python(value, strict=scalar)
    except ValidationError:
        return False
    return True
