"""What a hostile client sends: paths, names, headers and bodies that no honest one would."""

from __future__ import annotations

import base64
import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from adapterhub_fin_registry.hub_server.http import connection
from adapterhub_fin_registry.hub_server.push.commit_body import LINE, OPERATIONS
from adapterhub_fin_registry.hub_server.settings import Settings

HEADER = {"key": "header", "value": {"summary": "hostile", "description": ""}}


@pytest.fixture(scope="module")
def target(serving: Any, adapter: Any) -> Iterator[Any]:
    """A server of its own with one repository, in which nothing may change."""
    hub = serving(Settings(regular_limit=100_000, upload_limit=200_000))
    hub.api().create_repo("acme/target")
    from huggingface_hub import CommitOperationAdd

    operations = [CommitOperationAdd(path, data) for path, data in adapter().items()]
    hub.api().create_commit("acme/target", operations, commit_message="first")
    before = sorted(path for path in hub.registry.root.rglob("*") if path.is_file() and path.name != "changed")
    yield hub
    after = sorted(path for path in hub.registry.root.rglob("*") if path.is_file() and path.name != "changed")
    assert (
        after == before
        and hub.api().model_info("acme/target").sha == hub.api().model_info("acme/target", revision="v1").sha
    )
    assert list((hub.state / "tmp").iterdir()) == [], "what was refused is gone"


def call(hub: Any, method: str, path: str, **options: Any) -> httpx2.Response:
    """One request with a token that may write, its path as it is."""
    headers = {"Authorization": f"Bearer {hub.secrets['writer']}", **options.pop("headers", {})}
    return httpx2.request(method, f"{hub.url}{path}", headers=headers, **options)


def raw(hub: Any, request: bytes) -> bytes:
    """The answer to bytes that no client's library would send."""
    host, port = hub.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


def commit(hub: Any, *lines: Any, name: str = "acme/target") -> httpx2.Response:
    """A commit of some lines, each bytes or a value."""
    body = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    return call(hub, "POST", f"/api/models/{name}/commit/main", content=body)


def file(path: str, data: bytes = b"{}", **value: Any) -> dict[str, Any]:
    """The line of a file."""
    content = base64.b64encode(data).decode()
    return {"key": "file", "value": {"content": content, "path": path, "encoding": "base64", **value}}


PATHS = [
    "../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/registry.json",
    "/etc/passwd",
    "//etc/passwd",
    "..\\..\\x.json",
    "adapter_config.json%00.txt",
    "files/../manifest.json",
    "a" * 5000,
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out_of_a_commit(target: Any, path: str) -> None:
    token = target.secrets["writer"].encode()
    for place in (f"/acme/target/resolve/v1/{path}", f"/api/models/acme/target/tree/v1/{path}"):
        request = f"GET {place} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ".encode()
        answer = raw(target, request + token + b"\r\n\r\n")
        assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")) and b"root:" not in answer


@pytest.mark.parametrize(
    "path", ["../x.json", "/x.json", "a//b.json", "a\\b.json", "x\0.json", "con.json", ".git/x.json"]
)
def test_no_file_is_stored_outside(target: Any, path: str) -> None:
    answer = commit(target, HEADER, file(path))
    assert answer.status_code == 400 and "can't be stored here" in answer.json()["error"]
    said = {"files": [{"path": path, "size": 2, "sample": ""}]}
    assert call(target, "POST", "/api/models/acme/target/preupload/main", json=said).status_code == 400


@pytest.mark.parametrize(
    "name", ["../etc", "a/b/c", "%2e%2e/%2e%2e", "acme/..", "A/B", "acme/" + "x" * 200, "acme/con", "acme/x\n"]
)
def test_no_name_is_a_path(target: Any, name: str) -> None:
    organization, _, last = name.rpartition("/")
    said = {"organization": organization, "name": last}
    assert call(target, "POST", "/api/repos/create", json=said).status_code == 400
    assert call(target, "DELETE", "/api/repos/delete", json=said).status_code in (400, 404)
    assert call(target, "POST", "/api/repos/move", json={"fromRepo": "acme/target", "toRepo": name}).status_code in (
        400,
        409,
    )


def test_headers_that_would_be_written_into_answers(target: Any) -> None:
    assert call(target, "GET", "/api/models?limit=1", headers={"Host": "evil.example/x?"}).status_code in (200, 400)
    evil = call(target, "GET", "/api/models/acme/target/revision/a%0d%0aX-Evil:%201")
    assert evil.status_code == 404 and "x-evil" not in evil.headers and "\n" not in evil.headers["x-error-message"]
    body = b'{"name":"fine","organization":"acme"}'
    head = b"POST /api/repos/create HTTP/1.1\r\nHost: a<b\r\nContent-Length: %d\r\nConnection: close\r\n" % len(body)
    assert b"401" in raw(target, head + b"\r\n" + body).split(b"\r\n")[0]
    token = f"Authorization: Bearer {target.secrets['writer']}\r\n\r\n".encode()
    assert b"400 Bad Request" in raw(target, head + token + body)


def test_tokens_that_are_none(target: Any) -> None:
    for header in (b"Bearer", b"x", b"Bearer ahf_", b"Bearer ../tokens/x", b"Bearer \xe9", b"Bearer " + b"a" * 10_000):
        answer = httpx2.get(f"{target.url}/api/whoami-v2", headers={b"Authorization": header})
        assert answer.status_code == 401
    assert httpx2.get(f"{target.url}/api/whoami-v2", auth=("writer", target.secrets["writer"])).status_code == 401


VALUE = b'{"key":"file","value":{"content":'
REST = b',"path":"a.json","encoding":"base64"}}'
HOSTILE = {
    "no header": [file("a.json")],
    "two headers": [HEADER, HEADER],
    "nothing": [],
    "not JSON": [HEADER, b"{"],
    "a list": [HEADER, b"[1]"],
    "deep": [HEADER, b"[" * 60_000 + b"]" * 60_000],
    "deep value": [HEADER, b'{"key":"file","value":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001],
    "a path twice": [HEADER, VALUE + b'"e30=","path":"b.json"' + REST],
    "a content twice": [HEADER, b'{"key":"file","value":{"content":"e30=","content":"e30=","path":"a.json"}}'],
    "content of a header": [b'{"key":"header","value":{"content":"e30=","summary":"x"}}'],
    "content beside the value": [HEADER, b'{"key":"file","content":"e30=","value":{"path":"a.json"}}'],
    "not base64": [HEADER, VALUE + b'"***="' + REST],
    "base64 after its end": [HEADER, VALUE + b'"e30=e30="' + REST],
    "base64 cut short": [HEADER, VALUE + b'"e30"' + REST],
    "no end": [HEADER, b'{"key":"file","value":{"content":"e30='],
    "no encoding": [HEADER, b'{"key":"file","value":{"content":"e30=","path":"a.json"}}'],
    "no content": [HEADER, b'{"key":"file","value":{"path":"a.json","encoding":"base64"}}'],
    "a long line": [HEADER, b'{"key":"deletedFile","value":{"path":"' + b"x" * (LINE + 9) + b'"}}'],
    "many operations": [HEADER, *[{"key": "deletedFile", "value": {"path": "x"}}] * (OPERATIONS + 2)],
    "one path twice": [HEADER, file("a.json"), file("a.json")],
    "unknown": [HEADER, {"key": "chmod", "value": {"path": "a.json"}}],
    "LFS that never came": [HEADER, {"key": "lfsFile", "value": {"path": "a.json", "algo": "sha256", "oid": "0" * 64}}],
    "LFS by a path": [HEADER, {"key": "lfsFile", "value": {"path": "a.json", "algo": "sha256", "oid": "../../x"}}],
    "a path that is no text": [HEADER, {"key": "deletedFile", "value": {"path": ["x"]}}],
    "half a surrogate": [HEADER, VALUE + b'"e30=","path":"\\ud800.json","encoding":"base64"}}'],
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_commit_changes_nothing(target: Any, what: str) -> None:
    answer = commit(target, *HOSTILE[what])
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]


def test_a_file_over_the_limit_is_refused_while_it_comes(target: Any) -> None:
    answer = commit(target, HEADER, file("a.txt", bytes(100_001)))
    assert answer.status_code == 413 and "100000" in answer.json()["error"]

    def endless() -> Iterator[bytes]:
        yield json.dumps(HEADER).encode() + b'\n{"key":"file","value":{"content":"'
        while True:
            yield b"A" * 65536

    with pytest.raises((httpx2.HTTPError, AssertionError)):
        answer = call(target, "POST", "/api/models/acme/target/commit/main", content=endless())
        assert answer.status_code != 413  # where its answer came before its end was noticed


def uploaded(hub: Any, data: bytes, said: bytes | None = None) -> str:
    """The URL to put some bytes to, as it was agreed for what was said of them."""
    import hashlib

    said = data if said is None else said
    oid = hashlib.sha256(said).hexdigest()
    batch = {"operation": "upload", "objects": [{"oid": oid, "size": len(said)}], "hash_algo": "sha256"}
    answer = call(hub, "POST", "/acme/target.git/info/lfs/objects/batch", json=batch).json()
    return str(answer["objects"][0]["actions"]["upload"]["href"])


def test_an_upload_of_other_bytes_is_refused_and_nothing_is_kept(target: Any) -> None:
    blobs = target.state / "repositories" / "acme" / "target" / "blobs"
    before = sorted(blobs.iterdir())
    url = uploaded(target, b"right bytes")
    for data in (b"wrong bytes", b"short", b"much longer bytes"):
        assert httpx2.put(url, content=data).status_code in (400, 413)
    assert sorted(blobs.iterdir()) == before
    oid = url.partition("?")[0].rpartition("/")[2]
    said = {"oid": oid, "size": 11}
    assert call(target, "POST", "/acme/target.git/info/lfs/objects/verify", json=said).status_code == 404
    assert httpx2.put(url, content=b"right bytes").status_code == 200
    assert call(target, "POST", "/acme/target.git/info/lfs/objects/verify", json=said).status_code == 200
    (blobs / oid).unlink()


def test_an_upload_that_was_not_agreed_to_is_refused(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url = uploaded(target, b"some bytes")
    place, _, query = url.partition("?")
    other = "0" * 64
    for forged in (
        place,
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        url.replace("size=10", "size=11"),
        url.replace("expires=", "expires=9"),
        f"{place.rpartition('/')[0]}/{other}?{query}",
        url.replace("acme/target", "acme/other"),
        url.replace("size=10", "size=" + "9" * 40),
    ):
        assert httpx2.put(forged, content=b"some bytes").status_code == 403
    assert httpx2.get(url).status_code in (404, 405)
    later = time.time() + 7 * 3600
    monkeypatch.setattr(time, "time", lambda: later)
    assert "time for this upload is over" in httpx2.put(url, content=b"some bytes").text


def test_lfs_batches_that_are_none(target: Any) -> None:
    for said in (
        {"operation": "download", "objects": []},
        {"operation": "upload", "objects": [{"oid": "x", "size": 1}]},
        {"operation": "upload", "objects": [{"oid": "0" * 64, "size": -1}]},
        {"operation": "upload", "objects": [{"oid": "0" * 64, "size": True}]},
        {"operation": "upload", "objects": [{"oid": "0" * 64, "size": 1}] * 1001},
        {"operation": "upload", "objects": "all"},
    ):
        assert call(target, "POST", "/acme/target.git/info/lfs/objects/batch", json=said).status_code == 400
    large = {"operation": "upload", "objects": [{"oid": "0" * 64, "size": 200_001}]}
    answer = call(target, "POST", "/acme/target.git/info/lfs/objects/batch", json=large).json()
    assert answer["objects"][0]["error"]["code"] == 413


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/repos/create", b"["),
        ("POST", "/api/repos/create", b"[" * 100_000),
        ("POST", "/api/repos/create", b'{"name": 1}'),
        ("POST", "/api/models/acme/target/tag/v1", b'{"tag": {"a": 1}}'),
        ("POST", "/api/models/acme/target/tag/v1", b'{"tag": "a/../b"}'),
        ("POST", "/api/models/acme/target/branch/..%2f..", b"{}"),
        ("PUT", "/api/models/acme/target/settings", b'{"visibility": "none"}'),
        ("POST", "/api/models/acme/target/paths-info/v1", b"&".join([b"paths=a"] * 10_001)),
        ("POST", "/api/validate-yaml", b'{"content": "---\\na: &a [1,1]\\nb: [*b]\\n---\\n"}'),
        ("GET", "/api/models?limit=-1", b""),
        ("GET", "/api/models?cursor=x", b""),
        ("GET", "/api/models?sort=__class__", b""),
        ("GET", "/api/models/acme/target/commits/v1?p=x", b""),
    ],
)
def test_requests_that_make_no_sense_are_400(target: Any, method: str, path: str, body: bytes) -> None:
    answer = call(target, method, path, content=body)
    assert answer.status_code == 400 and answer.json() and answer.headers["x-request-id"]


LONE = b"\\ud800"  # half a surrogate pair as JSON may write it, which no encoding can
NO_TEXT = [
    ("POST", "/api/repos/create", b'{"name": "x", "organization": "%s"}'),
    ("DELETE", "/api/repos/delete", b'{"name": "%s", "organization": "acme"}'),
    ("POST", "/api/repos/move", b'{"fromRepo": "acme/%s", "toRepo": "acme/b"}'),
    ("POST", "/api/models/acme/target/tag/v1", b'{"tag": "%s"}'),
    ("POST", "/api/models/acme/target/branch/dev", b'{"startingPoint": "%s"}'),
    ("POST", "/api/models/acme/target/preupload/main", b'{"files": [{"path": "%s/optimizer.pt", "size": 1}]}'),
    ("POST", "/api/validate-yaml", b'{"content": "%s"}'),
    ("POST", "/acme/target.git/info/lfs/objects/batch", b'{"operation": "upload", "%s": []}'),
]


@pytest.mark.parametrize(("method", "path", "body"), NO_TEXT)
def test_what_no_text_can_hold_is_refused(target: Any, method: str, path: str, body: bytes) -> None:
    for token in ("writer", "other"):  # of which one may write in a namespace alone, which an error names
        header = {"Authorization": f"Bearer {target.secrets[token]}"}
        answer = call(target, method, path, content=body % LONE, headers=header)
        assert answer.status_code in (400, 403, 404), answer.text
        assert token == "other" or answer.status_code == 400


@pytest.mark.parametrize("key", ["summary", "description", "parentCommit"])
def test_a_push_whose_message_no_text_can_hold_stores_nothing(target: Any, adapter: Any, key: str) -> None:
    header = b'{"key": "header", "value": {"summary": "x", "%s": "%s"}}' % (key.encode(), LONE)
    header = header.replace(b'"summary": "x", "summary"', b'"summary"')
    answer = commit(target, header, *(file(path, data) for path, data in adapter(9).items()))
    assert answer.status_code == 400 and "isn't Unicode" in answer.json()["error"]
    assert len(target.registry.versions("acme/target")) == 1


def test_an_error_about_a_name_that_no_text_can_hold_is_told(target: Any) -> None:
    """A disk's names may be any bytes, which Python holds as halves of surrogates."""
    from adapterhub_fin_registry.hub_server.errors import HubError

    answer = HubError(400, os.fsdecode(b"caf\xe9 is no name")).response()
    assert "is no name" in json.loads(bytes(answer.body))["error"]


def test_a_head_of_a_card_may_not_stand_for_billions(target: Any) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    said = {"content": "---\n" + "\n".join(lines) + "\n---\n", "repoType": "model"}
    answer = call(target, "POST", "/api/validate-yaml", json=said)
    assert answer.status_code == 400 and "more values" in answer.json()["errors"][0]["message"]


NINE = ", ".join(["*a"] * 9)
COSTLY = {
    "nests deeper": "[" * 60_000,  # which overran the stack, and ended the server
    "nests deeper than": "- " * 30_000,
    "a YAML tag": "a: !!omap [{x: &a [x]}, {y: [" + NINE + "]}]",
    "a YAML merge": "a: &a {x: 1}\nb: {<<: [" + NINE + "]}",
}


@pytest.mark.parametrize("why", COSTLY)
def test_a_head_of_a_card_that_costs_more_than_it_says_is_not_read(target: Any, why: str) -> None:
    said = {"content": f"---\n{COSTLY[why]}\n---\n", "repoType": "model"}
    answer = call(target, "POST", "/api/validate-yaml", json=said)
    assert answer.status_code == 400 and why in answer.json()["errors"][0]["message"]


def test_a_body_that_is_too_long_and_one_that_never_comes(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from adapterhub_fin_registry.hub_server import body

    assert call(target, "POST", "/api/repos/create", content=b" " * (body.SMALL + 1)).status_code == 413
    monkeypatch.setattr(body, "PATIENCE", 0.2)
    head = f"POST /api/repos/create HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {target.secrets['writer']}\r\n"
    answer = raw(target, head.encode() + b"Content-Length: 100\r\nConnection: close\r\n\r\n{")
    assert b"408" in answer.split(b"\r\n")[0]


def test_a_head_that_never_ends_closes_the_connection(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD", 0.2)
    assert raw(target, b"") == b"" and raw(target, b"GET / HTTP/1.1\r\nHost:") == b""
    assert b"ok" in raw(target, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


def test_a_small_answer_waits_for_no_acknowledgement(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    made = connection.PatientProtocol.connection_made

    def noted(protocol: Any, transport: Any) -> None:
        made(protocol, transport)
        seen.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(connection.PatientProtocol, "connection_made", noted)
    assert call(target, "GET", "/health").text == "ok\n" and seen == [1]


def test_a_disk_that_refuses_is_said_and_nothing_changes(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    answer = commit(target, HEADER, file("notes.txt", b"new"))
    assert answer.status_code == 507 and str(target.state) not in answer.text


def test_ranges(target: Any) -> None:
    url = "/acme/target/resolve/v1/adapter_config.json"
    whole = call(target, "GET", url)
    data, size = whole.content, len(whole.content)
    assert whole.headers["content-length"] == str(size) and whole.headers["x-linked-size"] == str(size)
    for asked, expected in (
        ("bytes=0-0", data[:1]),
        ("bytes=3-", data[3:]),
        ("bytes=-4", data[-4:]),
        (f"bytes=2-{10**17}", data[2:]),
    ):
        part = call(target, "GET", url, headers={"Range": asked})
        assert (part.status_code, part.content) == (206, expected)
        assert part.headers["content-range"].endswith(f"/{size}")
    beyond = call(target, "GET", url, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    for ignored in ("bytes=a-b", "bytes=0-1,3-4", "bytes=-", "lines=1-2"):
        assert call(target, "GET", url, headers={"Range": ignored}).content == data


def test_the_log_and_the_figures_hold_no_secret(target: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="adapterhub_fin_registry.hub_server.http.access"):
        url = uploaded(target, b"for the log")
        httpx2.put(url, content=b"other")
        forged = {"X-Forwarded-For": "6.6.6.6"}
        call(target, "GET", "/api/models/acme/target?token=" + target.secrets["writer"], headers=forged)
        while len(caplog.records) < 3:  # the last line may come after its answer
            time.sleep(0.01)
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    assert [line["status"] for line in lines] == [200, 400, 200] and lines[2]["token"] == "writer"
    assert lines[1]["received"] == 5 and all(line["id"] and line["ms"] > 0 for line in lines)
    assert {line["client"] for line in lines} == {"127.0.0.1"}, "who asked, whatever they say of themselves"
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert target.secrets["writer"] not in text and "signature=" not in text
    figures = call(target, "GET", "/metrics").text
    assert (
        'ahf_requests_total{method="PUT",route="/{namespace}/{name}.git/info/lfs/objects/{oid}",status="400"}'
        in figures
    )
    assert "acme" not in figures and httpx2.get(f"{target.url}/metrics").status_code == 401
    assert httpx2.get(f"{target.url}/health").text == "ok\n"


def test_state_is_its_owners_alone(target: Any) -> None:
    assert (target.state / "tokens").stat().st_mode & 0o777 == 0o700
    for path in Path(target.state).rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(secret.encode() in data for secret in target.secrets.values())
