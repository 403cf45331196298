"""Hold every name of a PEFT configuration to the model: PEFT passes over one that matches nothing (peft 3582).

The rules by which a name matches are PEFT's own (`check_target_module_exists`, `get_pattern_key`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from difflib import get_close_matches
from typing import Any

from adapterhub_fin.errors import BadRecipe

Rule = Callable[[str, str], bool]
Unmatched = tuple[str, str, Collection[str]]  # a field, a name in it, and what it could have matched
LISTED = ("target_modules", "exclude_modules", "feedforward_modules", "target_modules_bd_a", "target_modules_bd_b")
PATTERNS = ("rank_pattern", "alpha_pattern")  # of the modules that are adapted


def check_names(
    config: Any, modules: Collection[str], parameters: Collection[str], rows: int | None, method: str
) -> None:
    """Raise BadRecipe for the first name that the model has nothing for, with near ones.

    `modules` and `parameters` are the model's, before the adapter; `rows` counts those of its embeddings.
    """
    _refuse(_unmatched(config, modules, parameters), method)
    for field in ("trainable_token_indices", "token_indices"):
        for token in _tokens(getattr(config, field, None)):
            if rows is not None and not 0 <= token < rows:
                raise BadRecipe(f"the method {method}: {field} names token {token}, and the base has {rows}")


def check_adapted(config: Any, modules: Collection[str], adapted: Collection[str], method: str) -> None:
    """Raise BadRecipe for the first pattern or layer that holds for none of the modules that were adapted."""
    _refuse(_unapplied(config, modules, adapted), method)


def _refuse(unmatched: Iterator[Unmatched], method: str) -> None:
    try:
        for field, name, where in unmatched:
            raise BadRecipe(f"the method {method}: {field} names {name!r}, {_instead(name, where, field)}")
    except re.error as error:
        raise BadRecipe(f"the method {method}: {error.pattern!r} is no regular expression ({error})") from error


def _unmatched(config: Any, modules: Collection[str], parameters: Collection[str]) -> Iterator[Unmatched]:
    for owner, field in ((owner, field) for owner in (config, getattr(config, "use_bdlora", None)) for field in LISTED):
        names = getattr(owner, field, None)
        if isinstance(names, str) and str(getattr(config, "peft_type", "")).endswith("ADAPTION_PROMPT"):
            names = [names]  # the end of a name, and no regular expression
        yield from _unknown(field, names, modules, _ends_in)
    yield from _unknown("modules_to_save", getattr(config, "modules_to_save", None), modules, _ends_with)
    yield from _unknown("target_parameters", getattr(config, "target_parameters", None), parameters, _ends_in)
    tokens = getattr(config, "trainable_token_indices", None)
    if isinstance(tokens, dict):
        yield from _unknown("trainable_token_indices", list(tokens), modules, _ends_with)
    for pattern in _layer_patterns(config):
        if not any(re.match(rf"(?:^|.*?\.){pattern}\.\d+\.", name) for name in modules):
            yield "layers_pattern", pattern, sorted({part for name in modules for part in name.split(".")})
    for pattern in (pattern for field in PATTERNS for pattern in getattr(config, field, None) or ()):
        re.compile(pattern)  # PEFT would end in its own error


def _unapplied(config: Any, modules: Collection[str], adapted: Collection[str]) -> Iterator[Unmatched]:
    for field in PATTERNS:
        yield from _unknown(field, list(getattr(config, field, None) or ()), adapted, _has_pattern)
    layers = getattr(config, "layers_to_transform", None)
    heads = [rf"(?:^|.*?\.){pattern}" for pattern in _layer_patterns(config)] or [r".*?\.[^.]*"]
    adapted_layers = {int(m[1]) for name in adapted for head in heads if (m := re.match(rf"{head}\.(\d+)\.", name))}
    for index in [layers] if isinstance(layers, int) else layers or ():
        if index not in adapted_layers:
            yield "layers_to_transform", str(index), [str(layer) for layer in sorted(adapted_layers)]


def _layer_patterns(config: Any) -> list[str]:
    patterns = getattr(config, "layers_pattern", None) or ()
    return [patterns] if isinstance(patterns, str) else list(patterns)


def _unknown(field: str, names: Any, candidates: Collection[str], matches: Rule) -> Iterator[Unmatched]:
    if isinstance(names, str):  # a regular expression, or a word that stands for many modules
        if names != "all-linear" and not any(re.fullmatch(names, candidate) for candidate in candidates):
            yield field, names, candidates
        return
    for name in sorted(names or (), key=str):
        if not any(matches(str(name), candidate) for candidate in candidates):
            yield field, str(name), candidates


def _ends_in(name: str, key: str) -> bool:
    return key == name or key.endswith(f".{name}")


def _ends_with(name: str, key: str) -> bool:
    return key.endswith(name)


def _has_pattern(name: str, key: str) -> bool:
    return re.match(rf"(.*\.)?({name})$", key) is not None


def _tokens(value: Any) -> Iterator[int]:
    for tokens in value.values() if isinstance(value, dict) else [value or ()]:
        yield from tokens


def _instead(name: str, candidates: Collection[str], field: str) -> str:
    """Say what to write instead, as the end of a sentence."""
    kinds = {"layers_to_transform": "adapted layer", **dict.fromkeys(PATTERNS, "adapted module")}
    last = sorted({candidate.rpartition(".")[2] for candidate in candidates} - {""})
    choices = (
        list(candidates)
        if field == "layers_to_transform"
        else [candidate for candidate in last if not candidate.isdigit()]
    )
    near = get_close_matches(name.rpartition(".")[2], choices, n=3, cutoff=0.5)
    offer = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(choices[:12])}"
    return f"which is no {kinds.get(field, 'module')} of this base: {offer}"
