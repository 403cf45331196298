"""The configured registries, with what only plugins know of taking in what a Hub holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin_registry import Incoming, Intake, Registry, RegistryChain

if TYPE_CHECKING:
    from adapterhub_fin_registry import Manifest, Version


def configured_registries() -> RegistryChain:
    """The registries of the client's configuration, in order; a Hub's versions pass the vetoes of the plugins here."""
    return RegistryChain.configured(INTAKE)


def _vetoes() -> Iterable[Callable[[Manifest, Path], object]]:
    from adapterhub_fin.extensions import extensions

    return extensions().vetoes()


def _foreign(incoming: Incoming, registry: Registry, name: str) -> Version:
    """Take in what someone published or pushed with plain PEFT, vouched for by nobody here."""
    from adapterhub_fin.engine.importing import import_incoming

    return import_incoming(incoming, name, registry=registry, signatures=()).version


INTAKE = Intake(checks=_vetoes, foreign=_foreign)
