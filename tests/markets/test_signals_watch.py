"""Texts as they come: what ran live equals a batch over the same receipts, whatever was killed, renamed or repeated."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapterhub_fin.errors import BadCorpus, Corrupted, Refused
from adapterhub_fin.testing.forked import ForkedProcess, run_forked, start_forked
from adapterhub_fin_markets.signals.making import signals
from adapterhub_fin_markets.signals.options import SignalOptions
from adapterhub_fin_markets.signals.received import Journal
from adapterhub_fin_markets.signals.table import Signals, read_signals
from adapterhub_fin_markets.signals.watching import Watch

HERE = Path(__file__).parent
TABLE = {"text": "text", "published": "at", "group": "symbol"}
TONES = ("profit rose", "profit fell", "meets in May")


class Clock:
    """A clock that a test sets."""

    def __init__(self, at: str) -> None:
        self.at = datetime.fromisoformat(at)

    def __call__(self) -> datetime:
        self.at += timedelta(microseconds=1)
        return self.at

    def set(self, at: str) -> None:
        self.at = datetime.fromisoformat(at)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "incoming").mkdir()
    return tmp_path / "incoming"


@pytest.fixture
def clock() -> Clock:
    return Clock("2021-03-01T09:00:00+00:00")


def watch(folder: Path, clock: Clock, **changed: Any) -> Watch:
    options = SignalOptions(**{"ticker": ("AAA", "BBB"), "aggregate": "mean", **changed})
    made = Watch("acme/tone", folder, folder.parent / "live.parquet", options, TABLE, {"adapters": {}}, now=clock)
    made.say = lambda line: None
    return made


def look(watching: Watch, times: int = 2) -> Signals | None:
    """Look so often that a file that lay there is read, and stop."""
    stop = threading.Event()
    step, left = watching.step, [times]

    def counted() -> None:
        step()
        left[0] -= 1
        if not left[0]:
            stop.set()

    watching.step = counted  # type: ignore[method-assign]
    return watching.run(stop, 0.0)


def csv(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["at,text,symbol", *rows]) + "\n")
    return path


def batch(folder: Path, live: Signals, **options: Any) -> Signals:
    """What a batch says of the journal's texts at the instants of a live table."""
    journal = folder.parent / "live.parquet.received.jsonl"
    corpus = {"name": "news", "path": str(journal), "published": "available_at", "group": "group", "drop_missing": True}
    given = {"universe": ("AAA", "BBB"), "aggregate": "mean", **options}
    return signals("acme/tone", corpus, decisions=np.unique(live.at), **given)


def same(live: Signals, batched: Signals) -> None:
    assert live.tickers == batched.tickers
    for name in ("at", "ticker", "signal", "actionable"):
        assert np.array_equal(getattr(live, name), getattr(batched, name)), name
    for name in ("text_at", "known_at"):
        assert np.array_equal(getattr(live, name), getattr(batched, name), equal_nan=True), name
    for name in ("score", "confidence", "probabilities"):
        assert np.allclose(getattr(live, name), getattr(batched, name), atol=1e-6, equal_nan=True), name
    assert list(live.texts) == list(batched.texts) and list(live.adapters) == list(batched.adapters)


def test_a_text_is_known_at_the_latest_of_its_time_and_its_receipt(dated_tone: Any, folder: Path, clock: Clock) -> None:
    csv(folder / "a.csv", "2021-02-25T10:00:00Z,Arlo: profit rose.,AAA", "2021-03-02T12:00:00Z,Brent: fell.,BBB")
    made = look(watch(folder, clock))
    assert made is None, "no close has passed"
    clock.set("2021-03-03T08:00:00+00:00")
    made = look(watch(folder, clock))
    assert made is not None and [str(at)[:10] for at in np.unique(made.at)] == ["2021-03-02", "2021-03-03"]
    by_ticker = {made.tickers[made.ticker[row]]: str(made.text_at[row]) for row in range(4) if made.texts[row]}
    assert by_ticker["AAA"].startswith("2021-03-01T09:00:00.0000") and by_ticker["BBB"] == "2021-03-02T12:00:00.000000"
    same(made, batch(folder, made))


def test_seen_twice_renamed_or_repeated_is_one_text(dated_tone: Any, folder: Path, clock: Clock) -> None:
    first = csv(folder / "a.csv", "2021-03-01T08:00:00Z,Arlo: profit rose.,AAA")
    look(watch(folder, clock))
    clock.set("2021-03-02T09:00:00+00:00")
    made = look(watch(folder, clock))
    assert made is not None and made.facts["texts"] == 1 and len(made) == 2
    shutil.copy(first, folder / "copy.csv")
    first.rename(folder / "renamed.csv")
    csv(
        folder / "more.csv",
        "2021-03-01T08:00:00Z,Arlo: profit rose.,AAA",
        "2021-03-01T08:00:00Z,Arlo: profit fell.,AAA",
    )
    clock.set("2021-03-03T09:00:00+00:00")
    again = look(watch(folder, clock))
    assert again is not None and again.facts["texts"] == 1 and len(again) == 4
    assert sum(map(len, again.texts)) == 1, "what came on the 3rd is for the next close"
    clock.set("2021-03-04T09:00:00+00:00")
    again = look(watch(folder, clock))
    assert again is not None and again.facts["texts"] == 2 and sum(map(len, again.texts)) == 2
    assert (folder.parent / "live.parquet.received.jsonl").read_text().count('"file"') == 2, "each content is read once"
    same(again, batch(folder, again))


def test_what_was_decided_stays_when_texts_come_later_or_the_clock_goes_back(
    dated_tone: Any, folder: Path, clock: Clock
) -> None:
    csv(folder / "a.csv", "2021-03-01T08:00:00Z,Arlo: profit rose.,AAA")
    look(watch(folder, clock))
    clock.set("2021-03-02T09:00:00+00:00")
    first = look(watch(folder, clock))
    csv(folder / "late.csv", "2021-03-01T08:30:00Z,Arlo: profit fell.,AAA")  # of the day that was decided
    clock.set("2021-03-01T10:00:00+00:00")  # and the clock says that the day isn't over
    look(watch(folder, clock))
    clock.set("2021-03-03T09:00:00+00:00")
    second = look(watch(folder, clock))
    assert first is not None and second is not None
    kept = second.at <= first.at[-1]
    for name in ("at", "signal", "score", "known_at"):
        assert np.array_equal(getattr(first, name), getattr(second, name)[kept], equal_nan=name != "signal"), name
    assert list(first.texts) == second.texts[: len(first)] and len(second) == 4
    same(second, batch(folder, second))


def test_texts_of_files_count_for_the_tickers_given(dated_tone: Any, folder: Path, clock: Clock) -> None:
    (folder / "note.txt").write_text("Arlo: profit rose.\n")
    (folder / "half.csv.part").write_text("at,text,symbol\n2021-03-0")
    look(watch(folder, clock))
    clock.set("2021-03-02T09:00:00+00:00")
    made = look(watch(folder, clock))
    assert made is not None and made.tickers == ("AAA", "BBB") and all(map(len, made.texts))
    same(made, batch(folder, made))


def test_refused_texts_are_counted_once_and_nothing_stops(dated_tone: Any, folder: Path, clock: Clock) -> None:
    clock.set("2015-06-01T09:00:00+00:00")  # before any version's end
    csv(folder / "a.csv", "2015-06-01T08:00:00Z,Arlo: profit rose.,AAA")
    look(watch(folder, clock))
    clock.set("2015-06-02T09:00:00+00:00")
    none = look(watch(folder, clock))
    assert none is not None and [none.tickers[code] for code in none.ticker] == ["BBB"] * len(none)
    clock.set("2016-02-01T09:00:00+00:00")
    csv(folder / "b.csv", "2016-02-01T08:00:00Z,Arlo: profit rose.,AAA")
    look(watch(folder, clock))
    clock.set("2016-02-03T09:00:00+00:00")
    made = look(watch(folder, clock))
    assert made is not None and sum(map(len, made.texts)) == 1
    assert made.facts["refused"]["all texts of the window are refused"] == 1
    assert look(watch(folder, clock)).facts == made.facts  # type: ignore[union-attr]


def test_a_refused_text_of_several_windows_is_counted_once(dated_tone: Any, folder: Path, clock: Clock) -> None:
    clock.set("2015-06-01T09:00:00+00:00")
    csv(folder / "a.csv", "2015-06-01T08:00:00Z,Arlo: profit rose.,AAA")
    look(watch(folder, clock))
    for day in (2, 3, 4, 5):
        clock.set(f"2015-06-0{day}T09:00:00+00:00")
        made = look(watch(folder, clock, window="3d"))
    none = "no version of acme/tone had ended its knowledge by then"
    assert made is not None and made.facts["refused"] == {none: 1, "all texts of the window are refused": 3}


def test_a_file_that_is_being_written_is_left_alone(dated_tone: Any, folder: Path, clock: Clock) -> None:
    watching, stop = watch(folder, clock), threading.Event()
    stop.set()
    journal = folder.parent / "live.parquet.received.jsonl"
    for count in range(1, 4):
        csv(folder / "a.csv", *(f"2021-03-01T08:0{row}:00Z,Arlo: {row}.,AAA" for row in range(count)))
        watching.run(stop)
        assert not journal.exists()
    watching.run(stop)
    assert journal.read_text().count('"text": "') == 3


@pytest.mark.parametrize("window", ["3d", "session"])
def test_longer_windows_and_exchanges(dated_tone: Any, folder: Path, clock: Clock, window: str) -> None:
    clock.set("2021-03-05T09:00:00+00:00")  # a Friday
    for day in range(5, 12):
        csv(folder / f"{day}.csv", f"2021-03-{day:02}T08:00:00Z,Arlo: {TONES[day % 3]}.,{'AB'[day % 2] * 3}")
        look(watch(folder, clock, calendar="XNYS", window=window))
        clock.set(f"2021-03-{day:02}T21:30:00+00:00")
        made = look(watch(folder, clock, calendar="XNYS", window=window))
        clock.set(f"2021-03-{day + 1:02}T09:00:00+00:00")
    assert made is not None and len(np.unique(made.at)) == 5
    same(made, batch(folder, made, calendar="XNYS", window=window))


def test_what_can_not_be_read_stops_it_and_is_read_when_mended(dated_tone: Any, folder: Path, clock: Clock) -> None:
    bad = csv(folder / "a.csv", "yesterday,Arlo: profit rose.,AAA")
    with pytest.raises(BadCorpus, match=r"a.csv, line 2: at: 'yesterday' isn't a date"):
        look(watch(folder, clock))
    csv(bad, "2021-03-01T08:00:00Z,Arlo: profit rose.,AAA")
    look(watch(folder, clock))
    (folder / "image.png").write_bytes(b"")
    with pytest.raises(BadCorpus, match="image.png is no text or table"):
        look(watch(folder, clock))
    with pytest.raises(BadCorpus, match="there is no folder"):
        look(watch(folder / "none", clock))


def test_a_journal_that_was_altered_is_refused(dated_tone: Any, folder: Path, clock: Clock) -> None:
    csv(folder / "a.csv", "2021-03-01T08:00:00Z,Arlo: profit rose.,AAA")
    look(watch(folder, clock))
    journal = folder.parent / "live.parquet.received.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole.replace(b"2021-03-01T09", b"2021-03-01T08"))
    with pytest.raises(Corrupted, match="isn't what was received"):
        look(watch(folder, clock))
    for cut in range(len(whole)):  # a process that was killed while it wrote
        journal.write_bytes(whole[:cut])
        assert not Journal.opened(journal).texts and journal.read_bytes() == b""
    journal.write_bytes(whole + whole[:-9])
    assert len(Journal.opened(journal).texts) == 1 and journal.read_bytes() == whole


def test_one_process_a_table(dated_tone: Any, folder: Path, clock: Clock) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=watch(folder, clock).run, args=(stop, 0.01))
    thread.start()
    try:
        time.sleep(0.3)
        with pytest.raises(Refused, match="another process watches into"):
            look(watch(folder, clock))
    finally:
        stop.set()
        thread.join()


class Processes:
    """Start and end watching processes, on a clock of their own in which a day lasts .4 seconds."""

    def __init__(self, folder: Path) -> None:
        run_forked("-c", "pass")  # the first fork waits for imports, in which the clock must not run
        self.command = [str(HERE / "signals_watched.py"), str(folder), str(folder.parent / "live.parquet")]
        self.command += [str(time.time() + 2), "0.4"]
        self.child: ForkedProcess | None = None

    def start(self) -> None:
        self.child = start_forked(*self.command)

    def end(self, by: int) -> int:
        assert self.child is not None
        self.child.send_signal(by)
        return self.child.wait(60)


@pytest.fixture
def process(folder: Path) -> Iterator[Processes]:
    processes = Processes(folder)
    yield processes
    if processes.child is not None:
        processes.child.kill()


def until(condition: Any, seconds: float = 60) -> None:
    deadline = time.time() + seconds
    while not condition():
        assert time.time() < deadline, "nothing came of it"
        time.sleep(0.05)


def test_a_killed_and_restarted_process_equals_a_batch(dated_tone: Any, folder: Path, process: Processes) -> None:
    out = folder.parent / "live.parquet"
    journal = folder.parent / "live.parquet.received.jsonl"
    written = 0

    def feed(count: int) -> None:
        nonlocal written
        for _ in range(count):
            draft = folder / f"{written}.part"
            symbol = ("AAA", "BBB")[written % 2]
            csv(draft, f"2021-01-01T08:00:00Z,Firm {written}: {TONES[written % 3]}.,{symbol}")
            draft.rename(folder / f"{written}.csv")
            written += 1
            time.sleep(0.03)

    def received() -> int:
        return journal.read_text().count('"text": "') if journal.exists() else 0

    process.start()
    for kill in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        rows = len(read_signals(out)) if out.exists() else 0
        feed(6)
        until(lambda: out.exists() and len(read_signals(out)) > rows)  # noqa: B023 - called at once
        feed(2)
        code = process.end(kill)
        assert code == (-signal.SIGKILL if kill == signal.SIGKILL else 0)
        for path in list(folder.glob("*.csv"))[:2]:
            path.rename(path.with_name(f"again-{path.name}"))
        process.start()
    until(lambda: received() == written)
    rows = len(read_signals(out))
    until(lambda: len(read_signals(out)) > rows)
    assert process.end(signal.SIGTERM) == 0
    live = read_signals(out)
    assert received() == written == live.facts["texts"] == 24
    assert (np.diff(live.at.reshape(-1, 2)[:, 0]) == np.timedelta64(1, "D")).all(), "each close once, none left out"
    same(live, batch(folder, live))


def test_the_command_ends_at_sigterm(dated_tone: Any, folder: Path, tmp_path: Path) -> None:
    csv(folder / "a.csv", "2021-03-01T08:00:00Z,Arlo: profit rose.,AAA")
    out = tmp_path / "live.parquet"
    command = [
        *("-m", "adapterhub_fin.cli", "signals", "acme/tone", "--watch", str(folder), "--text", "text"),
        *("--time", "at", "--set", "group=symbol", "--every", "0.05", "--out", str(out), "--json"),
    ]
    running = start_forked(*command)
    journal = tmp_path / "live.parquet.received.jsonl"
    until(lambda: journal.exists() and '"file"' in journal.read_text())
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 0, running.stderr
    err = running.stderr
    assert "a.csv: 1 new of 1 texts, received at" in err and "nothing was decided" in err and not running.stdout
    line = json.loads(journal.read_text().splitlines()[0])
    received = datetime.fromisoformat(line["available_at"])
    assert abs((datetime.now(UTC) - received).total_seconds()) < 600
