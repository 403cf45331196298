"""Tokens and MB a second of `ahf tokenize`, and its memory: at 100 MB and 1 GB of text, with copies sought or not.

    python benchmarks/tokenizing.py --text fed_speeches.jsonl --tokenizer gpt2_tokenizer [--megabytes 100 1000]

The texts at hand are written again and again, each with words of its own in every paragraph, so that none is a copy,
until they are as many bytes as asked for. Each pass runs in a process of its own, whose greatest memory is read from
the system: what it holds itself (RssAnon). What a user would run instead is measured beside it: `datasets.map` with the
same tokenizer over the same file, whose Arrow file of ids is what it leaves. Seconds are of CPU, as other work may run
beside.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

BILLION = 10**9


def write_again(texts: Path, out: Path, size: int) -> int:
    """Write the texts with other words in them until they are `size` bytes; return how many rows that are."""
    rows = [row for row in map(json.loads, texts.read_text("utf-8").splitlines()) if row["text"].strip()]
    draw, written, number = random.Random(0), 0, 0
    words = sorted({word for row in rows[:50] for word in row["text"].split()})
    with out.open("w", encoding="utf-8") as file:
        while written < size:
            row = rows[number % len(rows)]
            lines = [f"{line} {' '.join(draw.choices(words, k=9))}" for line in row["text"].splitlines()]
            draw.shuffle(lines)
            day = f"{1996 + number % 18}-{1 + number % 12:02}-{1 + number % 28:02}"
            written += file.write(json.dumps({"text": "\n".join(lines), "available_at": day}) + "\n")
            number += 1
    return number


def watch(peak: dict[str, int], stop: threading.Event) -> None:
    """Keep the most kilobytes that this process held itself, twenty times a second."""
    while not stop.wait(0.05):
        status = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE))
        peak["RssAnon"] = max(peak.get("RssAnon", 0), int(status["RssAnon"]))


def pass_of(name: str, rows: Path, tokenizer: Path, out: Path) -> Callable[[], int]:
    """Return a pass that gives how many tokens it wrote."""

    def shards(duplicates: str) -> int:
        import adapterhub_fin as ahf

        filters = {"duplicates": duplicates}
        recipe = {"files": rows, "until": "2013-12-31", "tokenizer": tokenizer, "timezone": "UTC", "filters": filters}
        return ahf.tokenize(recipe, out).tokens

    def mapped() -> int:
        from datasets import load_dataset
        from transformers import AutoTokenizer

        fast = AutoTokenizer.from_pretrained(tokenizer)
        table = load_dataset("json", data_files=str(rows), split="train", cache_dir=str(out))

        def ids(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
            encoded = fast(batch["text"], add_special_tokens=False, return_attention_mask=False, verbose=False)
            return {"ids": encoded["input_ids"], "tokens": [len(each) for each in encoded["input_ids"]]}

        done = table.map(ids, batched=True, remove_columns=table.column_names, cache_file_name=str(out / "ids.arrow"))
        return sum(done["tokens"])

    return mapped if name == "datasets.map" else lambda: shards(name)


def measure(name: str, rows: Path, tokenizer: Path, out: Path) -> dict[str, object]:
    """Run a pass in this process; return its figures."""
    peak: dict[str, int] = {}
    stop = threading.Event()
    watcher = threading.Thread(target=watch, args=(peak, stop), daemon=True)
    work = pass_of(name, rows, tokenizer, out)
    cpu, wall = time.process_time(), time.time()
    watcher.start()
    tokens = work()
    cpu, wall = time.process_time() - cpu, time.time() - wall
    stop.set()
    watcher.join()
    files = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {"tokens": tokens, "cpu": cpu, "wall": wall, "peak": peak.get("RssAnon", 0) / 1000, "disk": files / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--passes", nargs="+", default=["exact", "none", "near", "datasets.map"])
    parser.add_argument("--folder", type=Path, help="Where to work; by default the system's folder for such files.")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        name, *paths = given.one
        print(json.dumps(measure(name, *map(Path, paths))))
        return
    print(f"{os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}")
    print("| MB | pass | tokens | tokens a CPU second | MB a CPU second | CPU s | wall s | memory MB | disk MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for megabytes in given.megabytes:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            rows = Path(folder) / "rows.jsonl"
            write_again(given.text, rows, megabytes * 10**6)
            for name in given.passes:
                out = Path(folder) / "out"
                out.mkdir()
                command = [sys.executable, __file__, "--text", ".", "--tokenizer", ".", "--one", name, rows]
                done = subprocess.run([*command, given.tokenizer, out], capture_output=True, text=True, check=True)
                found = json.loads(done.stdout.splitlines()[-1])
                rate, speed = found["tokens"] / found["cpu"], rows.stat().st_size / 1e6 / found["cpu"]
                print(
                    f"| {megabytes} | {name} | {found['tokens']:,} | {rate:,.0f} | {speed:.2f} | {found['cpu']:.0f} | "
                    f"{found['wall']:.0f} | {found['peak']:.0f} | {found['disk']:.0f} |",
                    flush=True,
                )
                shutil.rmtree(out)


if __name__ == "__main__":
    main()
