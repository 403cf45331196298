"""Put two tables of signals together, the later below the earlier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from adapterhub_fin.plugin import format_instant
from adapterhub_fin_markets.signals.lists import Lists
from adapterhub_fin_markets.signals.table import ARRAYS, Signals


def together(earlier: Signals | None, later: Signals, *, decided_until: datetime, texts: int) -> Signals:
    """Return the rows of two tables, all of the first decided before the second's, as one.

    Its facts are those of the later one, with what both refused and both tables' versions; `texts` counts all that were
    received, and `decided_until` is the last decision, whether it has a row or not.
    """
    own = {"decided_until": format_instant(decided_until), "texts": texts, "duplicates": 0, "unread": None}
    if earlier is None:
        return _with_facts(later, {**later.facts, **own})
    tickers = tuple(sorted({*earlier.tickers, *later.tickers}))
    position = {name: index for index, name in enumerate(tickers)}
    parts = (earlier, later)
    columns: dict[str, Any] = {name: np.concatenate([getattr(each, name) for each in parts]) for name in ARRAYS}
    codes = [np.array([position[name] for name in each.tickers], np.int32)[each.ticker] for each in parts]
    facts = {
        **later.facts,
        **own,
        "refused": dict(sorted((Counter(earlier.facts["refused"]) + Counter(later.facts["refused"])).items())),
        "versions": {**earlier.facts["versions"], **later.facts["versions"]},
        "yanked_versions": _yanked(earlier.facts["yanked_versions"], later.facts["yanked_versions"]),
        "marks": list(dict.fromkeys([*earlier.facts["marks"], *later.facts["marks"]])),
    }
    return Signals(
        **columns,
        ticker=np.concatenate(codes),
        tickers=tickers,
        texts=Lists.of([*earlier.texts, *later.texts]),
        adapters=Lists.of([*earlier.adapters, *later.adapters]),
        facts=facts,
    )


def _yanked(earlier: Sequence[Mapping[str, Any]], later: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the yanked versions of two tables with the texts of both; when and why is that of the later one."""
    versions: dict[str, dict[str, Any]] = {each["digest"]: dict(each) for each in earlier}
    for each in later:
        before = versions.get(each["digest"], {})
        sums = {name: each[name] + before.get(name, 0) for name in ("answered", "after", "left_out")}
        versions[each["digest"]] = {**each, **sums}
    return sorted(versions.values(), key=lambda each: str(each["reference"]))


def _with_facts(signals: Signals, facts: dict[str, Any]) -> Signals:
    return replace(signals, facts=facts)
