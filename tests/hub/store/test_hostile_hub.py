"""A Hub that lies in everything it says writes nothing but into this project's own cache, and never a whole version."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

import adapterhub_fin as ahf
from adapterhub_fin import publishing
from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.recipe.choices import BaseChoice
from adapterhub_fin_registry.hub_client.client import Hub
from adapterhub_fin_registry.hub_client.download import CacheEntry, Download

COMMIT = "a" * 40
MANIFEST = b"{}"


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Liar:
    """What a Hub says; `sent` counts the bytes of bodies that went out."""

    url: str = ""
    target: Any = COMMIT
    commit: str = COMMIT
    etag: str = _git(MANIFEST)
    listed: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"type": "file", "path": "ahf_manifest.json", "size": len(MANIFEST), "oid": _git(MANIFEST)}
        ]
    )
    endless: bool = False
    elsewhere: str | None = None  # where it sends whoever asks for a file
    authorized: list[tuple[str | None, str | None]] = field(default_factory=list)  # the host and the token, of files
    answers: dict[str, Any] = field(default_factory=dict)  # by the end of a path, what is said instead
    sent: int = 0


@pytest.fixture
def liar(at_hub: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Liar]:
    said = Liar()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            path = self.path.partition("?")[0]
            for end, document in said.answers.items():
                if path.endswith(end):
                    return self._send(document)
            if path.endswith("/refs"):
                tags = [{"name": "v1", "ref": "refs/tags/v1", "targetCommit": said.target}]
                return self._send({"branches": [], "converts": [], "tags": tags})
            if "/paths-info/" in path or "/tree/" in path:
                return self._send(said.listed)
            if "/resolve/" in path:
                return self._file()
            if path == "/api/models":
                return self._send([{"id": "evil/x", "sha": said.commit, "tags": ["adapterhub_fin"]}])
            return self._send({"id": "evil/x", "sha": said.commit, "private": False, "tags": []})

        do_GET = do_POST = do_HEAD = answer  # noqa: N815

        def _send(self, document: Any) -> None:
            self._start(json.dumps(document).encode(), {})

        def _file(self) -> None:
            said.authorized.append((self.headers["host"], self.headers["authorization"]))
            if said.elsewhere and self.headers["host"] not in said.elsewhere:
                self.send_response(302)
                self.send_header("Location", said.elsewhere + self.path)
                self.send_header("Content-Length", "0")
                return self.end_headers()
            headers = {"X-Repo-Commit": said.commit, "ETag": f'"{said.etag}"'}
            return self._without_end() if said.endless else self._start(MANIFEST, headers)

        def _without_end(self) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.close_connection = True
            with suppress(OSError):
                while said.sent < 2**28:
                    self.wfile.write(b"10000\r\n" + bytes(2**16) + b"\r\n")
                    said.sent += 2**16

        def _start(self, data: bytes, headers: dict[str, str]) -> None:
            self.send_response(200)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    said.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", said.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", said.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    yield said
    server.shutdown()
    server.server_close()


@pytest.fixture
def asks(liar: Liar, stored: Callable[..., ahf.Version]) -> dict[str, Callable[[], object]]:
    """Everything that asks a Hub."""
    stored("acme/mine")
    return {
        "pull": lambda: ahf.pull("hf://evil/x"),
        "pull a version": lambda: ahf.pull("hf://evil/x@v1"),
        "path": lambda: ahf.RegistryChain.configured().path("hf://evil/x@v1"),
        "by date": lambda: ahf.RegistryChain.configured().path("hf://evil/x", as_of="now"),
        "load": lambda: ahf.load("hf://evil/x"),
        "list": lambda: publishing.catalogue("hf://evil/x").rows(),
        "list all": lambda: publishing.catalogue("hf://").rows(),
        "publish": lambda: ahf.publish("acme/mine", "hf://evil/x"),
    }


@pytest.mark.parametrize("lie", ["an absolute path", "a path that leads out", "not hexadecimal", "no text", "a branch"])
def test_a_tag_on_what_is_no_commit_is_refused(
    lie: str, liar: Liar, asks: dict[str, Callable[[], object]], tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    liar.target = {
        "an absolute path": str(victim / "authorized_keys"),
        "a path that leads out": "../" * 12 + str(victim / "authorized_keys").lstrip("/"),
        "not hexadecimal": "g" * 40,
        "no text": [COMMIT],
        "a branch": "main",
    }[lie]
    liar.commit = "ssh-ed25519 AAAA"  # which is what the file would hold
    for ask in asks.values():
        with pytest.raises(ahf.Unreachable, match="didn't say its commit"):
            ask()
    assert list(victim.iterdir()) == []


@pytest.mark.parametrize("download", [True, False])
def test_a_bases_revision_in_a_manifest_becomes_no_path(download: bool, liar: Liar, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    base = BaseChoice(id="evil/base", revision=str(tmp_path / "victim" / "file"))
    with pytest.raises(ahf.BaseNotFound, match="no revision"):
        bases.find_base(base, download=download)
    assert list((tmp_path / "victim").iterdir()) == []


def test_no_header_of_an_answer_becomes_a_path(
    liar: Liar, asks: dict[str, Callable[[], object]], tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    liar.etag, liar.commit = str(victim / "etag"), COMMIT
    for ask in asks.values():
        with suppress(ahf.AdapterHubError):
            ask()
    assert ahf.Registry().names() == ["acme/mine"]
    assert list(victim.iterdir()) == []
    assert not Path(constants.HF_HUB_CACHE).exists(), "the client's own downloads aren't used"


@pytest.mark.parametrize(("key", "value"), [
    ("oid", "../../../x"), ("oid", None), ("oid", "A" * 40), ("size", -1), ("size", "2"),
    ("lfs", {"oid": "x", "size": 2, "pointerSize": 3})
])  # fmt: skip
def test_a_file_without_an_id_or_a_size_is_refused(
    key: str, value: Any, liar: Liar, asks: dict[str, Callable[[], object]]
) -> None:
    liar.listed[0][key] = value
    with pytest.raises(ahf.Unreachable, match="in a form that no Hub"):
        asks["pull"]()


def test_a_file_without_end_is_given_up(liar: Liar, asks: dict[str, Callable[[], object]]) -> None:
    liar.endless = True
    with pytest.raises(ahf.Corrupted, match="other bytes"):
        asks["pull"]()
    assert liar.sent < 2**26


@pytest.mark.parametrize("end", ["/refs", "/paths-info/" + COMMIT, "/api/models/evil/x", "/api/models"])
@pytest.mark.parametrize("document", [{}, [7], None], ids=repr)
def test_an_answer_of_another_form_is_an_error_that_says_so(
    end: str, document: Any, liar: Liar, asks: dict[str, Callable[[], object]]
) -> None:
    liar.answers[end] = document
    for ask in asks.values():
        try:
            ask()
        except ahf.AdapterHubError as error:
            assert "\n" not in str(error)
    assert ahf.Registry().names() == ["acme/mine"]


def test_a_token_goes_to_no_other_host_than_the_hub(liar: Liar, at_hub: Any) -> None:
    liar.elsewhere = liar.url.replace("127.0.0.1", "localhost")
    entry = CacheEntry("ahf_manifest.json", len(MANIFEST), _git(MANIFEST), lfs=False)
    assert Download(Hub(), "evil/x", COMMIT).content(entry) == MANIFEST
    hosts = [url.removeprefix("http://") for url in (liar.url, liar.elsewhere)]
    assert liar.authorized == [(hosts[0], f"Bearer {at_hub.secrets['writer']}"), (hosts[1], None)]
