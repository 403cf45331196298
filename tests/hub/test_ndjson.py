"""The body of a commit, read in pieces of any size."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from adapterhub_fin_registry.hub_server.blob_writer import BlobWriter
from adapterhub_fin_registry.hub_server.errors import HubError
from adapterhub_fin_registry.hub_server.push.commit_body import CommitReader

DATA = bytes(range(256)) * 3 + b"\xff\xff\xfe"  # whose base64 has slashes
SAID = base64.b64encode(DATA).replace(b"/", b"\\/")
BODY = (
    b'{"key": "header", "value": {"summary": "of \\"content\\":\\"x\\""}}\r\n\n'
    b'{"value":{"encoding":"base64","content" : "' + SAID + b'","path":"a.json"},"key":"file"}\n'
    b'{"key": "file", "value": {"content": "", "path": "empty.txt", "encoding": "base64"}}\n'
    b'{"key": "deletedFile", "value": {"path": "content"}}'
)


def read(body: bytes, size: int, folder: Path) -> CommitReader:
    """A reader that was given a body in pieces of a size."""
    reader = CommitReader(lambda: BlobWriter(folder), 10_000)
    for start in range(0, len(body), size):
        reader.feed(body[start : start + size])
    reader.finish()
    return reader


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 1000, len(BODY)])
def test_where_a_body_is_cut_makes_no_difference(size: int, tmp_path: Path) -> None:
    lines = read(BODY, size, tmp_path).lines
    assert [line.key for line in lines] == ["header", "file", "file", "deletedFile"]
    assert lines[0].value["summary"] == 'of "content":"x"' and lines[0].file is None
    assert lines[1].value == {"encoding": "base64", "content": "", "path": "a.json"}
    for line, data in ((lines[1], DATA), (lines[2], b"")):
        assert line.file is not None
        line.file.finish()
        assert line.file.path.read_bytes() == data


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize("content", [b"e30=e30=", b"e30", b"e30=\\", b"e\\u0033==", b"e30==", b"=", b"e 30="])
def test_base64_that_is_none_is_refused_wherever_it_is_cut(content: bytes, size: int, tmp_path: Path) -> None:
    line = b'{"key":"file","value":{"content":"' + content + b'","path":"a.json","encoding":"base64"}}'
    with pytest.raises(HubError) as error:
        read(line, size, tmp_path)
    assert error.value.status == 400


def test_a_line_is_never_held(tmp_path: Path) -> None:
    reader = CommitReader(lambda: BlobWriter(tmp_path), 10_000)
    with pytest.raises(HubError) as error:
        for _ in range(20):
            reader.feed(b'{"key":"file","value":{"path":"' + b"x" * 10_000)
    assert error.value.status == 400 and "make it shorter" in error.value.message
    reader = CommitReader(lambda: BlobWriter(tmp_path), 10_000)
    with pytest.raises(HubError) as error:
        reader.feed(b'{"key":"file","value":{"content":"')
        for _ in range(20):
            reader.feed(b"AAAA" * 250)
    assert error.value.status == 413
    reader.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000


def test_lines_that_are_empty_count(tmp_path: Path) -> None:
    reader = CommitReader(lambda: BlobWriter(tmp_path), 100)
    with pytest.raises(HubError, match="operations at most"):
        reader.feed(b"\n" * 2**20)


def test_a_key_stands_once(tmp_path: Path) -> None:
    value = b'{"content":"e30=","path":"a.json","path":"b.json","encoding":"base64"}'
    for line in (b'{"key":"file","value":' + value + b"}", b'{"key":"header","key":"header","value":{}}'):
        with pytest.raises(HubError, match="stands there twice"):
            read(line, 1000, tmp_path)
    assert json.loads(value)["path"] == "b.json", "which a reader that doesn't look would take"


@pytest.mark.parametrize("beside", ['"x": [[], []]', '"x": {"y": 1}', ", ".join(f'"k{each}": 1' for each in range(20))])
def test_what_would_be_held_for_nothing_is_refused(beside: str, tmp_path: Path) -> None:
    """A line of lists takes twenty times its bytes in memory, and all lines are held until the last."""
    line = b'{"key": "deletedFile", "value": {"path": "a", %s}}' % beside.encode()
    with pytest.raises(HubError, match="more than an operation needs"):
        read(line, 1000, tmp_path)
