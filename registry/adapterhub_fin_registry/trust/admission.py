"""Whether this client lets a version in, or be used: its policy, and the signatures that a version comes with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin_registry.trust.client_config import Configuration
from adapterhub_fin_registry.trust.policy import Policy
from adapterhub_fin_registry.trust.signatures import Signature, read_signatures

if TYPE_CHECKING:
    from adapterhub_fin_registry.model.manifest import Manifest
    from adapterhub_fin_registry.model.version import Version


def terms(root: Path) -> tuple[Policy, Path | None]:
    """The client's policy, as it applies to a registry, and the key that it signs with; read once for one decision."""
    configuration = Configuration.read()
    return Policy.of(configuration.policy, root), configuration.sign_with


def violations(version: Version, root: Path) -> list[str]:
    """Every rule of this client's that a stored version breaks, each as a sentence."""
    policy, _ = terms(root)
    signatures = read_signatures(version)[0] if policy.requires_signature else []
    return list(policy.violations(version.reference, version.manifest, signatures))


def brought(manifest: Manifest, given: Iterable[bytes] | None, key: Path | None) -> list[Signature]:
    """The signatures that a new version comes with: those given, or this client's own, by its key, for what is new.

    A version from elsewhere brings its own, or none, and isn't vouched for by whoever takes it in.
    """
    if given is not None:
        return [Signature.parse(data, manifest) for data in given]
    if key is None:
        return []
    from adapterhub_fin_registry.trust.keys import PrivateKey

    return [Signature.make(manifest, PrivateKey.read(key))]
