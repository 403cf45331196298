"""What is wrong with a registry beyond its files' bytes: each finding explained, and repaired where that is safe.

A check yields what it finds with the way to mend it, or with none where a person must decide. No check hashes files:
that is what `verify` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from adapterhub_fin_registry.doctor.checks import (
    aliases,
    identity,
    leftovers,
    marks,
    strangers,
    versions,
)
from adapterhub_fin_registry.doctor.fingerprints import fingerprints
from adapterhub_fin_registry.doctor.rights import modes, unreadable
from adapterhub_fin_registry.doctor.visit import Examined, Finding, Found, Visit
from adapterhub_fin_registry.errors import AdapterHubError
from adapterhub_fin_registry.io.disk import Disk
from adapterhub_fin_registry.storage.garbage import GRACE

__all__ = ["Finding", "examine"]

CHECKS: Final[tuple[Callable[[Visit], Found], ...]] = (
    unreadable,
    identity,
    leftovers,
    modes,
    versions,
    aliases,
    fingerprints,
    strangers,
    marks,  # last: every repair above writes marks
)


def examine(registry: Examined, disk: Disk, *, repair: bool = False, grace: timedelta = GRACE) -> list[Finding]:
    """Everything that is wrong, each repaired where that is wanted and possible; an empty list is a clean bill."""
    visit = Visit(registry, disk, grace)
    findings = []
    for check in CHECKS:
        for finding, mend in check(visit):
            findings.append(_mended(finding, mend) if repair and finding.repairable else finding)
    return findings


def _mended(finding: Finding, mend: Callable[[], object]) -> Finding:
    try:
        mend()
    except AdapterHubError as error:
        return replace(finding, remedy=f"{finding.remedy}; it failed: {error}")
    return replace(finding, repaired=True)
