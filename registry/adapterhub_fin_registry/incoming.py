"""Take a version from a store into a registry.

Nothing that the store claims is trusted: everything is checked against the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin_registry.errors import Corrupted, NotAnAdapter, Refused
from adapterhub_fin_registry.model.file_rules import WEIGHTS

if TYPE_CHECKING:
    from adapterhub_fin_registry.model.manifest import Manifest
    from adapterhub_fin_registry.model.version import Version
    from adapterhub_fin_registry.registry import Registry


@dataclass(frozen=True)
class Incoming:
    """Represent a version as a store delivers it: a folder of files, the manifest's bytes, the store's number.

    Without a manifest it is a plain PEFT folder. A folder that has a number but no manifest is imported only on
    explicit request, since it may be a version whose manifest is withheld. `origin` records where it came from.
    """

    folder: Path
    manifest: bytes | None
    number: int | None
    signatures: tuple[bytes, ...]
    origin: Mapping[str, Any]

    def check_unnumbered(self, what: object) -> None:
        """Raise Corrupted if this has a version's number but no manifest; `what` names it in the message."""
        if self.manifest is None and self.number is not None:
            raise Corrupted(
                f"{what} is the commit of v{self.number} there, and comes without a manifest: tell its owner, or take "
                f"it in as another's with `ahf import {what} --as NAMESPACE/NAME`"
            )


@dataclass(frozen=True)
class Intake:
    """Hold what the registry can't know by itself: the checks of plugins, and how to import a plain PEFT folder."""

    checks: Callable[[], Iterable[Callable[[Manifest, Path], object]]] = tuple
    third_party: Callable[[Incoming, Registry, str], Version] | None = None
    weights: tuple[str, ...] = (WEIGHTS,)  # the weight files of a PEFT folder that may be read


def take(incoming: Incoming, registry: Registry, name: str, intake: Intake) -> Version:
    """Add an incoming version to a registry, with its files compared to its manifest, and return it.

    If it is rejected, nothing of it is stored. Raises BadManifest if the manifest can't be parsed, NotAnAdapter if
    there is no manifest and `intake` can't import a plain folder, Refused if the manifest names no files or tensors or
    a check rejects the version, and Corrupted if the files differ from the manifest.
    """
    if incoming.manifest is None:
        if intake.third_party is None:
            raise NotAnAdapter(f"{name} comes without a manifest: import it, with `ahf import`, to make one")
        return intake.third_party(incoming, registry, name)
    from adapterhub_fin_registry.model.manifest import Manifest

    manifest = Manifest.parse(incoming.manifest)
    if not (manifest.files and manifest.tensors):  # `add` would fill them in, which makes another version of it
        raise Refused(f"the manifest {manifest.digest} doesn't name its files and tensors: tell its owner")
    return registry.add(
        incoming.folder,
        manifest,
        name=name,
        checks=intake.checks(),
        origin=incoming.origin,
        number=incoming.number,
        signatures=incoming.signatures,
    )
