"""Read `--set KEY=VALUE`: a field of text takes the text as it was typed, and any other is read as YAML.

YAML reads `runs #2` as `runs`, 01234567 as 342391 and `no` as false. So a value is read by the type of its field,
also within lists and mappings, whose items may be text. Where a field takes text or something else, the text is taken
unless it is something that the other type takes: `[title, body]`, `0.5`, `false`.
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

# What pydantic makes of a text; a time or a length of time too, of which YAML 1.1 makes a number (12:30 is 750).
TEXT = (str, bytes, PurePath, SecretStr, SecretBytes, re.Pattern, time, timedelta)
NOTHING = ("", "~", "null", "Null", "NULL")
EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")  # a number, though YAML 1.1 wants a dot and a sign


def override(data: Mapping[str, Any], overrides: Sequence[str], model: type[BaseModel]) -> dict[str, Any]:
    """Return `data` with `a.b=value` overrides, each value as the type of its field in `model` takes it.

    A model that takes more keys than it declares may have a class method `beside(values)`, which gives the types of
    those by name. Raises BadRecipe for an override that can't be read.
    """
    changed = dict(data)
    for each in overrides:
        _put(changed, each)
    try:
        read: dict[str, Any] = _read(changed, model)
    except RecursionError as error:
        raise BadRecipe("--set: a value holds itself, or is nested deeper than any recipe is: write it out") from error
    return read


@dataclass(frozen=True)
class _Given:
    """A value of the command line that is yet to be read; `node` is set for one within another, as YAML parts them."""

    text: str
    override: str
    node: yaml.Node | None = None

    def parsed(self) -> yaml.Node | None:
        """Return the value as YAML parts it, None for nothing; raises BadRecipe where it is no YAML."""
        if self.node is not None:
            return self.node
        try:
            return yaml.compose(self.text, Loader=yaml.SafeLoader)
        except (yaml.YAMLError, ValueError) as error:  # a ValueError for letters that YAML has no place for
            raise BadRecipe(
                f"--set {self.override}: the value is not YAML; put it in quotes: {' '.join(str(error).split())}"
            ) from error


def _put(data: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    parts = key.split(".")
    if not separator or not all(parts):
        raise BadRecipe(f"--set takes KEY.KEY=VALUE, such as method.rank=16, not {override!r}")
    here = data
    for part in parts[:-1]:
        inner = _opened(here.get(part))
        if inner is not None and not isinstance(inner, Mapping):
            raise BadRecipe(f"--set {override}: {part} is no mapping that keys could be set in")
        here[part] = inner = dict(inner or {})
        here = inner
    here[parts[-1]] = _Given(text, override)


def _opened(value: Any) -> Any:
    """A value that a key is to be set in: `method: lora` and method.rank=16 go together."""
    if isinstance(value, str):
        return {"name": value}
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
    """Read what was given within a value whose type is known; what a file gave stays as it is."""
    if isinstance(value, _Given):
        return _value(value, kind)
    if not isinstance(value, Mapping):
        return value
    model: Any = next(filter(_is_model, _members(kind)), None)
    if model is None:
        return {key: _read(inner, Any) for key, inner in value.items()}
    fields = model.model_fields.items()
    own = {called: field.annotation for name, field in fields for called in (name, field.alias) if called}
    read = {key: _read(inner, own[key]) if key in own else inner for key, inner in value.items()}
    more = model.beside(read) if hasattr(model, "beside") else {}
    return {key: inner if key in own else _read(inner, more.get(key, Any)) for key, inner in read.items()}


def _value(given: _Given, kind: Any) -> Any:
    """What a value of the command line is, by the type of its field."""
    members = list(_members(kind))
    texts = [each for each in members if _is_text(each)]
    others = [each for each in members if not _is_text(each) and each is not types.NoneType]
    if not texts:
        return _parsed(given, others)
    if given.node is None and given.text == "" and types.NoneType in members:
        return None  # the one way to take a text away
    if not others:
        return _text(given, types.NoneType in members)
    try:
        value = _parsed(given, others)
    except BadRecipe:
        return _text(given, False)
    return value if any(_takes(each, value) for each in others) else _text(given, False)


def _text(given: _Given, optional: bool) -> Any:
    """The text as it was typed; within a list or a mapping as YAML quotes it, and nothing where that is allowed."""
    node = given.node
    if node is None:
        return given.text
    if not isinstance(node, yaml.ScalarNode):
        return _plain(given)
    return None if optional and node.style is None and node.value in NOTHING else node.value


def _parsed(given: _Given, kinds: Sequence[Any]) -> Any:
    """A value as YAML has it, but for the texts within it."""
    node = given.parsed()
    if node is None:
        return None
    model = next(filter(_is_model, kinds), None)
    if isinstance(node, yaml.SequenceNode):
        inner = _item(kinds)
        return [_value(_Given("", given.override, each), inner) for each in node.value]
    if isinstance(node, yaml.MappingNode) and (model is not None or _item(kinds, 1) is not Any):
        pairs = {str(key.value): _Given("", given.override, each) for key, each in node.value}
        if "<<" in pairs:
            return _plain(given)
        if model is not None:
            return _read(pairs, model)
        inner = _item(kinds, 1)
        return {key: _value(each, inner) for key, each in pairs.items()}
    if isinstance(node, yaml.ScalarNode) and model is not None and node.value not in NOTHING:
        return given.text if given.node is None else node.value  # a plugin or a base by its name
    value = _plain(given)
    bare = isinstance(node, yaml.ScalarNode) and node.style is None
    return float(value) if bare and isinstance(value, str) and EXPONENT.fullmatch(value) else value


def _plain(given: _Given) -> Any:
    """A value as YAML alone reads it."""
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
    """The types that a field may be of, without what only restricts them."""
    if hasattr(kind, "__value__"):  # a named alias
        yield from _members(kind.__value__)
    elif get_origin(kind) is Annotated:
        yield from _members(get_args(kind)[0])
    elif get_origin(kind) in (Union, types.UnionType):
        for each in get_args(kind):
            yield from _members(each)
    elif get_origin(kind) is Literal:
        for each in get_args(kind):  # `"all"` is text, and 50 is not
            yield Literal[each]
    else:
        yield getattr(kind, "__supertype__", kind)


def _is_text(kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return isinstance(get_args(kind)[0], str)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return all(isinstance(each.value, str) for each in kind)
    return isinstance(kind, type) and issubclass(kind, TEXT)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _item(kinds: Sequence[Any], place: int = 0) -> Any:
    """The type of a collection's items, or with `place` 1 of a mapping's values."""
    for kind in kinds:
        origin, inner = get_origin(kind), get_args(kind)
        if not isinstance(origin, type) or not issubclass(origin, Collection):
            continue
        if issubclass(origin, tuple) and inner[1:] != (...,):
            return Any  # each place has a type of its own
        if issubclass(origin, Mapping) == bool(place) and len(inner) > place:
            return inner[place]
    return Any


def _takes(kind: Any, value: Any) -> bool:
    """Whether a type takes a value as it is: a number is no truth value, and a text no number."""
    scalar = isinstance(value, bool | int | float | str | date | datetime) or value is None
    try:
        TypeAdapter(kind).validate_python(value, strict=scalar)
    except ValidationError:
        return False
    return True
