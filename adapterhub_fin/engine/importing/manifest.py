"""Record what is known of an adapter that was trained elsewhere: its manifest, and the base as its user names it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.provenance import environment, method_record_for
from adapterhub_fin.engine.data.known import bounded_now, knowledge_record
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.options import checked
from adapterhub_fin.recipe.recipe import BaseChoice, named_base
from adapterhub_fin_registry import Manifest

if TYPE_CHECKING:
    from adapterhub_fin.engine.importing.read_folder import PeftFolder
    from adapterhub_fin.plugin.interfaces import KnownAt


def base_choice(base: str | Path | Mapping[str, Any] | None, recorded: Any = None) -> BaseChoice | None:
    """Return the base that a caller names, checked, by the id that a PEFT configuration records where none is given.

    None where neither names one; raises BadRecipe for what says something of a base that has no name.
    """
    given = dict(base) if isinstance(base, Mapping) else {} if base is None else named_base(base)
    if not given.get("id") and (named := recorded_base(recorded)):
        given["id"] = named
    if given and not given.get("id") and not given.get("path"):
        raise BadRecipe("base: the folder names no base, so that its date has nothing to stand for: give its id too")
    return BaseChoice.read(given) if given else None


def recorded_base(name: Any) -> str | None:
    """What a PEFT configuration names, unless it is a path of the machine it was trained on."""
    if isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", name, re.ASCII):
        return name
    return None


def foreign_manifest(
    foreign: PeftFolder,
    base: Mapping[str, Any],
    known_base: KnownAt | None,
    corpus: Mapping[str, Any] | None,
    metrics: Mapping[str, float] | None,
    description: str,
    license: str | None,
    tags: Sequence[str],
    bound: datetime,
    of: str = "",
) -> Manifest:
    """What is known of an adapter that was trained elsewhere, and has been read: `of` says from where.

    What carries no date is bounded by this moment, and not before `bound`, as for `knowledge_record`.
    """
    undated = bounded_now(of)
    stated = {"name": "unknown", **(corpus or {})}
    if unknown := set(stated) - {"name", "knowledge_end", "evidence", "license"}:
        raise BadRecipe(f"corpus has no key {sorted(unknown)[0]!r}; known: evidence, knowledge_end, license, name")
    dated = bases.asserted(stated.get("knowledge_end"), stated.get("evidence"), "corpus")
    known = {"base": known_base or undated, f"corpus:{stated['name']}": dated or undated}
    record = {"name": stated["name"], "license": stated.get("license")} if corpus else None
    return checked(
        Manifest,
        {
            "method": method_record_for(foreign.config),
            "head": foreign.head,
            "base": base,
            "corpus": record,
            "knowledge": knowledge_record(known, bound),
            "metrics": metrics or {},
            "environment": environment(),
            "description": description,
            "license": license,
            "tags": tuple(tags),
        },
        "manifest",
    )
