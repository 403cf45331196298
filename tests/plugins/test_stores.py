"""Test a third party's store: folders under `desk:///PATH`, which `ahf publish` and `ahf pull` reach by its scheme."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.plugin import manager as discovery
from adapterhub_fin.plugin.interfaces import Published, StoreImplementation
from adapterhub_fin.testing import StoreContract
from adapterhub_fin.testing.store import small_version
from adapterhub_fin_registry import Incoming, RemoteVersion

WHERE = f"{__name__}:"


class DeskStore(StoreImplementation):
    """A version is a folder named by its number, with the manifest beside its files."""

    def __init__(self, options: Any) -> None: ...

    def publish(
        self, version: ahf.Version, uri: str, *, private: bool = False, create: bool = True, dry_run: bool = False
    ) -> Published:
        place, there = _place(uri), self._numbers(uri)
        for number in there:
            if (place / str(number) / "manifest").read_bytes() == version.manifest_bytes:
                return Published(f"{uri}/{number}", number, is_new=False)
        if not create and not place.is_dir():
            raise ahf.NotFound(f"there is no {place}: make it")
        if dry_run:
            return Published(uri, None, True, [(path, size) for path, size, _ in version.manifest.files])
        number = max(there, default=0) + 1
        self._keep(version, place / str(number))
        return Published(f"{uri}/{number}", number, is_new=True)

    @contextmanager
    def fetch(self, uri: str, weights: Sequence[str]) -> Iterator[Incoming]:
        folder = _place(uri)
        if not (folder / "manifest").is_file():
            raise ahf.NotFound(f"there is no version at {uri}: list what is there")
        data = (folder / "manifest").read_bytes()
        yield Incoming(folder / "files", data, int(folder.name), (), {"from": uri})

    def versions(self, uri: str) -> Sequence[RemoteVersion]:
        place = _place(uri)
        manifests = {number: (place / str(number) / "manifest").read_bytes() for number in self._numbers(uri)}
        when = "2024-01-01T00:00:00Z"
        return [RemoteVersion("acme/tone", n, data, when, {"at": f"{uri}/{n}"}) for n, data in manifests.items()]

    def _keep(self, version: ahf.Version, target: Path) -> None:
        shutil.copytree(version.files, target / "files")
        (target / "manifest").write_bytes(version.manifest_bytes)

    def _numbers(self, uri: str) -> list[int]:
        return sorted(int(each.name) for each in _place(uri).glob("[0-9]*"))


class Loses(DeskStore):
    def _keep(self, version: ahf.Version, target: Path) -> None:
        super()._keep(version, target)
        (target / "files" / "adapter_config.json").unlink()


class Rewrites(DeskStore):
    def _keep(self, version: ahf.Version, target: Path) -> None:
        super()._keep(version, target)
        (target / "manifest").write_bytes(version.manifest_bytes.replace(b":", b": "))


class Rehearses(DeskStore):
    def publish(self, version: ahf.Version, uri: str, **told: Any) -> Published:
        return super().publish(version, uri, **{**told, "dry_run": False})


def _place(uri: str) -> Path:
    return Path(uri.partition("://")[2])


class Desk:
    @ahf.hookimpl
    def ahf_stores(self) -> list[ahf.StoreKind]:
        stores = {"desk": DeskStore, "loses": Loses, "rewrites": Rewrites, "rehearses": Rehearses}
        return [
            ahf.StoreKind(name=name, summary="Folders on a disk of ours.", target=f"{WHERE}{store.__name__}")
            for name, store in stores.items()
        ]


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    before = list(discovery._registered)
    ahf.register(Desk())
    yield
    discovery._registered[:], discovery._current = before, None


class TestDesk(StoreContract):
    name = "desk"

    @pytest.fixture
    def uri(self, tmp_path: Path) -> str:
        return f"desk://{tmp_path}/store"

    test_options_import_nothing_heavy = None  # another process can't find a store that is registered in this one


PROMISES = [
    ("loses", "test_a_version_comes_back_byte_for_byte", "and no others"),
    ("rewrites", "test_a_version_comes_back_byte_for_byte", "its own bytes"),
    ("rehearses", "test_a_dry_run_leaves_nothing", ""),
]


@pytest.mark.parametrize(("broken", "promise", "says"), PROMISES)
def test_the_contract_bites(broken: str, promise: str, says: str, tmp_path: Path) -> None:
    contract = type("TestBroken", (StoreContract,), {"name": broken})()
    store = contract.description.load()(None)
    registry = ahf.Registry(tmp_path / "here")
    given = {
        "store": store,
        "uri": f"{broken}://{tmp_path}/store",
        "versions": [small_version(registry, tmp_path / "f", 2021)],
    }
    if "byte_for_byte" in promise:
        given["tmp_path"] = tmp_path
    with pytest.raises(AssertionError, match=says):
        getattr(contract, promise)(**given)


def test_published_and_pulled_by_its_scheme(tmp_path: Path) -> None:
    mine = ahf.Registry(tmp_path / "mine")
    version = small_version(mine, tmp_path / "f", 2021)
    done = ahf.publish("acme/tone@1", f"desk://{tmp_path}/store", registry=mine)
    assert done.reference == f"desk://{tmp_path}/store/1"
    assert [event["to"] for event in mine.events("acme/tone@1")] == [done.reference]
    with pytest.raises(ahf.BadReference, match="--as"):
        ahf.pull(done.reference)
    assert ahf.pull(done.reference, "desk/tone").digest == version.digest
    (tmp_path / "store" / "1" / "files" / "adapter_model.safetensors").write_bytes(b"other")
    with pytest.raises((ahf.Corrupted, ahf.NotAnAdapter)):
        ahf.pull(done.reference, "desk/other")
    assert ahf.Registry().names() == ["desk/tone"]
