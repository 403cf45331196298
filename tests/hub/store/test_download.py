"""Files of a Hub as they come: gone on with, shared, kept for a while, and asked for by whoever may ask."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import errors

import adapterhub_fin as ahf
from adapterhub_fin_registry.hub_client.download import Download

Store = Callable[..., ahf.Version]
WEIGHTS = ("GET", r"/resolve/.*/adapter_model.safetensors$")


@pytest.fixture
def published(proxy: Any, name: str, stored: Store, tmp_path: Path) -> ahf.Version:
    """A version on the Hub with weights that come in many pieces, of which this client has read nothing."""
    elsewhere = ahf.Registry(tmp_path / "elsewhere")
    version = stored(name, registry=elsewhere, weights={"columns": 2**18})
    ahf.publish(name, f"hf://{name}", registry=elsewhere)
    proxy.seen.clear()
    return version


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_download_goes_on_in_a_later_call_where_it_broke_off(
    ranges: bool, proxy: Any, name: str, published: ahf.Version
) -> None:
    proxy.fault("truncated", *WEIGHTS, times=1000)
    with pytest.raises(ahf.Unreachable, match="try again"):
        ahf.pull(f"hf://{name}")
    proxy.heal()
    proxy.ranges.clear()
    proxy.seen.clear()
    proxy.without_ranges = not ranges
    assert ahf.pull(f"hf://{name}").digest == published.digest
    [range_] = proxy.ranges
    size = (published.files / "adapter_model.safetensors").stat().st_size
    assert 0 < int(range_.removeprefix("bytes=").removesuffix("-")) < size
    got = [seen.rpartition("/")[2] for seen in proxy.seen if "/resolve/" in seen]
    assert got == ["adapter_model.safetensors", "notes.md"], "what was whole isn't asked for"
    assert ahf.pull(f"hf://{name}", "desk/again").digest == published.digest
    assert len([seen for seen in proxy.seen if "/resolve/" in seen]) == 2, "nor is what was pulled a moment ago"


def test_a_part_from_an_earlier_call_with_wrong_bytes_is_given_up(
    proxy: Any, name: str, published: ahf.Version, tmp_path: Path
) -> None:
    proxy.fault("truncated", *WEIGHTS, times=1000)
    with pytest.raises(ahf.Unreachable):
        ahf.pull(f"hf://{name}")
    [part] = (tmp_path / "cache" / "downloads").glob("*/adapter_model.safetensors")
    part.write_bytes(bytes(part.stat().st_size))
    proxy.heal()
    assert ahf.pull(f"hf://{name}").digest == published.digest


@pytest.mark.parametrize("path", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("again", ["pull", "path"])
def test_a_whole_download_of_the_right_size_and_wrong_bytes_is_fetched_again(
    path: str, again: str, proxy: Any, name: str, published: ahf.Version, tmp_path: Path
) -> None:  # G 39
    ahf.pull(f"hf://{name}", "desk/first")
    [kept] = (tmp_path / "cache" / "downloads").glob(f"*/{path}")
    data = kept.read_bytes()
    kept.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    proxy.seen.clear()
    if again == "pull":
        found = ahf.pull(f"hf://{name}", "desk/second").files
    else:
        found = ahf.RegistryChain.configured().path(f"hf://{name}")
    assert (found / path).read_bytes() == (published.files / path).read_bytes()
    assert [seen for seen in proxy.seen if "/resolve/" in seen and seen.endswith(path)], "it was not taken for whole"


def test_what_was_read_of_a_hub_is_verified_when_it_is_read_again(name: str, published: ahf.Version) -> None:  # G 39
    folder = ahf.RegistryChain.configured().path(f"hf://{name}@v1")
    weights = folder / "adapter_model.safetensors"
    data = weights.read_bytes()
    weights.chmod(0o600)
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ahf.Corrupted, match="adapter_model.safetensors"):
        ahf.RegistryChain.configured().path(f"hf://{name}@v1")


def test_what_the_clients_own_cache_holds_is_not_downloaded_unless_it_is_wrong(
    proxy: Any, at_hub: Any, name: str, published: ahf.Version
) -> None:
    folder = Path(at_hub.api().snapshot_download(name, revision="v1"))
    notes = (folder / "notes.md").resolve()
    notes.write_bytes(b"#" + notes.read_bytes()[1:])
    proxy.seen.clear()
    assert ahf.pull(f"hf://{name}").digest == published.digest
    got = {seen.rpartition("/")[2] for seen in proxy.seen if "/resolve/" in seen}
    assert got == {"ahf_manifest.json", "notes.md"}


def test_who_asks_at_once_waits_for_one_download(proxy: Any, name: str, published: ahf.Version) -> None:
    with ThreadPoolExecutor(4) as pullers:
        pulled = list(pullers.map(lambda number: ahf.pull(f"hf://{name}", f"desk/tone-{number}"), range(4)))
    assert {version.digest for version in pulled} == {published.digest}
    assert len([seen for seen in proxy.seen if seen.endswith("adapter_model.safetensors")]) == 1


def test_what_was_loaded_is_not_downloaded_again_to_be_pulled(proxy: Any, name: str, published: ahf.Version) -> None:
    ahf.RegistryChain.configured().path(f"hf://{name}")
    proxy.seen.clear()
    assert ahf.pull(f"hf://{name}").digest == published.digest
    assert not [seen for seen in proxy.seen if "/resolve/" in seen]


def test_no_answer_says_how_long_is_waited(
    proxy: Any, name: str, published: ahf.Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    proxy.fault("503", *WEIGHTS, times=3)
    assert ahf.pull(f"hf://{name}").digest == published.digest
    assert [seconds for seconds in waited if seconds >= 1] == [1, 2, 4]


def test_an_answer_whose_end_alone_was_lost_is_whole(
    proxy: Any, name: str, published: ahf.Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Download._stream

    def cut(download: Download, entry: Any, file: Any, shown: Any) -> None:
        real(download, entry, file, shown)
        raise errors.HTTPError("peer closed connection without sending complete message body")

    monkeypatch.setattr(Download, "_stream", cut)
    assert ahf.pull(f"hf://{name}").digest == published.digest


def test_what_another_user_left_stops_no_download(
    name: str, published: ahf.Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "cache" / "downloads" / "theirs"
    theirs.mkdir(parents=True)
    os.utime(theirs, (0, 0))

    real = shutil.rmtree

    def refuse(path: Path) -> None:
        if path == theirs:
            raise PermissionError(errno.EPERM, "another user's", str(path))
        real(path)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    assert ahf.pull(f"hf://{name}").digest == published.digest
    assert theirs.exists()


def test_what_nobody_asked_for_in_a_week_is_deleted(
    proxy: Any, at_hub: Any, name: str, published: ahf.Version, stored: Store, tmp_path: Path
) -> None:
    ahf.pull(f"hf://{name}")
    downloads = tmp_path / "cache" / "downloads"
    before = set(downloads.iterdir())
    other = stored("download/another", seed=9, registry=ahf.Registry(tmp_path / "elsewhere"))
    ahf.publish("download/another", "hf://download/another", registry=ahf.Registry(tmp_path / "elsewhere"))
    for path in before:
        os.utime(path, (0, time.time() - 8 * 24 * 3600))
    assert ahf.pull("hf://download/another").digest == other.digest
    assert not before & set(downloads.iterdir())
    assert ahf.pull(f"hf://{name}", "desk/again").digest == published.digest, "it is fetched again"


def test_a_cache_that_can_not_be_written_says_so(
    name: str, published: ahf.Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AHF_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ahf.WriteFailed, match="set AHF_CACHE"):
        ahf.pull(f"hf://{name}")
    assert ahf.Registry().names() == []
