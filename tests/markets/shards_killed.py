"""Read a folder into shards in a process that is killed at each call in turn; print what the next one makes of it.

    python shards_killed.py FOLDER CACHE

Killed are calls that write, sync and rename. One line a kill: the call's name and the digest of the rows afterwards.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adapterhub_fin_markets.corpora import shards
from adapterhub_fin_markets.corpora.fomc import Fomc
from adapterhub_fin_markets.corpora.options import FomcOptions

FOLDER, CACHE = Path(sys.argv[1]), Path(sys.argv[2])
os.environ["AHF_CACHE"] = str(CACHE)


def read() -> str:
    source = Fomc(FomcOptions(path=FOLDER, kind="statements"))
    tables, notes = shards.Shards(source, source.units(), True, size=300).read()
    rows = [[row[name] for name in ("text", "available_at", "group", "origin")] for table in tables for row in table]
    return f"{hashlib.sha256(repr(rows).encode()).hexdigest()} {len(rows)} {len(tables)} {sorted(notes.items())}"


def in_a_child(work: Callable[[], None]) -> int:
    if (child := os.fork()) == 0:
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1]


def killed_at(number: int) -> None:
    calls = 0

    def counted(name: str, function: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                print(name, end=" ", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return call

    shards.sync = counted("sync", shards.sync)
    Path.replace = counted("replace", Path.replace)  # type: ignore[method-assign]
    Path.write_text = counted("write", Path.write_text)  # type: ignore[method-assign]
    shards.pyarrow.ipc.new_stream = counted("stream", shards.pyarrow.ipc.new_stream)
    read()


def main() -> None:
    print("never", read(), flush=True)
    for number in range(1, 1000):
        shutil.rmtree(CACHE)
        status = in_a_child(lambda number=number: killed_at(number))  # type: ignore[misc]
        if not os.WIFSIGNALED(status):
            return
        in_a_child(lambda: print(read(), flush=True))


if __name__ == "__main__":
    main()
