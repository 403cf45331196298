"""Whether this client lets a version in, or be used: its policy, and the signatures that a version comes with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin_registry.configuration import Configuration
from adapterhub_fin_registry.policy import Policy
from adapterhub_fin_registry.signatures import Signature, read_signatures

if TYPE_CHECKING:
    from adapterhub_fin_registry.manifest import Manifest
    from adapterhub_fin_registry.version import Version


def policy_at(root: Path) -> Policy:
    """The client's policy, as it applies to a registry."""
    return Policy.of(Configuration.read().policy, root)


def violations(version: Version, root: Path) -> list[str]:
    """Every rule of this client's that a stored version breaks, each as a sentence."""
    policy = policy_at(root)
    signatures = read_signatures(version)[0] if policy.requires_signature else []
    return list(policy.violations(version.reference, version.manifest, signatures))


def brought(manifest: Manifest, given: Iterable[bytes] | None) -> list[Signature]:
    """The signatures that a new version comes with: those given, or this client's own for what is made here.

    A version from elsewhere brings its own, or none, and isn't vouched for by whoever takes it in.
    """
    if given is not None:
        return [Signature.parse(data, manifest) for data in given]
    key = Configuration.read().sign_with
    if key is None:
        return []
    from adapterhub_fin_registry.keys import PrivateKey

    return [Signature.make(manifest, PrivateKey.read(key))]
