"""Compute what the index stores of one version."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from adapterhub_fin_registry.model.knowledge import BASE, parse_instant
from adapterhub_fin_registry.model.version import row
from adapterhub_fin_registry.search.parser import microseconds

Pair = tuple[str, str | int | float]
_LIMIT: Final = 2**63
_encode: Final = json.JSONEncoder(check_circular=False).encode  # for parsed JSON, which has no cycles


class Facts(NamedTuple):
    """Hold one version as the index stores it: its row as JSON, its columns, its values by path, its words.

    `setting` is the key of what it shares with the versions of the same options.
    """

    row: str
    columns: dict[str, Any]
    values: list[Pair]
    setting: str
    words: tuple[str, ...]


def facts(
    name: str,
    number: int,
    digest: str,
    manifest: Mapping[str, Any],
    record: Mapping[str, Any],
    events: Sequence[Mapping[str, Any]],
    aliases: Sequence[str],
) -> Facts:
    """Return the facts of a version.

    Raises KeyError, TypeError, ValueError or AttributeError if its documents aren't shaped as they should be.
    """
    shown = row(name, number, digest, manifest, record, events, aliases)
    method, base = manifest["method"], manifest["base"]
    head, corpus = manifest["head"] or {}, manifest["corpus"] or {}
    ends = [(_instant(entry["at"]), entry["input"]) for entry in manifest["knowledge"]["inputs"]]
    own = [at for at, source in ends if source != BASE]
    latest = max(ends)[0]
    columns: dict[str, Any] = {
        "name": name,
        "number": number,
        "namespace": name.partition("/")[0],
        "digest": digest,
        "kind": _text(shown["kind"]),
        "method": _text(shown["method"]),
        "head": _text(shown["head"]),
        "task": _text((head.get("options") or {}).get("task") or shown["head"]),
        "base": _text(shown["base"]),
        "corpus": _text(shown["corpus"]),
        "license": _text(manifest["license"]),
        "description": _text(manifest["description"]),
        "added_by": _text(record["added_by"]),
        "seed": _integer(manifest["seed"]),
        "added_at": _instant(shown["added_at"]),
        "knowledge_end": latest,
        "own_knowledge_end": max(own, default=latest),
        "yanked": int(shown["yanked"]),
    }
    values: list[Pair] = [(f"metrics.{metric}", _number(value)) for metric, value in shown["metrics"].items()]
    values += [(f"eval.{path}", _number(value)) for path, value in shown["eval"].items()]
    values += [("tag", tag) for tag in shown["tags"]] + [("alias", alias) for alias in shown["aliases"]]
    listed = [*manifest["parents"], *([stored] if (stored := base.get("version")) else [])]
    parents = [_text(parent[key]) for parent in listed for key in ("name", "digest")]
    values += [("parent", name) for name in parents if name is not None]
    shared = {
        "": {
            "label": head.get("labels"),
            "trait": method["traits"],
            "architecture": base["architecture"],
            "fingerprint": base["fingerprint"],
            "provider": (method["provider"] or {}).get("distribution"),
        },
        "method": method["options"],
        "head": head.get("options"),
        "corpus": corpus.get("options"),
    }
    setting = _setting(_Spelled(repr(shared), shared))
    texts: list[str] = [columns[column] or "" for column in ("name", "description", "method", "corpus", "base")]
    words = (" ".join(shown["tags"]), *texts)
    return Facts(_encode(shown), columns, values, setting, words)


class _Spelled(NamedTuple):
    """Hold JSON values with their Python repr, which identifies them in a third of the time that encoding takes."""

    spelling: str
    value: Any

    def __hash__(self) -> int:
        return hash(self.spelling)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Spelled) and self.spelling == other.spelling


@lru_cache(maxsize=1024)
def _setting(shared: _Spelled) -> str:
    setting = _encode(shared.value)
    setting_values(setting)
    return setting


@lru_cache(maxsize=1024)
def setting_values(setting: str) -> tuple[Pair, ...]:
    """Return the values of a setting by path: objects by their keys, lists as several values, nothing for null."""
    return tuple(_flattened("", json.loads(setting)))


def _flattened(path: str, value: Any) -> Iterator[Pair]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flattened(f"{path}.{key}" if path else key, item)
    elif isinstance(value, list):
        for item in value:
            yield from _flattened(path, item)
    elif isinstance(value, bool):
        yield path, int(value)
    elif isinstance(value, str):
        yield path, value
    elif value is not None:
        yield path, _number(value)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError("this isn't text")


def _number(value: Any) -> int | float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise TypeError("this isn't a finite number")
    return value if type(value) is float or -_LIMIT <= value < _LIMIT else float(value)


def _integer(value: Any) -> int | float | None:
    return None if value is None else _number(value)


@lru_cache(maxsize=4096)
def _instant(text: str) -> int:
    return microseconds(parse_instant(text))
