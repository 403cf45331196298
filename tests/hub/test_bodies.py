"""Bodies that cost more than they say: whose are read, how much of them, and what becomes of the others."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import httpx2
import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapterhub_fin_registry.hub_server import body
from adapterhub_fin_registry.hub_server.errors import HubError
from adapterhub_fin_registry.hub_server.http import connection
from adapterhub_fin_registry.hub_server.push import commit_body as ndjson
from adapterhub_fin_registry.hub_server.repo.card import HEAD, head_of
from adapterhub_fin_registry.hub_server.settings import Settings

MEGABYTE = 2**20


@pytest.fixture(scope="module")
def open_hub(serving: Any) -> Any:
    """A server that shows what is public to those without a token, with a public repository."""
    hub = serving(Settings(anonymous_read=True))
    hub.api().create_repo("acme/public", private=False)
    return hub


def tiny(size: int) -> bytes:
    """JSON of about so many bytes, of which each value has one or two."""
    return b'{"content":[' + b"1," * ((size - 16) // 2) + b"1]}"


def sent(url: str, head: str, data: bytes) -> bytes:
    """The answer to a body that is sent whatever is answered, by a client that reads when it has sent all of it."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connected:
        connected.sendall(f"{head}\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode())
        connected.sendall(data)
        answer = b""
        while piece := connected.recv(65536):
            answer += piece
    return answer


UNREAD = [
    ("POST", "/api/repos/create"),
    ("DELETE", "/api/repos/delete"),
    ("POST", "/api/repos/move"),
    ("PUT", "/api/models/acme/public/settings"),
    ("POST", "/api/models/acme/public/preupload/main"),
    ("POST", "/api/models/acme/public/commit/main"),
    ("POST", "/api/models/acme/public/tag/main"),
    ("DELETE", "/api/models/acme/public/tag/main"),
    ("POST", "/api/models/acme/public/branch/dev"),
    ("POST", "/acme/public.git/info/lfs/objects/batch"),
    ("POST", "/acme/public.git/info/lfs/objects/verify"),
    ("PUT", "/acme/public.git/info/lfs/objects/" + "0" * 64),
    ("POST", "/api/models/acme/public/discussions"),
    ("POST", "/nowhere"),
    ("PATCH", "/api/models/acme/public/settings"),
]


@pytest.mark.parametrize(("method", "path"), UNREAD)
def test_a_body_without_a_token_is_refused_unread_and_the_client_is_told(
    open_hub: Any, method: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    stream = body.stream

    async def noted(request: Any, take: Any, limit: int) -> None:
        read.append(limit)
        await stream(request, take, limit)

    monkeypatch.setattr(body, "stream", noted)
    answer = sent(open_hub.url, f"{method} {path} HTTP/1.1", b" " * (8 * MEGABYTE))
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert answer.split(b" ")[1] in (b"401", b"403", b"404", b"405"), answer[:200]
    assert b"connection: close" in head and b'"error"' in answer and read == []


def test_what_an_endless_body_still_sends_is_not_read_for_ever(open_hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "DROPPED", 2 * MEGABYTE)
    monkeypatch.setattr(connection, "LINGER", 30.0)
    host, port = open_hub.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connected:
        connected.sendall(b"POST /api/repos/create HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        with pytest.raises(OSError):  # the connection is reset
            for _ in range(1000):
                connected.sendall(b" " * MEGABYTE)


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_an_anonymous_body_is_read_to_a_megabyte(open_hub: Any, kind: str) -> None:
    url, head = f"{open_hub.url}/api/models/acme/public/paths-info/main", {"Content-Type": kind}
    small = b'{"paths": ["a"]}' if kind.endswith("json") else b"paths=a"
    assert httpx2.post(url, content=small, headers=head).json() == []
    long = small.replace(b"a", b"a" * (MEGABYTE + 9), 1) if kind.endswith("json") else b"paths=" + b"a" * MEGABYTE
    assert httpx2.post(url, content=long, headers=head).status_code == 413
    token = {"Authorization": f"Bearer {open_hub.secrets['reader']}"}
    assert httpx2.post(url, content=b"paths=" + b"a" * MEGABYTE, headers=token).status_code == 200
    url = f"{open_hub.url}/api/validate-yaml"
    text = json.dumps({"content": "---\na: 1\n---\n" + "x, " * 300_000, "repoType": "model"})
    assert httpx2.post(url, content=text).json() == {"errors": [], "warnings": []}, "commas of a text are no values"
    assert httpx2.post(url, content=text + " " * MEGABYTE).status_code == 413


def test_without_anonymous_reading_only_cards_are_read(hub: Any) -> None:
    hub.api().create_repo("acme/shown", private=False)
    url = f"{hub.url}/api/models/acme/shown/paths-info/main"
    assert httpx2.post(url, content=b"paths=a").status_code == 401
    answer = httpx2.post(f"{hub.url}/api/validate-yaml", json={"content": "---\n[\n---\n", "repoType": "model"})
    assert answer.status_code == 400 and "isn't YAML" in answer.json()["errors"][0]["message"]
    assert (
        httpx2.post(f"{hub.url}/api/validate-yaml", json={}, headers={"Authorization": "Bearer x"}).status_code == 401
    )


SMALL_VALUES = [
    tiny(MEGABYTE - 20),
    b'{"content":' + b"[" * 300_000 + b"]" * 300_000 + b"}",
    b'{"a":' * 150_000 + b"1" + b"}" * 150_000,
    b"[" + b"{}," * 300_000 + b"{}]",
    b'{"paths":[' + b'"a",' * 200_000 + b'"a"]}',
    json.dumps({str(n): n for n in range(40_000)}).encode(),
    ('{"content":[' + "1," * 100_000 + "1]}").encode("utf-16"),
    b'{"content":["\\"' + b'",1,"\\"' * 60_000 + b'"]}',
    b'{"a": "' + b'\\"' * 400_000,  # a text without an end, which must not be begun again at each of its quotes
]


@pytest.mark.parametrize("number", range(len(SMALL_VALUES)))
def test_values_are_counted_before_they_are_made(number: int) -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        with pytest.raises((ValueError, RecursionError)):
            body.parse_json(SMALL_VALUES[number])
        assert tracemalloc.get_traced_memory()[1] < 4 * MEGABYTE
    finally:
        tracemalloc.stop()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=100, deadline=None)
@example("\ufeff\\\"'\u2028")
@given(JSON)
def test_what_json_says_is_read_as_it_was(value: Any) -> None:
    for said in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert body.parse_json(said.encode(errors="surrogatepass")) == value


def test_few_bodies_without_a_token_are_held_at_once_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies, inside, most, limits = body.Bodies(), 0, 0, set()

    async def hold(has_token: bool) -> None:
        nonlocal inside, most
        async with bodies.room(has_token=has_token) as limit:
            limits.add(limit)
            inside += 1
            most = max(most, inside)
            await anyio.sleep(0.01)
            inside -= 1

    async def all_at_once(has_token: bool) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(3 * body.AT_ONCE):
                tasks.start_soon(hold, has_token)

    anyio.run(all_at_once, False)
    assert (most, limits) == (body.AT_ONCE, {body.ANONYMOUS})
    anyio.run(all_at_once, True)
    assert (most, limits) == (3 * body.AT_ONCE, {body.ANONYMOUS, body.SMALL})

    async def too_long() -> None:
        async with body.Bodies().room(has_token=False):
            await anyio.sleep_forever()

    monkeypatch.setattr(body, "ANONYMOUS_PATIENCE", 0.05)
    with pytest.raises(HubError) as error:
        anyio.run(too_long)
    assert error.value.status == 408


BOMBS = {
    "in base 60": "a: " + "1:" * 30_000 + "1",
    "in base 60, too large for a float": "a: " + "59:" * 20_000 + "1.5",
    "a float that none can hold": "a: " + "9:" * 45 + "1.5" + "\nb: " + "59:" * 30 + "1.5",
    "hexadecimal": "a: 0x" + "f" * 60_000,
    "many digits": "a: " + "1" * 60_000,
    "one text named often": "a: &a " + "x" * 30_000 + "\nb: [" + "*a, " * 5_000 + "x]",
    "one key named often": "a: &a {" + "x" * 30_000 + ": 1}\nb: [" + "*a, " * 5_000 + "x]",
    "in itself": "a: &a [*a]",
    "deep": "[" * 60_000,
    "months": "a: 9999-99-99",
    "offsets": "a: 2001-12-14 21:59:43.10 -99",
    "keys that are lists": "? [a]\n: b",
    "halves": 'a: "\\ud800"',
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_head_that_is_a_bomb_is_one_error_or_small(what: str) -> None:
    try:
        found = head_of(f"---\n{BOMBS[what]}\n---\n")
    except ValueError as error:
        assert "its head" in str(error)
    else:
        assert len(json.dumps(found)) < 4 * HEAD


def test_a_long_text_that_begins_with_a_digit_is_a_text() -> None:
    said = "3 adapters of one base, " * 20
    digest = "9f" * 64
    assert head_of(f"---\na: {said}\nb: {digest}\n---\n") == {"a": said.strip(), "b": digest}


def test_lines_of_a_commit_are_held_to_a_few_megabytes(tmp_path: Path) -> None:
    from adapterhub_fin_registry.hub_server.blob_writer import BlobWriter

    reader = ndjson.CommitReader(lambda: BlobWriter(tmp_path), 1000)
    line = b'{"key": "deletedFile", "value": {"path": "%s"}}\n' % (b"x" * 100_000)
    with pytest.raises(HubError, match="without its files"):
        for _ in range(100):
            reader.feed(line)
    reader.close()


@pytest.mark.skipif(sys.platform != "linux", reason="open files are counted in /proc")
def test_a_commit_of_many_files_does_not_hold_them_all_open(tmp_path: Path) -> None:
    from adapterhub_fin_registry.hub_server.blob_writer import BlobWriter

    reader = ndjson.CommitReader(lambda: BlobWriter(tmp_path), 1000)
    before = psutil.Process().num_fds()
    for number in range(300):
        reader.feed(b'{"key":"file","value":{"content":"e30=","path":"%d.json","encoding":"base64"}}\n' % number)
    assert psutil.Process().num_fds() - before < 50
    assert len(reader.finish()) == 300
    reader.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the most memory of a process is read from /proc")
def test_twenty_anonymous_bodies_do_not_fill_the_memory(start: Callable[..., Any], peak: Callable[[int], int]) -> None:
    """Twenty bodies of 4 MiB took a server from 61 to 1,172 MB."""
    process, url = start("--anonymous-read")
    httpx2.post(f"{url}/api/validate-yaml", json={"content": "---\na: 1\n---\n"})
    before = peak(process.pid)
    ready = threading.Barrier(20)

    def post(number: int) -> int:
        ready.wait(20)
        path = ("/api/validate-yaml", "/api/repos/create", "/api/models/acme/none/paths-info/main")[number % 3]
        size = 4 * MEGABYTE if number % 2 else MEGABYTE - 100
        kind = {"Content-Type": "application/json"}
        return httpx2.post(url + path, content=tiny(size), headers=kind, timeout=60).status_code

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(post, range(20)))
    assert set(answers) <= {400, 401, 413} and {400, 401, 413} <= set(answers)
    assert peak(process.pid) - before < 48 * MEGABYTE
