"""List the versions and aliases of one base, as models."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import Any

from adapterhub_fin.engine.base.check import expected_base
from adapterhub_fin.engine.base.find import find_base
from adapterhub_fin.engine.base.fingerprint import config_digests
from adapterhub_fin.engine.base.load_base import load_config
from adapterhub_fin.errors import AdapterHubError
from adapterhub_fin.recipe.choices import BaseChoice
from adapterhub_fin.registries import RegistryChain
from adapterhub_fin_registry import Registry, Version
from adapterhub_fin_registry.hub_server.http.access import log
from adapterhub_fin_registry.model.knowledge import parse_instant


class Models:
    """List what can be asked for: names, aliases and versions that were trained on the served base.

    A version belongs to the base by its recorded configuration, or by its repository where it records no other. Its
    weights are compared when the version is loaded. The list is read again when a registry changed; Hubs are left out.
    """

    def __init__(self, base: str, registries: RegistryChain) -> None:
        source = find_base(BaseChoice.read(base))
        self._repository, self._digests = source.repository, config_digests(load_config(source.folder))
        self._registries, self._lock = registries, Lock()
        self._read: dict[int, tuple[str, list[dict[str, Any]]]] = {}

    def all(self) -> list[dict[str, Any]]:
        """Return every model; a name in an earlier registry hides it in later ones."""
        hidden: set[str] = set()
        listed: list[dict[str, Any]] = []
        with self._lock:
            for number, member in enumerate(self._registries.members):
                if member.registry.is_remote:
                    continue
                mark = member.registry.mark()
                if self._read.get(number, ("", []))[0] != mark:
                    self._read[number] = mark, list(self._models(member.registry))
                listed += [each for each in self._read[number][1] if each["name"] not in hidden]
                hidden.update(member.registry.names())
        return [{key: value for key, value in each.items() if key != "name"} for each in listed]

    def serves(self, version: Version, registry: Registry) -> bool:
        """Return whether a version is an adapter that was trained on the served base, as far as its manifest tells."""
        if version.manifest.kind == "base":
            return False
        base = expected_base(registry, version)
        if base.config_digest is not None:
            return base.config_digest in self._digests
        return base.repository is not None and base.repository == self._repository

    def _models(self, registry: Registry) -> Iterator[dict[str, Any]]:
        for name in registry.names():
            try:
                served = [each for each in registry.versions(name) if self.serves(each, registry)]
            except AdapterHubError as error:  # a damaged version, from which the others can't be told apart
                log.error("the models of %s are not listed: %s; ahf doctor says what is damaged", name, error)
                continue
            numbers = {version.number: version for version in served if not version.yanked}
            if not numbers:
                continue
            newest = numbers[max(numbers)]
            aliases = {alias: numbers[n] for alias, n in sorted(registry.aliases(name).items()) if n in numbers}
            yield {**model_facts(name, newest), "name": name}
            for alias, version in aliases.items():
                yield {**model_facts(f"{name}@{alias}", version), "name": name}
            for version in numbers.values():
                yield {**model_facts(version.reference, version), "name": name}


def model_facts(model: str, version: Version) -> dict[str, Any]:
    """Return what clients are told of a model: OpenAI's fields, and which version it is."""
    manifest = version.manifest
    return {
        "id": model,
        "object": "model",
        "created": int(parse_instant(str(version.record["added_at"])).timestamp()),
        "owned_by": version.name.partition("/")[0],
        "reference": version.reference,
        "digest": version.digest,
        "head": manifest.head.name if manifest.head is not None else None,
        "labels": list(manifest.head.labels or ()) if manifest.head is not None else [],
    }
