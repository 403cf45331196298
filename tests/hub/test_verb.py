"""`ahf serve` in a process of its own: how it starts, what it refuses, how it stops, and what it holds in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

import adapterhub_fin as ahf
from adapterhub_fin.serve import serve
from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.hub_server.settings import Settings

MEGABYTE = 2**20
Run = Callable[..., subprocess.CompletedProcess[str]]


def test_it_starts_with_no_token_and_on_no_public_address_of_its_own(run_ahf: Run, tmp_path: Path) -> None:
    refused = run_ahf("serve")
    assert refused.returncode == 1 and "ahf serve token add" in refused.stderr and refused.stderr.count("\n") == 1
    assert run_ahf("serve", "token", "add", "desk", "--write").returncode == 0
    for host in ("0.0.0.0", "::", "192.0.2.7", "hub.example"):
        refused = run_ahf("serve", "--host", host)
        assert refused.returncode == 1 and "--public" in refused.stderr, host
    inside = run_ahf("serve", "--state", str(tmp_path / "home" / "state"))
    assert inside.returncode == 1 and "inside the registry" in inside.stderr
    assert run_ahf("serve", "--max-upload", "much").returncode == 2
    refused = run_ahf("serve", "--url", "http://[::1", "--anonymous-read", "--port", "0")
    assert refused.returncode == 1 and "isn't the URL of a server" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "option", "subcommand"),
    [
        (("--port", "9000", "inference", "--base", "minilm"), "--port", "inference"),
        (("--read-only", "hub"), "--read-only", "hub"),
        (("--state", "elsewhere", "token", "list"), "--state", "token"),
        (("--max-upload", "5GiB", "read-only", "on"), "--max-upload", "read-only"),  # its default, and typed
    ],
)
def test_an_option_before_a_subcommand_is_refused(
    run_ahf: Run, arguments: tuple[str, ...], option: str, subcommand: str
) -> None:
    refused = run_ahf("serve", *arguments)
    assert refused.returncode == 2
    assert f"{option} stands before {subcommand}: write it after it, as in ahf serve {subcommand}" in refused.stderr


@pytest.mark.parametrize(
    "url",
    [
        *("hub.example", "file:///tmp", "https://hub.example/?x", "https://hub.example/#x", "https://", "http://:80"),
        *("http://[::1", "http://a b", "http://hub.example\n", "http://x:99999999", "http://x:y", "http://me@x", ""),
    ],
)
def test_what_is_no_url_of_a_server_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ahf.BadConfiguration, match="isn't the URL of a server"):
        serve(Registry(tmp_path / "root"), state=tmp_path / "state", settings=Settings(url=url), ready=_never)


def _never(url: str) -> None:
    raise AssertionError("it was about to serve")


def test_tokens_are_made_listed_and_revoked_and_kept_hashed(run_ahf: Run, start: Any, tmp_path: Path) -> None:
    made = run_ahf("serve", "token", "add", "desk", "--write", "--namespace", "acme", "--json")
    secret = json.loads(made.stdout)["token"]
    assert run_ahf("serve", "token", "add", "desk").returncode == 1
    assert run_ahf("serve", "token", "add", "../x").returncode == 1
    [listed] = json.loads(run_ahf("serve", "token", "list", "--json").stdout)
    assert (listed["name"], listed["rights"], listed["namespaces"]) == ("desk", "write", ["acme"])
    assert "desk" in run_ahf("serve", "token", "list").stdout and secret not in run_ahf("serve", "token", "list").stdout
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert files and all(secret.encode() not in path.read_bytes() for path in files)
    _, url = start()
    headers = {"Authorization": f"Bearer {secret}"}
    assert httpx2.get(f"{url}/api/whoami-v2", headers=headers).json()["name"] == "desk"
    assert run_ahf("serve", "token", "revoke", "desk").returncode == 0
    assert httpx2.get(f"{url}/api/whoami-v2", headers=headers).status_code == 401
    gone = run_ahf("serve", "token", "revoke", "desk")
    assert gone.returncode == 1 and "no token desk" in gone.stderr


def test_two_servers_do_not_share_a_state(run_ahf: Run, start: Any) -> None:
    start("--anonymous-read")
    second = run_ahf("serve", "--port", "0", "--anonymous-read")
    assert second.returncode == 1 and "another server uses" in second.stderr


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_and_logs_lines_of_json(start: Any, how: signal.Signals) -> None:
    process, url = start("--anonymous-read")
    assert httpx2.get(f"{url}/health").text == "ok\n"
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10) as connection:
        connection.sendall(b"this is no HTTP\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400")
    process.send_signal(how)
    _, errors = process.communicate(timeout=20)
    assert process.returncode in (-how, 128 + how)
    asked, malformed = (json.loads(line) for line in errors.splitlines() if line not in ("", "stopped"))
    assert asked["path"] == "/health" and malformed["level"] == "warning" and "Invalid HTTP" in malformed["message"]


def test_what_goes_wrong_is_one_line_of_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    from adapterhub_fin.http_process import logging_to
    from adapterhub_fin_registry.hub_server.http.access import log

    with logging_to(sys.stderr):
        try:
            raise OSError("the disk is gone")
        except OSError:
            log.exception("request %s failed", "8f")
    line = json.loads(capsys.readouterr().err)
    assert line["message"] == "request 8f failed" and line["traceback"].endswith("OSError: the disk is gone")


@pytest.mark.skipif(sys.platform == "win32", reason="a process is told to stop by a signal")
def test_what_is_under_way_ends_when_it_is_told_to_stop(run_ahf: Run, start: Any) -> None:
    secret = run_ahf("serve", "token", "add", "desk", "--write").stdout.strip()
    process, url = start()
    client = httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60)
    for name in ("down", "up"):
        client.post("/api/repos/create", json={"organization": "acme", "name": name}).raise_for_status()
    client.post("/api/models/acme/down/commit/main", content=pushed(24 * MEGABYTE)).raise_for_status()

    def told_midway() -> Iterator[bytes]:
        for number, piece in enumerate(pushed(6 * MEGABYTE)):
            if number == 4:
                process.send_signal(signal.SIGTERM)
                while answers(url):
                    pass
            yield piece

    digest = hashlib.sha256()
    with client.stream("GET", "/acme/down/resolve/v1/weights.safetensors") as answer:
        pieces = answer.iter_raw()
        digest.update(next(pieces))
        up = client.post("/api/models/acme/up/commit/main", content=told_midway())
        assert up.status_code == 200 and up.json()["version"] == 1, up.text
        assert process.poll() is None, "it waits for the download"
        for piece in pieces:
            digest.update(piece)
    assert f'"{digest.hexdigest()}"' == answer.headers["etag"]
    assert process.wait(20) in (-signal.SIGTERM, 128 + signal.SIGTERM)


def answers(url: str) -> bool:
    """Whether a server takes new connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0


def weights(size: int) -> Iterator[bytes]:
    """The pieces of a safetensors file with a tensor of so many bytes."""
    header = json.dumps({"a.lora_A.weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    header += b" " * (-len(header) % 3 + 1)  # with its length, a multiple of three, as base64 in pieces needs
    yield len(header).to_bytes(8, "little") + header
    piece = bytes(range(256)) * (3 * MEGABYTE // 256)
    for _ in range(size // len(piece)):
        yield piece


def pushed(size: int) -> Iterator[bytes]:
    """A commit with the manifest and the files of an adapter of about this size, in pieces."""
    from adapterhub_fin_registry.model.manifest import Knowledge, KnowledgeInput, Manifest

    known = KnowledgeInput(input="base", at="2020-01-01T00:00:00Z", kind="asserted", evidence="a card")
    manifest = Manifest(method={"name": "own"}, base={"fingerprint": "unknown"}, knowledge=Knowledge.of([known]))  # type: ignore[arg-type]
    digest, length = hashlib.sha256(), 0
    for piece in weights(size):
        digest.update(piece)
        length += len(piece)
    document = json.loads(manifest.canonical())
    document["files"] = [["weights.safetensors", length, digest.hexdigest()]]
    document["tensors"] = [["a.lora_A.weight", "U8", [size]]]
    data = base64.b64encode(Manifest.model_validate(document).canonical()).decode()
    yield json.dumps({"key": "header", "value": {"summary": "large"}}).encode() + b"\n"
    value = {"content": data, "path": "ahf_manifest.json", "encoding": "base64"}
    yield json.dumps({"key": "file", "value": value}).encode() + b"\n"
    yield b'{"key": "file", "value": {"content": "'
    for piece in weights(size):
        yield base64.b64encode(piece)
    yield b'", "path": "weights.safetensors", "encoding": "base64"}}\n'


@pytest.mark.skipif(sys.platform != "linux", reason="the most memory of a process is read from /proc")
def test_memory_stays_flat_while_a_large_file_goes_up_and_down(
    run_ahf: Run, start: Any, peak: Callable[[int], int]
) -> None:
    secret = run_ahf("serve", "token", "add", "desk", "--write").stdout.strip()
    process, url = start()
    client = httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60)

    def round_trip(name: str, size: int) -> None:
        client.post("/api/repos/create", json={"organization": "acme", "name": name}).raise_for_status()
        answer = client.post(f"/api/models/acme/{name}/commit/main", content=pushed(size))
        assert answer.status_code == 200 and answer.json()["version"] == 1, answer.text
        digest = hashlib.sha256()
        with client.stream("GET", f"/acme/{name}/resolve/v1/weights.safetensors") as answer:
            for piece in answer.iter_raw():
                digest.update(piece)
        assert f'"{digest.hexdigest()}"' == answer.headers["etag"]
        client.post("/api/repos/create", json={"organization": "acme", "name": f"{name}-lfs"}).raise_for_status()
        asked = {"operation": "upload", "objects": [{"oid": digest.hexdigest(), "size": sum(map(len, weights(size)))}]}
        [agreed] = client.post(f"/acme/{name}-lfs.git/info/lfs/objects/batch", json=asked).json()["objects"]
        httpx2.put(agreed["actions"]["upload"]["href"], content=weights(size), timeout=60).raise_for_status()

    round_trip("small", 3 * MEGABYTE)
    before = peak(process.pid)
    round_trip("large", 150 * MEGABYTE)
    assert peak(process.pid) - before < 40 * MEGABYTE


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_its_threads_share_two_arenas(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    process, url = start("--anonymous-read")
    with ThreadPoolExecutor(24) as pool:
        answers = pool.map(lambda number: httpx2.get(f"{url}/api/models?search={number}"), range(240))
        assert {answer.status_code for answer in answers} == {200}
    assert arenas(process.pid) == 1, "and the one that a process begins with"


def arenas(pid: int) -> int:
    """Count the arenas that glibc made for threads: 64 MB from a multiple of that, the unused part closed."""
    lines = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    spans = [[int(end, 16) for end in parts[0].split("-")] for parts in lines]
    return sum(
        first[1] == "rw-p" and second[1] == "---p" and start % (64 * MEGABYTE) == 0 and end == start + 64 * MEGABYTE
        for (first, second), ((start, _), (_, end)) in zip(pairwise(lines), pairwise(spans), strict=True)
    )


def test_what_a_killed_server_left_is_removed_and_nothing_of_it_is_served(run_ahf: Run, start: Any, home: Path) -> None:
    secret = run_ahf("serve", "token", "add", "desk", "--write").stdout.strip()
    process, url = start()
    headers = {"Authorization": f"Bearer {secret}"}
    said = {"organization": "acme", "name": "cut"}
    httpx2.post(f"{url}/api/repos/create", json=said, headers=headers).raise_for_status()

    def cut() -> Iterator[bytes]:
        for number, piece in enumerate(pushed(12 * MEGABYTE)):
            if number == 5:
                process.kill()
            yield piece

    with pytest.raises(httpx2.HTTPError):
        httpx2.post(f"{url}/api/models/acme/cut/commit/main", content=cut(), headers=headers)
    process.wait()
    state = next(Path(os.environ["XDG_STATE_HOME"]).rglob("repositories")).parent
    assert list((state / "tmp").rglob("*"))
    _, url = start()
    assert not (state / "tmp").exists()
    info = httpx2.get(f"{url}/api/models/acme/cut", headers=headers).json()
    assert info["siblings"] == [] and psutil.pid_exists(process.pid) is False


AHEAD = """
import os, signal, sys, threading
from pathlib import Path
from adapterhub_fin.serve import serve
from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.hub_server.settings import Settings
def ready(url):
    def watch():
        [thread] = [each for each in threading.enumerate() if each.name == "imports"]
        thread.join(60)
        names = ("adapterhub_fin.engine.importing.take_in", "adapterhub_fin_plugins")
        print(*(name in sys.modules for name in names), flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
    threading.Thread(target=watch).start()
root = Path(sys.argv[1])
serve(Registry(root / "root"), port=0, state=root / "state", settings=Settings(anonymous_read=True), ready=ready)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a process is told to stop by a signal")
def test_what_a_push_needs_is_imported_at_the_start_in_the_background(tmp_path: Path, home: Path) -> None:
    done = subprocess.run([sys.executable, "-c", AHEAD, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.stdout == "True True\n", done.stderr


def test_an_import_that_fails_is_one_line_of_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from adapterhub_fin.http_process import logging_to
    from adapterhub_fin.serve import import_ahead

    monkeypatch.setitem(sys.modules, "adapterhub_fin.engine.importing.take_in", None)
    with logging_to(sys.stderr):
        import_ahead().join(60)
    [line] = map(json.loads, capsys.readouterr().err.splitlines())
    assert line["level"] == "error" and "pushes will fail" in line["message"] and "importing" in line["traceback"]


@pytest.mark.parametrize(
    "when", ["0d", "-1d", "90", "d", "1w", "2020-01-01", "2027-13-01", "never", "", "99999999d", "1.5h"]
)
def test_a_time_that_is_none_is_refused(when: str) -> None:
    from click.testing import CliRunner

    from adapterhub_fin.cli.serve import command

    done = CliRunner().invoke(command, ["token", "add", "desk", "--expires", when])
    assert done.exit_code == 2 and "isn't a time in the future" in done.output


def test_tokens_expire_and_a_server_is_made_read_only_by_the_command(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from adapterhub_fin.cli.serve import command

    def ahf(*arguments: str) -> str:
        done = CliRunner().invoke(command, [*arguments, "--state", str(tmp_path / "own")])
        assert done.exit_code == 0, done.output
        return done.output

    ahf("token", "add", "day", "--expires", "2999-12-31")
    ahf("token", "add", "hours", "--expires", "12h", "--write")
    ahf("token", "add", "always")
    listed = {each["name"]: each for each in json.loads(ahf("token", "list", "--json"))}
    assert listed["day"]["expires_at"] in ("2999-12-31T00:00:00Z", "2999-12-30T23:59:59Z")
    assert listed["always"]["expires_at"] is None and listed["always"]["last_used_at"] is None
    assert listed["hours"]["created_at"] < listed["hours"]["expires_at"] and not listed["hours"]["expired"]
    assert "never" in ahf("token", "list")
    ahf("read-only", "on")
    assert (tmp_path / "own" / "read-only").exists()
    ahf("read-only", "off")
    assert not (tmp_path / "own" / "read-only").exists()
    for wrong in (["--rate", "0"], ["--namespace-quota", "some"], ["--keep-uploads", "x"], ["read-only", "maybe"]):
        assert CliRunner().invoke(command, wrong).exit_code == 2, wrong
