"""How much each adapter counts: one weight an adapter, and others for the modules that a pattern names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from adapterhub_fin.errors import BadMerge


@dataclass(frozen=True)
class Weights:
    """A weight for each adapter, of any sign; of the patterns that fit a module's name, the first counts.

    A pattern fits a name's end, as in `layer.0.*` for `encoder.layer.0.output.dense`; `*` stands for any letters.
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
        each: float | None = None,
    ) -> Weights:
        """Weights for these adapters; where none are given, `each` or 1/K. BadMerge where they don't fit."""
        usual = [1 / len(called) if each is None else each] * len(called) if given is None else given
        return cls(
            _checked(usual, called, "weights"),
            {key: _checked(given, called, f"weights for {key}") for key, given in (patterns or {}).items()},
        )

    def of_module(self, module: str) -> tuple[float, ...]:
        """The adapters' weights in one module."""
        return next((each for pattern, each in self.patterns.items() if _fits(pattern, module)), self.usual)

    def check_used(self, modules: Iterable[str]) -> None:
        """Raise BadMerge for a pattern that fits no module: it is a slip."""
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
