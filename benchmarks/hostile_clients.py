"""What hostile clients cost `ahf serve`: CPU seconds of one request, and memory of bodies sent at once.

    python benchmarks/hostile_clients.py [--json FILE]

A server of its own listens at the loopback address. A commit of 360 KB, of 800 files each below 180 folders of its own,
is pushed by a token; then each listing is asked for as its readers do, page by page, and the CPU seconds of the
server's process are taken. After it 20 clients without a token send bodies of 1 and 4 MiB of tiny JSON values at once.
It ends by itself; the exit status is 1 where a request took more than a second of CPU or the bodies more than 100 MB.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil

FILES, FOLDERS = 800, 180
CLIENTS, MEGABYTE = 20, 2**20
MOST_SECONDS, MOST_MB = 1.0, 100.0


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, str, psutil.Process]]:
    """A server, with the secret of a token that may write, as a process."""
    environment = {**os.environ, "AHF_HOME": str(folder / "registry"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "adapterhub_fin.cli", "serve"]
    state = ["--state", str(folder / "state")]
    made = [*command, "token", "add", "desk", "--write", *state]
    secret = subprocess.run(made, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    log = (folder / "log").open("w")
    options = ["--port", "0", "--anonymous-read", "--public-repositories", *state]
    process = subprocess.Popen([*command, *options], env=environment, stderr=log)
    try:
        while not (text := (folder / "log").read_text()).endswith("\n"):
            if process.poll() is not None:
                sys.exit(f"the server ended: {text}")
        yield text.split()[2].rstrip(":"), secret, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def pushed(client: httpx2.Client) -> list[str]:
    """The paths of a commit that is hostile to whoever lists it."""
    client.post("/api/repos/create", json={"organization": "acme", "name": "deep"}).raise_for_status()
    paths = [f"{number:x}/{'a/' * (FOLDERS - 1)}x.json" for number in range(FILES)]
    lines = [{"key": "header", "value": {"summary": "deep"}}]
    content = base64.b64encode(b"{}").decode()
    lines += [{"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}} for path in paths]
    body = "\n".join(map(json.dumps, lines))
    client.post("/api/models/acme/deep/commit/main", content=body).raise_for_status()
    return paths


def tree(client: httpx2.Client, url: str) -> int:
    """Read every page of a tree; gives the number of pages."""
    count, following = 0, url
    while following:
        answer = client.get(following)
        answer.raise_for_status()
        count += 1
        following = answer.links.get("next", {}).get("url", "")
    return count


def cpu(process: psutil.Process) -> float:
    """The CPU seconds that a process has had."""
    times = process.cpu_times()
    return float(times.user + times.system)


def listings(client: httpx2.Client, process: psutil.Process, paths: list[str]) -> dict[str, float]:
    """CPU seconds of each listing, for all of its pages, and for the mean of them."""
    found = {}
    place = "/api/models/acme/deep"
    for what in ("first", "again"):
        before = cpu(process)
        pages = tree(client, f"{place}/tree/main?recursive=true")
        found[f"tree, {what}"] = cpu(process) - before
        found[f"tree, {what}, a page"] = found[f"tree, {what}"] / pages
    folders = [path.rpartition("/")[0] for path in paths]
    for what, asked in (("files", paths), ("folders", folders), ("absent", [f"{path}x" for path in paths])):
        before = cpu(process)
        client.post(f"{place}/paths-info/main", data={"paths": asked}).raise_for_status()
        found[f"paths-info, {what}"] = cpu(process) - before
    return {key: round(seconds, 3) for key, seconds in found.items()}


def bodies(url: str, process: psutil.Process) -> dict[str, float]:
    """The memory of a server before and after bodies that are sent at once without a token, in MB."""

    def send(number: int) -> int:
        size = (4 if number % 2 else 1) * MEGABYTE - 100
        path = ("/api/validate-yaml", "/api/repos/create", "/api/models/acme/deep/paths-info/main")[number % 3]
        content = b'{"content":[' + b"1," * (size // 2) + b"1]}"
        kind = {"Content-Type": "application/json"}
        return httpx2.post(url + path, content=content, headers=kind, timeout=120).status_code

    before = _peak(process)
    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = list(pool.map(send, range(CLIENTS)))
    found = {"before": round(before, 1), "after": round(_peak(process), 1)}
    return found | {str(status): statuses.count(status) for status in sorted(set(statuses))}


def _peak(process: psutil.Process) -> float:
    [line] = [line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1]) / 1000


def main() -> None:
    """Run it all and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as (url, secret, process):
        memory = bodies(url, process)  # first: a peak is never forgotten
        headers = {"Authorization": f"Bearer {secret}"}
        with httpx2.Client(base_url=url, headers=headers, timeout=300) as client:
            seconds = listings(client, process, pushed(client))
    for key, value in {**seconds, **{f"memory {key}": value for key, value in memory.items()}}.items():
        print(f"{key:28} {value:10}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"cpu_seconds": seconds, "memory": memory}, indent=2) + "\n")
    single = [value for key, value in seconds.items() if "tree" not in key or "page" in key]
    sys.exit(max(single) > MOST_SECONDS or memory["after"] - memory["before"] > MOST_MB)


if __name__ == "__main__":
    main()
