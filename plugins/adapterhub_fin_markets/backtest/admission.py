"""Recompute from texts and registry when each signal was known, and refuse those that a decision could not use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from adapterhub_fin import LookAhead, NotFound, RegistryChain, Version, versions_as_of
from adapterhub_fin.plugin import parse_reference
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.timing import usable
from adapterhub_fin_markets.signals.table import Signals

REASONS: Final[Mapping[str, str]] = {
    "text": "a text could be read only at the decision or later",
    "unknown-text": "a text is not in the corpus that the backtest read",
    "adapter": "an adapter's knowledge does not end before a text that it answered",
    "unknown-adapter": "no registry has a version with the adapter's digest",
    "alias": "the alias did not name the version when the text could be read",
    "fitted": "a threshold, calibration or scaler was fitted to what was known only at the decision or later",
    "embargo": "the decision lies within the embargo after what an adapter learnt from",
    "universe": "the ticker was not in the universe at the decision",
    "forged": "the table dates the signal earlier than its texts and adapters allow",
}
_NEVER: Final = np.datetime64("NaT", "us")


@dataclass(frozen=True)
class Refusal:
    """Describe one signal that a backtest may not use, and why."""

    row: int
    ticker: str
    at: np.datetime64
    reason: str  # a key of REASONS
    sentence: str

    def record(self) -> dict[str, Any]:
        """Return the refusal as JSON can hold it."""
        return {**self.__dict__, "at": f"{self.at}Z"}


@dataclass(frozen=True)
class Sources:
    """Hold what signals are recomputed from: when each text could be read, and the versions that answered."""

    available_at: Mapping[str, np.datetime64]  # by the id of a text
    versions: Mapping[str, Version | None]  # by digest, None where no registry has it
    include_base: bool
    alias: str | None = None  # the reference as it was given, where it names an alias
    aliased: Mapping[np.datetime64, str | None] = field(default_factory=dict)  # a digest by a text's instant

    def knowledge_end(self, digest: str) -> np.datetime64:
        """Return until when a version knows, NaT for one that no registry has."""
        version = self.versions[digest]
        return _NEVER if version is None else _utc(version.knows_until(self.include_base))


def find_sources(
    signals: Signals,
    available_at: Mapping[str, np.datetime64],
    include_base: bool = True,
    registry: RegistryChain | None = None,
) -> Sources:
    """Return what signals are recomputed from: the configured registries are read once for each version and alias.

    `available_at` says by a text's id when it could be read. Raises what `versions_as_of` raises.
    """
    chain = RegistryChain.configured() if registry is None else registry
    versions: dict[str, Version | None] = {}
    for digest in sorted({digest for row in signals.adapters for digest in row}):
        try:
            versions[digest] = chain.locate(digest).version
        except NotFound:
            versions[digest] = None
    reference = str(signals.facts["adapter"])
    if getattr(parse_reference(reference), "alias", None) is None:
        return Sources(available_at, versions, include_base)
    used = sorted({text for row in signals.texts for text in row} & set(available_at))
    instants = np.unique(np.array([available_at[text] for text in used], "M8[us]"))
    answers = versions_as_of(reference, instants, include_base)
    return Sources(
        available_at,
        versions,
        include_base,
        reference,
        {at: version.digest if version else None for at, version in zip(instants, answers, strict=True)},
    )


def examine(
    signals: Signals, sources: Sources, prices: Prices | None = None, embargo: np.timedelta64 | None = None
) -> list[Refusal]:
    """Return every signal that its decision could not use, with the first reason, ordered by row.

    Nothing that the table says of time is believed but the decision itself: when a text could be read comes from the
    corpus, an adapter's knowledge end from the registry by digest, and what was fitted from the table's facts.
    """
    refusals = []
    members = None if prices is None or prices.members is None else prices
    for row in range(len(signals)):
        reason = next(_reasons(signals, sources, row, members, embargo), None)
        if reason is not None:
            ticker = signals.tickers[signals.ticker[row]]
            at = signals.at[row]
            refusals.append(Refusal(row, ticker, at, reason[0], f"{ticker} at {at}Z: {reason[1]}"))
    return refusals


def raise_refused(refusals: Sequence[Refusal]) -> None:
    """Raise LookAhead where there is a refusal: it names the first row, and counts the rows by reason."""
    if refusals:
        counts = Counter(refusal.reason for refusal in refusals)
        listed = "; ".join(f"{count:,}: {REASONS[reason]}" for reason, count in counts.items())
        raise LookAhead(
            f"{len(refusals):,} signals knew what their decisions could not. The first is row {refusals[0].row + 1}, "
            f"{refusals[0].sentence}. In all, {listed}. Make the signals with an adapter and texts from before, or see "
            "what they would have given with --allow-lookahead, which marks every page"
        )


def _reasons(
    signals: Signals, sources: Sources, row: int, prices: Prices | None, embargo: np.timedelta64 | None
) -> Iterator[tuple[str, str]]:
    """Yield why a row may not be used, the key of the reason and a sentence."""
    at = signals.at[row]
    texts, adapters = signals.texts[row], signals.adapters[row]
    for text in texts:
        if text not in sources.available_at:
            yield "unknown-text", f"its text {text[:19]} is not in the corpus: give the corpus that it was made from"
        elif not usable(known := sources.available_at[text], at):
            yield "text", f"a text of it could be read from {known}Z on"
    readable = [sources.available_at[text] for text in texts if text in sources.available_at]
    for digest in adapters:
        if sources.versions[digest] is None:
            yield "unknown-adapter", f"no registry has {digest[:19]}, which answered it: pull that version"
    ends = [sources.knowledge_end(digest) for digest in adapters if sources.versions[digest] is not None]
    for end in ends:
        if not usable(end, at) or (readable and not usable(end, max(readable))):
            yield "adapter", f"an adapter that answered it knows until {end}Z"
        if embargo is not None and not usable(end + embargo, at):
            yield (
                "embargo",
                f"an adapter that answered it knows until {end}Z, and the embargo is {embargo.astype(object)}",
            )
    if sources.alias is not None and readable:
        yield from _alias(sources, readable, adapters)
    fitted = [fitted_to(each) for each in signals.facts.get("fitted", ())]
    for what, until in fitted:
        if not usable(until, at):
            yield "fitted", f"its {what} was fitted to what was known until {until}Z"
    if prices is not None and not _is_member(prices, signals.tickers[signals.ticker[row]], at):
        yield "universe", "it was not in the universe then"
    latest = max([*readable, *ends, *(until for _, until in fitted)], default=_NEVER)
    if not np.isnat(latest) and not signals.known_at[row] >= latest:
        yield "forged", f"the table says that it was known at {signals.known_at[row]}Z, and it was at {latest}Z"


def _alias(sources: Sources, readable: Sequence[np.datetime64], adapters: Sequence[str]) -> Iterator[tuple[str, str]]:
    allowed = {sources.aliased[at] for at in readable}
    for digest in adapters:
        version = sources.versions[digest]
        if version is not None and digest not in allowed:
            yield "alias", f"{sources.alias} did not name {version.reference} when its texts could be read"


def _is_member(prices: Prices, ticker: str, at: np.datetime64) -> bool:
    if ticker not in prices.tickers or prices.members is None:
        return True  # without a price there is no fill, which the orders count
    row = int(np.searchsorted(prices.closes_at, at, side="left")) - 1
    return row < 0 or bool(prices.members[row, prices.tickers.index(ticker)])


def fitted_to(fact: Mapping[str, Any]) -> tuple[str, np.datetime64]:
    """Return what was fitted, and until when the rows were known that it was fitted to."""
    return str(fact["what"]), np.datetime64(str(fact["until"]).removesuffix("Z"), "us")


def _utc(at: Any) -> np.datetime64:
    return np.datetime64(at.replace(tzinfo=None), "us")
