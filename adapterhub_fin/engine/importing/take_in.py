"""Import a PEFT folder that another trainer wrote, from any release of PEFT, as one version or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base.tensor_file import TensorFile
from adapterhub_fin.engine.importing.clean_copy import clean_copy, text
from adapterhub_fin.engine.importing.manifest import base_choice, imported_manifest
from adapterhub_fin.engine.importing.read_folder import read_folder
from adapterhub_fin.errors import NotAnAdapter
from adapterhub_fin.plugin.adapter_files import WEIGHTS
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.peft_fields import unknown_settings
from adapterhub_fin_registry import Incoming, Registry

if TYPE_CHECKING:
    from adapterhub_fin.engine.importing.read_folder import PeftFolder
    from adapterhub_fin.recipe.choices import BaseChoice
    from adapterhub_fin_registry import Version


@dataclass(frozen=True)
class Import:
    """Report an imported version, with the files that were dropped, the repairs, and warnings.

    `version` is the new version, `dropped` the names of files that were not stored.
    """

    version: Version
    dropped: Sequence[str] = ()
    repairs: Sequence[str] = ()
    warnings: Sequence[str] = ()


def import_incoming(incoming: Incoming, name: str, **options: Any) -> Import:
    """Add a folder from a store without a manifest, and record its origin; options and errors as for `take_in`."""
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
    """Add a PEFT folder to a registry as one version, and record `origin` with it; see `publishing.import_folder`.

    Raises NotAnAdapter, BaseNotFound, BadRecipe or WriteFailed, and what the registry's `add` raises.
    """
    with tempfile.TemporaryDirectory(prefix="ahf-import-") as temporary:
        clean = Path(temporary)
        copied = clean_copy(source, clean, allow_pickle=allow_pickle)
        peft_folder = read_folder(clean, labels, source)
        choice = base_choice(base, peft_folder.config.get("base_model_name_or_path"))
        described = _describe(choice, peft_folder, clean, registry)
        knowledge = bases.known_of(choice, registry) if choice else None
        read = [choice.path] if choice is not None and choice.path is not None else []
        bound = registry.bounded_now(source, *read, name=name)
        manifest = imported_manifest(
            peft_folder, described, knowledge, corpus, None, description, license, tags, bound, _origin_name(origin)
        )
        record = {
            **origin,
            "imported": origin.get("repository") or text(source.resolve().name),
            "converted": copied.converted,
            "repairs": copied.repairs,
            "dropped": copied.dropped,
        }
        origin_record = {key: value for key, value in record.items() if value}
        try:
            version = registry.add(
                clean, manifest, name=name, checks=extensions().vetoes(), origin=origin_record, signatures=signatures
            )
        except NotAnAdapter as error:  # it names the temporary copy, which the user can't find
            raise NotAnAdapter(str(error).replace(temporary, str(source))) from error
        return Import(version, copied.dropped, copied.repairs, _warnings(clean, peft_folder.config, choice))


def _describe(
    choice: BaseChoice | None, peft_folder: PeftFolder, adapter: Path, registry: Registry
) -> Mapping[str, Any]:
    """Return the manifest's base: its fingerprint if a folder or a stored one is given, else what is declared."""
    if choice is not None and (choice.path is not None or choice.version is not None):
        from adapterhub_fin.engine.importing.describe_base import describe_folder

        return describe_folder(choice, peft_folder.head, adapter, registry).model_dump()
    return {
        "repository": bases.repository_of(choice) if choice else None,
        "revision": (choice.revision if choice else None) or peft_folder.config.get("revision"),
        "fingerprint": "declared" if choice else "unknown",
    }


def _origin_name(origin: Mapping[str, Any]) -> str:
    """Return the permanent name of a Hub folder; empty for a local folder, whose path is private."""
    return f"hf://{origin['repository']}@{origin['commit']}" if "commit" in origin else ""


def _warnings(folder: Path, config: Mapping[str, Any], choice: BaseChoice | None) -> list[str]:
    """Return what does not make the adapter invalid, but would surprise its user."""
    warnings = []
    file = TensorFile(folder / WEIGHTS)
    for factor in ("lora_B", "lora_embedding_B", "lora_E"):
        factors = [name for name in file.tensors if f".{factor}" in name]
        if factors and all(file.all_zero(name) for name in factors):
            warnings.append(f"every {factor} ({len(factors)}) is zero: it does nothing, as if it was saved untrained")
    if unknown := unknown_settings(config):
        warnings.append(unknown)
    recorded = config.get("base_model_name_or_path")
    if choice is None:
        where = f"names its base by a path ({recorded})" if recorded else "names no base"
        warnings.append(f"the folder {where}: say which it is with --base ID or FOLDER (base=...), or at each load")
    return warnings
