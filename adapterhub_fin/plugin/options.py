"""Define what a plugin's options are made of, and the one check that every options model goes through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from adapterhub_fin.errors import BadRecipe

M = TypeVar("M", bound=BaseModel)
_SHOWN = 200  # characters of a wrong value in a message
# Names of keys that were replaced before the first release, with what each is called now.
RETIRED = {
    "licence": "license",
    "part": "split",
    "split": "splitter",
    "tier": "include_base",
    "pin": "fingerprint",
    "trackers": "report_to",
}


class Options(BaseModel):
    """Refuse unknown keys, changes after the check and infinite numbers: what every options model inherits."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NoOptions(Options):
    """Serve a plugin that has nothing to set."""


def checked(model: type[M], data: Mapping[str, Any], where: str, reserved_keys: Sequence[str] = ()) -> M:
    """Build an options model from plain values; raises BadRecipe with the key, the reason and the near names.

    `reserved_keys` names keys that are read elsewhere and stand in the same place of a recipe.
    """
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        raise BadRecipe("; ".join(_sentence(model, item, where, reserved_keys) for item in error.errors())) from None


def _sentence(model: type[BaseModel], item: Any, where: str, reserved_keys: Sequence[str]) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "it"
    if item["type"] != "extra_forbidden":
        hidden = item["type"] == "missing" or isinstance(item["input"], dict)
        given = "" if hidden else f" (not {_shown(item['input'])})"
        return f"{where}: {key}: {item['msg'].removeprefix('Value error, ')}{given}"
    path = item["loc"][:-1]
    if (successor := RETIRED.get(str(item["loc"][-1]))) in _fields_at(model, path) or successor in reserved_keys:
        return f"{where}: {key} is now called {'.'.join(map(str, (*path, successor)))}"
    options = [*_fields_at(model, path), *(() if path else reserved_keys)]
    near = get_close_matches(str(item["loc"][-1]), options, n=3, cutoff=0.5)
    meant = f"; did you mean {' or '.join(near)}?" if near else ";"
    return f"{where}: there is no option {key!r}{meant} known: {', '.join(sorted(options)) or 'none'}"


def _shown(value: Any) -> str:
    """Return a value for a message, cut where it is long: it may be a table."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _fields_at(model: type[BaseModel], path: Sequence[Any]) -> list[str]:
    for part in path:
        inner = model.model_fields[part].annotation if part in model.model_fields else None
        models = [
            annotation
            for annotation in (inner, *get_args(inner))
            if isinstance(annotation, type) and issubclass(annotation, BaseModel)
        ]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)
