"""What the server bounds for whoever runs it: bytes that are held, uploads without a commit, requests, and changes."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from adapterhub_fin_registry.errors import Refused
from adapterhub_fin_registry.hub_client.client import Hub
from adapterhub_fin_registry.hub_server.errors import HubError
from adapterhub_fin_registry.hub_server.http import application, rates, writes
from adapterhub_fin_registry.hub_server.push import push, quota
from adapterhub_fin_registry.hub_server.repo.repositories import Repositories
from adapterhub_fin_registry.hub_server.repo.state import State
from adapterhub_fin_registry.hub_server.settings import Settings
from adapterhub_fin_registry.hub_server.tokens import Tokens

KILOBYTE = 2**10


def client(hub: Any, token: str = "writer") -> httpx2.Client:
    headers = {"Authorization": f"Bearer {hub.secrets[token]}"}
    return httpx2.Client(base_url=hub.url, headers=headers, timeout=30)


def agreed(hub: Any, name: str, data: bytes, token: str = "writer") -> httpx2.Response:
    """The answer to a batch for some bytes."""
    objects = [{"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}]
    batch = {"operation": "upload", "objects": objects, "hash_algo": "sha256"}
    with client(hub, token) as asking:
        return asking.post(f"/{name}.git/info/lfs/objects/batch", json=batch)


def href(answer: httpx2.Response) -> str:
    return str(answer.json()["objects"][0]["actions"]["upload"]["href"])


def push_files(api: HfApi, name: str, files: dict[str, bytes]) -> Any:
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    return api.create_commit(name, operations, commit_message="pushed")


def blobs(hub: Any, name: str) -> set[str]:
    folder = hub.state / "repositories" / name / "blobs"
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def commit_body(files: dict[str, bytes]) -> bytes:
    """A commit as a client sends it that asks for nothing first."""
    import base64
    import json

    lines: list[Any] = [{"key": "header", "value": {"summary": "x"}}]
    for path, data in files.items():
        value = {"content": base64.b64encode(data).decode(), "path": path, "encoding": "base64"}
        lines.append({"key": "file", "value": value})
    return "\n".join(map(json.dumps, lines)).encode()


# Uploads that no commit names


def test_a_server_that_runs_removes_old_uploads_and_no_others(
    serving: Any, adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "SWEEP", 0.1)
    hub = serving(Settings(upload_age=1000))
    api = hub.api()
    for name in ("acme/swept", "acme/drafted"):
        api.create_repo(name)
    push_files(api, "acme/drafted", {"notes.txt": b"a draft's"})
    drafted = blobs(hub, "acme/drafted")
    for data in (b"old", b"new", b"told to be here"):
        assert httpx2.put(href(agreed(hub, "acme/swept", data)), content=data).status_code == 200
    past = time.time() - 2000
    for path in (hub.state / "repositories").glob("*/*/blobs/*"):
        if path.read_bytes() != b"new":
            os.utime(path, (past, past))
    there = hub.state / "repositories" / "acme" / "swept" / "blobs"
    with client(hub) as asking:  # whoever is told that a file is here will name it
        said = {"oid": hashlib.sha256(b"told to be here").hexdigest(), "size": 15}
        if (there / said["oid"]).exists():  # the sweep may have been quicker
            asking.post("/acme/swept.git/info/lfs/objects/verify", json=said)
    deadline = time.monotonic() + 20
    while (there / hashlib.sha256(b"old").hexdigest()).exists():
        assert time.monotonic() < deadline, "nobody removed it"
        time.sleep(0.05)
    assert hashlib.sha256(b"new").hexdigest() in blobs(hub, "acme/swept")
    assert blobs(hub, "acme/drafted") == drafted, "a draft names it, however old it is"


@pytest.mark.parametrize("how", ["batch", "verify"])
def test_what_a_client_is_told_is_here_stays_for_its_commit(hub: Any, how: str) -> None:
    name, data = f"acme/told-{how}", f"told by {how}".encode()
    hub.api().create_repo(name)
    assert httpx2.put(href(agreed(hub, name, data)), content=data).status_code == 200
    path = hub.state / "repositories" / name / "blobs" / hashlib.sha256(data).hexdigest()
    os.utime(path, (1, 1))
    if how == "batch":
        assert "actions" not in agreed(hub, name, data).json()["objects"][0]
    else:
        with client(hub) as asking:
            said = {"oid": path.name, "size": len(data)}
            assert asking.post(f"/{name}.git/info/lfs/objects/verify", json=said).status_code == 200
    State(hub.state).sweep(name)
    assert path.exists()


def test_no_upload_is_removed_while_a_commit_is_under_way(
    serving: Any, adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "SWEEP", 0.05)
    hub = serving(Settings(upload_age=1000, regular_limit=10))
    name, files = "acme/under-way", adapter(3)
    hub.api().create_repo(name)
    for data in files.values():
        assert httpx2.put(href(agreed(hub, name, data)), content=data).status_code == 200
    seen: list[set[str]] = []
    real = push.push

    def slowly(*given: Any) -> Any:
        for path in (hub.state / "repositories" / name / "blobs").iterdir():
            os.utime(path, (1, 1))
        time.sleep(0.5)  # ten looks of the sweep
        seen.append(blobs(hub, name))
        return real(*given)

    monkeypatch.setattr(writes, "push", slowly)
    lines = b'{"key":"header","value":{"summary":"x"}}\n' + b"\n".join(
        b'{"key":"lfsFile","value":{"path":"%s","algo":"sha256","oid":"%s","size":%d}}'
        % (path.encode(), hashlib.sha256(data).hexdigest().encode(), len(data))
        for path, data in files.items()
    )
    with client(hub) as asking:
        answer = asking.post(f"/api/models/{name}/commit/main", content=lines)
    assert answer.status_code == 200 and answer.json()["version"] == 1, answer.text
    assert seen == [{hashlib.sha256(data).hexdigest() for data in files.values()}]


def test_a_push_that_is_refused_leaves_nothing_on_the_disk(hub: Any, adapter: Any) -> None:
    hub.api().create_repo("acme/refused")
    files = {**adapter(5), "notes/a.txt": b"a plain adapter has no folders"}
    with client(hub) as asking:
        answer = asking.post("/api/models/acme/refused/commit/main", content=commit_body(files))
    assert answer.status_code == 400 and blobs(hub, "acme/refused") == set()


# Quotas


@pytest.fixture(scope="module")
def small(serving: Any) -> Any:
    """A server whose namespaces may hold 100 KB each, and 150 KB of one token's."""
    return serving(Settings(namespace_quota=100 * KILOBYTE, token_quota=150 * KILOBYTE, regular_limit=KILOBYTE))


def test_a_namespace_holds_no_more_than_its_quota_by_any_way(small: Any, adapter: Any) -> None:
    api = small.api()
    api.create_repo("first/tone")
    with pytest.raises(HfHubHTTPError, match=r"the namespace first holds 0 GB.*ask whoever runs this server") as error:
        push_files(api, "first/tone", {"notes.txt": bytes(101 * KILOBYTE)})
    assert error.value.response.status_code == 507
    refused = agreed(small, "first/tone", bytes(101 * KILOBYTE))
    assert refused.status_code == 507 and "namespace first" in refused.json()["error"]
    with client(small) as asking:  # one that asks for nothing first
        body = commit_body({f"{n}.txt": os.urandom(900) for n in range(130)})
        answer = asking.post("/api/models/first/tone/commit/main", content=body)
    assert answer.status_code == 507 and blobs(small, "first/tone") == set()
    data = os.urandom(60 * KILOBYTE)
    assert httpx2.put(href(agreed(small, "first/tone", data)), content=data).status_code == 200
    assert agreed(small, "first/tone", bytes(41 * KILOBYTE)).status_code == 507, "uploads count"
    assert agreed(small, "first/tone", bytes(39 * KILOBYTE)).status_code == 200
    other = os.urandom(39 * KILOBYTE)
    api.create_repo("second/tone")
    assert agreed(small, "second/tone", other).status_code == 200, "another namespace has its own"
    api.delete_repo("first/tone")
    api.create_repo("first/tone")
    assert agreed(small, "first/tone", bytes(99 * KILOBYTE)).status_code == 200, "what is deleted counts no more"


def test_who_publishes_to_a_full_namespace_is_told_so_once(small: Any) -> None:
    name, asked = "ninth/tone", []
    small.api().create_repo(name)
    store = Hub(small.url, token=small.secrets["writer"])

    def publish() -> None:
        asked.append(name)
        push_files(store.api, name, {"notes.txt": bytes(101 * KILOBYTE)})

    with pytest.raises(Refused, match="was refused .*the namespace ninth holds 0 GB"):
        store.ask(name, publish)
    assert asked == [name]


def test_uploads_at_once_do_not_pass_a_quota_together(small: Any) -> None:
    name, parts = "third/tone", [os.urandom(40 * KILOBYTE) for _ in range(8)]
    small.api().create_repo(name)
    urls = [href(agreed(small, name, data)) for data in parts]
    ready = threading.Barrier(len(parts))

    def put(url: str, data: bytes) -> int:
        ready.wait(20)
        return httpx2.put(url, content=data, timeout=60).status_code

    with ThreadPoolExecutor(len(parts)) as pool:
        statuses = sorted(pool.map(put, urls, parts))
    assert statuses == [200] * 2 + [507] * 6 and len(blobs(small, name)) == 2
    small.api().delete_repo(name)


def test_versions_count_also_those_that_are_copied_from_others(small: Any, adapter: Any) -> None:
    api, name = small.api(), "fourth/tone"
    api.create_repo(name)
    files = adapter(1, columns=2000)  # 32 KB
    for data in files.values():
        httpx2.put(href(agreed(small, name, data)), content=data).raise_for_status()
    lines = b'{"key":"header","value":{"summary":"x"}}\n' + b"\n".join(
        b'{"key":"lfsFile","value":{"path":"%s","algo":"sha256","oid":"%s","size":%d}}'
        % (path.encode(), hashlib.sha256(data).hexdigest().encode(), len(data))
        for path, data in files.items()
    )
    with client(small) as asking:
        assert asking.post(f"/api/models/{name}/commit/main", content=lines).json()["version"] == 1
        for number in range(4):
            note = commit_body({"notes.txt": f"the {number}th".encode()})
            answer = asking.post(f"/api/models/{name}/commit/main", content=note)
            if answer.status_code != 200:
                break
    assert answer.status_code == 507 and "fourth" in answer.json()["error"]
    assert 2 <= len(small.registry.versions(name)) <= 3 and blobs(small, name) == set()
    api.delete_repo(name)


def test_a_token_holds_no_more_than_its_quota_in_all_namespaces(small: Any) -> None:
    for namespace in ("fifth", "sixth"):
        small.api().create_repo(f"{namespace}/tone")
        data = os.urandom(70 * KILOBYTE)
        httpx2.put(href(agreed(small, f"{namespace}/tone", data)), content=data).raise_for_status()
    small.api().create_repo("seventh/tone")
    refused = agreed(small, "seventh/tone", bytes(20 * KILOBYTE))
    assert refused.status_code == 507 and "the token writer" in refused.json()["error"]
    small.api("other").create_repo("other/tone")
    assert agreed(small, "other/tone", bytes(20 * KILOBYTE), "other").status_code == 200, "another token has its own"


def test_what_is_coming_is_let_go_of_once_it_came_or_did_not(small: Any) -> None:
    state = State(small.state)
    limited = quota.Quota(Repositories(small.registry, state, lambda version: b""), Settings(namespace_quota=1000))
    with pytest.raises(HubError), limited.room("eighth", "writer") as room:
        room.take(600)
        with limited.room("eighth", "writer") as second:
            second.take(400)
            room.take(1)
    with limited.room("eighth", "writer") as room:
        room.take(1000)


# An upload's URL


def test_an_upload_url_dies_with_its_token(serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = serving()
    tokens = Tokens(hub.state)
    hub.api().create_repo("acme/tone")
    hub.secrets["gone"] = tokens.add("gone", "write")
    hub.secrets["short"] = tokens.add("short", "write", (), timedelta(hours=1))
    urls = {name: href(agreed(hub, "acme/tone", b"bytes", name)) for name in ("gone", "short", "writer")}
    tokens.revoke("gone")
    answer = httpx2.put(urls["gone"], content=b"bytes")
    assert answer.status_code == 403 and "revoked or has expired" in answer.json()["error"]
    tokens.add("gone", "write")  # another of the same name
    assert httpx2.put(urls["gone"], content=b"bytes").status_code == 403
    _expire(hub, "short")
    assert httpx2.put(urls["short"], content=b"bytes").status_code == 403
    mixed = urls["gone"].replace(tokens_id(urls["gone"]), tokens_id(urls["writer"]))
    assert httpx2.put(mixed, content=b"bytes").status_code == 403, "nor does another's token make it count"
    assert blobs(hub, "acme/tone") == set()
    assert httpx2.put(urls["writer"], content=b"bytes").status_code == 200


@pytest.mark.parametrize("way", ["upload", "commit"])
def test_a_token_that_is_revoked_while_its_bytes_come_stores_nothing(hub: Any, way: str) -> None:
    name = f"acme/midway-{way}"
    hub.api().create_repo(name)
    tokens = Tokens(hub.state)
    hub.secrets[way] = tokens.add(way, "write")
    data = commit_body({"notes.txt": b"x" * 3000}) if way == "commit" else b"y" * 3000

    def slowly() -> Iterator[bytes]:
        yield data[:1000]
        deadline = time.monotonic() + 30
        while not list((hub.state / "tmp").glob("*")):  # where the server puts what comes, once it let the token in
            assert time.monotonic() < deadline
            time.sleep(0.01)
        tokens.revoke(way)
        yield data[1000:]

    with client(hub, way) as asking:
        if way == "upload":
            answer = httpx2.put(href(agreed(hub, name, data, way)), content=slowly())
        else:
            answer = asking.post(f"/api/models/{name}/commit/main", content=slowly())
    assert answer.status_code == 403, answer.text
    assert blobs(hub, name) == set() and hub.api().model_info(name).siblings == []


def tokens_id(url: str) -> str:
    return url.partition("token=")[2].partition("&")[0]


def _expire(hub: Any, name: str) -> None:
    """Let a token's time be over."""
    [path] = [p for p in (hub.state / "tokens").glob("*.json") if f'"name":"{name}"' in p.read_text()]
    text = path.read_text()
    at = text.partition('"expires_at":"')[2].partition('"')[0]
    path.write_text(text.replace(at, "2020-01-01T00:00:00Z"))


# Tokens


def test_a_token_expires(hub: Any) -> None:
    tokens = Tokens(hub.state)
    hub.secrets["brief"] = tokens.add("brief", "read", (), timedelta(minutes=5))
    assert hub.api("brief").whoami()["name"] == "brief"
    _expire(hub, "brief")
    with pytest.raises(HfHubHTTPError, match="the token brief expired at 2020"):
        hub.api("brief").model_info("acme/x")
    with client(hub, "brief") as asking:
        answer = asking.get("/api/models/acme/x")
    assert answer.headers["x-error-message"] == "Invalid credentials in Authorization header"
    assert [token.is_expired for token in tokens.all() if token.name == "brief"] == [True]


def test_the_last_use_of_a_token_is_known_and_written_once_a_minute(
    serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = serving()
    tokens = Tokens(hub.state)
    assert {token.last_used_at for token in tokens.all()} == {""}
    hub.api("reader").whoami()
    [path] = (hub.state / "tokens").glob("*.used")
    first = path.stat().st_ino
    for _ in range(3):
        hub.api("reader").whoami()
    assert path.stat().st_ino == first, "not again within the minute"
    used = {token.name: token.last_used_at for token in tokens.all()}
    assert used.pop("reader").startswith("20") and set(used.values()) == {""}
    monkeypatch.setattr(Tokens, "note_use", _fails)
    assert hub.api("writer").whoami()["name"] == "writer", "a full disk keeps nobody from reading"
    tokens.revoke("reader")
    assert not path.exists()


def _fails(self: Tokens, token: Any) -> None:
    raise OSError(28, "No space left on device")


def test_every_token_made_or_revoked_leaves_a_line_and_no_secret(tmp_path: Path) -> None:
    import json

    tokens = Tokens(tmp_path)
    secrets = [tokens.add("desk", "write", ["acme"], timedelta(days=1)), tokens.add("audit")]
    tokens.revoke("desk")
    path = tmp_path / "audit.jsonl"
    text = path.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["event"], line["name"]) for line in lines] == [
        ("token made", "desk"),
        ("token made", "audit"),
        ("token revoked", "desk"),
    ]
    assert lines[0]["rights"] == "write" and lines[0]["namespaces"] == ["acme"] and lines[0]["expires_at"]
    assert lines[0]["id"] == lines[2]["id"] != lines[1]["id"] and all(line["at"].endswith("Z") for line in lines)
    assert all("@" in line["by"] for line in lines)
    hashes = [hashlib.sha256(secret.encode()).hexdigest() for secret in secrets]
    assert not any(secret in text or sha256 in text for secret, sha256 in zip(secrets, hashes, strict=True))
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Exception, match="no token desk"):
        tokens.revoke("desk")
    assert path.read_text() == text


def test_no_token_is_made_without_its_line(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(OSError):
        Tokens(tmp_path).add("desk")
    assert Tokens(tmp_path).all() == []


# Rates


def test_a_client_that_is_told_to_wait_waits_and_goes_on(serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub waits for as long as `Retry-After` says, and asks again."""
    hub = serving(Settings(rate=2))
    moment, slept = [1000.0], []
    monkeypatch.setattr(rates, "monotonic", lambda: moment[0])

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        moment[0] += seconds

    api = hub.api()
    api.create_repo("acme/tone")
    assert api.model_info("acme/tone").id == "acme/tone"
    with pytest.raises(HfHubHTTPError) as error:
        api.whoami()
    assert error.value.response.status_code == 429 and error.value.response.headers["retry-after"] == "30"
    assert "2 requests a minute" in error.value.response.json()["error"]
    with monkeypatch.context() as patched:
        patched.setattr("huggingface_hub.utils._http.time.sleep", sleep)
        assert list(api.list_repo_tree("acme/tone")) == []
    assert slept == [31.0]
    assert hub.api("reader").whoami()["name"] == "reader", "another token has its own"
    assert httpx2.get(f"{hub.url}/health").text == "ok\n"


def test_an_upload_is_one_of_its_tokens_requests(serving: Any) -> None:
    hub = serving(Settings(rate=3))
    hub.api().create_repo("acme/tone")
    urls = [href(agreed(hub, "acme/tone", data)) for data in (b"first",)]
    assert httpx2.put(urls[0], content=b"first").status_code == 200
    assert httpx2.put(urls[0], content=b"first").status_code == 429
    assert hub.api("reader").whoami()["name"] == "reader"


def test_addresses_without_a_token_have_a_rate_of_their_own(serving: Any) -> None:
    hub = serving(Settings(anonymous_read=True, anonymous_rate=3))
    wrong = {"Authorization": "Bearer ahf_wrong"}
    statuses = [httpx2.get(f"{hub.url}/api/whoami-v2", headers=wrong).status_code for _ in range(2)]
    statuses += [httpx2.get(f"{hub.url}/api/models").status_code for _ in range(2)]
    assert statuses == [401, 401, 200, 429], "wrong tokens count too"
    for _ in range(5):
        assert hub.api().whoami()["name"] == "writer"


def test_a_bucket_fills_evenly_and_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [0.0]
    monkeypatch.setattr(rates, "monotonic", lambda: moment[0])
    rate = rates.Rate(60, "a token")

    def taken(client: str = "desk") -> int:
        for count in range(1000):
            try:
                rate.take(client)
            except HubError as error:
                assert error.status == 429 and error.headers["Retry-After"] == "1"
                return count
        raise AssertionError("without end")

    assert taken() == 60 and taken() == 0
    moment[0] += 10
    assert taken() == 10
    moment[0] += 10**6
    assert taken() == 60
    for number in range(20_000):
        rate.take(str(number))
    assert len(rate._buckets) <= 10_000
    for _ in range(1000):
        rates.Rate(None, "a token").take("desk")
    slow = rates.Rate(1, "a token")
    slow.take("desk")
    with pytest.raises(HubError) as error:
        slow.take("desk")
    assert error.value.headers["Retry-After"] == "60"


def test_one_client_of_ipv6_is_a_network() -> None:
    assert rates.network("2001:db8::1") == rates.network("2001:db8::ffff") != rates.network("2001:db8:0:1::1")
    assert rates.network("192.0.2.1") != rates.network("192.0.2.2")
    assert rates.network("::ffff:192.0.2.1") != rates.network("::ffff:192.0.2.2")


# Read-only

CHANGES = [
    ("POST", "/api/repos/create", {"organization": "acme", "name": "new"}),
    ("DELETE", "/api/repos/delete", {"organization": "acme", "name": "tone"}),
    ("POST", "/api/repos/move", {"fromRepo": "acme/tone", "toRepo": "acme/other"}),
    ("PUT", "/api/models/acme/tone/settings", {"visibility": "public"}),
    ("POST", "/api/models/acme/tone/preupload/main", {"files": []}),
    ("POST", "/api/models/acme/tone/commit/main", {}),
    ("POST", "/api/models/acme/tone/tag/v1", {"tag": "champion"}),
    ("DELETE", "/api/models/acme/tone/tag/champion", {}),
    ("POST", "/api/models/acme/tone/branch/dev", {}),
    ("DELETE", "/api/models/acme/tone/branch/dev", {}),
    ("POST", "/acme/tone.git/info/lfs/objects/batch", {"operation": "upload", "objects": []}),
    ("GET", "/api/models/acme/tone/auth-check/write", {}),
]


@pytest.mark.parametrize("how", ["from its start", "while it runs"])
def test_a_read_only_server_reads_and_changes_nothing(serving: Any, adapter: Any, how: str) -> None:
    first = serving()
    first.api().create_repo("acme/tone")
    push_files(first.api(), "acme/tone", adapter(1))
    url = href(agreed(first, "acme/tone", b"bytes"))
    hub = serving(Settings(read_only=True), first.registry) if how == "from its start" else first
    if hub is first:
        State(first.state).set_read_only(True)
        assert httpx2.put(url, content=b"bytes").status_code == 403
    with client(hub) as asking:
        for method, path, said in CHANGES:
            answer = asking.request(method, path, json=said)
            assert answer.status_code == 403 and "read-only for now" in answer.json()["error"], (path, answer.text)
        assert asking.get("/acme/tone/resolve/v1/adapter_config.json").status_code == 200
    assert [tag.name for tag in hub.api().list_repo_refs("acme/tone").tags] == ["v1"]
    State(hub.state).set_read_only(False)
    if hub is first:
        push_files(hub.api(), "acme/tone", adapter(2))
        assert len(hub.registry.versions("acme/tone")) == 2


def test_a_push_that_waits_for_its_turn_is_refused_once_the_server_is_read_only(
    serving: Any, adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = serving()
    hub.api().create_repo("acme/tone")
    begun, go_on = threading.Event(), threading.Event()
    real = push.push

    def slowly(*given: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return real(*given)

    monkeypatch.setattr(writes, "push", slowly)
    with ThreadPoolExecutor(2) as pool, client(hub) as asking:
        place = "/api/models/acme/tone/commit/main"
        first = pool.submit(asking.post, place, content=commit_body(adapter(1)))
        assert begun.wait(30)
        second = pool.submit(asking.post, place, content=commit_body(adapter(2)))
        time.sleep(0.3)
        State(hub.state).set_read_only(True)
        go_on.set()
        assert first.result().status_code == 200, "what was under way ends"
        assert second.result().status_code == 403
    assert len(hub.registry.versions("acme/tone")) == 1
