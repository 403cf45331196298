"""The configured registries, with what only plugins know of taking in what a Hub holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin_registry import Incoming, Intake, Registry, RegistryChain
from adapterhub_fin_registry.chain import Located

if TYPE_CHECKING:
    from adapterhub_fin_registry import Manifest, Version
    from adapterhub_fin_registry.knowledge import Tier
    from adapterhub_fin_registry.view import AsOf


def configured_registries() -> RegistryChain:
    """The registries of the client's configuration, in order; a Hub's versions pass the vetoes of the plugins here."""
    return RegistryChain.configured(INTAKE)


def located(
    reference: str, registry: Registry | None, as_of: AsOf | None, tier: Tier, lock: str | Path | None
) -> Located:
    """The version that a reference means, in the registry given, else in whichever of those configured holds it."""
    if registry is None:
        return configured_registries().locate(reference, as_of=as_of, tier=tier, lock=lock)
    return Located(registry, registry.resolve(reference, as_of=as_of, tier=tier, lock=lock))


def _vetoes() -> Iterable[Callable[[Manifest, Path], object]]:
    from adapterhub_fin.extensions import extensions

    return extensions().vetoes()


def _foreign(incoming: Incoming, registry: Registry, name: str) -> Version:
    """Take in what someone published or pushed with plain PEFT, vouched for by nobody here."""
    from adapterhub_fin.engine.importing import import_incoming

    return import_incoming(incoming, name, registry=registry, signatures=()).version


INTAKE = Intake(checks=_vetoes, foreign=_foreign)
