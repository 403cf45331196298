"""Tokenize in a process that is killed at each call in turn; print what the next one makes of it.

    python tokenize_killed.py RECIPE.json FOLDER STRIDE

Killed are calls that write, sync, rename and commit, each STRIDE-th of them. One line a kill: the call's name, how many
shards were finished
then, and the digest of all files of the folder that the next process leaves.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adapterhub_fin.engine.data.shards import row_steps, seen_texts, shard_files
from adapterhub_fin.engine.data.shards import tokenize as pass_
from adapterhub_fin.engine.data.shards.text_tokenizer import TextTokenizer
from adapterhub_fin_registry.io.disk import Disk

RECIPE, FOLDER = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
row_steps.BATCH = 1000  # characters: several batches a shard
if isinstance(RECIPE["tokenizer"], str):
    LOADED = TextTokenizer(Path(RECIPE["tokenizer"]))  # once, for all processes
    pass_.TextTokenizer = lambda *given: LOADED  # type: ignore[assignment, misc]


def tokenize() -> str:
    pass_.tokenize(RECIPE, FOLDER)
    digest = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(FOLDER)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


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
                finished = len([*FOLDER.glob("shard-*.json")])
                print(name, finished, end=" ", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return call

    for name in ("write", "replace", "sync", "remove"):
        setattr(Disk, name, counted(name, getattr(Disk, name)))
    shard_files.os.fsync = counted("fsync", os.fsync)
    seen_texts.SeenTexts.commit = counted("commit", seen_texts.SeenTexts.commit)  # type: ignore[method-assign]
    TextTokenizer.encode = counted("encode", TextTokenizer.encode)  # type: ignore[method-assign]
    TextTokenizer.copy_to = counted("copy", TextTokenizer.copy_to)  # type: ignore[method-assign]
    tokenize()


def main() -> None:
    print("never", 0, tokenize(), flush=True)
    for number in range(1, 1000, int(sys.argv[3])):
        shutil.rmtree(FOLDER)
        status = in_a_child(lambda number=number: killed_at(number))  # type: ignore[misc]
        if not os.WIFSIGNALED(status):
            return
        in_a_child(lambda: print(tokenize(), flush=True))


if __name__ == "__main__":
    main()
