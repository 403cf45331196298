"""A file on its way out."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from huggingface_hub import CommitOperationAdd

from adapterhub_fin_registry.hub_server.http.downloads import FileResponse
from adapterhub_fin_registry.hub_server.repo import tree

SIZE = 5 * 2**20


@pytest.mark.parametrize(("leaves_after", "sent"), [(2, 2), (100, 5)])
def test_a_file_is_read_no_further_than_somebody_listens(leaves_after: int, sent: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(SIZE))
    pieces: list[int] = []

    async def receive() -> Any:
        if len(pieces) < leaves_after:
            await anyio.sleep_forever()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            pieces.append(len(message["body"]))

    file = path.open("rb")
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    anyio.run(FileResponse(file, 0, SIZE, 200, {}), scope, receive, send)
    assert pieces == [2**20] * sent and file.closed


def test_files_that_take_long_to_verify_keep_nothing_else_waiting(
    hub: Any, adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, files, go_on = hub.api(), adapter(51), threading.Event()
    api.create_repo("acme/verified")
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    api.create_commit("acme/verified", operations, commit_message="pushed")
    is_whole = tree.is_whole

    def slowly(*given: Any) -> bool:
        assert go_on.wait(60)
        return is_whole(*given)

    monkeypatch.setattr(tree, "is_whole", slowly)
    token = {"Authorization": f"Bearer {hub.secrets['reader']}"}
    url = f"{hub.url}/acme/verified/resolve/v1/adapter_config.json"
    with ThreadPoolExecutor(50) as pool, httpx2.Client(base_url=hub.url, headers=token, timeout=10) as client:
        try:
            waiting = [pool.submit(httpx2.get, url, headers=token, timeout=60) for _ in range(45)]
            for _ in range(30):
                assert client.get("/health").text == "ok\n"
                assert client.get("/api/models/acme/verified").status_code == 200
            assert not any(each.done() for each in waiting)
        finally:
            go_on.set()
    assert all(each.result().content == files["adapter_config.json"] for each in waiting)
