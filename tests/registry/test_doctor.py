"""What gc removes and what it leaves; what doctor finds, says and mends."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapterhub_fin_registry import NotFound, Registry
from adapterhub_fin_registry.doctor import Finding
from adapterhub_fin_registry.io.disk import Disk

NOW = timedelta(0)


@pytest.fixture
def tone(registry: Registry, make_folder: Any, make_manifest: Any) -> Registry:
    """acme/tone with versions 1, 2 and a deleted 3, an alias on 1, a tag on 2; and nothing wrong."""
    for seed in (1, 2, 3):
        registry.add(make_folder(seed), make_manifest(), name="acme/tone")
    registry.set_alias("acme/tone", "champion", 1)
    registry.add_event("acme/tone@2", "tag", {"tag": "production"})
    registry.delete("acme/tone@3")
    assert registry.doctor(grace=NOW) == [] and registry.gc(grace=NOW) == []
    return registry


def _age(tree: Path, hours: float) -> None:
    then = time.time() - 3600 * hours
    for path in (*tree.rglob("*"), tree):
        os.utime(path, (then, then), follow_symlinks=False)


def _work_folder(root: Path, word: str) -> Path:
    return root / "tmp" / str(uuid.uuid5(uuid.NAMESPACE_OID, word))


def _dead(registry: Registry, word: str, hours: float) -> Path:
    work_folder = _work_folder(registry.root, word)
    (work_folder / "built" / "files").mkdir(parents=True)
    work_folder.chmod(0o700)
    (work_folder / "built" / "files" / "half.safetensors").write_bytes(b"x" * 100)
    _age(work_folder, hours)
    return work_folder


def test_gc_waits_for_the_grace(tone: Registry) -> None:
    old, young, future = _dead(tone, "old", 25), _dead(tone, "young", 23), _dead(tone, "future", -1000)
    busy = _dead(tone, "busy", 1000)
    (busy / "built" / "files" / "half.safetensors").write_bytes(b"still being written")
    [listed] = tone.gc(dry_run=True)
    assert (listed.path, listed.kind, listed.size, listed.removed) == (old, "unfinished", 100, False)
    assert old.exists()
    assert [left.path for left in tone.gc() if left.removed] == [old]
    assert sorted((tone.root / "tmp").iterdir()) == sorted([busy, future, young])
    tone.gc(grace=NOW)
    assert sorted((tone.root / "tmp").iterdir()) == [future]  # whose clock nobody knows: in doubt it stays


def test_gc_removes_what_else_lies_in_tmp_and_follows_no_link(tone: Registry, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "notes.md").write_text("x")
    link, stray = _work_folder(tone.root, "link"), _work_folder(tone.root, "stray")
    link.symlink_to(precious)
    stray.write_text("{}")
    inside = _dead(tone, "dead", 1)
    (inside / "link").symlink_to(precious)
    _age(inside, 1)
    assert {left.path for left in tone.gc(grace=NOW)} == {link, stray, inside}
    assert list((tone.root / "tmp").iterdir()) == [] and (precious / "notes.md").read_text() == "x"


def test_a_writer_whose_work_folder_was_taken_for_dead_fails_whole(
    tone: Registry, make_folder: Any, make_manifest: Any
) -> None:
    from adapterhub_fin_registry import WriteFailed

    def gc(manifest: Any, files: Path) -> None:
        assert len(tone.gc(grace=timedelta(seconds=-10))) == 1

    with pytest.raises(WriteFailed, match="do it again"):
        tone.add(make_folder(7), make_manifest(), name="acme/tone", checks=[gc])
    assert tone.doctor(grace=NOW) == [] and [v.number for v in tone.versions("acme/tone")] == [1, 2]
    assert tone.add(make_folder(7), make_manifest(), name="acme/tone").number == 4


def test_gc_ends_a_deletion_that_was_broken_off(tone: Registry) -> None:
    folder = tone.root / "adapters/acme/tone/versions"
    (folder / "3" / "files").mkdir()
    (folder / "3" / "files" / "notes.md").write_bytes(b"12345")
    second = tone.resolve("acme/tone@2")
    (folder / "2" / "deleted.json").write_text(json.dumps({"digest": second.digest, "reason": "x"}))
    assert {(left.path.name, left.kind) for left in tone.gc(dry_run=True)} == {("2", "deletion"), ("3", "deletion")}
    assert [finding.kind for finding in tone.doctor()] == ["deletion", "deletion", "copy"]
    assert {left.path.name for left in tone.gc() if left.removed and left.size >= 5} == {"2", "3"}
    assert [path.name for number in "23" for path in (folder / number).iterdir()] == ["deleted.json"] * 2
    assert tone.doctor() == []


def _broken_off_deletion(tone: Registry) -> Path:
    version = tone.resolve("acme/tone@2")
    (version.folder / "deleted.json").write_text(json.dumps({"digest": version.digest, "reason": "x"}))
    return version.folder


def test_what_can_not_be_removed_is_not_said_to_be(tone: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, real = _broken_off_deletion(tone), Disk.remove

    def refuse(disk: Disk, path: Path) -> None:
        if path.is_relative_to(folder):
            raise PermissionError(errno.EPERM, "another user's")
        real(disk, path)

    monkeypatch.setattr(Disk, "remove", refuse)
    assert [left.removed for left in tone.gc()] == [False]
    [finding] = [finding for finding in tone.doctor(repair=True) if finding.kind == "deletion"]
    assert not finding.repaired and "belongs to another user" in finding.remedy


def test_a_half_deleted_twin_is_looked_past(tone: Registry, make_folder: Any, make_manifest: Any) -> None:
    _broken_off_deletion(tone)
    again = [tone.add(make_folder(2), make_manifest(), name="acme/tone") for _ in range(2)]
    assert [version.number for version in again] == [4, 4]


@pytest.mark.parametrize("tombstone", [b"", b"{", b"[]", b"{}", b'{"digest": "sha256:of another"}', b'{"digest": 5}'])
def test_a_tombstone_that_may_be_a_mistake_deletes_nothing(tone: Registry, tombstone: bytes) -> None:
    folder = tone.resolve("acme/tone@2").folder
    (folder / "deleted.json").write_bytes(tombstone)
    assert tone.gc() == [] and tone.gc(grace=NOW) == []
    [finding] = [found for found in tone.doctor(repair=True) if not found.repaired]
    assert (finding.kind, finding.path, finding.repairable) == ("tombstone", folder / "deleted.json", False)
    assert (folder / "manifest.json").exists()
    (folder / "deleted.json").unlink()
    assert tone.verify("acme/tone@2").number == 2


def test_gc_and_doctor_of_nothing_write_nothing(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "none")
    assert (registry.gc(), registry.gc(dry_run=True), registry.doctor(), registry.doctor(repair=True)) == (
        [],
        [],
        [],
        [],
    )
    assert not (tmp_path / "none").exists()


def _leftover(root: Path) -> str:
    dead = _work_folder(root, "dead")
    dead.mkdir(mode=0o700)
    _age(dead, 48)
    return f"unfinished tmp/{dead.name}"


def _open_work_folder(root: Path) -> str:
    live = _work_folder(root, "live")
    live.mkdir()
    live.chmod(0o755)
    return f"mode tmp/{live.name}"


def _open_to_all(root: Path) -> str:
    (root / "adapters/acme/tone/versions/1/files").chmod(0o777)
    return "mode adapters/acme/tone/versions/1/files"


def _no_id(root: Path) -> str:
    (root / "registry.json").unlink()
    return "identity registry.json"


def _empty_version(root: Path) -> str:
    (root / "adapters/acme/tone/versions/9").mkdir()
    return "empty adapters/acme/tone/versions/9"


def _alias_to_nothing(root: Path) -> str:
    setting = root / "adapters/acme/tone/aliases/champion/1/alias.json"
    setting.write_text('{"at":"2026-01-01T00:00:00Z","version":8}')
    return "alias adapters/acme/tone/aliases/champion"


def _alias_to_a_tombstone(root: Path) -> str:
    setting = root / "adapters/acme/tone/aliases/champion/1/alias.json"
    setting.write_text('{"at":"2026-01-01T00:00:00Z","version":3}')
    return "alias adapters/acme/tone/aliases/champion"


def _renumbered(root: Path) -> str:
    (root / "adapters/acme/tone/versions/2").rename(root / "adapters/acme/tone/versions/7")
    return "record adapters/acme/tone/versions/7/record.json"


def _no_record(root: Path) -> str:
    (root / "adapters/acme/tone/versions/2/record.json").unlink()
    return "record adapters/acme/tone/versions/2/record.json"


def _copied_version(root: Path) -> str:
    shutil.copytree(root / "adapters/acme/tone/versions/1", root / "adapters/acme/tone/versions/5")
    record = root / "adapters/acme/tone/versions/5/record.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "version": 5}))
    return "copy adapters/acme/tone/changed"


def _copied_name(root: Path) -> str:
    shutil.copytree(root / "adapters/acme/tone", root / "adapters/acme/tone2")
    return "record adapters/acme/tone2/versions/1/record.json"


def _removed_name(root: Path) -> str:
    shutil.copytree(root / "adapters/acme/tone", root / "adapters/acme/other")
    Registry(root).doctor(repair=True)
    time.sleep(0.05)  # a file system's clock ticks every few milliseconds, and what is of one tick can't be told apart
    shutil.rmtree(root / "adapters/acme/other")
    return "copy changed"


def _broken_off(root: Path) -> str:
    (root / "adapters/acme/tone/changed").write_text("")
    return "mark adapters/acme/tone/changed"


def _no_mark(root: Path) -> str:
    (root / "changed").unlink()
    return "mark changed"


MENDED = [
    _leftover, _open_work_folder, _open_to_all, _no_id, _empty_version, _alias_to_nothing, _alias_to_a_tombstone,
    _renumbered, _no_record, _copied_version, _copied_name, _removed_name, _broken_off, _no_mark,
]  # fmt: skip


@pytest.mark.parametrize("spoil", MENDED, ids=lambda spoil: spoil.__name__.strip("_"))
def test_what_doctor_mends(tone: Registry, spoil: Callable[[Path], str]) -> None:
    kind, _, place = spoil(tone.root).partition(" ")
    marks = tone.mark(), tone.mark("acme/tone")
    before = {path: path.read_bytes() for path in tone.root.rglob("*") if path.is_file()}
    found = tone.doctor()
    assert (kind, tone.root / place) in [(finding.kind, finding.path) for finding in found]
    assert not any(finding.repaired for finding in found) and all(finding.repairable for finding in found)
    assert {path: path.read_bytes() for path in tone.root.rglob("*") if path.is_file()} == before
    mended = tone.doctor(repair=True)
    assert all(finding.repaired and finding.means and finding.remedy for finding in mended)
    assert tone.doctor() == []
    assert Registry(tone.root).versions("acme/tone")[0].number == 1
    assert tone.damaged() == {}
    assert (tone.mark() != marks[0]) or kind == "unfinished"  # by which an index notices


def _two_dead(root: Path) -> str:
    for word in ("one", "other"):
        dead = _work_folder(root, word)
        dead.mkdir(mode=0o700)
        _age(dead, 48)
    return "unfinished"


def _two_open(root: Path) -> str:
    for number in (1, 2):
        (root / f"adapters/acme/tone/versions/{number}/files").chmod(0o777)
    return "mode"


def _two_empty(root: Path) -> str:
    for number in (9, 10):
        (root / f"adapters/acme/tone/versions/{number}").mkdir()
    return "empty"


def _two_without_records(root: Path) -> str:
    for number in (1, 2):
        (root / f"adapters/acme/tone/versions/{number}/record.json").unlink()
    return "record"


def _two_aliases_to_nothing(root: Path) -> str:
    Registry(root).set_alias("acme/tone", "second", 2)
    for alias in ("champion", "second"):
        setting = root / f"adapters/acme/tone/aliases/{alias}/1/alias.json"
        setting.chmod(0o600)
        setting.write_text('{"at":"2026-01-01T00:00:00Z","version":8}')
    return "alias"


def _two_without_marks(root: Path) -> str:
    shutil.copytree(root / "adapters/acme/tone", root / "adapters/acme/other")
    Registry(root).doctor(repair=True)
    for name in ("tone", "other"):
        (root / f"adapters/acme/{name}/changed").write_text("")
    return "mark"


TWICE = [_two_dead, _two_open, _two_empty, _two_without_records, _two_aliases_to_nothing, _two_without_marks]


@pytest.mark.parametrize("spoil", TWICE, ids=lambda spoil: spoil.__name__.strip("_"))
def test_of_two_alike_both_are_mended(tone: Registry, spoil: Callable[[Path], str]) -> None:  # G 39
    kind = spoil(tone.root)
    found = [finding.path for finding in tone.doctor() if finding.kind == kind]
    assert len(set(found)) == len(found) == 2
    mended = [finding for finding in tone.doctor(repair=True) if finding.kind == kind]
    assert [finding.path for finding in mended] == found and all(finding.repaired for finding in mended)
    assert tone.doctor() == [] and tone.doctor(repair=True) == []


@pytest.mark.parametrize("broken", [1, 2])
def test_one_that_can_not_be_mended_leaves_the_other_to_be_mended(tone: Registry, broken: int) -> None:  # G 39
    folder = tone.root / "adapters/acme/tone/versions"
    for number in (1, 2):
        (folder / str(number) / "record.json").unlink()
    (folder / str(broken) / "record.json").write_text('{"name":"acme/x","version":7,"added_at":"","x":1e999}')
    findings = [finding for finding in tone.doctor(repair=True) if finding.kind == "record"]
    assert {finding.path.parent.name: finding.repaired for finding in findings} == {
        str(broken): False,
        str(3 - broken): True,
    }
    [failed] = [finding for finding in findings if not finding.repaired]
    assert "it failed" in failed.remedy
    assert [finding.kind for finding in tone.doctor() if finding.repairable] == ["record"]


def test_a_record_of_another_place_keeps_what_it_said(tone: Registry) -> None:
    old = tone.resolve("acme/tone@2").record
    _renumbered(tone.root)
    tone.doctor(repair=True)
    record = tone.resolve("acme/tone@7").record
    assert record == {**old, "version": 7, "origin": {"copied_from": "acme/tone@2", "origin": None}}
    assert tone.resolve("acme/tone@7").tags == ["production"]


def test_an_alias_to_nothing_keeps_its_history(tone: Registry) -> None:
    _alias_to_nothing(tone.root)
    tone.doctor(repair=True)
    assert [step["version"] for step in tone.alias_history("acme/tone", "champion")] == [8, None]
    with pytest.raises(NotFound):
        tone.resolve("acme/tone@champion")


def _no_manifest(root: Path) -> str:
    (root / "adapters/acme/tone/versions/2/manifest.json").unlink()
    return "incomplete adapters/acme/tone/versions/2"


def _bad_manifest(root: Path) -> str:
    (root / "adapters/acme/tone/versions/2/manifest.json").write_text("{")
    return "damaged adapters/acme/tone/versions/2"


def _bad_record(root: Path) -> str:
    (root / "adapters/acme/tone/versions/2/record.json").write_text("{")
    return "damaged adapters/acme/tone/versions/2"


def _record_of_half_a_letter(root: Path) -> str:
    record = root / "adapters/acme/tone/versions/2/record.json"
    record.write_text('{"name":"\\ud800","version":2}')
    return "damaged adapters/acme/tone/versions/2"


def _bad_event(root: Path) -> str:
    (root / "adapters/acme/tone/versions/2/events/1/event.json").write_text("{}")
    return "damaged adapters/acme/tone/versions/2"


def _bad_alias(root: Path) -> str:
    (root / "adapters/acme/tone/aliases/champion/1/alias.json").write_text("[]")
    return "alias adapters/acme/tone/aliases/champion"


def _bad_name(root: Path) -> str:
    (root / "adapters/acme/Tone").mkdir()
    return "unexpected adapters/acme/Tone"


def _linked_name(root: Path) -> str:
    (root / "adapters/linked").symlink_to(root / "adapters/acme")
    return "unexpected adapters/linked"


def _linked_version(root: Path) -> str:
    (root / "adapters/acme/tone/versions/2").rename(root / "elsewhere")
    (root / "adapters/acme/tone/versions/2").symlink_to(root / "elsewhere")
    return "damaged adapters/acme/tone/versions/2"


BY_HAND = [
    _no_manifest, _bad_manifest, _bad_record, _record_of_half_a_letter, _bad_event, _bad_alias, _bad_name,
    _linked_name, _linked_version,
]  # fmt: skip


@pytest.mark.parametrize("spoil", BY_HAND, ids=lambda spoil: spoil.__name__.strip("_"))
def test_what_a_person_must_decide(tone: Registry, spoil: Callable[[Path], str]) -> None:
    kind, _, place = spoil(tone.root).partition(" ")
    kept = sorted(path for path in tone.root.rglob("*") if path.name != "changed")

    def left() -> list[Finding]:
        return [finding for finding in tone.doctor(repair=True) if not finding.repaired]

    [finding] = left()
    assert (finding.kind, finding.path, finding.repairable) == (kind, tone.root / place, False)
    assert finding.means and finding.remedy
    assert left() == [finding]
    assert sorted(path for path in tone.root.rglob("*") if path.name != "changed") == kept
    assert tone.verify("acme/tone@1").number == 1


def test_a_record_that_cannot_be_written_again_stays_and_is_said(tone: Registry) -> None:
    path = tone.resolve("acme/tone@2").folder / "record.json"
    path.write_text('{"name":"acme/tone","version":7,"added_at":"","added_by":"","x":1e999}')
    [finding] = [found for found in tone.doctor(repair=True) if found.kind == "record"]
    assert not finding.repaired and "it failed: its contents can't be written again" in finding.remedy
    assert "1e999" in path.read_text()


def test_no_check_hashes_a_file(tone: Registry) -> None:
    (tone.resolve("acme/tone@1").files / "adapter_model.safetensors").write_bytes(b"altered")
    assert {finding.kind for finding in tone.doctor()} <= {"copy"}


@pytest.mark.parametrize(
    ("config", "doubtful"),
    [
        ({"bias": "all"}, True),
        ({"bias": "boft_only", "peft_type": "BOFT"}, True),
        ({"init_lora_weights": "pissa_niter_4"}, True),
        ({"init_lora_weights": "olora"}, True),
        ({"kasa_config": {"beta": 1.0}}, True),
        ({"layer_replication": [[0, 2], [1, 2]]}, True),
        ({"trainable_token_indices": {"embed_tokens": [5]}}, True),
        ({"peft_type": "TRAINABLE_TOKENS"}, True),
        ({"modules_to_save": ["embed_tokens", "lm_head"]}, True),
        ({"bias": "none", "init_lora_weights": "gaussian", "modules_to_save": ["classifier", "score"]}, False),
        ({"bias": False, "init_lora_weights": True, "modules_to_save": None, "layer_replication": None}, False),
    ],
)
def test_a_base_recorded_after_an_adapter_that_alters_it_is_withdrawn(
    registry: Registry, make_folder: Any, make_manifest: Any, config: dict[str, Any], doubtful: bool
) -> None:
    """G 19: what is recorded since says that it was read before, and is left alone."""
    data = json.dumps({"peft_type": "LORA", **config}).encode()
    version = registry.add(make_folder(1, {"adapter_config.json": data}), make_manifest(), name="acme/tone")
    assert registry.doctor() == []
    body = {"base": {"fingerprint": "verified"}}
    registry.add_event(version.reference, "fingerprint-verified", body)
    assert [finding.kind for finding in registry.doctor()] == ["fingerprint"] * doubtful
    for _ in range(2):
        registry.doctor(repair=True)
    kinds = ["fingerprint-verified", *(["fingerprint-withdrawn"] if doubtful else [])]
    assert [event["kind"] for event in registry.events(version.reference)] == kinds and registry.doctor() == []
    registry.add_event(version.reference, "fingerprint-verified", {**body, "read": "before the adapter was attached"})
    assert registry.doctor() == []
