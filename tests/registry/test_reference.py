"""References: the vectors that any implementation must agree with, and the grammar by property."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapterhub_fin_registry import BadReference, DigestReference, HubReference, Reference, parse_reference
from adapterhub_fin_registry.model.reference import check_name, is_segment

VECTORS = json.loads((Path(__file__).parent / "reference_vectors.json").read_text(encoding="utf-8"))

segments = st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+){0,3}", fullmatch=True).filter(is_segment)
aliases = segments.filter(lambda text: text != "latest" and not re.fullmatch("v?[0-9]+", text))
digests = st.from_regex("sha256:[0-9a-f]{64}", fullmatch=True)
references = st.one_of(
    st.builds(Reference, segments, segments),
    st.builds(Reference, segments, segments, version=st.integers(1, 999_999_999)),
    st.builds(Reference, segments, segments, alias=aliases),
    st.builds(Reference, segments, segments, digest=digests),
)


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: str(vector["text"]))
def test_valid_vectors(vector: dict[str, Any]) -> None:
    reference = parse_reference(vector["text"])
    expected: object
    if "hub" in vector:
        namespace, name = vector["hub"].split("/")
        expected = HubReference(namespace, name, vector.get("revision"))
    elif "namespace" not in vector:
        expected = DigestReference(vector["digest"])
    else:
        picks = {key: vector[key] for key in ("version", "alias", "digest") if key in vector}
        expected = Reference(vector["namespace"], vector["name"], **picks)
    assert reference == expected
    assert str(reference) == vector["canonical"]


@pytest.mark.parametrize("text", VECTORS["invalid"])
def test_invalid_vectors(text: str) -> None:
    with pytest.raises(BadReference):
        parse_reference(text)


@given(references)
def test_round_trip(reference: Reference) -> None:
    assert Reference.parse(str(reference)) == parse_reference(str(reference)) == reference


@given(st.text(max_size=40))
def test_whatever_parses_is_ascii_and_joins_below_a_root(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except BadReference:
        return
    assert text.isascii()
    for segment in (reference.namespace, reference.name):
        assert Path("/root", segment).parent == Path("/root")
        assert segment not in (".", "..")


def test_a_segment_has_at_most_96_characters() -> None:
    assert Reference.parse(f"{'a' * 96}/{'b' * 96}").name == "b" * 96
    for text in (f"{'a' * 97}/b", f"a/{'b' * 97}", f"a/b@{'c' * 97}", "a" * 100_000):
        with pytest.raises(BadReference):
            parse_reference(text)


def test_a_reference_can_be_built_only_where_it_could_be_parsed() -> None:
    bads: list[dict[str, Any]] = [
        {"namespace": "..", "name": "tone"},
        {"namespace": "acme", "name": "tone/x"},
        {"namespace": "acme", "name": "tone", "version": 0},
        {"namespace": "acme", "name": "tone", "alias": "latest"},
        {"namespace": "acme", "name": "tone", "digest": "sha256:.."},
        {"namespace": "acme", "name": "tone", "version": 1, "alias": "champion"},
    ]
    for bad in bads:
        with pytest.raises(BadReference):
            Reference(**bad)


def test_a_name_has_no_version() -> None:
    assert check_name("acme/tone") == ("acme", "tone")
    for text in ("acme/tone@3", "acme/tone@latest", "acme"):
        with pytest.raises(BadReference):
            check_name(text)


def test_messages_say_what_to_do() -> None:
    with pytest.raises(BadReference, match="write @3 for version 3"):
        parse_reference("acme/tone@v3")
    with pytest.raises(BadReference, match="it has no namespace.*write NAMESPACE/NAME"):
        parse_reference("tone")
