"""Versions read for the index, by all the processors there are where there are many to read."""

from __future__ import annotations

import os
import pickle
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Final, TypeAlias

from adapterhub_fin_registry.errors import Corrupted
from adapterhub_fin_registry.search.excerpts import Excerpts
from adapterhub_fin_registry.search.facts import Facts
from adapterhub_fin_registry.search.stored import Stored

Outcome: TypeAlias = Facts | str | None  # what is stored, or why it can't be read, or that it was deleted

MANY: Final = 4000  # versions: fewer are read in the time that a process takes to start
PATIENCE: Final = 60.0  # seconds that a child may take for a batch, before it is read here
_BATCH: Final = 500
_AHEAD: Final = 4  # batches for each child that are read before they are needed
_MOST: Final = 3  # processes beside this one, which alone writes the index
_NOISE: Final = 2**16  # bytes that an interpreter may print as it starts
# No multiprocessing: that runs the caller's script again in each child. A child imports from where this process does,
# and nothing from the folder that it starts in.
_CHILD: Final = (
    "import pickle, sys; sys.path[:], start = pickle.load(sys.stdin.buffer); "
    "from adapterhub_fin_registry.search.readers import answer; answer(start)"
)


def outcomes(wanted: Sequence[Stored]) -> Iterator[Outcome]:
    """What is found of each version, in order."""
    with _children(min(_processors() - 1, _MOST) if len(wanted) >= MANY else 0) as children:
        if children:
            yield from _shared_out(wanted, children)
        else:
            yield from _read(wanted, Excerpts())


def answer(start: bytes) -> None:
    """In a child: say that it starts, then read the batches that a parent asks for, until it asks for no more."""
    excerpts = Excerpts()
    with os.fdopen(os.dup(1), "wb") as said, open(os.devnull, "wb") as nothing:  # noqa: PTH123 - it has no Path
        os.dup2(nothing.fileno(), 1)  # what else this interpreter prints is no answer
        said.write(start)
        while True:
            try:
                batch: Sequence[Stored] = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            pickle.dump(list(_read(batch, excerpts)), said, pickle.HIGHEST_PROTOCOL)
            said.flush()


class _Child:
    """A process that reads what it is asked for."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-X", f"utf8={sys.flags.utf8_mode}", "-c", _CHILD]
        pipes = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipes, stdout=pipes, stderr=subprocess.DEVNULL)
        places = [place for place in sys.path if isinstance(place, str) and os.path.isabs(place)]  # noqa: PTH117 - text
        self._start = secrets.token_bytes(16)
        assert self._process.stdin is not None and self._process.stdout is not None, "both are pipes"
        self._asked, self._said = self._process.stdin, self._process.stdout
        pickle.dump((places, self._start), self._asked)
        self._in_step = True

    def ask(self, batch: Sequence[Stored]) -> list[Outcome]:
        """What it finds; an OSError, EOFError or UnpicklingError where it has ended, or broke off in an answer."""
        if not self._in_step:  # what comes next may be the rest of that answer, and of other versions
            raise EOFError("it broke off")
        self._in_step = False
        pickle.dump(batch, self._asked, pickle.HIGHEST_PROTOCOL)
        self._asked.flush()
        if self._start:
            self._pass_over_noise()
        found: list[Outcome] = pickle.load(self._said)
        self._in_step = True
        return found

    def _pass_over_noise(self) -> None:
        heard = bytearray()
        while not heard.endswith(self._start):
            if len(heard) > _NOISE or not (letter := self._said.read(1)):
                raise EOFError("it never started")
            heard += letter
        self._start = b""

    def kill(self) -> None:
        """What it was asked for ends in an error, and whoever waits for it waits no more."""
        self._process.kill()

    def end(self) -> None:
        """Kill it, and leave nothing of it."""
        self.kill()
        self._process.communicate()


@contextmanager
def _children(count: int) -> Iterator[list[_Child]]:
    """As many processes that read, or fewer where the machine starts no more; gone at the end."""
    children: list[_Child] = []
    try:
        with suppress(OSError):
            for _ in range(count):
                children.append(_Child())
        yield children
    finally:
        for child in children:
            child.end()


def _shared_out(wanted: Sequence[Stored], children: Sequence[_Child]) -> Iterator[Outcome]:
    """The outcomes in order; this process reads too, the next batch that no child has begun, while it must wait."""
    batches = [wanted[start : start + _BATCH] for start in range(0, len(wanted), _BATCH)]
    idle: SimpleQueue[_Child] = SimpleQueue()
    for child in children:
        idle.put(child)
    ahead: dict[int, Future[list[Outcome]]] = {}  # of this turn and the next ones alone, or all would be held at once
    excerpts = Excerpts()
    with ThreadPoolExecutor(len(children)) as pool:
        try:
            for turn, batch in enumerate(batches):
                for later in range(turn + len(ahead), min(turn + _AHEAD * len(children), len(batches))):
                    ahead[later] = _submitted(pool, idle, batches[later])
                while not ahead[turn].done():
                    if (mine := next((each for each in ahead if ahead[each].cancel()), None)) is None:
                        break
                    ahead[mine] = Future()
                    ahead[mine].set_result(list(_read(batches[mine], excerpts)))
                yield from _answered(ahead.pop(turn), children) or _read(batch, excerpts)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in children:
                child.kill()  # or the pool would wait for what nobody needs any more


def _submitted(pool: ThreadPoolExecutor, idle: SimpleQueue[_Child], batch: Sequence[Stored]) -> Future[list[Outcome]]:
    try:
        return pool.submit(_ask, idle, batch)
    except RuntimeError:  # the machine starts no more threads
        never: Future[list[Outcome]] = Future()
        never.set_exception(EOFError("nobody was asked"))
        return never


def _ask(idle: SimpleQueue[_Child], batch: Sequence[Stored]) -> list[Outcome]:
    child = idle.get()
    try:
        return child.ask(batch)
    finally:
        idle.put(child)


def _answered(asked: Future[list[Outcome]], children: Sequence[_Child]) -> list[Outcome]:
    """What a child read; nothing where it was killed, never began, or takes for ever."""
    try:
        return asked.result(PATIENCE)
    except TimeoutError:
        for child in children:
            child.kill()
    except (OSError, EOFError, pickle.UnpicklingError):
        pass
    return []


def _read(wanted: Sequence[Stored], excerpts: Excerpts) -> Iterator[Outcome]:
    for stored in wanted:
        try:
            yield stored.read(excerpts)
        except Corrupted as error:
            yield str(error)


def _processors() -> int:
    """Processors that this process may use; one where its interpreter can't be started again."""
    if not Path(sys.executable or "").name.startswith("python"):
        return 1  # frozen, or embedded in another program
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
