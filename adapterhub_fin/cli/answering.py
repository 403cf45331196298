"""Load the version that a command asks, once it is known that it can answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adapterhub_fin.engine.inference.adapter import Adapter
    from adapterhub_fin_registry import Version


def load_to_answer(
    verb: str,
    reference: str,
    *,
    as_of: str | None,
    include_base: bool,
    lock: str | None,
    base: str | None,
    download: bool,
) -> Adapter:
    """Return the adapter of that name; what can't answer the verb is refused before torch is imported.

    Raises BadRecipe for a version of another head, and what `load` raises.
    """
    from adapterhub_fin.registries import located

    found = located(reference, None, as_of, include_base, lock)
    _check_head(found.version, verb)
    from adapterhub_fin import load

    return load(found.version.reference, base=base, registry=found.registry, download=download)


def _check_head(version: Version, verb: str) -> None:
    from adapterhub_fin.errors import BadRecipe
    from adapterhub_fin.plugin.descriptions import Head
    from adapterhub_fin.plugin.manager import extensions

    head, known = version.manifest.head, extensions().all(Head)
    if head is None and verb == "predict":
        raise BadRecipe(f"{version.reference} has no head to predict with; use embed")
    writes = head is not None and (head.name not in known or known[head.name].task == "CAUSAL_LM")
    if verb == "generate" and not writes:
        raise BadRecipe(f"{version.reference} does not write text: its head is not causal-lm; use predict")
