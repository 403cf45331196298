"""Recompute from texts and registry when each signal was known, and refuse those that a decision could not use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import numpy as np

from adapterhub_fin import LookAhead, NotFound, RegistryChain, Version, versions_as_of
from adapterhub_fin.plugin import BadCorpus, format_instant, parse_reference
from adapterhub_fin_markets.prices.panel import Prices
from adapterhub_fin_markets.prices.timing import count_usable, usable
from adapterhub_fin_markets.signals.lists import Lists
from adapterhub_fin_markets.signals.table import Signals, yanked_by

REASONS: Final[Mapping[str, str]] = {
    "sourceless": "an opinion names no text, or no version that answered it",
    "text": "a text could be read only at the decision or later",
    "unknown-text": "a text is not in the corpus that the backtest read",
    "adapter": "an adapter's knowledge does not end before a text that it answered",
    "unknown-adapter": "no registry has a version with the adapter's digest",
    "alias": "the alias did not name the version when the text could be read",
    "fitted": "a threshold, calibration or scaler was fitted to what was known only at the decision or later",
    "embargo": "the decision lies within the embargo after what an adapter learnt from",
    "universe": "the ticker was not in the universe at the decision",
    "forged": "the table dates the signal earlier than its texts and adapters allow",
    "opinion": "the table's opinion is not what the registry's versions answer of its texts",
    "unverified": "what the table was fitted to can't be computed again",
}
Reason = tuple[str, np.ndarray, Callable[[int], str]]  # its key, its rows, and what says why of one
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


@dataclass(frozen=True, eq=False)
class Sources:
    """Hold what signals are recomputed from: when each text could be read, and the versions that answered."""

    texts: Lists  # of each signal, by the texts' ids
    adapters: Lists  # of each signal, by the versions' digests
    available_at: np.ndarray  # (texts.names,), NaT for a text that the corpus has not
    versions: Sequence[Version | None]  # (adapters.names,), None for one that no registry has
    include_base: bool
    alias: str | None = None  # the reference as it was given, where it names an alias
    aliased: Sequence[str | None] = ()  # (texts.names,): the digest that the alias meant when each could be read
    fitted: Sequence[tuple[str, np.datetime64]] = ()  # what was fitted, and until when its rows were known
    other_opinions: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # rows, of a table
    unverified: str | None = None  # why the opinions of a table that was fitted can't be computed again

    @property
    def ends(self) -> np.ndarray:
        """Return until when each version knows, (versions,), NaT for one that no registry has."""
        ends = [None if version is None else version.knows_until(self.include_base) for version in self.versions]
        return np.array([end and end.replace(tzinfo=None) for end in ends], "M8[us]")


def find_sources(
    signals: Signals,
    available_at: Mapping[str, np.datetime64],
    include_base: bool = True,
    registry: RegistryChain | None = None,
    fitted_before: datetime | None = None,
) -> Sources:
    """Return what signals are recomputed from: the configured registries are read once for each version and alias.

    `available_at` says by a text's id when it could be read, and `fitted_before` until when the corpus itself was
    fitted to its rows. Raises what `versions_as_of` raises.
    """
    chain = RegistryChain.configured() if registry is None else registry
    texts, adapters = Lists.of(signals.texts), Lists.of(signals.adapters)
    instants = np.array([available_at.get(text, _NEVER) for text in texts.names], "M8[us]")
    versions = [_located(chain, digest) for digest in adapters.names]
    fitted = [fitted_to(fact) for fact in signals.facts.get("fitted", ())]
    if fitted_before is not None:
        fitted.append(("corpus", np.datetime64(fitted_before.astimezone(UTC).replace(tzinfo=None), "us")))
    sources = Sources(texts, adapters, instants, versions, include_base, fitted=fitted)
    reference = str(signals.facts.get("adapter", ""))
    if not reference:
        raise BadCorpus("the table of signals does not say its adapter: make it again with `ahf signals`")
    if getattr(parse_reference(reference), "alias", None) is None:
        return sources
    aliased: list[str | None] = [None] * len(instants)
    dated = np.flatnonzero(~np.isnat(instants)).tolist()
    then = versions_as_of(reference, instants[dated], include_base, yanked=yanked_by(signals))
    for text, version in zip(dated, then, strict=True):
        aliased[text] = version.digest if version else None
    return replace(sources, alias=reference, aliased=aliased)


def _located(chain: RegistryChain, digest: str) -> Version | None:
    try:
        return chain.locate(digest).version
    except NotFound:
        return None


def examine(
    signals: Signals, sources: Sources, prices: Prices | None = None, embargo: np.timedelta64 | None = None
) -> list[Refusal]:
    """Return every signal that its decision could not use, with the first reason, ordered by row.

    Nothing that the table says of time is believed but the decision itself: when a text could be read comes from the
    corpus, an adapter's knowledge end from the registry by digest, and what was fitted from the table's facts.
    """
    refusals: dict[int, Refusal] = {}
    for reason, rows, sentence in _reasons(signals, sources, prices, embargo):
        for row in rows.tolist():
            if row not in refusals:
                ticker, at = signals.tickers[signals.ticker[row]], signals.at[row]
                refusals[row] = Refusal(row, ticker, at, reason, f"{ticker} at {at}Z: {sentence(row)}")
    return [refusals[row] for row in sorted(refusals)]


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
    signals: Signals, sources: Sources, prices: Prices | None, embargo: np.timedelta64 | None
) -> Iterator[Reason]:
    """Yield each reason's key, the rows that it holds for, and what says of a row why."""
    says = (signals.signal != 0) | signals.actionable | (signals.confidence > 0)
    made = (np.diff(sources.texts.offsets) > 0) & (np.diff(sources.adapters.offsets) > 0)
    yield "sourceless", np.flatnonzero(says & ~made), partial(_always, "nothing says what made it")
    yield from _of_texts(signals.at, sources)
    yield from _of_adapters(signals.at, sources, embargo)
    for what, end in sources.fitted:
        sentence = f"its {what} was fitted to what was known until {end}Z"
        yield "fitted", np.flatnonzero(~usable(end, signals.at)), partial(_always, sentence)
    if prices is not None and prices.members is not None:
        outside = np.flatnonzero(outside_universe(signals, prices) & (signals.signal != 0))
        yield "universe", outside, partial(_always, "it was not in the universe then")
    yield from _of_table(signals, sources)


def _of_texts(at: np.ndarray, sources: Sources) -> Iterator[Reason]:
    texts = sources.texts
    readable = texts.latest(sources.available_at)
    unknown = [texts.names[code] for code in np.flatnonzero(np.isnat(sources.available_at))]
    sentence = "a text of it is not in the corpus: give the corpus that it was made from, as it was dated then"
    yield "unknown-text", np.flatnonzero(texts.holding(unknown)), partial(_always, sentence)
    late = np.flatnonzero(_late(readable, at))
    yield "text", late, lambda row: f"a text of it could be read from {readable[row]}Z on"


def _of_adapters(at: np.ndarray, sources: Sources, embargo: np.timedelta64 | None) -> Iterator[Reason]:
    texts, adapters = sources.texts, sources.adapters
    readable, ends = texts.latest(sources.available_at), adapters.latest(sources.ends)
    missing = [adapters.names[code] for code, version in enumerate(sources.versions) if version is None]
    yield (
        "unknown-adapter",
        np.flatnonzero(adapters.holding(missing)),
        lambda row: f"no registry has {adapters[row][0][:19]}, which answered it: pull that version",
    )

    def until(row: int) -> str:
        return f"an adapter that answered it knows until {ends[row]}Z"

    yield "adapter", np.flatnonzero(_late(ends, np.fmin(at, readable))), until
    first_read, first_end = texts.earliest(sources.available_at), adapters.earliest(sources.ends)
    yield "adapter", np.flatnonzero(_late(first_end, first_read)), until
    if embargo is not None:
        length = str(embargo.astype(object)).removesuffix(", 0:00:00")
        late = np.flatnonzero(_late(ends + embargo, at))
        yield "embargo", late, lambda row: f"{until(row)}, and the embargo is {length}"
    if sources.alias is not None:
        sentence = f"{sources.alias} did not name what answered it, back then"
        yield "alias", _renamed(sources), partial(_always, sentence)


def _of_table(signals: Signals, sources: Sources) -> Iterator[Reason]:
    latest = np.fmax(sources.texts.latest(sources.available_at), sources.adapters.latest(sources.ends))
    for _, end in sources.fitted:
        latest = np.fmax(latest, end)
    forged = np.flatnonzero(~np.isnat(latest) & ~(signals.known_at >= latest))
    yield (
        "forged",
        forged,
        lambda row: f"the table says that it was known at {signals.known_at[row]}Z, and it was at {latest[row]}Z",
    )
    if sources.unverified is not None:
        says = np.flatnonzero((signals.signal != 0) | signals.actionable | (signals.confidence > 0))
        yield "unverified", says, partial(_always, sources.unverified)
    yanked = {
        version.digest: f"{version.reference}, which answered its texts, was yanked at {format_instant(yank.at)}"
        for version in filter(None, sources.versions)
        if (yank := version.yank) is not None
    }
    yield "opinion", sources.other_opinions, partial(_answered_otherwise, sources, yanked)


def _always(sentence: str, row: int) -> str:
    return sentence


def _answered_otherwise(sources: Sources, yanked: Mapping[str, str], row: int) -> str:
    """Return why a table's opinion is refused; a version that was yanked since may be the cause."""
    for digest in sources.adapters[row]:
        if digest in yanked:
            return f"{yanked[digest]}: make the table again, or with yanked: before_yank if that version is to count"
    return "the registry's versions answer its texts otherwise"


def _late(known_at: np.ndarray, decided_at: np.ndarray) -> np.ndarray:
    """Mark what was known at the decision or later, (rows,); what is missing is not late."""
    late: np.ndarray = ~np.isnat(known_at) & ~usable(known_at, decided_at)
    return late


def _renamed(sources: Sources) -> np.ndarray:
    """Return the rows that a version answered which the alias did not name when any of their texts could be read."""
    rows = []
    for row in np.flatnonzero(np.diff(sources.adapters.offsets)).tolist():
        codes = sources.texts.codes[sources.texts.offsets[row] : sources.texts.offsets[row + 1]].tolist()
        if set(sources.adapters[row]) != {sources.aliased[code] for code in codes} - {None}:
            rows.append(row)
    return np.array(rows, np.int64)


def outside_universe(signals: Signals, prices: Prices) -> np.ndarray:
    """Mark the rows whose ticker was no member at the last close before, (rows,); without prices none is."""
    if prices.members is None:
        return np.zeros(len(signals), bool)
    columns = np.array([prices.tickers.index(name) if name in prices.tickers else -1 for name in signals.tickers])
    column, bar = columns[signals.ticker], count_usable(prices.closes_at, signals.at) - 1
    outside: np.ndarray = (column >= 0) & (bar >= 0) & ~prices.members[bar, column]
    return outside


def fitted_to(fact: Mapping[str, Any]) -> tuple[str, np.datetime64]:
    """Return what was fitted, and until when the rows were known that it was fitted to."""
    return str(fact["what"]), np.datetime64(str(fact["until"]).removesuffix("Z"), "us")
