"""Versions read for the index, by all the processors there are where there are many to read."""

from __future__ import annotations

import os
import pickle
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
Child: TypeAlias = "subprocess.Popen[bytes]"

MANY: Final = 4000  # versions: fewer are read in the time that a process takes to start
_BATCH: Final = 500
_MOST: Final = 3  # processes beside this one, which alone writes the index
# No multiprocessing: that runs the caller's script again in each child. A child imports from where this process does,
# and nothing from the folder that it starts in.
_CHILD: Final = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from adapterhub_fin_registry.search.readers import answer; answer()"
)


def outcomes(wanted: Sequence[Stored]) -> Iterator[Outcome]:
    """What is found of each version, in order."""
    with _children(min(_processors() - 1, _MOST) if len(wanted) >= MANY else 0) as children:
        if children:
            yield from _shared_out(wanted, children)
        else:
            yield from _read(wanted, Excerpts())


def answer() -> None:
    """In a child: read the batches that a parent asks for, until it asks for no more."""
    excerpts = Excerpts()
    while True:
        try:
            batch: Sequence[Stored] = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(list(_read(batch, excerpts)), sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
        sys.stdout.buffer.flush()


def _read(wanted: Sequence[Stored], excerpts: Excerpts) -> Iterator[Outcome]:
    for stored in wanted:
        try:
            yield stored.read(excerpts)
        except Corrupted as error:
            yield str(error)


def _shared_out(wanted: Sequence[Stored], children: Sequence[Child]) -> Iterator[Outcome]:
    """The outcomes in order; this process reads too, each next batch that no child has begun, while it must wait."""
    batches = [wanted[start : start + _BATCH] for start in range(0, len(wanted), _BATCH)]
    idle: SimpleQueue[Child] = SimpleQueue()
    for child in children:
        idle.put(child)
    own: dict[int, list[Outcome]] = {}
    excerpts, free = Excerpts(), 0
    with ThreadPoolExecutor(len(children)) as pool:
        asked = [pool.submit(_ask, idle, batch) for batch in batches]
        try:
            for turn, batch in enumerate(batches):
                while turn not in own and not asked[turn].done() and free < len(batches):
                    if asked[free].cancel():
                        own[free] = list(_read(batches[free], excerpts))
                    free += 1
                yield from own.pop(turn) if turn in own else _answered(asked[turn], batch, excerpts)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in children:
                child.kill()  # or the pool would wait for what nobody needs any more


def _answered(answer: Future[list[Outcome]], batch: Sequence[Stored], excerpts: Excerpts) -> Sequence[Outcome]:
    """What a child read, or, where it was killed or never began, what this process reads in its place."""
    try:
        return answer.result()
    except (OSError, EOFError, pickle.UnpicklingError):
        return list(_read(batch, excerpts))


def _ask(idle: SimpleQueue[Child], batch: Sequence[Stored]) -> list[Outcome]:
    child = idle.get()
    try:
        assert child.stdin is not None and child.stdout is not None, "both are pipes"
        pickle.dump(batch, child.stdin, pickle.HIGHEST_PROTOCOL)
        child.stdin.flush()
        found: list[Outcome] = pickle.load(child.stdout)
        return found
    finally:
        idle.put(child)


@contextmanager
def _children(count: int) -> Iterator[list[Child]]:
    """As many processes that read, or fewer where the machine starts no more; gone at the end."""
    children: list[Child] = []
    places = [place for place in sys.path if isinstance(place, str) and os.path.isabs(place)]  # noqa: PTH117 - of text
    try:
        with suppress(OSError):
            for _ in range(count):
                command = [sys.executable, "-I", "-c", _CHILD]
                child = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
                children.append(child)
                assert child.stdin is not None, "it is a pipe"
                pickle.dump(places, child.stdin)
        yield children
    finally:
        for child in children:
            child.kill()
            child.communicate()


def _processors() -> int:
    """Processors that this process may use; one where its interpreter can't be started again."""
    if not Path(sys.executable or "").name.startswith("python"):
        return 1  # frozen, or embedded in another program
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
