"""Check the structure of a registry, explain each finding, and repair what is safe to repair.

A check yields its findings, each with its repair; a finding that a person must decide has none. No check hashes files:
`verify` does that.
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
    unexpected_entries,
    versions,
)
from adapterhub_fin_registry.doctor.fingerprints import fingerprints
from adapterhub_fin_registry.doctor.rights import modes, unreadable
from adapterhub_fin_registry.doctor.visit import Examined, Finding, Findings, Visit
from adapterhub_fin_registry.errors import AdapterHubError
from adapterhub_fin_registry.io.disk import Disk
from adapterhub_fin_registry.storage.garbage import GRACE

__all__ = ["Finding", "examine"]

CHECKS: Final[tuple[Callable[[Visit], Findings], ...]] = (
    unreadable,
    identity,
    leftovers,
    modes,
    versions,
    aliases,
    fingerprints,
    unexpected_entries,
    marks,  # last: every repair above writes marks
)


def examine(registry: Examined, disk: Disk, *, repair: bool = False, grace: timedelta = GRACE) -> list[Finding]:
    """Return everything that is wrong; an empty list means that nothing is.

    With `repair`, what is repairable is repaired. Work in progress counts as dead if nothing was written there for
    `grace`.
    """
    visit = Visit(registry, disk, grace)
    findings = []
    for check in CHECKS:
        for finding, fix in check(visit):
            findings.append(_repaired(finding, fix) if repair and finding.repairable else finding)
    return findings


def _repaired(finding: Finding, fix: Callable[[], object]) -> Finding:
    try:
        fix()
    except AdapterHubError as error:
        return replace(finding, remedy=f"{finding.remedy}; it failed: {error}")
    return replace(finding, repaired=True)
