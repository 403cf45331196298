"""The index reads manifests with a fast parser, which must read what the registry reads, and refuse the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapterhub_fin_registry import Corrupted
from adapterhub_fin_registry.io.safe_read import parse_object
from adapterhub_fin_registry.search.version_reader import _parsed

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)


@given(st.dictionaries(st.text(), VALUES), st.booleans())
def test_it_reads_what_the_registry_reads(document: dict[str, Any], escaped: bool) -> None:
    try:
        data = json.dumps(document, ensure_ascii=escaped).encode()
    except UnicodeEncodeError:
        return  # half of a surrogate pair can't be stored
    read = outcome(parse_object, data)
    assert repr(outcome(_parsed, data)) == repr(read)


@given(st.binary())
@example(b'{"a": 1, "a": 2}')
@example(b'{"a": NaN, "b": Infinity, "c": 1e999, "d": -0.0}')
@example(b'{"a": "\\ud800"}')
@example(b'\xef\xbb\xbf{"a": 1}')
@example('{"a": 1}'.encode("utf-16"))
@example(b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}")
@example(b'{"a": ' + b"9" * 400 + b"}")
@example(b"[1]")
@example(b'{"a": 1} ')
@example(b'{"a": 01}')
@example(b'{"a": [1, 2')
def test_of_other_bytes_it_says_the_same(data: bytes) -> None:
    assert repr(outcome(_parsed, data)) == repr(outcome(parse_object, data))


def outcome(parse: Any, data: bytes) -> Any:
    try:
        return parse(data, "manifest.json")
    except Corrupted as error:
        return str(error)


def test_a_list_is_no_manifest() -> None:
    with pytest.raises(Corrupted, match="isn't a JSON object"):
        _parsed(b"[]", "manifest.json")
