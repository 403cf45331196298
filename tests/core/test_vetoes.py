"""Every add through the public registries asks the vetoes, and none is walked around (G 16)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
import adapterhub_fin_registry as registry_package
from adapterhub_fin.plugin import manager as extensions
from adapterhub_fin.registries import INTAKE, configured_registries
from adapterhub_fin.testing.store import small_version
from adapterhub_fin_registry import Incoming
from adapterhub_fin_registry.hub_client.client import Hub
from adapterhub_fin_registry.hub_client.hub_cache import HubCache
from adapterhub_fin_registry.hub_client.hub_registry import HubRegistry
from adapterhub_fin_registry.incoming import take
from adapterhub_fin_registry.registry_chain import Member


@pytest.fixture
def asked() -> Iterator[list[str]]:
    """The names of the adapters that a house rule has refused."""
    found: list[str] = []

    class House:
        @ahf.hookimpl
        def ahf_before_add(self, manifest: ahf.Manifest) -> None:
            found.append(manifest.digest)
            raise ahf.Refused("not in this house")

    ahf.register(House())
    yield found


def _configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[[registries]]\nname = "team"\npath = "{tmp_path / "team"}"\n')
    monkeypatch.setenv("AHF_CONFIG", str(config))
    monkeypatch.delenv("AHF_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


PUBLIC: dict[str, Callable[[Path], registry_package.Registry]] = {
    "the default": lambda path: ahf.Registry(),
    "at a path": lambda path: ahf.Registry(path / "there"),
    "configured": lambda path: configured_registries().writable(),
    "the public chain's": lambda path: ahf.RegistryChain.configured().writable(),
    "a chain by hand": lambda path: ahf.RegistryChain([Member("one", ahf.Registry(path / "one"))]).writable(),
    "a member": lambda path: ahf.RegistryChain.configured().members[0].registry,
    "what answers": lambda path: ahf.RegistryChain.configured().answering("acme/tone"),
    "a copy of a Hub": lambda path: HubCache(Hub(), INTAKE),
    "an organisation": lambda path: HubRegistry(Hub(), "hf://acme", INTAKE),
}


@pytest.mark.parametrize("which", PUBLIC)
@pytest.mark.parametrize("settings", ["AHF_HOME", "config.toml"])
def test_the_public_registries_ask_whatever_checks_they_are_given(
    which: str, settings: str, tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if settings == "config.toml":
        _configured(tmp_path, monkeypatch)
    registry = PUBLIC[which](tmp_path)
    with pytest.raises(ahf.Refused, match="not in this house"):
        small_version(registry, tmp_path / "folder", 2021)
    assert len(asked) == 1 and not list(registry.root.rglob("manifest.json"))


def test_checks_and_positions_switch_nothing_off(tmp_path: Path, asked: list[str]) -> None:
    plain = registry_package.Registry(tmp_path / "plain")
    version = small_version(plain, tmp_path / "folder", 2021)
    assert asked == [], "the registry package alone has no vetoes"
    public = ahf.Registry(tmp_path / "public")
    for add in (public.add, lambda *given, **keys: registry_package.Registry.add(public, *given, **keys)):
        for checks in ((), [], iter(()), [lambda manifest, files: None]):
            with pytest.raises(ahf.Refused, match="not in this house"):
                add(version.files, version.manifest, name="acme/tone", checks=checks)
    assert public.names() == [] and len(asked) == 8


def test_a_veto_is_asked_once_though_two_hand_it_on(tmp_path: Path) -> None:
    found = []

    class Counts:
        @ahf.hookimpl
        def ahf_before_add(self, manifest: ahf.Manifest) -> None:
            found.append(manifest.digest)

    ahf.register(Counts())
    source = small_version(registry_package.Registry(tmp_path / "plain"), tmp_path / "folder", 2021)
    incoming = Incoming(source.files, source.manifest_bytes, 1, (), {"endpoint": "here"})
    assert take(incoming, ahf.Registry(), "acme/tone", INTAKE).number == 1
    assert found == [source.digest]


@pytest.mark.parametrize("registry_class", [ahf.Registry, registry_package.Registry])
def test_every_public_call_asks_of_a_registry_it_is_given(
    registry_class: Any, tmp_path: Path, asked: list[str]
) -> None:
    registry = registry_class(tmp_path / "given")
    folder = small_version(registry_package.Registry(tmp_path / "plain"), tmp_path / "folder", 2021).files
    with pytest.raises(ahf.Refused, match="not in this house"):
        ahf.import_folder(folder, "acme/tone", base="acme/base", registry=registry)
    assert registry.names() == [] and len(asked) == 1


def _add_after(hook: Any, tmp_path: Path) -> None:
    class House:
        ahf_before_add = ahf.hookimpl(specname="ahf_before_add")(hook)

    ahf.register(House())
    small_version(ahf.Registry(), tmp_path / "folder", 2021)


async def _coroutine(self: object, manifest: object) -> None:
    raise ahf.Refused("never run")


def _generator(self: object, manifest: object) -> Iterator[None]:
    raise ahf.Refused("never run")
    yield


def _says_no(self: object, manifest: object) -> bool:
    return False


def _breaks(self: object, manifest: object) -> None:
    raise SystemExit(0)


@pytest.mark.parametrize("hook", [_coroutine, _generator, _says_no, _breaks])
def test_a_veto_that_does_not_run_as_it_should_is_a_no(hook: Any, tmp_path: Path) -> None:
    with pytest.raises(ahf.Refused, match="House"):
        _add_after(hook, tmp_path)
    assert ahf.Registry().names() == []


def test_a_hook_wrapper_is_a_no(tmp_path: Path) -> None:
    class House:
        @extensions.hooks.pluggy.HookimplMarker(extensions.hooks.PROJECT)(wrapper=True)
        def ahf_before_add(self, manifest: object) -> Iterator[None]:
            raise ahf.Refused("never run")
            yield

    ahf.register(House())
    with pytest.raises(ahf.Refused, match="generator"):
        small_version(ahf.Registry(), tmp_path / "folder", 2021)


def test_the_public_registries_are_those_of_the_registry_package() -> None:
    assert issubclass(ahf.Registry, registry_package.Registry)
    assert issubclass(ahf.RegistryChain, registry_package.RegistryChain)
    assert isinstance(configured_registries().writable(), ahf.Registry)
    given = inspect.signature(registry_package.Registry.add).parameters
    assert inspect.signature(ahf.Registry.add).parameters == given
