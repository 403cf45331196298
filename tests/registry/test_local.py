"""Finding, naming and verifying what is stored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from adapterhub_fin_registry import (
    BadEvent,
    BadInstant,
    BadReference,
    Corrupted,
    DigestReference,
    Manifest,
    NotFound,
    Reference,
    Refused,
    Registry,
)
from adapterhub_fin_registry import registry as local
from adapterhub_fin_registry.model.knowledge import format_instant

MakeFolder = Callable[..., Path]
MakeManifest = Callable[..., Manifest]


@pytest.fixture
def tone(registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest) -> Registry:
    """acme/tone with three versions that know until 2020, 2022 and 2021, whose base knows until 2019."""
    for seed, year in enumerate((2020, 2022, 2021)):
        manifest = make_manifest("2019-01-01T00:00:00Z", f"{year}-01-01T00:00:00Z", tags=["finance"])
        registry.add(make_folder(seed), manifest, name="acme/tone")
    return registry


def test_a_bare_name_is_the_highest_version(tone: Registry) -> None:
    assert tone.resolve("acme/tone").number == tone.resolve("acme/tone@latest").number == 3
    assert tone.resolve(Reference("acme", "tone")) == tone.resolve("acme/tone@3")
    tone.add_event("acme/tone@3", "yank", {"reason": "trained on the wrong rows"})
    assert tone.resolve("acme/tone").number == 2
    assert tone.resolve("acme/tone@3").yanked
    tone.add_event("acme/tone@3", "unyank")
    assert tone.resolve("acme/tone").number == 3


def test_a_digest_is_found_within_its_name_or_under_any(
    tone: Registry, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    other = tone.add(make_folder(9), make_manifest(), name="acme/other")
    second = tone.resolve("acme/tone@2")
    for reference in (f"acme/tone@{second.digest}", second.digest, f"@{second.digest}", DigestReference(second.digest)):
        assert tone.resolve(reference) == second
        assert tone.path(reference) == second.files
    with pytest.raises(NotFound):
        tone.resolve(f"acme/tone@{other.digest}")
    shutil.copytree(second.folder, second.folder.with_name("9"))  # by hand: an add would find the one that is there
    assert tone.resolve(f"acme/tone@{second.digest}").number == 9, "of several, the highest number"
    with pytest.raises(NotFound, match="no version with the digest"):
        tone.resolve("sha256:" + "0" * 64)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("acme/tune", "did you mean acme/tone"),
        ("zzz/qqq", "run `ahf list`"),
        ("acme/tone@9", "versions 3, 2, 1"),
        ("acme/tone@champion", "no acme/tone@champion: acme/tone has versions 3, 2, 1"),
    ],
)
def test_not_found_says_what_there_is(tone: Registry, reference: str, says: str) -> None:
    for find in (tone.resolve, tone.path, tone.verify, tone.events):
        with pytest.raises(NotFound, match=says):
            find(reference)


def test_what_is_on_a_hub_is_pulled_first(tone: Registry) -> None:
    with pytest.raises(BadReference, match="pull it first"):
        tone.resolve("hf://acme/tone")


@pytest.mark.parametrize(
    ("as_of", "number"),
    [("2020-06-01", 1), ("2021-01-01", 1), ("2021-01-02", 3), ("2022-01-01T00:00:01Z", 2), ("now", 2)],
)
def test_as_of_picks_the_greatest_knowledge_before(tone: Registry, as_of: str, number: int) -> None:
    assert tone.resolve("acme/tone", as_of=as_of).number == number


def test_as_of_says_when_the_first_could_be_used(tone: Registry) -> None:
    with pytest.raises(Refused, match="before 2020-01-01T00:00:00Z: the earliest ends at 2020-01-01T00:00:00Z"):
        tone.resolve("acme/tone", as_of="2020-01-01")
    with pytest.raises(NotFound):
        tone.resolve("acme/none", as_of="2020-01-01")
    with pytest.raises(BadInstant):
        tone.resolve("acme/tone", as_of="last year")
    with pytest.raises(BadInstant, match="include_base"):
        tone.resolve("acme/tone", as_of="2021-06-30", include_base="loose")  # type: ignore[arg-type]


def test_as_of_passes_over_the_yanked(tone: Registry) -> None:
    tone.add_event("acme/tone@2", "yank")
    assert tone.resolve("acme/tone", as_of="2023-01-01").number == 3


def test_an_exact_version_is_checked_and_never_exchanged(tone: Registry) -> None:
    tone.set_alias("acme/tone", "champion", 2)
    for reference in ("acme/tone@2", "acme/tone@champion", tone.resolve("acme/tone@2").digest):
        assert tone.resolve(reference, as_of="2022-01-02").number == 2
        with pytest.raises(Refused, match=r"isn't before 2022-01-01T00:00:00Z"):
            tone.resolve(reference, as_of="2022-01-01T00:00:00Z")
        with pytest.raises(Refused, match=r"acme/tone@2 knows until 2022-01-01T00:00:00Z.*before 2021-06-30T00:00:00Z"):
            tone.resolve(reference, as_of="2021-06-30")


def test_the_base_counts_unless_it_is_asked_not_to(
    registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    registry.add(make_folder(), make_manifest("2023-01-01T00:00:00Z", "2020-01-01T00:00:00Z"), name="acme/tone")
    for reference in ("acme/tone", "acme/tone@1"):
        with pytest.raises(Refused, match=r"include_base=False \(--ignore-base\) leaves it out"):
            registry.resolve(reference, as_of="2021-06-30")
        assert registry.resolve(reference, as_of="2021-06-30", include_base=False).number == 1
        with pytest.raises(Refused) as refused:
            registry.resolve(reference, as_of="2019-06-30", include_base=False)
        assert "leaves it out" not in str(refused.value)
        with pytest.raises(Refused) as refused:
            registry.resolve(reference, as_of="2019-06-30")
        assert "ask for a later as_of" in str(refused.value), "without the base it knew too much as well"
    assert format_instant(registry.resolve("acme/tone").knowledge_end) == "2023-01-01T00:00:00Z"


def test_an_alias_moves_and_keeps_its_history(tone: Registry) -> None:
    for version in (1, 2, 2, None, 3):
        tone.set_alias("acme/tone", "champion", version)
    tone.set_alias("acme/tone", "stable", 1)
    assert tone.aliases("acme/tone") == {"champion": 3, "stable": 1}
    assert tone.resolve("acme/tone@champion").number == 3
    history = tone.alias_history("acme/tone", "champion")
    assert [(entry["number"], entry["version"]) for entry in history] == [(1, 1), (2, 2), (3, None), (4, 3)]
    tone.set_alias("acme/tone", "champion", None)
    with pytest.raises(NotFound, match=r"versions 3, 2, 1 and aliases stable"):
        tone.resolve("acme/tone@champion")


def test_what_an_alias_named_on_a_day(tone: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(["2021-03-01T09:00:00Z", "2021-06-01T09:00:00Z", "2021-05-01T09:00:00Z", "2021-09-01T09:00:00Z"])
    monkeypatch.setattr(local, "now", lambda: next(clock))
    tone.set_alias("acme/tone", "champion", 1)
    tone.set_alias("acme/tone", "champion", 2)
    tone.set_alias("acme/tone", "champion", 3)  # by a machine whose clock was a month slow
    tone.set_alias("acme/tone", "champion", None)
    asked = {
        "2021-03-01": None,  # the day begins before it was set
        "2021-03-01T09:00:00Z": 1,
        "2021-04-30": 1,
        "2021-05-15": 3,
        "2021-06-30": 3,  # the order is that of the numbers: what was set last holds, whatever its clock said
        "2021-09-02": None,
    }
    assert {on: tone.alias_on("acme/tone", "champion", on) for on in asked} == asked
    with pytest.raises(NotFound, match="acme/tone never had an alias stable: it has none"):
        tone.alias_on("acme/tone", "stable", "2021-06-30")
    with pytest.raises(BadInstant):
        tone.alias_on("acme/tone", "champion", "last year")


def test_an_alias_names_what_is_there(tone: Registry) -> None:
    with pytest.raises(NotFound, match="versions 3, 2, 1"):
        tone.set_alias("acme/tone", "champion", 9)
    with pytest.raises(NotFound, match="no alias champion"):
        tone.set_alias("acme/tone", "champion", None)
    with pytest.raises(NotFound):
        tone.set_alias("acme/none", "champion", 1)
    for alias in ("latest", "v3", "3", "Champion", "../x", "con", ""):
        with pytest.raises(BadReference):
            tone.set_alias("acme/tone", alias, 1)
        with pytest.raises(BadReference):
            tone.alias_history("acme/tone", alias)
    assert not (tone.root / "adapters" / "acme" / "none").exists()


def test_events_are_kept_in_order(tone: Registry) -> None:
    evaluation = {"corpus": "headlines", "split": "test", "metrics": {"accuracy": 0.9}}
    assert tone.add_event("acme/tone@1", "evaluation", evaluation) == 1
    assert tone.add_event("acme/tone@1", "tag", {"tag": "production"}) == 2
    first, second = tone.events("acme/tone@1")
    assert {key: first[key] for key in evaluation} == evaluation
    assert (first["number"], first["kind"], second["tag"]) == (1, "evaluation", "production")
    assert all(event["at"].endswith("Z") and "@" in event["by"] for event in (first, second))
    assert tone.events("acme/tone@2") == []


def test_tags_come_and_go(tone: Registry) -> None:
    for kind, tag in (("tag", "production"), ("untag", "finance"), ("tag", "b"), ("untag", "b"), ("untag", "never")):
        tone.add_event("acme/tone@1", kind, {"tag": tag})
    assert tone.resolve("acme/tone@1").tags == ["production"]
    assert [row["tags"] for row in tone.rows("acme/tone")] == [["production"], ["finance"], ["finance"]]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("celebration", {}),
        ("tag", {}),
        ("tag", {"tag": ""}),
        ("untag", {"tag": 3}),
        ("yank", {"at": "2021-01-01T00:00:00Z"}),
        ("publication", {"x": float("nan")}),
        ("evaluation", {"corpus": "a", "split": "test"}),
        ("evaluation", {"corpus": "a", "split": "test", "metrics": {"accuracy": "high"}}),
        ("evaluation", {"corpus": "a", "split": "test", "metrics": {"accuracy": True}}),
        ("evaluation", {"corpus": "", "split": "test", "metrics": {"accuracy": 1.0}}),
    ],
)
def test_an_event_has_what_its_kind_requires(tone: Registry, kind: str, body: dict[str, object]) -> None:
    with pytest.raises(BadEvent):
        tone.add_event("acme/tone@1", kind, body)
    assert tone.events("acme/tone@1") == []


def test_an_event_of_a_newer_release_is_shown_and_means_nothing(tone: Registry) -> None:
    tone.add_event("acme/tone@1", "tag", {"tag": "x"})
    event = tone.resolve("acme/tone@1").folder / "events" / "1" / "event.json"
    event.write_text('{"at":"2030-01-01T00:00:00Z","by":"a@b","kind":"celebration","cake":1}')
    assert tone.events("acme/tone@1")[0]["cake"] == 1
    assert tone.resolve("acme/tone@1").tags == ["finance"]


def test_rows_hold_what_a_list_shows(registry: Registry, make_folder: MakeFolder, make_manifest: MakeManifest) -> None:
    manifest = make_manifest(
        head={"name": "classify"}, corpus={"name": "headlines"}, metrics={"accuracy": 0.85}, tags=["finance"]
    )
    registry.add(make_folder(1), make_manifest(), name="beta/b")
    version = registry.add(make_folder(1), manifest, name="acme/tone")
    registry.add(make_folder(1), make_manifest(), name="acme/a")
    registry.set_alias("acme/tone", "stable", 1)
    registry.set_alias("acme/tone", "champion", 1)
    assert [row["name"] for row in registry.rows()] == registry.names() == ["acme/a", "acme/tone", "beta/b"]
    [row] = registry.rows("acme/tone")
    assert row == {
        "name": "acme/tone",
        "version": 1,
        "digest": version.digest,
        "method": "lora",
        "head": "classify",
        "base": "acme/base",
        "corpus": "headlines",
        "metrics": {"accuracy": 0.85},
        "eval": {},
        "knowledge_end": "2021-01-01T00:00:00Z",
        "aliases": ["champion", "stable"],
        "tags": ["finance"],
        "added_at": version.record["added_at"],
        "yanked": False,
        "kind": "adapter",
    }
    assert json.loads(json.dumps(row)) == row
    assert registry.rows("acme/none") == []


def test_path_gives_verified_files(tone: Registry) -> None:
    version = tone.verify("acme/tone@2")
    assert tone.path("acme/tone@2") == version.files
    assert tone.path("acme/tone", as_of="2022-06-01") == version.files
    assert sorted(path.name for path in version.files.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def _alter(files: Path) -> str:
    path = files / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return r"adapter_model\.safetensors of acme/tone@2 has other bytes"


def _truncate(files: Path) -> str:
    (files / "adapter_config.json").write_bytes(b"")
    return r"adapter_config\.json of acme/tone@2 has other bytes"


def _lose(files: Path) -> str:
    (files / "adapter_config.json").unlink()
    return r"adapter_config\.json of acme/tone@2 is missing"


def _lose_all(files: Path) -> str:
    shutil.rmtree(files)
    return "can't be listed"


def _put_in(files: Path) -> str:
    (files / "extra.json").write_bytes(b"{}")
    return r"extra\.json isn't in the manifest"


def _put_in_below(files: Path) -> str:
    (files / "sub").mkdir()
    (files / "sub" / "pickle.bin").write_bytes(b"")
    return r"sub/pickle\.bin isn't in the manifest"


def _link(files: Path) -> str:
    (files / "adapter_config.json").rename(files.parent / "elsewhere.json")
    (files / "adapter_config.json").symlink_to(files.parent / "elsewhere.json")
    return r"adapter_config\.json of acme/tone@2 isn't a plain file"


def _link_a_folder(files: Path) -> str:
    (files / "sub").symlink_to(files.parent)
    return r"sub isn't in the manifest"


def _alter_manifest(files: Path) -> str:
    path = files.parent / "manifest.json"
    path.write_bytes(path.read_bytes() + b"\n")
    return "canonical form"


def _climb(files: Path) -> str:
    path = files.parent / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"adapter_config.json"', b'"../../../x.json"'))
    return "isn't a plain relative path"


@pytest.mark.parametrize(
    "spoil",
    [_alter, _truncate, _lose, _lose_all, _put_in, _put_in_below, _link, _link_a_folder, _alter_manifest, _climb],
    ids=lambda spoil: spoil.__name__.strip("_"),
)
def test_what_was_altered_is_never_handed_out(tone: Registry, spoil: Callable[[Path], str]) -> None:
    says = spoil(tone.resolve("acme/tone@2").files)
    for find in (tone.path, tone.verify):
        with pytest.raises(Corrupted, match=says):
            find("acme/tone@2")
    assert tone.verify("acme/tone@1").number == 1
    assert tone.resolve("acme/tone").number == 3


def test_verify_compares_the_tensors_too(tone: Registry) -> None:
    version = tone.resolve("acme/tone@2")
    data = version.manifest_bytes.replace(b'["b.lora_A","F32",[2,3]]', b'["b.lora_A","F32",[3,2]]')
    assert data != version.manifest_bytes
    (version.folder / "manifest.json").write_bytes(data)
    with pytest.raises(Corrupted, match="other tensors"):
        tone.verify("acme/tone@2")


def test_another_manifest_is_another_digest(tone: Registry) -> None:
    version = tone.resolve("acme/tone@2")
    (version.folder / "manifest.json").write_bytes(tone.resolve("acme/tone@1").manifest_bytes)
    with pytest.raises(NotFound):
        tone.path(f"acme/tone@{version.digest}")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"format":2}',
        b'{"format":1}',
        b'{"format":1,"knowledge":{"inputs":[5]}}',
        b'{"format":1,"knowledge":{"inputs":[]}}',
    ],
)
def test_a_damaged_version_blocks_no_other(tone: Registry, data: bytes) -> None:
    (tone.root / "adapters/acme/tone/versions/3/manifest.json").write_bytes(data)
    assert tone.resolve("acme/tone").number == 2
    assert tone.resolve("acme/tone", as_of="2021-06-30").number == 1
    assert [version.number for version in tone.versions("acme/tone")] == [1, 2]
    assert [row["version"] for row in tone.rows()] == [1, 2]
    assert list(tone.damaged()) == ["acme/tone@3"]
    with pytest.raises(Corrupted, match=r"versions/3/manifest\.json"):
        tone.resolve("acme/tone@3")


def test_damage_elsewhere_is_found_and_blocks_nothing(tone: Registry) -> None:
    tone.add_event("acme/tone@3", "yank")
    tone.set_alias("acme/tone", "champion", 1)
    tone.set_alias("acme/tone", "stable", 1)
    folder = tone.root / "adapters/acme/tone"
    (folder / "versions/3/events/1/event.json").write_bytes(b"")
    (folder / "versions/2/record.json").unlink()
    (folder / "aliases/champion/1/alias.json").write_bytes(b"")
    (folder / "versions/4").mkdir()
    (folder / "versions/notes").mkdir()
    assert tone.resolve("acme/tone").number == 2  # whether 3 is yanked can't be known
    assert [row["version"] for row in tone.rows()] == [1]
    assert tone.aliases("acme/tone") == {"stable": 1}
    assert sorted(tone.damaged()) == ["acme/tone@2", "acme/tone@3", "acme/tone@4"]
    with pytest.raises(Corrupted, match=r"champion/1/alias\.json"):
        tone.resolve("acme/tone@champion")


def test_a_deleted_version_leaves_a_tombstone(
    tone: Registry, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    digest = tone.resolve("acme/tone@3").digest
    deleted = tone.delete("acme/tone@3", reason="a license ended")
    assert [path.name for path in deleted.folder.iterdir()] == ["deleted.json"]
    tombstone = json.loads((deleted.folder / "deleted.json").read_bytes())
    assert (tombstone["digest"], tombstone["reason"]) == (digest, "a license ended")
    assert tone.resolve("acme/tone").number == 2
    assert tone.damaged() == {}
    for reference in ("acme/tone@3", digest, f"acme/tone@{digest}"):
        with pytest.raises(NotFound):
            tone.resolve(reference)
    assert tone.add(make_folder(7), make_manifest(), name="acme/tone").number == 4


def test_only_an_exact_version_without_alias_is_deleted(tone: Registry) -> None:
    tone.set_alias("acme/tone", "champion", 2)
    for reference in ("acme/tone", "acme/tone@latest", "acme/tone@champion"):
        with pytest.raises(BadReference, match="by number or by digest"):
            tone.delete(reference)
    with pytest.raises(Refused, match="named by champion"):
        tone.delete("acme/tone@2")
    with pytest.raises(NotFound):
        tone.delete("acme/tone@9")
    assert [version.number for version in tone.versions("acme/tone")] == [1, 2, 3]


def test_an_alias_of_what_is_gone_says_so(tone: Registry) -> None:
    tone.set_alias("acme/tone", "champion", 2)
    shutil.rmtree(tone.root / "adapters/acme/tone/versions/2")
    with pytest.raises(NotFound, match="names version 2, which isn't there"):
        tone.resolve("acme/tone@champion")


def test_a_copied_registry_is_the_same_registry(tone: Registry, tmp_path: Path) -> None:
    tone.set_alias("acme/tone", "champion", 1)
    shutil.copytree(tone.root, tmp_path / "copy")
    copy = Registry(tmp_path / "copy")
    assert copy.rows() == tone.rows() and copy.id == tone.id
    assert copy.verify("acme/tone@champion").digest == tone.resolve("acme/tone@1").digest


def test_what_is_not_a_name_is_no_name(tone: Registry, tmp_path: Path) -> None:
    adapters = tone.root / "adapters"
    (adapters / "Upper" / "tone").mkdir(parents=True)
    (adapters / "con").mkdir()
    (adapters / "notes.txt").write_text("x")
    shutil.copytree(adapters / "acme", tmp_path / "outside")
    (adapters / "linked").symlink_to(tmp_path / "outside")
    (adapters / "acme" / "empty").mkdir()
    assert tone.names() == ["acme/tone"]


def test_every_resolution_is_logged(tone: Registry, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "adapterhub_fin_registry")
    version = tone.resolve("acme/tone")
    assert f"acme/tone is acme/tone@3, {version.digest}" in caplog.text
