"""Give each adapter of a merge its weight, and other weights to modules that match a pattern."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from adapterhub_fin.errors import BadMerge


@dataclass(frozen=True)
class Weights:
    """Hold a weight for each adapter, of any sign; the first pattern that matches a module's name overrides it.

    A pattern matches the end of a name, as `layer.0.*` matches `encoder.layer.0.output.dense`; `*` is any text.
    """

    usual: tuple[float, ...]
    patterns: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        called: Sequence[str],
        given: Sequence[float] | None = None,
        patterns: Mapping[str, Sequence[float]] | None = None,
        *,
        default: float | None = None,
    ) -> Weights:
        """Return the weights of these adapters: the given ones, else `default` or 1/K for each.

        Raises BadMerge for another number of weights, or one that is not finite.
        """
        usual = [1 / len(called) if default is None else default] * len(called) if given is None else given
        return cls(
            _checked(usual, called, "weights"),
            {key: _checked(given, called, f"weights for {key}") for key, given in (patterns or {}).items()},
        )

    def of_module(self, module: str) -> tuple[float, ...]:
        """Return the adapters' weights in one module."""
        return next((weights for pattern, weights in self.patterns.items() if _fits(pattern, module)), self.usual)

    def check_used(self, modules: Iterable[str]) -> None:
        """Raise BadMerge for a pattern that matches no module, which is a typo."""
        names = sorted(modules)
        for pattern in self.patterns:
            if not any(_fits(pattern, name) for name in names):
                raise BadMerge(
                    f"the pattern {pattern!r} fits none of the {len(names)} modules ({', '.join(names[:1])} ...): give "
                    "the end of a module's name, with * for any letters"
                )


def _fits(pattern: str, module: str) -> bool:
    return fnmatchcase(module, pattern) or fnmatchcase(module, f"*.{pattern}")


def _checked(weights: Sequence[float], called: Sequence[str], what: str) -> tuple[float, ...]:
    if len(weights) != len(called):
        raise BadMerge(f"{len(called)} adapters were given and {len(weights)} {what}: give one weight an adapter")
    for weight, name in zip(weights, called, strict=True):
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise BadMerge(f"the {what} give {name} {weight!r}: a weight is a finite number")
    if not math.isfinite(sum(map(abs, weights))):
        raise BadMerge(f"the {what} are too large to be summed: give smaller ones in the same proportion")
    return tuple(float(weight) for weight in weights)
