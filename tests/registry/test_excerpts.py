"""Excerpts of manifests: what is cut out is what no search asks about, and never anything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin_registry.canonical import canonical
from adapterhub_fin_registry.search.excerpts import Excerpts

# What cutting goes by, whole and in pieces, and what would lead it astray.
MARKS = [',"weight_probe":', ',"tensors":', '},"corpus":', '{"base":{', "weight_probe", "tensors", "corpus", "base"]
SIGNS = ["{", "}", "}}", "[", "]", ",", ":", '"', "\\", "\\u00e9", "\\ud800", "\\uD800", "ü", "null", "1", " ", "\0"]
texts = st.lists(st.sampled_from(MARKS + SIGNS), max_size=4).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
manifests = st.builds(
    lambda base, rest: {"base": base, **rest},
    st.dictionaries(st.sampled_from(["architecture", "quantization", "weight_probe"]) | texts, values, max_size=4),
    st.dictionaries(st.sampled_from(["corpus", "description", "method", "tensors"]) | texts, values, max_size=6),
)


def asked(value: Any) -> Any:
    """A manifest without the parts that are cut out, were they there or not."""
    if not isinstance(value, dict):
        return value
    base = value.get("base")
    if isinstance(base, dict):
        value = {**value, "base": {key: held for key, held in base.items() if key != "weight_probe"}}
    return {key: held for key, held in value.items() if key != "tensors"}


def agree(excerpts: Excerpts, data: bytes) -> None:
    """Cutting finds what parsing all of it does, or refuses what that refuses."""
    try:
        expected = json.loads(text := data.decode())
        if "\\u" in text:
            json.dumps(expected, ensure_ascii=False).encode()
    except ValueError:
        with pytest.raises(ValueError):
            excerpts.of(data)
    else:
        assert asked(excerpts.of(data)) == asked(expected)


@pytest.fixture(scope="module")
def remembered() -> Excerpts:
    """Excerpts that remember all that was parsed so far."""
    return Excerpts()


@settings(max_examples=100, deadline=None)
@given(manifests)
def test_an_excerpt_is_the_whole_but_for_two_parts(remembered: Excerpts, manifest: dict[str, Any]) -> None:
    for _ in range(2):  # the second time, what is cut out is known
        agree(remembered, canonical(manifest))


@settings(max_examples=200, deadline=None)
@given(st.data(), manifests)
def test_whatever_bytes_are_spoiled_the_excerpt_is_of_them(
    remembered: Excerpts, data: st.DataObject, manifest: dict[str, Any]
) -> None:
    whole = canonical(manifest)
    agree(remembered, whole)
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2), label="from and to"))
    if data.draw(st.booleans(), label="nothing is taken"):
        end = start
    agree(remembered, whole[:start] + data.draw(texts | manifests.map(str), label="put in").encode() + whole[end:])


@pytest.mark.parametrize(
    "text",
    [
        '{"base":{"a":1,"weight_probe":2},"corpus":3,"tensors":[]}',
        '{"method":{"a":1,"weight_probe":2},"corpus":3,"tensors":[]}',
        '{"a":1,"base":{"a":1,"weight_probe":2},"corpus":3,"tensors":[]}',
        '{"base":{"a":{"b":1,"weight_probe":2},"corpus":3,"tensors":[]}}',
        '{"base":{,"weight_probe":2},"corpus":3,"tensors":[]}',
        '{"base":{"a":1,"weight_probe":2},"corpus":3,"tensors":[]\0}',
        '{"base":{"a":1,"weight_probe":2\0},"corpus":3,"tensors":[]}',
        '{"base":{"a":1,"weight_probe":"\\ud800"},"corpus":3,"tensors":[]}',
        '{"base":{"a":1,"weight_probe":2},"corpus":"\\uD800","tensors":[]}',
        '{"base":{"a":1,"weight_probe":2},"corpus":3},{"base":{"a":1},"tensors":[]}',
        '{"base":{"a":"b","weight_probe":2},"corpus":3,"base":{"c":1},"tensors":[]}',
    ],
)
def test_text_that_would_lead_a_cut_astray(text: str) -> None:
    agree(Excerpts(), text.encode())


def test_each_part_is_checked_once(full_manifest: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    real = Excerpts._is_json
    monkeypatch.setattr(Excerpts, "_is_json", lambda excerpts, part: checked.append(part) or real(excerpts, part))
    excerpts = Excerpts()
    first = excerpts.of(canonical(full_manifest))
    assert [part[:1] for part in checked] == ["{", "["] and "weight_probe" not in first["base"]
    assert excerpts.of(canonical({**full_manifest, "seed": 8})) == {**first, "seed": 8} and len(checked) == 2
    probe = {"dtype": "float32", "values": {"encoder.weight": [0.5, -1.26e-05]}}  # as long as the other
    excerpts.of(canonical({**full_manifest, "base": {**full_manifest["base"], "weight_probe": probe}}))
    assert len(checked) == 3


@pytest.mark.parametrize("at", range(-400, 0, 40))
@pytest.mark.parametrize("sign", [b"\0", b"\x01", b"\xff"])
def test_a_part_like_a_known_one_is_checked(full_manifest: dict[str, Any], at: int, sign: bytes) -> None:
    tensors = [[f"layer.{i}.lora_A", "F32", [16, 384]] for i in range(20)]
    whole = canonical({**full_manifest, "tensors": tensors})
    excerpts = Excerpts()
    excerpts.of(whole)
    spoiled = whole[:at] + sign + whole[at + 1 or len(whole) :]
    with pytest.raises(ValueError):
        excerpts.of(spoiled)
