"""Read what every kind of recipe shares: a call's recipe and keys, the name of its version, corpora as a mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, Self, TypeVar

from adapterhub_fin.errors import BadRecipe

MIXTURE: Final = "mixture"  # the corpus that several corpora of a recipe are read as


class Readable(Protocol):
    """Describe a recipe that can be read and written down."""

    @property
    def name(self) -> str | None:
        """Return where the version goes."""

    @classmethod
    def read(cls, source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Self:
        """Read a recipe from a YAML file or a mapping."""
        ...

    def document(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values."""
        ...


R = TypeVar("R", bound=Readable)


def read_given(
    kind: type[R], recipe: R | str | Path | Mapping[str, Any] | None, overrides: Sequence[str], keys: Mapping[str, Any]
) -> R:
    """Return a recipe from a file, a mapping, a recipe or keyword arguments, with overrides applied.

    Raises BadRecipe for a recipe that can't be read, or for a file together with keyword arguments.
    """
    given: Any = recipe.document() if isinstance(recipe, kind) else recipe
    if given is None or isinstance(given, Mapping):
        return kind.read({**(given or {}), **keys}, overrides)
    if keys:
        raise BadRecipe(f"a recipe file and {', '.join(sorted(keys))} were both given: use overrides=['key=value']")
    return kind.read(given, overrides)


def require_name(recipe: R, advice: str) -> R:
    """Return the recipe. Raises BadRecipe with the advice where it has no name for its version."""
    if recipe.name is None:
        raise BadRecipe(advice)
    return recipe


def check_version_name(value: str | None) -> str | None:
    """Return a name, NAMESPACE/NAME. Raises ValueError for one with a version, and BadReference for no name at all."""
    if value is not None:
        from adapterhub_fin_registry import Reference

        if str(reference := Reference.parse(value)) != f"{reference.namespace}/{reference.name}":
            raise ValueError(f"{value!r} must be NAMESPACE/NAME alone: the registry gives the version")
    return value


def corpora_as_mixture(data: Any) -> Any:
    """Return the keys of a recipe, with the corpus `mixture` in place of `corpora`. Raises ValueError for both."""
    if not isinstance(data, Mapping) or "corpora" not in data:
        return data
    if "corpus" in data:
        raise ValueError("corpus and corpora both say what to train on: give one of them")
    rest = {key: value for key, value in data.items() if key != "corpora"}
    return {**rest, "corpus": {"name": MIXTURE, "corpora": data["corpora"]}}
