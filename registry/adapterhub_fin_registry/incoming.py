"""A version on its way in from a store, and its taking in: what a store says of it is believed by nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin_registry.errors import Corrupted, NotAnAdapter, Refused

if TYPE_CHECKING:
    from adapterhub_fin_registry.model.manifest import Manifest
    from adapterhub_fin_registry.model.version import Version
    from adapterhub_fin_registry.registry import Registry


@dataclass(frozen=True)
class Incoming:
    """A version as a store gives it: a folder with its files, its manifest's bytes, its number there.

    Without a manifest it is a PEFT folder of someone who knows nothing of registries: one that has a number there all
    the same is imported only by whoever asks for that, since it may be a version whose manifest is withheld. `origin`
    says where it is from.
    """

    folder: Path
    manifest: bytes | None
    number: int | None
    signatures: tuple[bytes, ...]
    origin: Mapping[str, Any]

    def check_unnumbered(self, what: object) -> None:
        """Raise Corrupted for what has the number of a version and no manifest."""
        if self.manifest is None and self.number is not None:
            raise Corrupted(
                f"{what} is the commit of v{self.number} there, and comes without a manifest: tell its owner, or take "
                f"it in as another's with `ahf import {what} --as NAMESPACE/NAME`"
            )


@dataclass(frozen=True)
class Intake:
    """What the registry can't know of taking in: the checks that plugins bring, and how a foreign folder is read."""

    checks: Callable[[], Iterable[Callable[[Manifest, Path], object]]] = tuple
    foreign: Callable[[Incoming, Registry, str], Version] | None = None
    weights: tuple[str, ...] = ("adapter_model.safetensors",)  # of a foreign folder, those that may be read


def take(incoming: Incoming, registry: Registry, name: str, intake: Intake) -> Version:
    """Add a version to a registry, its files compared with its manifest; Refused or Corrupted keeps nothing of it."""
    if incoming.manifest is None:
        if intake.foreign is None:
            raise NotAnAdapter(f"{name} comes without a manifest: import it, with `ahf import`, to make one")
        return intake.foreign(incoming, registry, name)
    from adapterhub_fin_registry.model.manifest import Manifest

    manifest = Manifest.parse(incoming.manifest)
    if not (manifest.files and manifest.tensors):  # which would be filled in, and be another version
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
