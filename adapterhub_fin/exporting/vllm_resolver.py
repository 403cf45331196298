"""Serve adapters by name in vLLM: its plugin, and the answer to each name that vLLM does not know.

vLLM asks a resolver once for a name and keeps the answer until the name is unloaded or the server stops. So each answer
is the folder of one immutable version. The interface is vllm/lora/resolver.py of vLLM 0.9 to 0.33.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from adapterhub_fin.errors import Refused, Unsupported
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import HubReference, parse_reference
from adapterhub_fin_registry.io.cache import cache_folder

if TYPE_CHECKING:
    from vllm.lora.request import LoRARequest

    from adapterhub_fin_registry import Registry, Version

NAME = "adapterhub_fin"
WITHOUT_HEAD = "AHF_VLLM_WITHOUT_HEAD"
HUB = "AHF_VLLM_HUB"
REMEMBERED = 1024  # logged refusals: a limit, since anybody may request any name
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """Represent what a name stands for while a server runs: a version and the folder to read it from."""

    version: Version
    folder: Path

    @property
    def number(self) -> int:
        """Return a positive 31-bit integer, the same for the same weights in every process."""
        return int(self.version.digest.removeprefix("sha256:")[:8], 16) % (2**31 - 1) + 1


def register() -> None:
    """Register the resolver with vLLM, which calls this in every process; a second call does nothing."""
    from vllm.lora.request import LoRARequest
    from vllm.lora.resolver import LoRAResolver, LoRAResolverRegistry

    if NAME in LoRAResolverRegistry.get_supported_resolvers():
        return
    refusals = Refusals()

    class RegistryResolver(LoRAResolver):  # type: ignore[misc]  # vLLM has no types for us
        """Resolve names to versions of the configured registries."""

        async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None:
            """Return the version's verified folder; None, with the reason logged, for what can't be served."""
            # In a thread: hashing gigabytes must not block the requests in progress.
            served = await asyncio.to_thread(answer, base_model_name, lora_name, refusals)
            if served is None:
                return None
            return LoRARequest(lora_name=lora_name, lora_int_id=served.number, lora_path=str(served.folder))

    LoRAResolverRegistry.register_resolver(NAME, RegistryResolver())


class Refusals:
    """Log why a name is not served, once for each reason."""

    def __init__(self) -> None:
        self._logged: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = Lock()  # vLLM asks from several threads

    def log(self, name: str, reason: str) -> None:
        """Log a reason that was not logged lately."""
        key = (name[:200], reason)
        with self._lock:
            is_new = key not in self._logged
            self._logged[key] = None
            self._logged.move_to_end(key)
            if len(self._logged) > REMEMBERED:
                self._logged.popitem(last=False)
        if is_new:
            _log.warning("%.200r is not served from the registry: %s", name, reason)


def answer(base: str, name: str, refusals: Refusals) -> Served | None:
    """Return what a name stands for on a server of that base; None, with the reason logged, for any error."""
    try:
        served = resolve(base, name)
    except Exception as error:  # None lets vLLM ask its other resolvers; an error would end the request
        refusals.log(str(name), f"{type(error).__name__}: {error}")
        return None
    _log.info("%s is served as %s (%s) from %s", name, served.version.reference, served.version.digest, served.folder)
    return served


def resolve(base: str, name: str) -> Served:
    """Return the version that a name stands for, once it is known to fit the served base and vLLM's loader.

    Raises BadReference, NotFound, Corrupted, WrongBase, or Refused for a Hub that requests may not use or an adapter
    that vLLM can't load.
    """
    parsed = parse_reference(name)
    if isinstance(parsed, HubReference) and not _allowed(parsed.repository):
        raise Refused(
            f"a request may not choose what is downloaded: allow the repository in {HUB}, or pull the version"
        )
    registry = configured_registries().answering(parsed)
    version = registry.resolve(parsed)
    from adapterhub_fin.engine.base.check import expected_base
    from adapterhub_fin.engine.base.stored_base import check_is_adapter
    from adapterhub_fin.exporting.served_base import check_served

    check_is_adapter(version)
    folder = registry.path(version)
    head = version.manifest.head
    check_served(expected_base(registry, version), base, head.modules_to_save if head else ())
    return Served(version, _loadable(registry, version, folder))


def _allowed(repository: str) -> bool:
    """Return whether the operator lets requests name a Hub repository: by `ORG/NAME`, or a pattern such as `acme/*`."""
    patterns = os.environ.get(HUB, "").split(",")
    return any(fnmatchcase(repository, pattern.strip()) for pattern in patterns)


def _loadable(registry: Registry, version: Version, folder: Path) -> Path:
    """Return the version's own folder where vLLM loads it, else one without its head where that is allowed."""
    from adapterhub_fin.exporting.checking import findings, read_stored
    from adapterhub_fin.exporting.vllm import RANKS

    # The rank limit is set when the server starts; vLLM reports it itself.
    stopping = [
        finding for finding in findings(read_stored(version, folder), "vllm", RANKS[-1]) if finding.level != "unsure"
    ]
    if not stopping:
        return folder
    if os.environ.get(WITHOUT_HEAD) != "1":
        raise Unsupported(f"{stopping[0].says}; {stopping[0].do}")
    return headless(registry, version)


def headless(registry: Registry, version: Version) -> Path:
    """Return the version without its modules_to_save, from a folder in the user's cache under its digest.

    The folder exists complete or not at all. Raises Unsupported where vLLM would still refuse it.
    """
    from adapterhub_fin.exporting.exporting import export

    assert registry.id is not None  # a registry with a version has one
    target = cache_folder(registry.id) / "vllm" / version.digest.removeprefix("sha256:")
    if not target.is_dir():
        try:
            export(version.reference, target, layout="vllm", without_head=True, registry=registry)
        except (Refused, OSError):
            if not target.is_dir():  # else another process wrote it meanwhile
                raise
    return target
