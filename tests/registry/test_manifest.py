"""The manifest: one canonical form, and nothing that isn't it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapterhub_fin_registry import BadManifest, Manifest
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.model.manifest import Knowledge, KnowledgeInput
from adapterhub_fin_registry.model.schema import PATH, schema_text

Json = dict[str, Any]
# What is kept verbatim, and what is keyed by names of the user's: nothing in there is ours to check by key.
VERBATIM = {("method", "options"), ("head", "options"), ("corpus", "options"), ("base", "quantization"), ("recipe",)}
OPEN = {
    ("base", "weight_probe", "values"),
    ("base", "weight_probe", "rows"),
    ("base", "tokenizer_probe", "texts"),
    ("corpus", "notes"),
    ("corpus", "rows"),
    ("metrics",),
    ("environment",),
}


def _objects(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict) and path not in VERBATIM | OPEN:
        yield path
        for key, item in value.items():
            yield from _objects(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _objects(item, (*path, index))


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path not in VERBATIM and isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, (*path, key))
    if path:
        yield path


def _changed(manifest: Json, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> bytes:
    mutated = copy.deepcopy(manifest)
    place: Any = mutated
    for key in path[:-1]:
        place = place[key]
    change(place, path[-1])
    return canonical(mutated)


def _set(value: Any) -> Callable[[Any, Any], None]:
    return lambda place, key: place.__setitem__(key, value)


def _refused(data: bytes) -> None:
    with pytest.raises(BadManifest):
        Manifest.parse(data)


def test_stages_of_a_curriculum_stand_in_the_bytes_where_there_are_some(full_manifest: Json) -> None:
    plain = Manifest.model_validate(full_manifest)
    assert b"stages" not in plain.canonical()
    stage = {**full_manifest["corpus"], "name": "general", "license": "MIT"}
    staged = {**full_manifest, "corpus": {**full_manifest["corpus"], "stages": [stage]}}
    manifest = Manifest.parse(canonical(staged))
    assert manifest.canonical() == canonical(staged) and manifest.digest != plain.digest
    assert manifest.corpus is not None and manifest.corpus.licenses == ("MIT", "CC-BY-4.0")
    _refused(canonical({**full_manifest, "corpus": {**full_manifest["corpus"], "stages": []}}))
    _refused(canonical({**staged, "corpus": {**staged["corpus"], "stages": [{**stage, "stages": [stage]}]}}))
    jsonschema.validate(staged, json.loads(PATH.read_text(encoding="utf-8")))


SELECTION: Json = {
    "tried": 40, "earlier": 12, "search": "grid", "over": ["method.rank"], "metric": "accuracy", "score": 0.84,
    "interval": [0.82, 0.86], "seeds": 5, "folds": None,
}  # fmt: skip


def test_how_many_were_tried_stands_in_the_bytes_where_a_sweep_chose(full_manifest: Json) -> None:
    plain = Manifest.model_validate(full_manifest)
    assert b"selection" not in plain.canonical()
    chosen = {**full_manifest, "selection": SELECTION}
    manifest = Manifest.parse(canonical(chosen))
    assert manifest.canonical() == canonical(chosen) and manifest.digest != plain.digest
    _refused(canonical({**full_manifest, "selection": None}))
    for wrong in ({"tried": 0}, {"earlier": -1}, {"seeds": 0}, {"folds": 1}, {"score": None}, {"more": 1}):
        _refused(canonical({**chosen, "selection": {**SELECTION, **wrong}}))
    jsonschema.validate(chosen, json.loads(PATH.read_text(encoding="utf-8")))


def test_a_selection_says_how_its_scores_are_to_be_read(full_manifest: Json) -> None:
    selection = Manifest.model_validate({**full_manifest, "selection": SELECTION}).selection
    assert selection is not None and selection.best_of == 52
    assert selection.validated() == (
        "validation accuracy 0.8400 (mean of 5 seeds, 95 % interval 0.8200 to 0.8600): best of 52, 12 of them in "
        "earlier sweeps of the same rows, by grid over method.rank"
    )
    assert selection.tested() == "tested once, chosen among 52"


BASE_VERSION: Json = {"digest": f"sha256:{'b' * 64}", "name": "acme/fin"}


def _as_base(manifest: Json) -> Json:
    """The same document as one of a base from scratch."""
    inputs = [entry for entry in manifest["knowledge"]["inputs"] if entry["input"] != "base"]
    end = max(entry["at"] for entry in inputs)
    fingerprint = {**manifest["base"], "fingerprint": "verified"}
    knowledge = {"inputs": inputs, "end": end}
    files = [["config.json", 2, "c" * 64], ["model.safetensors", 9, "d" * 64]]
    return {**manifest, "kind": "base", "files": files, "head": None, "base": fingerprint, "knowledge": knowledge}


def test_a_stored_base_stands_in_the_bytes_where_there_is_one(full_manifest: Json) -> None:
    plain = Manifest.model_validate(full_manifest)
    assert b'"kind":"adapter"' not in plain.canonical() and b'"version":{' not in plain.canonical()
    on_stored = {**full_manifest, "base": {**full_manifest["base"], "version": BASE_VERSION}}
    manifest = Manifest.parse(canonical(on_stored))
    assert manifest.canonical() == canonical(on_stored) and manifest.digest != plain.digest
    assert manifest.base.document() == on_stored["base"]
    assert plain.base.document() == full_manifest["base"]
    _refused(canonical({**full_manifest, "kind": "adapter"}))
    _refused(canonical({**full_manifest, "base": {**full_manifest["base"], "version": None}}))
    for wrong in ({"digest": "b" * 64}, {"name": ""}, {"more": 1}):
        _refused(canonical({**on_stored, "base": {**on_stored["base"], "version": {**BASE_VERSION, **wrong}}}))
    jsonschema.validate(on_stored, json.loads(PATH.read_text(encoding="utf-8")))


def test_a_base_has_no_head_and_needs_no_date_of_another_base(full_manifest: Json) -> None:
    base = _as_base(full_manifest)
    manifest = Manifest.parse(canonical(base))
    assert manifest.kind == "base" and manifest.canonical() == canonical(base)
    jsonschema.validate(base, json.loads(PATH.read_text(encoding="utf-8")))
    _refused(canonical({key: value for key, value in base.items() if key != "kind"}))  # an adapter's base has a date
    _refused(canonical({**base, "head": full_manifest["head"]}))
    _refused(canonical({**base, "base": {**base["base"], "fingerprint": "declared"}}))
    _refused(canonical({**base, "base": {**base["base"], "version": BASE_VERSION}}))
    _refused(canonical({**base, "kind": "model"}))


def test_a_full_manifest_survives_byte_for_byte(full_manifest: Json) -> None:
    data = canonical(full_manifest)
    manifest = Manifest.parse(data)
    assert manifest.canonical() == data
    assert Manifest.model_validate(full_manifest) == manifest
    assert manifest.method.options == full_manifest["method"]["options"]
    assert manifest.files[0].path == "adapter_config.json"
    # Another digest here means another identity for every version ever stored.
    assert manifest.digest == "sha256:05b8c7b6765c0633dee84ddfae7b699a1811d29f71922a7ea87a3593dbb964a3"


def test_each_missing_key_is_refused(full_manifest: Json) -> None:
    for path in _objects(full_manifest):
        value = full_manifest
        for key in path:
            value = value[key]
        for key in value:
            _refused(_changed(full_manifest, (*path, key), lambda place, key: place.pop(key)))


def test_each_unknown_key_is_refused(full_manifest: Json) -> None:
    for path in _objects(full_manifest):
        _refused(_changed(full_manifest, (*path, "surprise"), _set(1)))


def test_each_value_of_another_type_is_refused(full_manifest: Json) -> None:
    for path in _leaves(full_manifest):
        value: Any = full_manifest
        for key in path:
            value = value[key]
        _refused(_changed(full_manifest, path, _set(5 if isinstance(value, str) else "text")))
        _refused(_changed(full_manifest, path, _set(True)))


WRONG: list[tuple[str, Any]] = [
    ("format", 0),
    ("format", 1),
    ("format", 3),
    ("files.0.0", "../x.json"),
    ("files.0.0", "c:x.json"),
    ("files.0.0", "x.bin"),
    ("files.0.0", "/x.json"),
    ("files.0.0", "con.json"),
    ("files.0.0", "zz.json"),
    ("files.0.0", "ADAPTER_MODEL.safetensors"),
    ("files.1.0", "adapter_config.json"),
    ("files.0.1", -1),
    ("files.0.2", "0" * 63),
    ("files.0.2", "A" * 64),
    ("files.0.2", "sha256:" + "0" * 64),
    ("tensors.0.0", "z"),
    ("tensors.0.0", "b.lora_A"),
    ("tensors.0.0", ""),
    ("tensors.0.2", [-1]),
    ("tensors.0.2", [1.5]),
    ("method.name", ""),
    ("method.traits", ["b", "a"]),
    ("method.traits", ["a", "a"]),
    ("method.options", {"x": 10**30}),
    ("head.labels", ["a", "a"]),
    ("head.modules_to_save", ["b", "a"]),
    ("base.repository", "/models/base"),
    ("base.repository", "./base"),
    ("base.repository", "../base"),
    ("base.repository", "~/base"),
    ("base.repository", "C:\\base"),
    ("base.repository", "C:base"),
    ("base.repository", "a\\b"),
    ("base.repository", "a/b/c"),
    ("base.repository", ""),
    ("base.repository", "a/"),
    ("base.repository", "a/.."),
    ("base.repository", "file:a"),
    ("base.config_digest", "ab"),
    ("base.config_digest", "sha256:" + "AB" * 32),
    ("base.structure_digest", "sha256:../../x"),
    ("base.vocabulary_size", -1),
    ("base.fingerprint", "guessed"),
    ("base.fingerprint", None),
    ("base.weight_probe", {"dtype": "float32"}),
    ("base.weight_probe.rows", {"surprise": 1}),
    ("base.tokenizer_probe", {"surprise": 1}),
    ("base.chat_template_digest", "ab"),
    ("corpus.rows", {"train": -1}),
    ("corpus.rows", {"train": 1.5}),
    ("corpus.available", ["2021-01-01T00:00:00Z"]),
    ("corpus.available", ["2021-01-01T00:00:00Z", "2020-01-01T00:00:00Z"]),
    ("corpus.available", ["2021-01-01", "2021-01-02"]),
    ("knowledge.inputs", []),
    ("knowledge.inputs.0.at", "2020-06-30"),
    ("knowledge.inputs.0.at", "2020-06-30T00:00:00.0Z"),
    ("knowledge.inputs.0.kind", "unknown"),
    ("knowledge.inputs.0.input", "model"),
    ("knowledge.inputs.0.at", "2022-01-01T00:00:00Z"),
    ("knowledge.end", "2020-06-30T00:00:00Z"),
    ("knowledge.end", "2021-01-05T00:00:01Z"),
    ("knowledge.end", None),
    ("metrics", {"accuracy": 1}),
    ("metrics", {"": 1.0}),
    ("metrics", {"accuracy": None}),
    ("metrics", {"accuracy": "0.5"}),
    ("measured_on.rows", -1),
    ("measured_on.split", ""),
    ("recipe", []),
    ("seed", 1.5),
    ("environment", {"torch": 2}),
    ("parents.0.digest", "acme/tone@3"),
    ("parents.0.weight", "half"),
    ("tags", ["tone", "finance"]),
    ("tags", [""]),
    ("license", ""),
]


@pytest.mark.parametrize(("where", "value"), WRONG, ids=lambda part: str(part)[:40])
def test_what_breaks_a_rule_is_refused(full_manifest: Json, where: str, value: Any) -> None:
    path = tuple(int(key) if key.isdigit() else key for key in where.split("."))
    _refused(_changed(full_manifest, path, _set(value)))


def test_bytes_that_are_not_canonical_are_refused(full_manifest: Json) -> None:
    data = canonical(full_manifest)
    for other in (
        data + b"\n",
        b"\xef\xbb\xbf" + data,
        json.dumps(full_manifest).encode(),
        json.dumps(full_manifest, sort_keys=True, separators=(",", ":")).encode(),  # escapes what isn't ASCII
        data.replace(b'"seed":7', b'"seed":7.0'),
        data.replace(b'"seed":7', b'"seed":1,"seed":7'),
        data.replace(b'"f1":1.0', b'"f1":1'),
        data.replace(b'"f1":1.0', b'"f1":NaN'),
        data.replace(b'"f1":1.0', b'"f1":1e400'),
        data.decode().encode("utf-16"),
        b"", b"{}", b"[]", b"null", b"{", b"\xff", b"[" * 100_000,
    ):  # fmt: skip
        assert other != data
        _refused(other)


def test_a_newer_format_says_to_upgrade(full_manifest: Json) -> None:
    with pytest.raises(BadManifest, match="upgrade adapterhub_fin"):
        Manifest.parse(canonical({**full_manifest, "format": 3, "new_field": 1}))


def test_format_1_is_refused_in_one_sentence(full_manifest: Json) -> None:
    with pytest.raises(BadManifest, match="format 1, which was never released: train or import the adapter again"):
        Manifest.parse(canonical({**full_manifest, "format": 1}))


def test_the_message_names_the_field(full_manifest: Json) -> None:
    with pytest.raises(BadManifest, match=r"base\.repository: .* path of this machine"):
        Manifest.parse(_changed(full_manifest, ("base", "repository"), _set("/models/base")))


def test_only_json_is_kept_verbatim(full_manifest: Json) -> None:
    for value in (float("nan"), float("inf"), {1, 2}, b"x", object(), "\ud800", {1: 2}, 2**63, [[{"a": {None}}]]):
        with pytest.raises(ValidationError):
            Manifest.model_validate({**full_manifest, "recipe": {"x": value}})
    for prose in ("description", "license"):
        with pytest.raises(ValidationError):
            Manifest.model_validate({**full_manifest, prose: "\ud800"})


def test_what_is_verbatim_is_copied(full_manifest: Json) -> None:
    options = {"targets": ("query", "value"), "nested": {"a": [1]}}
    manifest = Manifest.model_validate({**full_manifest, "method": {"name": "lora", "options": options}})
    digest = manifest.digest
    options["nested"]["a"].append(2)  # type: ignore[index]
    assert manifest.digest == digest
    assert manifest.method.options["targets"] == ["query", "value"]


def test_order_is_not_the_callers_business_where_it_means_nothing(full_manifest: Json) -> None:
    manifest = Manifest.model_validate({**full_manifest, "tags": ["tone", "finance", "tone"]})
    assert manifest.digest == Manifest.model_validate(full_manifest).digest


def test_a_manifest_holds_no_name_number_or_time_of_storing() -> None:
    assert not {"name", "version", "number", "added_at", "created"} & set(Manifest.model_fields)


def test_knowledge_takes_datetimes_and_computes_its_end() -> None:
    first, last = datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, 12, 30, 0, 500_000, tzinfo=UTC)
    inputs = [{"input": "base", "at": first, "kind": "asserted"}, {"input": "corpus:a", "at": last, "kind": "observed"}]
    knowledge = Knowledge.of([KnowledgeInput.model_validate(entry) for entry in inputs])
    assert knowledge.end == "2021-01-01T12:30:00.5Z"
    with pytest.raises(ValidationError, match="time zone"):
        KnowledgeInput.model_validate({"input": "base", "at": datetime(2020, 1, 1), "kind": "asserted"})


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), json_values, max_size=4))
def test_any_json_survives(options: Json) -> None:
    draft = Manifest.model_validate(
        {
            "method": {"name": "x", "options": options},
            "base": {"fingerprint": "unknown"},
            "knowledge": {
                "inputs": [{"input": "base", "at": "2020-01-01T00:00:00Z", "kind": "bounded"}],
                "end": "2020-01-01T00:00:00Z",
            },
        }
    )
    again = Manifest.parse(draft.canonical())
    assert again.canonical() == draft.canonical()
    assert again.method.options == options


def test_the_schema_is_up_to_date_and_agrees(full_manifest: Json) -> None:
    assert PATH.read_text(encoding="utf-8") == schema_text(), "run python -m adapterhub_fin_registry.model.schema"
    schema = json.loads(schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(full_manifest, schema)
    for where, value in (("format", 3), ("files.0.2", "x"), ("base.fingerprint", "guessed"), ("knowledge.end", "2021")):
        path = tuple(int(key) if key.isdigit() else key for key in where.split("."))
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(json.loads(_changed(full_manifest, path, _set(value))), schema)
