"""Make signals of texts as they come into a folder: each is stamped with its receipt, and decisions fall at closes.

What was decided is not decided again: a text that is received later has a later stamp than every decision so far.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from filelock import FileLock, Timeout

from adapterhub_fin.plugin import BadCorpus, Refused, corpus_options, decoded, format_instant, load_corpus
from adapterhub_fin_markets.corpora.normalise import normalise
from adapterhub_fin_markets.signals.decisions import Decisions, close_decisions, window_starts
from adapterhub_fin_markets.signals.making import signals_of, warm
from adapterhub_fin_markets.signals.options import SignalOptions
from adapterhub_fin_markets.signals.received import Journal, ReceivedText
from adapterhub_fin_markets.signals.table import Signals, check_folder, read_signals, write_signals
from adapterhub_fin_markets.signals.texts import DatedTexts
from adapterhub_fin_markets.signals.together import together

TABLES: Final = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
UNFINISHED: Final = (".part", ".tmp", ".crdownload", "~")
Say = Callable[[str], object]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Watch:
    """Append the signals of each close to a table, of texts as they come into a folder.

    `corpus` has the options of the corpus `news` that tables are read with, but for their path.
    """

    reference: Any
    folder: Path
    out: Path
    options: SignalOptions
    corpus: Mapping[str, Any] = field(default_factory=dict)
    loading: Mapping[str, Any] = field(default_factory=dict)
    registry: Any = None
    now: Callable[[], datetime] = _now
    say: Say = print
    _seen: dict[Path, tuple[int, int]] = field(default_factory=dict)  # size and change of files at the last look
    _done: dict[Path, tuple[int, int]] = field(default_factory=dict)  # those that were read so

    def run(self, stop: threading.Event, every: float = 1.0) -> Signals | None:
        """Look every so many seconds until `stop` is set; return the table, None where nothing was decided yet.

        Raises BadCorpus for a file that can't be read: nothing of it is recorded, and a restart goes on from it. Raises
        Refused where another process watches into the same table.
        """
        check_folder(self.out)
        if not self.folder.is_dir():
            raise BadCorpus(f"there is no folder {self.folder} to watch: make it first")
        lock = FileLock(f"{self.out}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise Refused(f"another process watches into {self.out}: stop it, or name another file") from error
        with lock:
            self._journal = Journal.opened(self.out.with_name(f"{self.out.name}.received.jsonl"))
            self._table = read_signals(self.out) if self.out.exists() else None
            while True:
                self.step()
                if stop.wait(every):
                    return self._table

    def step(self) -> None:
        """Look once: record new texts, and decide at each close that has passed."""
        looked = self.now()
        self._receive()
        self._decide(np.datetime64(looked.astimezone(UTC).replace(tzinfo=None), "us"))

    def _receive(self) -> None:
        for path in sorted(self.folder.rglob("*")):
            suffix = path.suffix.lower()
            if path.name.startswith(".") or path.name.endswith(UNFINISHED) or not path.is_file():
                continue
            if suffix not in (*TABLES, ".txt"):
                raise BadCorpus(f"{path} is no text or table: give {', '.join((*TABLES, '.txt'))}, or take it out")
            status = path.stat()
            state = (status.st_size, status.st_mtime_ns)
            if self._done.get(path) == state:
                continue
            if self._seen.get(path) != state:  # it may be in the middle of being written
                self._seen[path] = state
                continue
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest not in self._journal.files:
                self._read(path, digest)
            self._done[path] = state

    def _read(self, path: Path, digest: str) -> None:
        received = max(filter(None, (self.now(), self._journal.last, self._decided)))
        texts = self._text(path, received) if path.suffix.lower() == ".txt" else self._rows(path, received)
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            return  # it changed while it was read: the next look reads it again
        fresh = self._journal.add(digest, path.name, texts, received)
        self.say(f"{path.name}: {fresh:,} new of {len(texts):,} texts, received at {format_instant(received)}")
        recorded = self._texts(received)
        if recorded is not None:
            warm(self.reference, recorded, self.options, self.registry, self.loading)

    def _text(self, path: Path, received: datetime) -> list[ReceivedText]:
        text = normalise(decoded(path))
        if not text:
            raise BadCorpus(f"{path} holds no text: take it out")
        if not self.options.tickers:
            raise BadCorpus(f"{path} names no ticker: give ticker, which texts without one count for")
        return [ReceivedText(text, None, ticker, received) for ticker in self.options.tickers]

    def _rows(self, path: Path, received: datetime) -> list[ReceivedText]:
        name, options = corpus_options({"name": "news", **self.corpus, "path": str(path), "sharded": False})
        table = load_corpus(name, options).table
        if "group" in table.column_names:
            tickers: list[tuple[str, ...]] = [(group,) for group in table["group"]]
        elif self.options.tickers:
            tickers = [self.options.tickers] * len(table)
        else:
            raise BadCorpus(f"{path} names no ticker: give its column as group, or give ticker")
        return [
            ReceivedText(text, format_instant(at), ticker, max(at.astimezone(UTC), received))
            for text, at, of in zip(table["text"], table["available_at"], tickers, strict=True)
            for ticker in of
        ]

    @property
    def _decided(self) -> datetime | None:
        """Return the last decision that was taken."""
        until = None if self._table is None else self._table.facts["decided_until"]
        return None if until is None else datetime.fromisoformat(until)

    def _decide(self, looked: np.datetime64) -> None:
        """Take a decision at each close until the look, after the last decision."""
        if (first := self._journal.first) is None:
            return
        begin = np.datetime64(first.replace(tzinfo=None), "us")
        if begin >= looked:
            return
        grid = close_decisions(self.options.calendar, begin, looked, self.options.interval)
        grid = grid[grid <= looked]
        decided = None if self._decided is None else np.datetime64(self._decided.replace(tzinfo=None), "us")
        new = np.ones(len(grid), bool) if decided is None else grid > decided
        if not new.any():
            return
        starts = window_starts(self.options.window, grid)
        taken = Decisions(grid[new], starts[new], decided)
        # Where no window holds a text, it is still to be said of whom the signals are.
        texts = self._texts(_aware(taken.starts.min())) or self._texts(None)
        assert texts is not None, "the journal holds the first text"
        made = signals_of(
            self.reference,
            texts,
            self.options,
            decisions=taken,
            registry=self.registry,
            loading=self.loading,
            allow_none=True,
        )
        until = _aware(grid[-1])
        self._table = together(self._table, made, decided_until=until, texts=len(self._journal.texts))
        write_signals(self._table, self.out)
        self.say(f"{len(made):,} signals of {len(taken.at):,} decisions until {format_instant(until)}")

    def _texts(self, start: datetime | None) -> DatedTexts | None:
        universe = (*self.options.tickers, *self.options.universe)
        return self._journal.since(start, universe, {"folder": str(self.folder), **self.corpus})


def _aware(at: np.datetime64) -> datetime:
    moment: datetime = at.astype("datetime64[us]").item()
    return moment.replace(tzinfo=UTC)
