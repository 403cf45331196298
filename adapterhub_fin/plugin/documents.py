"""Read a document, such as a recipe, from a YAML file or a mapping into a checked model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.options import checked
from adapterhub_fin.plugin.overrides import override

M = TypeVar("M", bound=BaseModel)


def read_document(
    model: type[M], source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), what: str = "recipe"
) -> M:
    """Return the checked model of a YAML file or a mapping, with `a.b=value` overrides.

    `what` names a mapping in messages. Raises BadRecipe, which names the key.

    Example:
        >>> read_document(BacktestRecipe, "btc.yaml", ["rules.costs_bp=5"]).rules.costs_bp
        5.0
    """
    if isinstance(source, Mapping):
        data, where = dict(source), what
    else:
        data, where = read_yaml(Path(source), model), str(source)
    return checked(model, override(data, overrides, model), where)


def read_yaml(path: Path, model: type[BaseModel]) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises BadRecipe for a file that can't be read or holds something else, with the keys of `model`.
    """
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadRecipe(f"{path} can't be read: {error}") from error
    except yaml.YAMLError as error:
        raise BadRecipe(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        keys = ", ".join(field.alias or key for key, field in model.model_fields.items())
        raise BadRecipe(f"{path} must hold a mapping with the keys {keys}")
    return data
