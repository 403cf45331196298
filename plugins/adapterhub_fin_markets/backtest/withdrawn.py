"""List the versions that were yanked since: the signals that they answered, and texts that they are left out of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from adapterhub_fin import YankedVersion
from adapterhub_fin_markets.backtest.admission import Sources
from adapterhub_fin_markets.signals.table import Signals


def withdrawn(signals: Signals, sources: Sources) -> tuple[YankedVersion, ...]:
    """Return the yanked versions by reference: what answered is that of the registry, what was left out the table's.

    A signal counts as from the yank on if a text of it could be read only then. Raises Corrupted for events that can't
    be read.
    """
    readable = sources.texts.latest(sources.available_at)
    noted: dict[str, YankedVersion] = {}
    for code in np.unique(sources.adapters.codes).tolist():
        digest, version = sources.adapters.names[code], sources.versions[code]
        if version is None or (yank := version.yank) is None:
            continue
        rows = sources.adapters.holding([digest])
        late = rows & (readable >= np.datetime64(yank.at.replace(tzinfo=None), "us"))
        noted[digest] = YankedVersion.of(version, yank, answered=int(rows.sum()), after=int(late.sum()))
    for fact in signals.facts.get("yanked_versions", ()):
        if count := int(fact["left_out"]):
            empty = YankedVersion(**{**fact, "answered": 0, "after": 0})
            noted[empty.digest] = replace(noted.get(empty.digest, empty), left_out=count)
    return tuple(sorted(noted.values(), key=lambda each: each.reference))
