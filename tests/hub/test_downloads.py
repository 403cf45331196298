"""A file on its way out, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from adapterhub_fin_registry.serve.downloads import FileResponse

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
