"""Score each new file of a folder exactly once: a nightly job that can be killed at any moment and run again.

    python batch_job.py acme/tone@champion inbox/ scored/ --text headline

Each .csv, .tsv, .jsonl or .parquet file of the first folder gives a file of the same name in the second, which appears
when all its rows are answered and is never replaced. All of them are scored with one version: the reference is resolved
by the first run and kept in `scored/.job/adapters.lock`; remove that file to go on with what an alias means now. Put
files into the inbox with a rename, so that none is read half written.

Exit status: 0 everything is scored, 1 a file could not be scored (the log says why), 2 the job could not run, 75
another run is at work. The log, on standard error, has one line for each file. For Linux and macOS.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import logging
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import adapterhub_fin as ahf

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
log = logging.getLogger("batch_job")


class AtWork(Exception):
    """Say that another run holds the output folder."""


class Changed(Exception):
    """Say that a file is not the one that was scored under its name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("reference", help="a version, such as acme/tone@3, or an alias, such as acme/tone@champion")
    parser.add_argument("inbox", type=Path, help="the folder of new files")
    parser.add_argument("out", type=Path, help="the folder of scored files")
    parser.add_argument("--text", action="append", help="the column of the text; several are joined")
    parser.add_argument("--base", help="a folder of the base, where it isn't found by itself")
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args(arguments)
    try:
        if not options.inbox.is_dir():
            raise NotADirectoryError(f"{options.inbox} is not a folder")
        with only_run(options.out / ".job") as folder:
            return run(options, folder)
    except AtWork as error:
        log.error("%s", error)
        return 75
    except (ahf.AdapterHubError, OSError) as error:
        log.error("the job could not run: %s", error)
        return 2


@contextmanager
def only_run(folder: Path) -> Iterator[Path]:
    """Hold the job's own folder for one process; the lock goes with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "at-work").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AtWork(f"another run is at work in {folder.parent}") from None
        shutil.rmtree(folder / "drafts", ignore_errors=True)  # of a run that was killed
        (folder / "drafts").mkdir()
        yield folder


def run(options: argparse.Namespace, folder: Path) -> int:
    """Score what is new, and return 0, or 1 if a file could not be scored."""
    files = sorted(path for path in options.inbox.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    adapter = ahf.load(options.reference, base=options.base, lock=folder / "adapters.lock")
    scored = failed = 0
    for file in files:
        try:
            scored += score(adapter, file, options, folder)
        except (Changed, ahf.BadText, ahf.BadCorpus, ahf.BadRecipe) as error:
            failed += 1
            log.error("%s: not scored: %s", file.name, " ".join(str(error).split()))
    before = len(files) - scored - failed
    log.info("%d files scored with %s, %d not scored, %d before", scored, adapter.reference, failed, before)
    return 1 if failed else 0


def score(adapter: Any, file: Path, options: argparse.Namespace, folder: Path) -> bool:
    """Score a file unless it was scored before; return whether it was scored now."""
    target, record, draft = options.out / file.name, folder / f"{file.name}.json", folder / "drafts" / file.name
    digest = sha256(file)
    if target.exists():
        if not record.exists() or json.loads(record.read_text())["sha256"] != digest:
            raise Changed(f"{target} was scored from another file of this name: give the new one another name")
        return False
    began = time.monotonic()
    write(record, {"sha256": digest, "reference": adapter.reference, "digest": adapter.version.digest})
    rows = adapter.predict_table(file, draft, text=options.text, batch_size=options.batch_size)
    if sha256(file) != digest:
        raise Changed(f"{file} changed while it was read: rename files into the inbox")
    draft.replace(target)  # from here on it is scored
    log.info("%s: %d rows in %.1f s with %s", file.name, rows, time.monotonic() - began, adapter.reference)
    return True


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(path: Path, document: dict[str, str]) -> None:
    """Write a small file whole or not at all."""
    draft = path.with_name("drafts") / path.name
    draft.write_text(json.dumps(document, indent=2))
    draft.replace(path)


if __name__ == "__main__":
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(format="%(asctime)sZ %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S")
    log.setLevel("INFO")
    sys.exit(main())
