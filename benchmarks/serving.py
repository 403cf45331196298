"""`ahf serve` under load, and a large download against a plain static file server's.

    python benchmarks/serving.py [--seconds 60] [--warm-up 120] [--readers 64] [--writers 8] [--rounds 10] [--json FILE]

Load: readers look a repository up, list its tree and fetch its weights, over one kept connection each, and hash every
byte they get; writers push versions with the Hub's own client, fetch each back and hash it. Clients are threads of
processes of their own, on the same cores as the server, whose memory is sampled, and judged after a warm-up: the first
push imports torch, and threads and buffers are made as they are needed. At the end the registry is verified and
counted.

Download: one file of 50 MB over one connection, from the server and from Starlette's StaticFiles under uvicorn and the
standard library's http.server in turn; hashed after the clock has stopped.

The verdict says of each promise whether it was kept, and the exit status is 1 where one was not: no call failed and no
byte was wrong; memory was flat after the warm-up, but for what each new version takes; the download's median ratio to
either static server was at least one half.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import count, takewhile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
from safetensors.numpy import save

from adapterhub_fin_registry import Registry

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
MODULE = "base_model.model.model.layers.0.self_attn.q_proj"
REPOSITORIES = 16
READERS_A_PROCESS, WRITERS_A_PROCESS = 16, 4
FLAT_MB, FLAT_KB_A_VERSION = 5, 10  # the most that memory may grow in a minute, and by each version stored in it
LEAST_RATIO = 0.5
STATIC = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
app = Starlette(routes=[Mount("/", StaticFiles(directory=sys.argv[1]))])
uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False)
"""


@dataclass(frozen=True)
class Hub:
    """A server that runs: where, with whose right to write, and as which process."""

    url: str
    token: str
    process: psutil.Process


@dataclass
class Done:
    """What a client did: counts, bytes, what its calls took in seconds, and what went wrong."""

    calls: int = 0
    size: int = 0
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    pushed: dict[str, list[str]] = field(default_factory=dict)  # sha256 of the weights by repository, in order


def adapter(folder: Path, seed: int, size: int) -> str:
    """Write a small LoRA whose weights are of about that many bytes, and give their sha256."""
    columns, draw = max(size // 16, 4), np.random.default_rng(seed)
    shapes = {"A": (2, columns), "B": (columns, 2)}
    tensors = {f"{MODULE}.lora_{f}.weight": draw.random(shape, dtype=np.float32) for f, shape in shapes.items()}
    weights = save(tensors)
    plan = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "acme/base", "r": 2}
    config = {**plan, "lora_alpha": 4, "target_modules": ["q_proj"]}
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(json.dumps(config))
    (folder / WEIGHTS).write_bytes(weights)
    return sha256(weights).hexdigest()


# The servers.


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(command: Sequence[str], port: int, environment: dict[str, str] | None = None) -> Iterator[psutil.Process]:
    """A server in a process of its own, once it answers."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise RuntimeError(process.stderr.read().decode() if process.stderr else "the server did not start")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            raise RuntimeError(f"nothing answers at port {port} after 30 s")
        threading.Thread(target=lambda: process.stderr and process.stderr.read(), daemon=True).start()
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def served(home: Path) -> Iterator[Hub]:
    """`ahf serve` for the registry at a home, with a token that writes."""
    ahf = [sys.executable, "-c", "import sys; from adapterhub_fin.cli.serve import command; command()"]
    environment = {**os.environ, "AHF_HOME": str(home), "AHF_CACHE": str(home.parent / "cache")}
    state = ["--state", str(home.parent / "state")]
    add = [*ahf, "token", "add", "bench", "--write", "--json", *state]
    made = subprocess.run(add, env=environment, capture_output=True)
    if made.returncode:
        raise RuntimeError(made.stderr.decode())
    port = free_port()
    with running([*ahf, "--port", str(port), *state], port, environment) as process:
        yield Hub(f"http://127.0.0.1:{port}", json.loads(made.stdout)["token"], process)


# The clients, each in a process that knows a server by its address alone.


def read(url: str, token: str, until: float, seed: int, weights: dict[str, str]) -> Done:
    """Look up, list and fetch, at random, until the time is up."""
    address, draw, done = urlsplit(url), random.Random(seed), Done()
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    while time.time() < until:
        name, expected = draw.choice(sorted(weights.items()))
        for path in (f"/api/models/{name}", f"/api/models/{name}/tree/main", f"/{name}/resolve/v1/{WEIGHTS}"):
            began = time.perf_counter()
            try:
                connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as error:
                done.wrong.append(f"{path}: {error!r}")
                connection.close()
                continue
            done.seconds.append(time.perf_counter() - began)
            done.calls, done.size = done.calls + 1, done.size + len(body)
            if answer.status != 200:
                done.wrong.append(f"{path}: {answer.status} {body[:200]!r}")
            elif path.endswith(WEIGHTS) and sha256(body).hexdigest() != expected:
                done.wrong.append(f"{path}: other bytes")
            elif not path.endswith(WEIGHTS):
                json.loads(body)
    connection.close()
    return done


def write(url: str, token: str, until: float, seed: int, folder: Path) -> Done:
    """Push version after version to a repository of this writer's own, and fetch each back."""
    from huggingface_hub import CommitOperationAdd, HfApi

    api, done, name = HfApi(endpoint=url, token=token), Done(), f"load/writer-{seed}"
    api.create_repo(name)
    for attempt in takewhile(lambda _: time.time() < until, count()):
        place = folder / f"{seed}-{attempt}"
        expected = adapter(place, seed * 100_000 + attempt, 200_000)
        operations = [CommitOperationAdd(file.name, file) for file in sorted(place.iterdir())]
        began = time.perf_counter()
        try:
            made = api.create_commit(name, operations, commit_message=f"version {done.calls + 1}")
            fetched = api.hf_hub_download(name, WEIGHTS, revision=made.oid, local_dir=place / "back")
        except Exception as error:  # whatever it is, it is what is counted here
            done.wrong.append(f"{name}: {error!r}")
            continue
        done.seconds.append(time.perf_counter() - began)
        done.calls, done.size = done.calls + 1, done.size + (place / WEIGHTS).stat().st_size
        done.pushed.setdefault(name, []).append(expected)
        if sha256(Path(fetched).read_bytes()).hexdigest() != expected:
            done.wrong.append(f"{name}: other bytes came back")
    return done


def several(kind: str, url: str, token: str, until: float, seeds: range, what: Any, pipe: Any) -> None:
    """The clients of one process, a thread each; what they did goes into the pipe."""
    results: list[Done] = []

    def run(seed: int) -> None:
        results.append((read if kind == "read" else write)(url, token, until, seed, what))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.send([asdict(each) for each in results])


# What is measured.


def load(hub: Hub, home: Path, weights: dict[str, str], asked: argparse.Namespace) -> dict[str, Any]:
    """Readers and writers at once; what was done, what went wrong, and the server's memory once it is warm."""
    context = multiprocessing.get_context("spawn")
    until = time.time() + asked.warm_up + asked.seconds
    pipes, processes = [], []
    jobs = [("read", seeds, weights) for seeds in _parts(asked.readers, READERS_A_PROCESS)]
    jobs += [("write", seeds, home.parent / "written") for seeds in _parts(asked.writers, WRITERS_A_PROCESS)]
    for kind, seeds, what in jobs:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=several, args=(kind, hub.url, hub.token, until, seeds, what, theirs))
        process.start()
        pipes.append((kind, ours))
        processes.append(process)
    memory = _sampled(hub.process, until, asked.warm_up)
    done = {"read": Done(), "write": Done()}
    for kind, pipe in pipes:
        for part in pipe.recv():
            _gather(done[kind], Done(**part))
    for process in processes:
        process.join()
    wrong = done["read"].wrong + done["write"].wrong + _differences(Registry(home), done["write"].pushed)
    return {
        "seconds": asked.seconds,
        "warm_up": asked.warm_up,
        **{f"{kind}s": _figures(done[kind], asked.warm_up + asked.seconds) for kind in done},
        "memory": memory,
        "errors": len(wrong),
        "first_errors": wrong[:5],
        "load_average": os.getloadavg()[0],
    }


def _parts(count: int, size: int) -> list[range]:
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _gather(into: Done, part: Done) -> None:
    into.calls += part.calls
    into.size += part.size
    into.seconds += part.seconds
    into.wrong += part.wrong
    into.pushed |= part.pushed


def _figures(done: Done, seconds: float) -> dict[str, float]:
    took = sorted(done.seconds) or [0.0]
    return {
        "calls": done.calls,
        "calls_a_second": round(done.calls / seconds, 1),
        "megabytes": round(done.size / 1e6, 1),
        "p50_ms": round(1e3 * statistics.median(took), 1),
        "p99_ms": round(1e3 * took[int(0.99 * (len(took) - 1))], 1),
    }


def _sampled(process: psutil.Process, until: float, warm_up: float) -> dict[str, Any]:
    """Resident megabytes of the server: each five seconds, and their slope after the warm-up by least squares."""
    samples = []
    began = time.time()
    while time.time() < until:
        samples.append((time.time() - began, process.memory_info().rss / 1e6))
        time.sleep(0.5)
    warm = [sample for sample in samples if sample[0] >= warm_up]
    slope, _ = statistics.linear_regression(*zip(*warm, strict=True))
    sizes = [size for _, size in samples]
    return {
        "first_mb": round(sizes[0], 1),
        "warm_mb": round(warm[0][1], 1),
        "last_mb": round(sizes[-1], 1),
        "peak_mb": round(max(sizes), 1),
        "slope_mb_a_minute": round(60 * slope, 2),
        "each_5_s_mb": [round(size) for size in sizes[::10]],
    }


def _differences(registry: Registry, pushed: dict[str, list[str]]) -> list[str]:
    """Where the registry differs from what writers were told is stored: a version lost, doubled, or of other bytes."""
    wrong = []
    for name, expected in sorted(pushed.items()):
        versions = registry.versions(name)
        stored = [next(f.sha256 for f in version.manifest.files if f.path == WEIGHTS) for version in versions]
        if stored != expected:
            wrong.append(f"{name} has {len(stored)} versions, and {len(expected)} were pushed, or others")
        for version in versions:
            registry.verify(version.reference)
    return wrong


def download(urls: dict[str, tuple[str, str]], expected: str, size: int, rounds: int) -> dict[str, Any]:
    """Megabytes a second of one file over one connection, from each server in turn, and ratios round by round."""
    rates: dict[str, list[float]] = {kind: [] for kind in urls}
    for turn in range(rounds + 1):  # the first is to warm up
        for kind, (url, token) in urls.items():
            took = _fetch(url, token, expected, size)
            if turn:
                rates[kind].append(size / 1e6 / took)
    first, *others = rates
    ratios = {f"to_{kind}": [a / b for a, b in zip(rates[first], rates[kind], strict=True)] for kind in others}
    return {
        "megabytes": size / 1e6,
        "rounds": rounds,
        "mb_a_second": {kind: round(statistics.median(found)) for kind, found in rates.items()},
        "ratio": {kind: round(statistics.median(found), 2) for kind, found in ratios.items()},
        "lowest_ratio": {kind: round(min(found), 2) for kind, found in ratios.items()},
        "load_average": os.getloadavg()[0],
    }


def _fetch(url: str, token: str, expected: str, size: int) -> float:
    address, body = urlsplit(url), memoryview(bytearray(size))
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    connection.connect()
    began, place = time.perf_counter(), 0
    connection.request("GET", address.path, headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    while place < size and (count := answer.readinto(body[place : place + 2**20])):
        place += count
    took = time.perf_counter() - began
    connection.close()
    if answer.status != 200 or sha256(body).hexdigest() != expected:
        raise RuntimeError(f"{url} answered {answer.status} with other bytes")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=120, help="Seconds of the same before memory is judged.")
    parser.add_argument("--readers", type=int, default=64)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", choices=["load", "download"])
    parser.add_argument("--json", type=Path, help="Also write the figures here.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ahf-bench-serving-") as place:
        figures = measure(asked, Path(place))
    for part, found in figures.items():
        print(f"## {part}")
        for key, value in found.items():
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            print(f"| {key} | {shown} |")
    print("## verdict")
    for said, kept in verdict(figures):
        print(f"| {said} | {'kept' if kept else 'BROKEN'} |")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")
    if not all(kept for _, kept in verdict(figures)):
        sys.exit(1)


def verdict(figures: dict[str, Any]) -> list[tuple[str, bool]]:
    """Each promise with the figure that decides it, and whether it was kept."""
    found: list[tuple[str, bool]] = []
    if load := figures.get("load"):
        found.append((f"{load['errors']} errors, of none", load["errors"] == 0))
        slope, versions = load["memory"]["slope_mb_a_minute"], 60 * load["writes"]["calls_a_second"]
        most = FLAT_MB + versions * FLAT_KB_A_VERSION / 1000
        found.append((f"memory grew by {slope} MB a minute, of {most:.1f} at most", slope <= most))
    if download := figures.get("download"):
        for kind, ratio in download["ratio"].items():
            found.append((f"a download {kind} has the ratio {ratio}, of {LEAST_RATIO} at least", ratio >= LEAST_RATIO))
    return found


def measure(asked: argparse.Namespace, place: Path) -> dict[str, Any]:
    """Both measurements on one registry, made for them."""
    from adapterhub_fin import import_folder

    home, figures = place / "home", {}
    os.environ["AHF_CACHE"] = str(place / "cache")
    registry, weights = Registry(home), {}
    for number in range(REPOSITORIES):
        name = f"acme/served-{number}"
        weights[name] = adapter(place / "made" / str(number), number, 500_000)
        import_folder(place / "made" / str(number), name, base="acme/base", registry=registry)
    large = adapter(place / "made" / "large", 99, 50_000_000)
    import_folder(place / "made" / "large", "acme/large", base="acme/base", registry=registry)
    with served(home) as hub:
        if asked.only != "load":
            figures["download"] = _downloads(hub, place / "made" / "large", large, asked.rounds)
        if asked.only != "download":
            (place / "written").mkdir()
            figures["load"] = load(hub, home, weights, asked)
    return figures


def _downloads(hub: Hub, folder: Path, expected: str, rounds: int) -> dict[str, Any]:
    size = (folder / WEIGHTS).stat().st_size
    ports = [free_port(), free_port()]
    static = [sys.executable, "-c", STATIC, str(folder), str(ports[0])]
    plain = [sys.executable, "-m", "http.server", str(ports[1]), "--bind", "127.0.0.1", "--directory", str(folder)]
    with ExitStack() as stack:
        for command, port in zip((static, plain), ports, strict=True):
            stack.enter_context(running(command, port))
        urls = {
            "ahf_serve": (f"{hub.url}/acme/large/resolve/v1/{WEIGHTS}", hub.token),
            "static_files": (f"http://127.0.0.1:{ports[0]}/{WEIGHTS}", ""),
            "http_server": (f"http://127.0.0.1:{ports[1]}/{WEIGHTS}", ""),
        }
        return download(urls, expected, size, rounds)


if __name__ == "__main__":
    main()
