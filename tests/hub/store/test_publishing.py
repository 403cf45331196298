"""What a publication puts on a Hub, who may make one, and what becomes of several at once."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf

Store = Callable[..., ahf.Version]


def test_a_repository_holds_the_files_the_manifest_the_card_and_nothing_else(
    at_hub: Any, name: str, stored: Store
) -> None:
    first = stored(name, seed=1)
    done = ahf.publish(f"{name}@1", f"hf://{name}")
    assert (done.reference, done.published.is_new) == (f"hf://{name}@v1", True)
    at_hub.api().upload_file(path_or_fileobj=b"by hand\n", path_in_repo="stray.txt", repo_id=name)
    stored(name, seed=2, description="the second")
    ahf.publish(f"{name}@2", f"hf://{name}")
    for tag, version in (("v1", first), ("v3", ahf.Registry().resolve(f"{name}@2"))):
        there = set(at_hub.api().list_repo_files(name, revision=tag))
        assert there - {".gitattributes"} == {
            *(path for path, *_ in version.manifest.files),
            "ahf_manifest.json",
            "README.md",
        }
        got = at_hub.api().hf_hub_download(name, "ahf_manifest.json", revision=tag)
        assert Path(got).read_bytes() == version.manifest_bytes


def test_what_is_there_is_found_and_an_event_says_where_once(at_hub: Any, name: str, stored: Store) -> None:
    stored(name)
    first = ahf.publish(name, f"hf://{name}")
    again = ahf.publish(name, f"hf://{name}")
    assert again.published.is_new is False and again.reference == first.reference
    assert len(at_hub.api().list_repo_refs(name).tags) == 1
    [event] = ahf.Registry().events(name)
    assert (event["kind"], event["to"], event["endpoint"]) == ("publication", f"hf://{name}@v1", at_hub.url)
    assert event["commit"] == first.published.origin["commit"]


def test_one_thing_is_asked_of_each_version_that_is_there(proxy: Any, name: str, stored: Store) -> None:
    for seed in range(4):
        stored(name, seed=seed)
        proxy.seen.clear()
        ahf.publish(f"{name}@{seed + 1}", f"hf://{name}")
    asked = [seen for seen in proxy.seen if "/resolve/" in seen or "/paths-info/" in seen]
    # G 17: what was written is read back, by what the Hub lists and by its bytes
    assert len(asked) == 6, "of the three before it, and of what was sent, which this Hub tags by itself, thrice"


def test_a_dry_run_sends_nothing(at_hub: Any, name: str, stored: Store) -> None:
    stored(name)
    told = ahf.publish(name, f"hf://{name}", dry_run=True).published
    assert {path for path, _ in told.sends} >= {"adapter_model.safetensors", "ahf_manifest.json", "README.md"}
    assert told.number is None and not at_hub.api().repo_exists(name) and ahf.Registry().events(name) == []
    ahf.publish(name, f"hf://{name}")
    assert ahf.publish(name, f"hf://{name}", dry_run=True).reference == f"hf://{name}@v1"


def test_a_repository_that_may_not_be_made_or_is_public(proxy: Any, at_hub: Any, name: str, stored: Store) -> None:
    stored(name)
    with pytest.raises(ahf.NotFound, match="check its name"):
        ahf.publish(name, f"hf://{name}", create=False)
    at_hub.api().create_repo(name)
    proxy.public = True
    with pytest.raises(ahf.Refused, match="is public"):
        ahf.publish(name, f"hf://{name}", private=True)
    assert at_hub.api().list_repo_refs(name).tags == []
    proxy.public = False
    assert ahf.publish(name, f"hf://{name}", private=True).reference == f"hf://{name}@v1"


def test_what_another_made_public_meanwhile_gets_nothing_private(
    proxy: Any, at_hub: Any, name: str, stored: Store
) -> None:
    stored(name)
    proxy.public = True  # though it is asked to be private when it is made
    with pytest.raises(ahf.Refused, match="is public"):
        ahf.publish(name, f"hf://{name}", private=True)
    assert at_hub.api().list_repo_files(name) == []


def test_a_damaged_version_is_not_published(at_hub: Any, name: str, stored: Store) -> None:
    weights = stored(name).files / "adapter_model.safetensors"
    data = weights.read_bytes()
    weights.chmod(0o600)
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ahf.Corrupted):
        ahf.publish(name, f"hf://{name}")
    assert not at_hub.api().repo_exists(name)


def test_where_nothing_can_be_published(at_hub: Any, name: str, stored: Store) -> None:
    stored(name)
    with pytest.raises(ahf.BadReference, match="takes the next free number"):
        ahf.publish(name, f"hf://{name}@v1")
    with pytest.raises(ahf.BadReference, match="names no store"):
        ahf.publish(name, name)
    with pytest.raises(ahf.UnknownName, match="known: hf"):
        ahf.publish(name, f"ftp://{name}")
    with pytest.raises(ahf.BadReference, match="names no store: write its scheme"):
        ahf.pull(name)
    with pytest.raises(ahf.UnknownName, match="known: hf"):
        ahf.pull(f"ftp://{name}")


@pytest.mark.parametrize(("token", "error", "says"), [
    (None, ahf.AdapterHubError, "hf auth login"),
    ("reader", ahf.Refused, "right"),
    ("other", ahf.Refused, "right"),
])  # fmt: skip
def test_who_may_not_publish_is_told_what_to_do(
    token: str | None, error: type[Exception], says: str, at_hub: Any, name: str, stored: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    stored(name)
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
    else:
        monkeypatch.setenv("HF_TOKEN", at_hub.secrets[token])
    with pytest.raises(error, match=says):
        ahf.publish(name, f"hf://{name}")
    assert not at_hub.api().repo_exists(name)


def test_two_laptops_hold_a_version_3_each(at_hub: Any, name: str, stored: Store, tmp_path: Path) -> None:
    laptops = [ahf.Registry(tmp_path / laptop) for laptop in ("one", "two")]
    for seed, laptop in enumerate(laptops):
        for number in range(3):
            stored(name, seed=10 * seed + number, registry=laptop)
        ahf.publish(f"{name}@3", f"hf://{name}", registry=laptop)
    digests = [laptop.resolve(f"{name}@3").digest for laptop in laptops]
    assert len(set(digests)) == 2
    chain = ahf.RegistryChain.configured()
    assert [chain.resolve(f"hf://{name}@v{number}").digest for number in (1, 2)] == digests
    pulled = ahf.pull(f"hf://{name}@v2", registry=laptops[0])
    assert pulled.digest == digests[1]
    assert pulled.number == 4, "2 is another's there, so it gets the next"


PUBLISH = """
import json, sys
import adapterhub_fin as ahf
done = ahf.publish(sys.argv[1], "hf://" + sys.argv[2])
print(json.dumps([done.published.number, done.version.digest]))
"""


@pytest.mark.parametrize("alike", [False, True])
def test_six_publishers_of_one_name_at_once(alike: bool, at_hub: Any, name: str, stored: Store, tmp_path: Path) -> None:
    for seed in range(1 if alike else 6):
        stored(name, seed=seed)
    env = at_hub.environment(tmp_path / "hf")
    publishers = [
        subprocess.Popen(
            [sys.executable, "-c", PUBLISH, f"{name}@{1 if alike else n + 1}", name],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for n in range(6)
    ]  # fmt: skip
    answers = []
    for publisher in publishers:
        out, err = publisher.communicate(timeout=120)
        assert publisher.returncode == 0, err
        answers.append(json.loads(out))
    tags = {tag.name: tag.target_commit for tag in at_hub.api().list_repo_refs(name).tags}
    assert sorted(tags) == (["v1"] if alike else [f"v{n}" for n in range(1, 7)]), "none lost, none doubled"
    assert len({digest for _, digest in answers}) == len(tags)
    chain = ahf.RegistryChain.configured()
    for number, digest in answers:
        assert chain.resolve(f"hf://{name}@v{number}").digest == digest


PULL = """
import sys
import adapterhub_fin as ahf
ahf.pull("hf://" + sys.argv[1], sys.argv[2])
"""


def test_what_takes_long_is_shown_on_a_terminal_and_not_in_a_pipe(
    at_hub: Any, name: str, stored: Store, tmp_path: Path
) -> None:
    stored(name, weights={"columns": 2**19})
    env = at_hub.environment(tmp_path / "hf")
    for program, to in ((PUBLISH, f"{name}-shown"), (PULL, "desk/shown")):
        drawn = _drawn([sys.executable, "-c", program, name if program == PUBLISH else f"{name}-shown", to], env)
        assert b"adapter_model.safetensors" in drawn and b"%" in drawn and b"notes.md" not in drawn
    env["AHF_CACHE"] = str(tmp_path / "another-cache")
    for program, to in ((PUBLISH, f"{name}-piped"), (PULL, "desk/piped")):
        command = [sys.executable, "-c", program, name if program == PUBLISH else f"{name}-piped", to]
        piped = subprocess.run(command, env=env, capture_output=True, text=True)
        assert piped.returncode == 0 and piped.stderr == ""


def _drawn(command: list[str], env: dict[str, str]) -> bytes:
    """What a command writes to a terminal."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (40, 200))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=env) as child:
        os.close(theirs)
        drawn = b""
        with contextlib.suppress(OSError):  # how a terminal ends
            while chunk := os.read(ours, 65536):
                drawn += chunk
    os.close(ours)
    assert child.returncode == 0, drawn
    return drawn
