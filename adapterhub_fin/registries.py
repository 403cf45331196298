"""The public `Registry` and `RegistryChain`, which ask the plugins' vetoes before anything is added."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import adapterhub_fin_registry as registry_package
from adapterhub_fin_registry import Incoming, Intake
from adapterhub_fin_registry.registry_chain import LocatedVersion, Member

if TYPE_CHECKING:
    from adapterhub_fin_registry import Manifest, Version
    from adapterhub_fin_registry.registry_reader import AsOf


def _vetoes() -> Iterable[Callable[[Manifest, Path], object]]:
    from adapterhub_fin.plugin.manager import extensions

    return extensions().vetoes()


def _foreign(incoming: Incoming, registry: registry_package.Registry, name: str) -> Version:
    """Take in what someone published or pushed with plain PEFT, vouched for by nobody here."""
    from adapterhub_fin.engine.importing.take_in import import_incoming

    return import_incoming(incoming, name, registry=registry, signatures=()).version


INTAKE = Intake(checks=_vetoes, foreign=_foreign)


class Registry(registry_package.Registry):
    """Versions of adapters under one folder: `root`, else AHF_HOME, else the platform's folder for user data.

    Every add asks the vetoes of the installed plugins (`ahf_before_add`), whatever `checks` it is given besides.
    Opening writes nothing, so that a root may be mounted read-only; the first write makes what is missing.
    """

    def standing_checks(self) -> Iterable[Callable[[Manifest, Path], object]]:
        return _vetoes()


class RegistryChain(registry_package.RegistryChain):
    """Registries in order: the first that holds a name answers for it, and hides it in those after.

    Every add to one of them asks the vetoes of the installed plugins, and so does what is read from a Hub.
    """

    registry_class = Registry

    def __init__(self, members: Sequence[Member], intake: Intake | None = None) -> None:
        super().__init__(members, intake or INTAKE)

    @classmethod
    def configured(cls, intake: Intake | None = None) -> Self:
        """Return the registries of the client's configuration; without any, the default one alone."""
        return super().configured(intake or INTAKE)


def configured_registries() -> RegistryChain:
    """Return the registries of the client's configuration, in order."""
    return RegistryChain.configured()


def located(
    reference: str,
    registry: registry_package.Registry | None,
    as_of: AsOf | None,
    include_base: bool,
    lock: str | Path | None,
) -> LocatedVersion:
    """The version that a reference means, in the registry given, else in whichever of those configured holds it."""
    if registry is None:
        return configured_registries().locate(reference, as_of=as_of, include_base=include_base, lock=lock)
    return LocatedVersion(registry, registry.resolve(reference, as_of=as_of, include_base=include_base, lock=lock))
