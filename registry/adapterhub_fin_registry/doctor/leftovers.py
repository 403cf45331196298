"""What a broken-off work or deletion left."""

from __future__ import annotations

from adapterhub_fin_registry.doctor.visit import Finding, Found, Visit
from adapterhub_fin_registry.errors import Corrupted, ReadOnly
from adapterhub_fin_registry.storage.garbage import Leftover, collect


def leftovers(visit: Visit) -> Found:
    """What `gc` would remove."""
    meaning = {
        "workshop": "work that died before it was done; nothing refers to it",
        "remains": "a deletion that was broken off: the tombstone stands, and the rest of the version is still there",
    }
    try:
        found = collect(visit.disk, visit.root, grace=visit.grace, dry_run=True)
    except Corrupted:
        return  # where work is done can't be listed, which another check says
    for left in found:
        finding = Finding(left.kind, left.path, meaning[left.kind], "remove it, as `ahf gc` does")
        yield finding, lambda left=left: _clear(visit, left)  # type: ignore[misc]


def _clear(visit: Visit, left: Leftover) -> None:
    if any(each.path == left.path and not each.removed for each in collect(visit.disk, visit.root, grace=visit.grace)):
        raise ReadOnly("it belongs to another user, who can remove it")
