"""Adapters by name in vLLM: its plugin, and the answer to each name it does not know.

vLLM asks a resolver once for a name and keeps the answer until the name is unloaded or the server stops, so each answer
is one immutable version's own folder. The interface is vllm/lora/resolver.py of vLLM 0.9 to 0.33.
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
REMEMBERED = 1024  # names whose refusal was logged: anybody may ask for any
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """What a name means to a server for as long as it runs: a version and the folder to read it from."""

    version: Version
    folder: Path

    @property
    def number(self) -> int:
        """A positive 31-bit integer that is the same for the same weights in every process."""
        return int(self.version.digest.removeprefix("sha256:")[:8], 16) % (2**31 - 1) + 1


def register() -> None:
    """Give vLLM the resolver; called by it in every process, and harmless when called again."""
    from vllm.lora.request import LoRARequest
    from vllm.lora.resolver import LoRAResolver, LoRAResolverRegistry

    if NAME in LoRAResolverRegistry.get_supported_resolvers():
        return
    said = Refusals()

    class RegistryResolver(LoRAResolver):  # type: ignore[misc]  # vLLM is imported here alone, and is not typed to us
        """Answers with the versions of the configured registries."""

        async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None:
            """The version's verified folder; None, with the reason logged, for what can't be served."""
            # In a thread: hashing a file of gigabytes must not hold up the requests that are being answered.
            served = await asyncio.to_thread(answer, base_model_name, lora_name, said)
            if served is None:
                return None
            return LoRARequest(lora_name=lora_name, lora_int_id=served.number, lora_path=str(served.folder))

    LoRAResolverRegistry.register_resolver(NAME, RegistryResolver())


class Refusals:
    """Logs why a name is not served, once for each reason, however often it is asked for."""

    def __init__(self) -> None:
        self._said: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = Lock()  # vLLM asks from several threads

    def say(self, name: str, reason: str) -> None:
        """Log a reason that was not logged lately."""
        key = (name[:200], reason)
        with self._lock:
            is_new = key not in self._said
            self._said[key] = None
            self._said.move_to_end(key)
            if len(self._said) > REMEMBERED:
                self._said.popitem(last=False)
        if is_new:
            _log.warning("%.200r is not served from the registry: %s", name, reason)


def answer(base: str, name: str, said: Refusals) -> Served | None:
    """What a name means to a server of that base; None for whatever can't be served, whatever is wrong."""
    try:
        served = resolve(base, name)
    except Exception as error:  # an answer of None lets vLLM ask its other resolvers; an error would end the request
        said.say(str(name), f"{type(error).__name__}: {error}")
        return None
    _log.info("%s is served as %s (%s) from %s", name, served.version.reference, served.version.digest, served.folder)
    return served


def resolve(base: str, name: str) -> Served:
    """The one version that a name means, once it was found to fit the served base and what vLLM loads.

    Raises BadReference, NotFound, Corrupted, WrongBase or Refused.
    """
    wanted = parse_reference(name)
    if isinstance(wanted, HubReference) and not _allowed(wanted.repository):
        raise Refused(f"who sends a request would choose what is downloaded: allow it in {HUB}, or pull it")
    registry = configured_registries().answering(wanted)
    version = registry.resolve(wanted)
    folder = registry.path(version.reference)
    from adapterhub_fin.engine.base.check import expected_base
    from adapterhub_fin.exporting.served_base import check_served

    head = version.manifest.head
    check_served(expected_base(registry, version), base, head.modules_to_save if head else ())
    return Served(version, _loadable(registry, version, folder))


def _allowed(repository: str) -> bool:
    """Whether the operator lets requests name a repository of a Hub: by `ORG/NAME`, or a pattern as `acme/*`."""
    patterns = os.environ.get(HUB, "").split(",")
    return any(fnmatchcase(repository, pattern.strip()) for pattern in patterns)


def _loadable(registry: Registry, version: Version, folder: Path) -> Path:
    """The version's own folder where vLLM loads it as it is, else one without its head where that is allowed."""
    from adapterhub_fin.exporting.checking import findings, read_stored
    from adapterhub_fin.exporting.vllm import RANKS

    # How high a rank is served is for the server's start, which vLLM itself then says.
    stopping = [each for each in findings(read_stored(version, folder), "vllm", RANKS[-1]) if each.level != "unsure"]
    if not stopping:
        return folder
    if os.environ.get(WITHOUT_HEAD) != "1":
        raise Unsupported(f"{stopping[0].says}; {stopping[0].do}")
    return headless(registry, version)


def headless(registry: Registry, version: Version) -> Path:
    """The version without the modules trained whole, kept in the user's cache under its digest, whole or absent."""
    from adapterhub_fin.exporting.exporting import export

    assert registry.id is not None  # it holds a version
    target = cache_folder(registry.id) / "vllm" / version.digest.removeprefix("sha256:")
    if not target.is_dir():
        try:
            export(version.reference, target, layout="vllm", without_head=True, registry=registry)
        except (Refused, OSError):
            if not target.is_dir():  # else another process of the server made it meanwhile
                raise
    return target
