"""Peak memory of reading filings into shards, of their digest and of what a run reads: 5 GB beside 1 GB.

    python benchmarks/text_streaming.py --filings sec_filings [--gigabytes 1 5] [--folder SCRATCH]

The filings at hand are written again and again, each under another date and company, until they are as many bytes as
asked for. Each size is read in a process of its own. Two peaks are given: of memory that the process holds itself
(RssAnon), and of all pages (VmHWM), which has the mapped pages of the shards too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date, timedelta
from pathlib import Path

GIGABYTE = 10**9
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def write_again(filings: Path, folder: Path, size: int) -> int:
    """Write filings of other days and companies until they are `size` bytes; return how many files that are."""
    pages = [(path.name, path.read_text("utf-8")) for path in sorted(filings.glob("10-*/*.html"))]
    raw = [path.read_text("utf-8") for path in sorted(filings.glob("sgml/*.txt"))]
    submissions = [text for text in raw if "<ACCEPTANCE-DATETIME>" in text]
    written, files = 0, 0
    while written < size:
        day = date(2001, 1, 1) + timedelta(days=files // 10)
        name, page = pages[files % len(pages)]
        texts = {f"c{files}-{DATE.sub(day.isoformat(), name.split('-', 1)[1])}": page}
        if files % 5 == 0:
            header = re.sub(r"(?<=<ACCEPTANCE-DATETIME>)\d{8}", day.strftime("%Y%m%d"), submissions[files % 4])
            header = re.sub(r"(?<=FILED AS OF DATE:\t\t)\d{8}", day.strftime("%Y%m%d"), header)
            texts[f"{files:010}-{day:%y}-000001.txt"] = header
        for called, text in texts.items():
            written += (folder / called).write_text(text, "utf-8")
        files += 1
    return len(list(folder.iterdir()))


def watch(peaks: dict[str, int], stop: threading.Event) -> None:
    """Keep the most kilobytes that this process held, twenty times a second."""
    while not stop.wait(0.05):
        status = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE))
        for name in ("RssAnon", "VmHWM"):
            peaks[name] = max(peaks.get(name, 0), int(status[name]))


def measure(folder: Path) -> dict[str, object]:
    """Read the filings of a folder into shards and digest the corpus; return peaks in MB and CPU seconds."""
    from adapterhub_fin.engine.data.corpus import corpus_digest, read_corpus
    from adapterhub_fin.recipe.choices import CorpusChoice
    from adapterhub_fin.recipe.splitter import Splitter
    from adapterhub_fin_markets.corpora.edgar import Edgar
    from adapterhub_fin_markets.corpora.options import EdgarOptions

    peaks: dict[str, int] = {}
    stop = threading.Event()
    watcher = threading.Thread(target=watch, args=(peaks, stop), daemon=True)
    watcher.start()
    before = time.process_time()
    rows = Edgar(EdgarOptions(path=folder, sharded=True)).load()
    read_by = time.process_time()
    peak_of_reading = dict(peaks)
    digest = corpus_digest(rows.table)
    digested_by = time.process_time()
    peak_of_digest = dict(peaks)
    choice = CorpusChoice(name="edgar", splitter=Splitter(by="time"), path=str(folder), sharded=True)
    corpora = read_corpus(choice, "causal-lm")
    assert corpora.record["digest"] == digest
    trainable_by = time.process_time()
    again = Edgar(EdgarOptions(path=folder, sharded=True)).load()
    stop.set()
    watcher.join()
    assert len(again.table) == len(rows.table)
    return {
        "rows": len(rows.table),
        "characters": rows.table.data.nbytes,
        "digest": digest,
        "read, RssAnon MB": peak_of_reading["RssAnon"] // 1000,
        "read, VmHWM MB": peak_of_reading["VmHWM"] // 1000,
        "digest, RssAnon MB": peak_of_digest["RssAnon"] // 1000,
        "digest, VmHWM MB": peak_of_digest["VmHWM"] // 1000,
        "all, RssAnon MB": peaks["RssAnon"] // 1000,
        "all, VmHWM MB": peaks["VmHWM"] // 1000,
        "read, CPU s": round(read_by - before, 1),
        "digest, CPU s": round(digested_by - read_by, 1),
        "opened, checked, divided and digested for training, CPU s": round(trainable_by - digested_by, 1),
        "opened again, CPU s": round(time.process_time() - trainable_by, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filings", type=Path, help="the folder that holds 10-K, 10-Q and sgml")
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[1, 5])
    parser.add_argument("--folder", type=Path, help="where they are written and deleted again")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    results = []
    for gigabytes in arguments.gigabytes:
        scratch = Path(tempfile.mkdtemp(dir=arguments.folder))
        try:
            (scratch / "filings").mkdir()
            files = write_again(arguments.filings, scratch / "filings", int(gigabytes * GIGABYTE))
            command = [sys.executable, __file__, "--measure", str(scratch / "filings")]
            environment = {**os.environ, "AHF_CACHE": str(scratch / "cache")}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            results.append({"GB": gigabytes, "files": files, **json.loads(done.stdout)})
            print(json.dumps(results[-1]), flush=True)
        finally:
            shutil.rmtree(scratch)
    first, last = results[0], results[-1]
    for name in (
        "read, RssAnon MB",
        "read, VmHWM MB",
        "digest, RssAnon MB",
        "digest, VmHWM MB",
        "all, RssAnon MB",
        "all, VmHWM MB",
    ):
        print(f"{name}: {last[name] / first[name]:.3f} of the first")


if __name__ == "__main__":
    main()
