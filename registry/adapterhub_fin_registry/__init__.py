"""Store versions of adapters on a local disk, find them by name and verify them on read."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adapterhub_fin_registry.errors import (
        AdapterHubError,
        BadConfiguration,
        BadEvent,
        BadInstant,
        BadKey,
        BadManifest,
        BadQuery,
        BadReference,
        BadSignature,
        Corrupted,
        LookAhead,
        NotAnAdapter,
        NotFound,
        PolicyViolation,
        ReadOnly,
        Refused,
        Unreachable,
        Unsupported,
        WriteFailed,
    )
    from adapterhub_fin_registry.incoming import Incoming, Intake
    from adapterhub_fin_registry.model.manifest import Manifest
    from adapterhub_fin_registry.model.reference import DigestReference, HubReference, Reference, parse_reference
    from adapterhub_fin_registry.model.version import Version
    from adapterhub_fin_registry.registry import Registry
    from adapterhub_fin_registry.registry_chain import RegistryChain
    from adapterhub_fin_registry.remote_index import RemoteVersion
    from adapterhub_fin_registry.trust.keys import PrivateKey, PublicKey
    from adapterhub_fin_registry.trust.signatures import Signature

__all__ = [
    "AdapterHubError",
    "BadConfiguration",
    "BadEvent",
    "BadInstant",
    "BadKey",
    "BadManifest",
    "BadQuery",
    "BadReference",
    "BadSignature",
    "Corrupted",
    "DigestReference",
    "HubReference",
    "Incoming",
    "Intake",
    "LookAhead",
    "Manifest",
    "NotAnAdapter",
    "NotFound",
    "PolicyViolation",
    "PrivateKey",
    "PublicKey",
    "ReadOnly",
    "Reference",
    "Refused",
    "Registry",
    "RegistryChain",
    "RemoteVersion",
    "Signature",
    "Unreachable",
    "Unsupported",
    "Version",
    "WriteFailed",
    "parse_reference",
]

_HOMES = {
    "Manifest": "model.manifest",
    "Registry": "registry",
    "Signature": "trust.signatures",
    "RegistryChain": "registry_chain",
    "Version": "model.version",
    "RemoteVersion": "remote_index",
    **dict.fromkeys(("Incoming", "Intake"), "incoming"),
    **dict.fromkeys(("PrivateKey", "PublicKey"), "trust.keys"),
    **dict.fromkeys(("DigestReference", "HubReference", "Reference", "parse_reference"), "model.reference"),
}


def __getattr__(name: str) -> Any:
    # Lazy, so that listing imports no pydantic; whatever has no other home is an error.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
