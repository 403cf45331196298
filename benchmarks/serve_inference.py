"""`ahf serve inference` under load: wrong answers, errors, memory, latency and rows a second.

    python benchmarks/serve_inference.py [--seconds 60] [--clients 64] [--adapters 50] [--base FOLDER] [--json FILE]

A server of its own listens at the loopback address, with a budget that holds a part of the adapters, so that they are
evicted and loaded again all the time. Clients are threads of one other process, each with one request in flight: nine
of ten classify one text, the tenth embeds it. The answers that each version gives alone are computed first, with
`ahf.pool` in this process, and every answer is compared with its own.

The verdict says of each promise whether it was kept, and the exit status is 1 where one was not: no wrong answer (more
than 1e-5 off, or of another version), no error but 429 with Retry-After, and memory at the end within 5 % of that a
third of the way.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import httpx2
import numpy as np
import psutil

TEXTS = 40
CLOSE = 1e-5  # of a probability, and of an element of a vector
MOST_GROWTH = 0.05
LABELS = ["negative", "neutral", "positive"]


def sentences() -> list[str]:
    words = ("profit", "margins", "rose", "fell", "guidance", "quarter", "revenue", "demand", "costs", "outlook")
    return [
        " ".join(words[(row * 7 + k * (row + 3)) % len(words)] for k in range(4 + row % 20)) for row in range(TEXTS)
    ]


def store_adapters(folder: Path, count: int) -> list[str]:
    """Store adapters of rank 8 with random weights; return their references."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    import adapterhub_fin as ahf

    plan = LoraConfig(r=8, lora_alpha=16, task_type="SEQ_CLS", target_modules="all-linear")
    model: Any = get_peft_model(AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3), plan)
    model.config.id2label = dict(enumerate(LABELS))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    references = []
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        saved = ahf.save(model, f"bench/a{number:03}", base=str(folder), labels=LABELS, tokenizer=tokenizer)
        references.append(saved.reference)
    return references


def answers_alone(folder: Path, references: list[str]) -> tuple[dict[tuple[str, int], Any], int]:
    """Return what each version answers to each text by itself, and the bytes that one version takes in memory."""
    import adapterhub_fin as ahf

    pool = ahf.pool(folder, bytes="4GiB")
    expected: dict[tuple[str, int], Any] = {}
    for reference in references:
        for number, text in enumerate(sentences()):
            [answer] = pool.predict([text], reference)
            assert answer is not None
            vector = pool.embed([text], reference).vectors[0]
            expected[reference, number] = (answer.value.scores, vector, answer.digest)
    stats = pool.stats()
    return expected, stats.bytes // stats.resident


@contextmanager
def server(folder: Path, size: int, log: Path) -> Iterator[tuple[str, psutil.Process]]:
    command = [sys.executable, "-m", "adapterhub_fin.cli", "serve", "inference", "--base", str(folder), "--port", "0"]
    with log.open("w") as stream:
        process = subprocess.Popen([*command, "--bytes", str(size)], stderr=stream)
    try:
        while not (text := log.read_text()).endswith("\n"):
            if process.poll() is not None:
                sys.exit(f"the server ended: {text}")
            time.sleep(0.1)
        yield text.split()[2].rstrip(":"), psutil.Process(process.pid)
    finally:
        process.terminate()
        assert process.wait(60) == 0, "SIGTERM ends it with the status 0"


class Clients:
    """Send requests from threads until the time is over, and compare each answer."""

    def __init__(self, url: str, expected: dict[tuple[str, int], Any], references: list[str], until: float) -> None:
        self.url, self.expected, self.references, self.until = url, expected, references, until
        self.lock = threading.Lock()
        self.seconds: list[float] = []
        self.counts: Counter[str] = Counter()
        self.largest = 0.0

    def work(self, seed: int) -> None:
        draw = random.Random(seed)
        with httpx2.Client(base_url=self.url, timeout=120) as client:
            while time.monotonic() < self.until:
                reference, number = draw.choice(self.references), draw.randrange(TEXTS)
                kind = "embeddings" if draw.random() < 0.1 else "classify"
                began = time.perf_counter()
                try:
                    body = {"model": reference.partition("@")[0], "input": sentences()[number]}
                    answer = client.post(f"/v1/{kind}", json=body)
                except httpx2.HTTPError as error:
                    self.count(f"error: {type(error).__name__}")
                    continue
                took = time.perf_counter() - began
                if answer.status_code == 429 and int(answer.headers.get("Retry-After", 0)) >= 1:
                    self.count("429")
                    time.sleep(1)
                elif answer.status_code != 200:
                    self.count(f"error: {answer.status_code}")
                else:
                    self.compare(answer.json()["data"][0], kind, reference, number, took)

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def compare(self, row: dict[str, Any], kind: str, reference: str, number: int, took: float) -> None:
        scores, vector, digest = self.expected[reference, number]
        if kind == "classify":
            off = max(abs(row["scores"][label] - score) for label, score in scores.items())
        else:
            off = float(np.abs(np.array(row["embedding"], np.float32) - vector).max())
        right = off <= CLOSE and row["reference"] == reference and row["digest"] == digest
        with self.lock:
            self.counts["right" if right else "wrong"] += 1
            self.largest = max(self.largest, off)
            self.seconds.append(took)


def load(url: str, process: psutil.Process, expected: Any, references: list[str], given: Any) -> dict[str, Any]:
    first = {"model": references[0], "input": "The first request loads the base."}
    httpx2.post(f"{url}/v1/classify", json=first, timeout=120).raise_for_status()
    start = time.monotonic()
    clients = Clients(url, expected, references, start + given.seconds)
    threads = [threading.Thread(target=clients.work, args=(seed,)) for seed in range(given.clients)]
    for thread in threads:
        thread.start()
    memory: dict[str, float] = {}
    for share, name in ((1 / 3, "third"), (1.0, "end")):
        time.sleep(max(0.0, start + given.seconds * share - time.monotonic()))
        memory[name] = process.memory_info().rss / 1e6
    for thread in threads:
        thread.join()
    took = time.monotonic() - start
    metrics = httpx2.get(f"{url}/metrics").text
    counted = {line.split()[0]: float(line.split()[1]) for line in metrics.splitlines() if line[0] != "#"}
    p50, p95, p99 = (1000 * float(np.quantile(clients.seconds, share)) for share in (0.5, 0.95, 0.99))
    return {
        **dict(clients.counts),
        "largest difference": clients.largest,
        "rows a second": len(clients.seconds) / took,
        "p50 ms": p50,
        "p95 ms": p95,
        "p99 ms": p99,
        "RSS MB at a third": memory["third"],
        "RSS MB at the end": memory["end"],
        "evictions": counted["ahf_pool_evictions_total"],
        "rows a batch": counted['ahf_rows_total{outcome="answered"}'] / counted["ahf_batches_total"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--adapters", type=int, default=50)
    parser.add_argument("--base", type=Path, help="a folder; by default a tiny encoder that is made here")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"AHF_HOME": f"{scratch}/home", "AHF_CACHE": f"{scratch}/cache", "OMP_NUM_THREADS": "1"}
        from adapterhub_fin.testing import tiny_encoder

        folder = given.base or tiny_encoder(Path(scratch) / "base")
        references = store_adapters(folder, given.adapters)
        expected, size = answers_alone(folder, references)
        budget = size * max(2, given.adapters // 2)
        with server(folder, budget, Path(scratch) / "log") as (url, process):
            found = load(url, process, expected, references, given)
    for key, value in found.items():
        print(f"{key:24} {value:12,.6g}")
    growth = found["RSS MB at the end"] / found["RSS MB at a third"] - 1
    kept = {
        "no wrong answer": not found.get("wrong"),
        "no error but 429": not any(key.startswith("error") for key in found),
        f"memory within {MOST_GROWTH:.0%} ({growth:+.1%})": abs(growth) <= MOST_GROWTH,
        "adapters were evicted": found["evictions"] > given.adapters,
    }
    for promise, is_kept in kept.items():
        print(f"{'kept' if is_kept else 'BROKEN':8} {promise}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(not all(kept.values()))


if __name__ == "__main__":
    main()
