"""Decide whether a version may be stored or loaded: by the client's policy and the version's signatures."""

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
    """Return the client's policy for a registry, and the path of the key that the client signs with.

    Raises BadConfiguration if the configuration or the policy can't be used.
    """
    configuration = Configuration.read()
    return Policy.of(configuration.policy, root), configuration.sign_with


def violations(version: Version, root: Path) -> list[str]:
    """Return every rule of the client's policy that a stored version breaks, each as a sentence.

    Raises BadConfiguration if the policy can't be used, and Corrupted if the version can't be read.
    """
    policy, _ = terms(root)
    signatures = read_signatures(version)[0] if policy.requires_signature else []
    return list(policy.violations(version.reference, version.manifest, signatures))


def signatures_for(manifest: Manifest, given: Iterable[bytes] | None, key: Path | None) -> list[Signature]:
    """Return the signatures of a new version: those given, else one by the client's own key if it has one.

    A version from elsewhere brings its own signatures, or none: whoever imports it doesn't vouch for it. Raises
    BadSignature if a given one isn't valid, and BadKey if the key can't be used.
    """
    if given is not None:
        return [Signature.parse(data, manifest) for data in given]
    if key is None:
        return []
    from adapterhub_fin_registry.trust.keys import PrivateKey

    return [Signature.make(manifest, PrivateKey.read(key))]
