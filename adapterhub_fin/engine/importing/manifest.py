"""Write the manifest of an adapter that was trained elsewhere, and read the base that its user names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.provenance import environment, method_record_for
from adapterhub_fin.engine.data.known import bounded_now, knowledge_record
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.asserted_dates import asserted
from adapterhub_fin.plugin.options import checked
from adapterhub_fin.recipe.choices import BASE_ID, BaseChoice, named_base
from adapterhub_fin_registry import Manifest

if TYPE_CHECKING:
    from adapterhub_fin.engine.importing.read_folder import PeftFolder
    from adapterhub_fin.plugin.interfaces import KnownAt


def base_choice(base: str | Path | Mapping[str, Any] | None, recorded: Any = None) -> BaseChoice | None:
    """Return the base that the caller names, with the id that a PEFT configuration records if the caller gives none.

    Returns None if neither names a base. Raises BadRecipe for wrong keys, and for a date without a base.
    """
    given = dict(base) if isinstance(base, Mapping) else {} if base is None else named_base(base)
    if not given.get("id") and not given.get("version") and (recorded_id := recorded_base(recorded)):
        given["id"] = recorded_id
    if given and not any(given.get(key) for key in ("id", "path", "version")):
        raise BadRecipe("base: the folder names no base that this date could be of: give its id too")
    return BaseChoice.read(given) if given else None


def recorded_base(name: Any) -> str | None:
    """Return the base id that a PEFT configuration records, or None if that is a path of another machine."""
    return name if isinstance(name, str) and BASE_ID.fullmatch(name) else None


def imported_manifest(
    peft_folder: PeftFolder,
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
    """Return the manifest of an adapter that was trained elsewhere; `of` says where its folder was read from.

    Call it after the folder was read: undated inputs count as known at this moment, and no earlier than `bound` (see
    `knowledge_record`). Raises BadRecipe for unknown keys of `corpus` and wrong dates.
    """
    undated = bounded_now(of)
    stated = {"name": "unknown", **(corpus or {})}
    if unknown := set(stated) - {"name", "knowledge_end", "evidence", "license"}:
        raise BadRecipe(f"corpus has no key {sorted(unknown)[0]!r}; known: evidence, knowledge_end, license, name")
    dated = asserted(stated.get("knowledge_end"), stated.get("evidence"), "corpus")
    inputs = {"base": known_base or undated, f"corpus:{stated['name']}": dated or undated}
    record = {"name": stated["name"], "license": stated.get("license")} if corpus else None
    return checked(
        Manifest,
        {
            "method": method_record_for(peft_folder.config),
            "head": peft_folder.head,
            "base": base,
            "corpus": record,
            "knowledge": knowledge_record(inputs, bound),
            "metrics": metrics or {},
            "environment": environment(),
            "description": description,
            "license": license,
            "tags": tuple(tags),
        },
        "manifest",
    )
