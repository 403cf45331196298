"""Two manifests field by field."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin_registry import Version
from adapterhub_fin_registry.io.canonical_json import canonical, digest_of
from adapterhub_fin_registry.model.manifest_diff import Difference, differences


def version(manifest: dict[str, Any]) -> Version:
    data = canonical(manifest)
    return Version("acme/tone", 1, digest_of(data), Path("nowhere"), data)


def changed(manifest: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    other: Any = copy.deepcopy(manifest)
    place = other
    *way, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    for part in way:
        place = place[part]
    place[last] = value
    return dict(other)


def test_a_version_does_not_differ_from_itself(full_manifest: dict[str, Any]) -> None:
    assert differences(version(full_manifest), version(full_manifest)) == []


@pytest.mark.parametrize(
    ("change", "value", "field"),
    [
        ("method/options/rank", 16, "method.options.rank"),
        ("head/labels", ["up", "down"], "head.labels"),
        ("base/repository", None, "base.repository"),
        ("base/weight_probe/dtype", "bfloat16", "base.weight_probe"),
        ("files/1/2", "2" * 64, "files.adapter_model.safetensors"),
        ("knowledge/inputs/1/at", "2020-12-01T00:00:00Z", "knowledge.inputs.corpus:headlines.at"),
        ("metrics/accuracy", 0.5, "metrics.accuracy"),
        ("seed", 8, "seed"),
        ("tags", [], "tags"),
        ("recipe", {}, "recipe"),
    ],
)
def test_a_field_is_named_by_its_path(full_manifest: dict[str, Any], change: str, value: Any, field: str) -> None:
    found = differences(version(full_manifest), version(changed(full_manifest, change, value)))
    assert {each.field.removesuffix(".name").split(".training")[0] for each in found} == {field}
    assert all(each.sides in ("ab", "a", "b") for each in found)


def test_what_one_side_lacks_is_told_from_null(full_manifest: dict[str, Any]) -> None:
    other = changed(full_manifest, "method/options", {"rank": 8, "bias": None, "new": None})
    found = {each.field: each for each in differences(version(full_manifest), version(other))}
    assert found["method.options.new"] == Difference("method.options.new", None, None, "b")
    assert found["method.options.dropout"].sides == "a" and "method.options.bias" not in found


def test_true_is_not_one(full_manifest: dict[str, Any]) -> None:
    one, other = (changed(full_manifest, "method/options", {"rslora": value}) for value in (True, 1))
    assert [each.field for each in differences(version(one), version(other))] == ["method.options.rslora"]


def test_tensors_are_left_to_whoever_reads_them(full_manifest: dict[str, Any]) -> None:
    assert differences(version(full_manifest), version({**full_manifest, "tensors": []})) == []


def test_lists_that_hold_one_name_twice_are_compared_whole(full_manifest: dict[str, Any]) -> None:
    twice = changed(full_manifest, "parents", full_manifest["parents"] * 2)
    (found,) = differences(version(twice), version(changed(twice, "parents", twice["parents"] + twice["parents"][:1])))
    assert (found.field, found.sides) == ("parents", "ab")
