"""Define the public `Registry` and `RegistryChain`, which ask the plugins' vetoes before they add a version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import adapterhub_fin_registry as registry_package
from adapterhub_fin_registry import Incoming, Intake
from adapterhub_fin_registry.registry_chain import LocatedVersion, Member

if TYPE_CHECKING:
    from adapterhub_fin_registry import Manifest, Version
    from adapterhub_fin_registry.model.version import AnyReference
    from adapterhub_fin_registry.registry_reader import AsOf


def _vetoes() -> Iterable[Callable[[Manifest, Path], object]]:
    from adapterhub_fin.plugin.manager import extensions

    return extensions().vetoes()


def _import_third_party(incoming: Incoming, registry: registry_package.Registry, name: str) -> Version:
    """Import an adapter that a third party published or pushed with plain PEFT, unsigned."""
    from adapterhub_fin.engine.importing.take_in import import_incoming

    return import_incoming(incoming, name, registry=registry, signatures=()).version


INTAKE = Intake(checks=_vetoes, third_party=_import_third_party)


class Registry(registry_package.Registry):
    """Store versions of adapters under one folder: `root`, else AHF_HOME, else the platform's user data folder.

    Every add asks the vetoes of the installed plugins (`ahf_before_add`), in addition to its `checks`. Opening a
    registry writes nothing, so that `root` may be mounted read-only; the first write creates what is missing.

    Example:
        >>> registry = ahf.Registry("/data/adapters")
        >>> registry.resolve("acme/tone@champion").reference
        'acme/tone@3'
    """

    def standing_checks(self) -> Iterable[Callable[[Manifest, Path], object]]:
        """Return the checks of every add: the plugins' vetoes."""
        return _vetoes()


class RegistryChain(registry_package.RegistryChain):
    """Search several registries in order: the first that has a name answers for it and hides it in the later ones.

    Every add to one of them asks the vetoes of the installed plugins, and so does every download from a Hub.

    Example:
        >>> chain = ahf.RegistryChain.configured()
        >>> chain.locate("acme/tone").version.reference
        'acme/tone@3'
    """

    registry_class = Registry

    def __init__(self, members: Sequence[Member], intake: Intake | None = None) -> None:
        super().__init__(members, intake or INTAKE)

    @classmethod
    def configured(cls, intake: Intake | None = None) -> Self:
        """Return the registries of the client's configuration, or the default one if it names none.

        Raises BadConfiguration if the configuration is wrong.
        """
        return super().configured(intake or INTAKE)


def configured_registries() -> RegistryChain:
    """Return the registries of the client's configuration, in order. Raises BadConfiguration if it is wrong."""
    return RegistryChain.configured()


def located(
    reference: AnyReference,
    registry: registry_package.Registry | None,
    as_of: AsOf | None,
    include_base: bool,
    lock: str | Path | None,
) -> LocatedVersion:
    """Return the version of a reference, in `registry` or else in the first configured registry that has the name.

    Raises NotFound, BadReference, LookAhead or PolicyViolation, as `RegistryChain.locate` does.
    """
    if registry is None:
        return configured_registries().locate(reference, as_of=as_of, include_base=include_base, lock=lock)
    return LocatedVersion(registry, registry.resolve(reference, as_of=as_of, include_base=include_base, lock=lock))
