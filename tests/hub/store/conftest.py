"""A client at a served registry, versions to publish, and a proxy between the two that breaks things."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub import constants

import adapterhub_fin as ahf
from adapterhub_fin_registry.model.manifest import Knowledge, KnowledgeInput

PAGE = b"<!doctype html><title>Log in</title>"
STRANGE = ("page", "empty", "busy", "login", "again")  # answers that nothing was done for
HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})


def _ask(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let the client of this process ask a server; it has read HF_ENDPOINT already, when it was imported."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def at_hub(hub: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """This process as a client of the server, with a cache of its own and the token that writes."""
    for setting in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(setting, raising=False)
    _ask(monkeypatch, hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", hub.secrets["writer"])
    return hub


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name of this test's own, in an organisation of its file's, since the server serves many."""
    organisation = request.module.__name__.rpartition("test_")[2]
    return f"{organisation}/{re.sub('[^a-z0-9]+', '-', request.node.name.lower()).strip('-')[:80]}"


@pytest.fixture
def make_manifest() -> Callable[..., ahf.Manifest]:
    """A manifest of an adapter whose corpus ends at an instant."""

    def make(corpus: str = "2021-01-01T00:00:00Z", /, **fields: Any) -> ahf.Manifest:
        inputs = (
            KnowledgeInput(input="base", at="2020-01-01T00:00:00Z", kind="asserted", evidence="the model's card"),
            KnowledgeInput(input="corpus:news", at=corpus, kind="observed", evidence="available_at"),
        )
        given = {
            "method": {"name": "lora", "options": {"rank": 2}},
            "base": {"repository": "acme/base", "fingerprint": "declared"},
            "knowledge": Knowledge.of(inputs),
            **fields,
        }
        return ahf.Manifest.model_validate(given)

    return make


@pytest.fixture
def stored(
    tmp_path: Path, make_manifest: Callable[..., ahf.Manifest], adapter: Callable[..., dict[str, bytes]]
) -> Callable[..., ahf.Version]:
    """Store a version that differs by its seed in a registry, by default the user's own."""

    def store(name: str, seed: int = 0, registry: ahf.Registry | None = None, **told: Any) -> ahf.Version:
        folder = tmp_path / f"folder-{seed}-{time.monotonic_ns()}"
        folder.mkdir()
        files = {"notes.md": b"what stands at a Hub's root\n", **adapter(seed, **told.pop("weights", {}))}
        for path, data in files.items():
            (folder / path).write_bytes(data)
        signatures = told.pop("signatures", None)
        manifest = make_manifest(*told.pop("corpus", ()), **told)
        return (registry or ahf.Registry()).add(folder, manifest, name=name, signatures=signatures)

    return store


@dataclass
class Fault:
    """What happens to requests that match: `times` of them, the rest pass."""

    kind: str  # a status, or reset, lost, truncated, corrupt, page, empty, busy N, login STATUS, again STATUS
    method: str
    path: str
    times: int = 1
    met: int = 0


@dataclass
class Proxy:
    """A proxy before the server; `fault` sets what breaks, and `seen` has every request that came.

    The server makes a version of whatever is committed. `plain` makes of it a Hub that knows nothing of versions, where
    only a tag makes one.
    """

    url: str
    plain: bool = False
    tags: dict[str, dict[str, str]] = field(default_factory=dict)  # of a plain Hub: commits by repository and tag
    files: dict[str, bytes] = field(default_factory=dict)  # what every commit holds in the place of its own
    gone: set[str] = field(default_factory=set)  # what no commit holds
    denied: str = "/paths-info/|/tree/"  # where what is gone isn't listed
    public: bool = False  # whether repositories say that they are
    without_ranges: bool = False  # whether files come whole, whatever part was asked for
    untagged: bool = False  # whether the list shows nothing that only this project writes, as of what others pushed
    faults: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)  # what parts of files were asked for

    def fault(self, kind: str, method: str, path: str, times: int = 1) -> Fault:
        self.faults = [Fault(kind, method, path, times)]
        return self.faults[0]

    def faults_of(self, *faults: tuple[str, str, str]) -> list[Fault]:
        """Several at once, each met once."""
        self.faults = [Fault(*fault) for fault in faults]
        return self.faults

    def heal(self) -> None:
        self.faults = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    proxy: Proxy
    upstream: str

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunked()
        if self.path == "/login":
            return self._send(200, [("Content-Type", "text/html")], PAGE)
        sent_again, self.path = self.path.startswith("/again/"), self.path.removeprefix("/again")
        self.proxy.seen.append(f"{self.command} {self.path}")
        if "range" in self.headers:
            self.proxy.ranges.append(self.headers["range"])
        fault = "" if sent_again else self._fault()
        if fault == "reset":
            return self._reset()
        word, _, number = fault.partition(" ")
        if word in STRANGE:
            headers = {"login": [("Location", "/login")], "again": [("Location", f"/again{self.path}")]}.get(word, [])
            if word == "busy":
                headers = [("Retry-After", number)]
            status = {"page": 200, "empty": 204, "busy": 429}.get(word) or int(number)
            return self._send(status, headers, b"" if status == 204 else PAGE)
        if fault[:3].isdigit():
            status, *code = fault.split()  # and what the Hub's own servers say beside it
            headers = [("X-Error-Code", code[0])] if code else []
            headers += [("X-Error-Message", "the proxy says so"), ("Retry-After", "1000000")]
            return self._send(int(status), headers, b"the proxy says so")
        if self.proxy.plain and (tagged := re.search(r"/api/models/([^/]+/[^/]+)/tag/([0-9a-f]{40})", self.path)):
            status = self._tag(tagged[1], tagged[2], json.loads(body)["tag"])
            return self._reset() if fault == "lost" else self._send(status, [], b"{}")
        target = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=30)
        headers = {key: value for key, value in self.headers.items() if key.lower() not in HOP - {"host"}}
        if self.proxy.without_ranges:
            headers.pop("range", None)
        connection.request(self.command, self.path, body or None, headers)
        answer = connection.getresponse()
        data, kept = answer.read(), [(k, v) for k, v in answer.getheaders() if k.lower() not in HOP]
        length = answer.getheader("content-length")
        if self.proxy.plain and answer.status == 200 and (refs := re.search(r"/models/([^/]+/[^/]+)/refs$", self.path)):
            tags = self.proxy.tags.get(refs[1], {})
            listed = [{"name": t, "ref": f"refs/tags/{t}", "targetCommit": commit} for t, commit in tags.items()]
            data = json.dumps({**json.loads(data), "tags": listed}).encode()
        connection.close()
        status = answer.status
        if self.proxy.untagged and self.path.startswith("/api/models?"):
            data = data.replace(b'"adapterhub_fin"', b'"theirs"')
        if self.proxy.public and self.path.startswith("/api/models/"):
            data = re.sub(rb'"private": ?true', b'"private": false', data)
        if "/paths-info/" in self.path or "/tree/" in self.path:
            data = self._listed(data, body.decode() if "/paths-info/" in self.path else "")
        elif (name := self.path.rpartition("/")[2]) in self.proxy.files and "/resolve/" in self.path:
            status, data = 200, self.proxy.files[name]
            commit = self.path.rpartition("/resolve/")[2].partition("/")[0]
            kept, length = [("ETag", f'"{_oid(data)}"'), ("X-Repo-Commit", commit)], str(len(data))
        if fault == "lost":
            return self._reset()
        if fault == "corrupt":
            data = bytes([data[0] ^ 1]) + data[1:] if self.path.endswith(".json") else data[:-1] + bytes([data[-1] ^ 1])
        return self._send(status, kept, data, cut=fault == "truncated", length=length)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer  # noqa: N815

    def _listed(self, data: bytes, asked: str) -> bytes:
        if not (self.proxy.files or self.proxy.gone):
            return data
        gone = self.proxy.gone if re.search(self.proxy.denied, self.path) else set()
        changed = gone | self.proxy.files.keys()
        entries = [entry for entry in json.loads(data) if entry["path"] not in changed]
        entries += [
            {"type": "file", "path": path, "size": len(data), "oid": _oid(data)}
            for path, data in self.proxy.files.items()
            if not asked or path in asked
        ]
        return json.dumps(entries).encode()

    def _tag(self, repository: str, commit: str, tag: str) -> int:
        tags = self.proxy.tags.setdefault(repository, {})
        if tag in tags:
            return 409
        tags[tag] = commit
        return 200

    def _fault(self) -> str:
        for fault in self.proxy.faults:
            if fault.met < fault.times and fault.method == self.command and re.search(fault.path, self.path):
                fault.met += 1
                return fault.kind
        return ""

    def _chunked(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(
        self, status: int, headers: list[tuple[str, str]], data: bytes, *, cut: bool = False, length: str | None = None
    ) -> None:
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        self.wfile.flush()
        if cut:
            self._reset()

    def _reset(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *arguments: Any) -> None:
        pass


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@pytest.fixture
def proxy(at_hub: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy between this process and the server, and nobody waits before trying again."""

    class Handler(_Handler):
        upstream = at_hub.url

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Handler.proxy = found = Proxy(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    _ask(monkeypatch, found.url)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def plain(proxy: Proxy) -> Proxy:
    """The proxy as a Hub on which only a tag makes a version."""
    proxy.plain = True
    return proxy
