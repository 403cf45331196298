"""Every name, path, header and manifest from a file or a remote is hostile: what other registries fell for, tried here.

The rows are the vulnerabilities that were reported for MLflow, huggingface_hub and Ollama; the last ones are fuzzed.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapterhub_fin_registry import (
    AdapterHubError,
    BadManifest,
    BadReference,
    Corrupted,
    NotAnAdapter,
    NotFound,
    Registry,
    parse_reference,
)
from adapterhub_fin_registry.io.canonical_json import canonical
from adapterhub_fin_registry.io.safetensors_header import read_header

GOLDEN = Path(__file__).parent / "golden"

# CVE-2023-1177, CVE-2023-2356, CVE-2023-2780: a path for a source, `../` behind any scheme, then `\..\`.
# CVE-2023-6831, CVE-2024-1560: decoded twice and checked once. CVE-2025-11201: a path from a request.
HOSTILE_REFERENCES = [
    "/etc/passwd", "../../etc/passwd", "file:///etc/passwd", "file://../../x", "hf://../../etc/passwd",
    "hf://acme/../../x", "hf://acme/tone@../../x", "hf://acme/tone@refs/../../x", "mlflow-artifacts:/../x",
    "s3://a/../b", "..\\..\\windows\\win.ini", "acme\\..\\..\\x", "C:\\windows\\win.ini", "c:/windows/win.ini",
    "\\\\host\\share\\x", "//host/share", "%2e%2e/%2e%2e", "acme/%2e%2e", "acme/..%2f..%2fx",
    "acme/%252e%252e%252fx", "acme/tone%00",
    "acme/tone\0.json", "acme/tone@..", "acme/tone@../champion", "acme/tone@sha256:../../../x", "sha256:../../../../x",
    "sha256:" + "0" * 63, "sha256:" + "0" * 65, "sha256:" + "A" * 64, "@sha256:" + "0" * 64 + "/x",
    "acme/tone/../x", "acme//tone", "acme/tone ", " acme/tone", "acme/tone\n", "acme/.hidden", "acme/tone.", "./tone",
    "acme/con", "nul/tone", "acme/com1.x", "ACME/tone", "acme/Tone", "acme/töne", "acme/to\u0308ne", "аcme/tone",
    "acme/tone@Champion", "acme/tone@v3", "acme/tone@０", "acme/tone@٣", "~/tone", "$HOME/tone", "acme/$(id)", "-/-",
]  # fmt: skip


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Path]:
    """A place beside the registry in which nothing may appear."""
    before = sorted(path for path in tmp_path.rglob("*") if "root" not in path.parts)
    yield tmp_path / "root"
    after = sorted(p for p in tmp_path.rglob("*") if not {"root", "cache"} & set(p.relative_to(tmp_path).parts))
    assert after == before


@pytest.mark.parametrize("text", HOSTILE_REFERENCES, ids=ascii)
def test_no_door_takes_a_path_for_a_name(watched: Path, make_folder: Any, make_manifest: Any, text: str) -> None:
    registry = Registry(shutil.copytree(GOLDEN, watched))
    before = set(watched.rglob("*"))
    doors: list[Any] = [
        registry.resolve, registry.path, registry.verify, registry.events, registry.delete, registry.versions,
        registry.rows, registry.aliases, registry.mark, registry.damaged,
        lambda name: registry.add(make_folder(), make_manifest(), name=name),
        lambda name: registry.add_event(name, "yank"),
        lambda name: registry.set_alias(name, "champion", 1),
        lambda name: registry.alias_history(name, "champion"),
        lambda alias: registry.set_alias("acme/tone", alias, 1),
        lambda alias: registry.alias_history("acme/tone", alias),
    ]  # fmt: skip
    for door in doors:
        with pytest.raises(BadReference):
            door(text)
    assert set(watched.rglob("*")) == before


@given(st.text(max_size=60))
def test_a_reference_parses_or_is_refused(text: str) -> None:
    try:
        parse_reference(text)
    except BadReference as error:
        assert len(str(error)) < 1000 and "\n" not in str(error)


def _digest_paths() -> list[str]:
    # CVE-2024-37032, CVE-2026-7020: a digest from a manifest used as a path.
    return ["sha256:../../../../etc/passwd", "../" * 20 + "etc/passwd", "sha256:" + "0" * 64 + "/../x", "0" * 64 + "\n"]


@pytest.mark.parametrize("text", _digest_paths())
@pytest.mark.parametrize("place", ["files.0.2", "base.config_digest", "corpus.digest", "parents.0.digest"])
def test_a_digest_in_a_manifest_is_a_digest(registry: Registry, full_manifest: Any, place: str, text: str) -> None:
    _refused(registry, _set(full_manifest, _keys(place), text))


def _stored(registry: Registry, data: bytes) -> Path:
    """A version whose manifest somebody else wrote, with every file that the true one has."""
    folder = registry.root / "adapters/acme/tone/versions/1"
    if not folder.exists():
        shutil.copytree(GOLDEN / "adapters/acme/tone/versions/1", folder)
    (folder / "manifest.json").write_bytes(data)
    return folder


def _refused(registry: Registry, manifest: Any) -> None:
    """Whatever reads it says so with an error of ours, and whoever lists goes on."""
    _stored(registry, canonical(manifest))
    for read in (registry.path, registry.verify):
        with pytest.raises((Corrupted, BadManifest)) as caught:
            read("acme/tone@1")
        assert "versions/1" in str(caught.value)
    registry.rows()
    registry.names()
    registry.damaged()
    registry.doctor()


def _keys(place: str) -> tuple[Any, ...]:
    return tuple(int(key) if key.isdigit() else key for key in place.split("."))


def _set(manifest: Any, path: tuple[Any, ...], value: Any) -> Any:
    mutated = copy.deepcopy(manifest)
    at: Any = mutated
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return mutated


def _every_place(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _every_place(item, (*path, key))


WRONG = (None, True, 0, -1, 2**70, 1.5, "", "text", "../x", "\ud800", [], [[]], {}, {"x": 1}, [None])


def test_each_field_of_a_manifest_mutated_is_read_or_refused(registry: Registry) -> None:
    true = json.loads((GOLDEN / "adapters/acme/tone/versions/1/manifest.json").read_bytes())
    digest = Registry(GOLDEN).resolve("acme/tone@1").digest
    refused = 0
    for path in _every_place(true):
        for value in WRONG:
            mutated = _set(true, path, value)
            if mutated == true and json.dumps(mutated) == json.dumps(true):
                continue
            try:
                data = canonical(mutated)
            except UnicodeEncodeError:
                data = json.dumps(mutated, sort_keys=True, separators=(",", ":")).encode()
            _stored(registry, data)
            for read in (registry.path, registry.verify):
                try:
                    read("acme/tone@1")
                except (Corrupted, BadManifest) as error:
                    assert "versions/1" in str(error) and "\n" not in str(error)
                    refused += 1
            assert registry.damaged().keys() <= {"acme/tone@1"}
            rows = registry.rows()
            json.dumps(rows)
            with pytest.raises((NotFound, Corrupted)):
                registry.path(f"acme/tone@{digest}")
    assert refused > 1000


def test_a_path_in_a_manifest_is_checked_again_on_read(registry: Registry, tmp_path: Path) -> None:
    """CVE-2026-2614, huggingface_hub PR 1429 and 4540: the check is the same on every system, and on the read side."""
    true = json.loads((GOLDEN / "adapters/acme/tone/versions/1/manifest.json").read_bytes())
    (tmp_path / "outside.json").write_text("{}")
    paths = [
        "../../../../../../outside.json", str(tmp_path / "outside.json"), "..\\outside.json", "c:outside.json",
        "C:/x.json", "\\\\host\\share\\x.json", "//host/x.json", "a/../../x.json", "./x.json", "con.json", "x.json.",
        "x.json ", "x.bin",
        "Adapter_config.json/../x.json", "%2e%2e/x.json\0", "gro\u0308sse.json", ".hidden.json", "x.json:stream.json",
    ]  # fmt: skip
    for path in paths:
        _refused(registry, _set(true, ("files", 0, 0), path))


@pytest.mark.parametrize(
    "twins",
    [("A.json", "a.json"), ("straße.json", "STRASSE.json"), ("\u212b.json", "\u00e5.json"), ("ﬁ.json", "fi.json")],
)
def test_twins_of_case_and_of_unicode_form(
    registry: Registry, make_folder: Any, make_manifest: Any, twins: Any
) -> None:
    folder = make_folder(1, dict.fromkeys(twins, b"{}"))
    if len(list(folder.glob("*.json"))) < 3:
        pytest.skip("this file system takes the twins for one file")
    normal = all(unicodedata.normalize("NFC", name) == name for name in twins)
    says = "one file on some systems" if normal else "isn't in Unicode form NFC"
    with pytest.raises(NotAnAdapter, match=says):
        registry.add(folder, make_manifest(), name="acme/tone")
    true = json.loads((GOLDEN / "adapters/acme/tone/versions/1/manifest.json").read_bytes())
    true["files"] = sorted([*true["files"], *([name, 2, "0" * 64] for name in twins)])
    _refused(registry, true)


def test_names_of_other_case_are_no_names(registry: Registry, make_folder: Any, make_manifest: Any) -> None:
    registry.add(make_folder(), make_manifest(), name="acme/tone")
    for twin in ("Acme", "ACME", "acme\u0301"):
        shutil.copytree(registry.root / "adapters/acme", registry.root / "adapters" / twin)
    assert registry.names() == ["acme/tone"] and len(registry.rows()) == 1
    assert {finding.kind for finding in registry.doctor()} == {"unexpected", "copy"}


def test_what_is_built_is_closed_to_others(registry: Registry, make_folder: Any, make_manifest: Any) -> None:
    """CVE-2025-10279, CVE-2026-4137: temporary folders that others can write to, whatever the umask."""
    modes = set()

    def look(manifest: Any, files: Path) -> None:
        modes.update(path.stat().st_mode & 0o777 for path in (registry.root / "tmp").iterdir())

    old = os.umask(0)
    try:
        registry.add(make_folder(), make_manifest(), name="acme/tone", checks=[look])
    finally:
        os.umask(old)
    assert modes == {0o700}


def _weights(header: Any, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


# CVE-2026-7482: offsets and sizes from a header trusted beyond the file.
numbers = (
    st.integers(-2, 70) | st.sampled_from([2**31, 2**32, 2**63, 2**64, 2**100, -(2**63)]) | st.floats() | st.none()
)
junk = st.recursive(
    numbers | st.text(max_size=4) | st.booleans(), lambda inner: st.lists(inner, max_size=3), max_leaves=5
)
tensor = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "BF16", "BOOL", "F4", "f32", ""]) | junk,
        "shape": st.lists(numbers, max_size=4) | junk,
        "data_offsets": st.lists(numbers, min_size=1, max_size=3) | junk,
        "more": junk,
    },
)
headers = st.dictionaries(
    st.sampled_from(["a", "b", "__metadata__", "a/../b", ""]) | st.text(max_size=3), tensor | junk
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(header=headers, size=st.integers(0, 70), extra=st.integers(-80, 80), cut=st.integers(0, 3))
def test_a_fuzzed_header_is_never_believed(
    tmp_path_factory: pytest.TempPathFactory, header: Any, size: int, extra: int, cut: int
) -> None:
    data = bytearray(_weights(header, bytes(size)))
    data[:8] = max(0, int.from_bytes(data[:8], "little") + (extra if cut == 0 else 0)).to_bytes(8, "little")
    path = tmp_path_factory.getbasetemp() / "hostile.safetensors"
    path.write_bytes(data if cut < 3 else data[: len(data) // 2])
    try:
        found = read_header(path)
    except NotAnAdapter as error:
        assert "\n" not in str(error)
        return
    length = int.from_bytes(data[:8], "little")
    assert sum(info.stop - info.start for info in found.values()) == path.stat().st_size - 8 - length


def test_a_hostile_weight_file_stops_the_add(registry: Registry, make_folder: Any, make_manifest: Any) -> None:
    for header in (
        b"\xff" * 8,
        b"{" * 100_000,
        json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}),
    ):
        text = header if isinstance(header, bytes) else header.encode()
        folder = make_folder(1, {"second.safetensors": _weights(text, b"1234")})
        with pytest.raises(NotAnAdapter, match="second.safetensors"):
            registry.add(folder, make_manifest(), name="acme/tone")
    assert registry.names() == [] and not list((registry.root / "tmp").iterdir())


@pytest.mark.parametrize("data", [b"", b"null", b"[" * 50_000, b'{"format":1,"id":"../../x"}', b'{"id":[]}', b"\xff"])
def test_a_hostile_registry_is_opened_or_refused(tmp_path: Path, data: bytes) -> None:
    root = Path(shutil.copytree(GOLDEN, tmp_path / "root"))
    (root / "registry.json").write_bytes(data)
    try:
        Registry(root).path("acme/tone@1")
    except AdapterHubError as error:
        assert "registry.json" in str(error)
    assert not (tmp_path / "x").exists()


def test_a_zero_length_manifest_wedges_nothing(registry: Registry, make_folder: Any, make_manifest: Any) -> None:
    """Which is what it did to Ollama."""
    for seed in (1, 2):
        registry.add(make_folder(seed), make_manifest(), name="acme/tone")
    (registry.root / "adapters/acme/tone/versions/2/manifest.json").write_bytes(b"")
    assert registry.resolve("acme/tone").number == 1 and [row["version"] for row in registry.rows()] == [1]
    assert registry.add(make_folder(3), make_manifest(), name="acme/tone").number == 3
    assert [finding.path.name for finding in registry.doctor() if finding.kind == "damaged"] == ["2"]
    registry.gc()


def test_a_method_that_nobody_has_is_a_method_like_any_other(
    registry: Registry, make_folder: Any, make_manifest: Any
) -> None:
    method = {
        "name": "quantum-lora", "options": {"qubits": 8}, "traits": ["has_head"],
        "provider": {"distribution": "acme-quantum", "version": "9.1"},
    }  # fmt: skip
    version = registry.add(make_folder(1), make_manifest(method=method), name="acme/quantum")
    registry.set_alias("acme/quantum", "champion", 1)
    registry.add_event("acme/quantum@champion", "tag", {"tag": "production"})
    registry.add_event("acme/quantum@1", "yank", {"reason": "a test"})
    [row] = registry.rows()
    assert (row["method"], row["aliases"], row["tags"], row["yanked"]) == (
        "quantum-lora",
        ["champion"],
        ["production"],
        True,
    )
    assert registry.verify("acme/quantum@1").manifest.method.options == {"qubits": 8}
    assert registry.path("acme/quantum@champion") == version.files and registry.doctor() == []
    assert registry.add(version.files, version.manifest, name="acme/copy").digest == version.digest
    assert registry.delete("acme/copy@1").number == 1
