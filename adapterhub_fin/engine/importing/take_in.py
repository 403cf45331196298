"""Take in a PEFT folder that another trainer wrote, of any age, as it is or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.tensor_file import TensorFile
from adapterhub_fin.engine.importing.clean_copy import clean_copy, text
from adapterhub_fin.engine.importing.manifest import base_choice, foreign_manifest
from adapterhub_fin.engine.importing.read_folder import read_folder
from adapterhub_fin.errors import NotAnAdapter
from adapterhub_fin.plugin.adapter_files import WEIGHTS
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.peft_fields import unknown_settings
from adapterhub_fin_registry import Incoming, Registry

if TYPE_CHECKING:
    from adapterhub_fin.engine.importing.read_folder import PeftFolder
    from adapterhub_fin.recipe.recipe import BaseChoice
    from adapterhub_fin_registry import Version


@dataclass(frozen=True)
class Import:
    """An imported version: what was left behind, what was repaired or converted, and what to know of it."""

    version: Version
    dropped: Sequence[str] = ()
    repairs: Sequence[str] = ()
    warnings: Sequence[str] = ()


def import_incoming(incoming: Incoming, name: str, **options: Any) -> Import:
    """Add a folder that a store gave without a manifest, and record where it is from; options as for `take_in`."""
    return take_in(incoming.folder, name, incoming.origin, **options)


def take_in(
    source: Path,
    name: str,
    origin: Mapping[str, Any],
    *,
    base: str | Path | Mapping[str, Any] | None = None,
    corpus: Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    allow_pickle: bool = False,
    description: str = "",
    license: str | None = None,
    tags: Sequence[str] = (),
    registry: Registry,
    signatures: Sequence[bytes] | None = None,
) -> Import:
    """Add a PEFT folder to a registry as one version; `origin` is recorded with it. See `import_folder`."""
    with tempfile.TemporaryDirectory(prefix="ahf-import-") as place:
        clean = Path(place)
        copied = clean_copy(source, clean, allow_pickle=allow_pickle)
        foreign = read_folder(clean, labels, source)
        choice = base_choice(base, foreign.config.get("base_model_name_or_path"))
        pin = _pin(choice, foreign, clean)
        known = bases.known_of(choice) if choice else None
        read = [choice.path] if choice is not None and choice.path is not None else []
        bound = registry.bounded_now(source, *read, name=name)
        manifest = foreign_manifest(
            foreign, pin, known, corpus, None, description, license, tags, bound, _named(origin)
        )
        record = {
            **origin,
            "imported": origin.get("repository") or text(source.resolve().name),
            "converted": copied.converted,
            "repairs": copied.repairs,
            "dropped": copied.dropped,
        }
        kept = {key: value for key, value in record.items() if value}
        try:
            version = registry.add(
                clean, manifest, name=name, checks=extensions().vetoes(), origin=kept, signatures=signatures
            )
        except NotAnAdapter as error:  # of a copy that nobody will find
            raise NotAnAdapter(str(error).replace(place, str(source))) from error
        return Import(version, copied.dropped, copied.repairs, _warnings(clean, foreign.config, choice))


def _pin(choice: BaseChoice | None, foreign: PeftFolder, adapter: Path) -> Mapping[str, Any]:
    """What is known of the base: read from its folder where one is given, else as it is declared."""
    if choice is not None and choice.path is not None:
        from adapterhub_fin.engine.importing.describe_base import describe_folder

        return describe_folder(choice, foreign.head, adapter).model_dump()
    return {
        "repository": bases.repository_of(choice) if choice else None,
        "revision": (choice.revision if choice else None) or foreign.config.get("revision"),
        "fingerprint": "declared" if choice else "unknown",
    }


def _named(origin: Mapping[str, Any]) -> str:
    """What a folder of a Hub is called for good; nothing for one of this machine, whose path is no one's business."""
    return f"hf://{origin['repository']}@{origin['commit']}" if "commit" in origin else ""


def _warnings(folder: Path, config: Mapping[str, Any], choice: BaseChoice | None) -> list[str]:
    """What is no reason to refuse the adapter, and would surprise whoever uses it."""
    found = []
    file = TensorFile(folder / WEIGHTS)
    for factor in ("lora_B", "lora_embedding_B", "lora_E"):
        of_it = [name for name in file.tensors if f".{factor}" in name]
        if of_it and all(file.all_zero(name) for name in of_it):
            found.append(f"every {factor} ({len(of_it)}) is zero: it does nothing, as if it was saved untrained")
    if unknown := unknown_settings(config):
        found.append(unknown)
    named = config.get("base_model_name_or_path")
    if choice is None:
        where = f"names its base by a path ({named})" if named else "names no base"
        found.append(f"the folder {where}: say which it is with --base ID or FOLDER (base=...), or by each load")
    return found
