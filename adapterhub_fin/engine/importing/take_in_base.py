"""Take in a base that was trained elsewhere, as one version or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin.engine.data.known import bounded_now
from adapterhub_fin.engine.importing.clean_copy import text
from adapterhub_fin.engine.importing.store_base import CONFIG, check_whole, store_base
from adapterhub_fin.engine.importing.take_in import Import
from adapterhub_fin.errors import BadRecipe, Refused, WriteFailed
from adapterhub_fin.plugin.asserted_dates import asserted
from adapterhub_fin_registry.model.file_rules import refusal, size_limit

if TYPE_CHECKING:
    from adapterhub_fin.engine.base.find import BaseSource
    from adapterhub_fin.plugin.interfaces import KnownAt
    from adapterhub_fin_registry import Registry

GIVEN: Final = "given"  # the method of a base that this package didn't make
_KEYS: Final = ("name", "knowledge_end", "evidence", "license")


def take_in_base(
    source: BaseSource,
    name: str,
    *,
    corpus: Mapping[str, Any] | None = None,
    description: str = "",
    license: str | None = None,
    tags: Sequence[str] = (),
    registry: Registry,
    signatures: Sequence[bytes] | None = None,
) -> Import:
    """Add a base to a registry as one version; see `publishing.add_base`.

    Raises what `store_base` raises, BadRecipe for wrong dates or keys, and WriteFailed if the folder can't be copied.
    """
    check_whole(source.folder)
    _check_own_code(source.folder)
    stated = _stated(corpus)
    with tempfile.TemporaryDirectory(prefix="ahf-import-") as temporary:
        clean = Path(temporary)
        dropped = _copied(source.folder, clean)
        version = store_base(
            clean,
            name=name,
            registry=registry,
            method={"name": GIVEN},
            knowledge={f"corpus:{stated['name']}": _known(stated, source.known)},
            corpus={"name": stated["name"], "license": stated.get("license")} if corpus else None,
            description=description,
            license=license,
            tags=tags,
            repository=source.repository,
            origin={"imported": source.repository or text(source.folder.resolve().name), "dropped": dropped},
            signatures=signatures,
            read=[source.folder],
        )
    return Import(version, dropped)


def _stated(corpus: Mapping[str, Any] | None) -> dict[str, Any]:
    stated = {"name": "unknown", **(corpus or {})}
    if unknown := set(stated) - set(_KEYS):
        raise BadRecipe(f"corpus has no key {sorted(unknown)[0]!r}; known: {', '.join(sorted(_KEYS))}")
    return stated


def _known(stated: Mapping[str, Any], known: KnownAt | None) -> KnownAt:
    """Return until when a base knows: as it is stated, else as its plugin says, else until now."""
    date = asserted(stated.get("knowledge_end"), stated.get("evidence"), "corpus")
    return date or known or bounded_now()


def _check_own_code(folder: Path) -> None:
    """Raise Refused for a model that needs Python code of its own, which a version can't hold."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refused(f"{folder / CONFIG} is not JSON ({error}): get the folder again") from error
    if isinstance(config, dict) and config.get("auto_map"):
        raise Refused(
            f"the base at {folder} brings Python code of its own ({CONFIG}: auto_map), which no version holds: name "
            "its folder as base in recipes instead"
        )


def _copied(source: Path, clean: Path) -> list[str]:
    """Copy the files of a base to the empty folder `clean`, and return the names of those that were left out."""
    from adapterhub_fin.engine.base.model_tensors import weight_files

    weights = {name for name, _ in weight_files(source)}  # other files may hold the same tensors again
    dropped = []
    for path in sorted(source.iterdir()):
        if not _is_of_base(path, weights):
            dropped.append(text(path.name))
            continue
        try:
            _placed(path.resolve(), clean / path.name)
        except OSError as error:
            raise WriteFailed(
                f"{path} can't be copied to {clean} ({error.strerror}): make room there, or name another folder by "
                "TMPDIR"
            ) from error
    return dropped


def _is_of_base(path: Path, weights: set[str]) -> bool:
    if not path.is_file() or refusal(path.name):
        return False
    if path.suffix == ".safetensors":
        return path.name in weights
    return path.stat().st_size <= size_limit(path.name)


def _placed(source: Path, target: Path) -> None:
    """Put a file into another folder, without a copy where both are on one disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
