"""What a Hub answers is read back, waited for a bounded time, and never taken for less than it was (G 17 and 31)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

import adapterhub_fin as ahf
from adapterhub_fin_registry.hub_client.session import PATIENCE
from adapterhub_fin_registry.hub_server.settings import Settings

LARGE = {"columns": 2**13}  # which goes over LFS
Store = Callable[..., ahf.Version]
NOTHING_DONE = ["page", "empty", "login 302", "login 307"]
WRITES = {
    "create": ("POST", r"/api/repos/create$"),
    "upload": ("PUT", r"/"),
    "commit": ("POST", r"/commit/main"),
    "tag": ("POST", r"/tag/"),
}


@pytest.fixture(scope="module")
def hub(serving: Callable[..., Any]) -> Any:
    """A server that takes weights over LFS alone, and texts within the commit."""
    return serving(Settings(regular_limit=2**16))


@pytest.mark.parametrize("kind", NOTHING_DONE)
@pytest.mark.parametrize("place", WRITES)
def test_a_page_in_the_place_of_an_answer_is_no_publication(
    place: str, kind: str, plain: Any, name: str, stored: Store
) -> None:
    stored(name, weights=LARGE)
    fault = plain.fault(kind, *WRITES[place], times=1000)
    with pytest.raises((ahf.Unreachable, ahf.Refused, ahf.NotFound)) as raised:
        ahf.publish(name, f"hf://{name}")
    assert fault.met and "\n" not in str(raised.value) and not plain.tags.get(name)
    assert ahf.Registry().events(name) == [], "nothing says that it was published"
    plain.heal()
    assert ahf.publish(name, f"hf://{name}").reference == f"hf://{name}@v1"


@pytest.mark.parametrize("kind", ["page", "login 302"])
@pytest.mark.parametrize("place", ["tag", "commit"])
def test_a_page_that_comes_once_costs_nothing(place: str, kind: str, plain: Any, name: str, stored: Store) -> None:
    stored(name)
    plain.fault(kind, *WRITES[place])
    try:
        assert ahf.publish(name, f"hf://{name}").reference == f"hf://{name}@v1"
    except ahf.Refused as error:
        assert "login page" in str(error)
    assert ahf.publish(name, f"hf://{name}").published.number == 1 and list(plain.tags[name]) == ["v1"]


class Elsewhere(dict[str, str]):
    """Tags that are listed at another commit than they were made for."""

    def items(self) -> Any:
        return [(tag, "f" * 40) for tag in self]


def test_a_tag_at_another_commit_is_no_publication(plain: Any, name: str, stored: Store) -> None:
    stored(name)
    plain.tags[name] = Elsewhere()
    with pytest.raises((ahf.Unreachable, ahf.NotFound), match="f{40}"):
        ahf.publish(name, f"hf://{name}")
    assert ahf.Registry().events(name) == []


@pytest.mark.parametrize("what", ["other bytes", "nothing"])
def test_a_manifest_that_does_not_come_back_is_no_publication(what: str, plain: Any, name: str, stored: Store) -> None:
    stored(name)
    if what == "nothing":
        plain.fault("404", "GET", r"/resolve/.*/ahf_manifest.json$", times=1000)
    else:
        plain.fault("corrupt", "GET", r"/resolve/.*/ahf_manifest.json$", times=1000)
    with pytest.raises((ahf.Unreachable, ahf.Corrupted, ahf.NotFound, ahf.Refused)):
        ahf.publish(name, f"hf://{name}")
    assert ahf.Registry().events(name) == []


@pytest.fixture
def published(proxy: Any, name: str, stored: Store, tmp_path: Path) -> ahf.Version:
    """A version on the Hub, from another machine."""
    elsewhere = ahf.Registry(tmp_path / "elsewhere")
    version = stored(name, registry=elsewhere)
    ahf.publish(name, f"hf://{name}", registry=elsewhere)
    return version


READS: dict[str, Callable[[str, str], object]] = {
    "pull": lambda name, commit: ahf.pull(f"hf://{name}@v1", "desk/tone"),
    "pull the newest": lambda name, commit: ahf.pull(f"hf://{name}", "desk/tone"),
    "pull its commit": lambda name, commit: ahf.pull(f"hf://{name}@{commit}", "desk/tone"),
    "import": lambda name, commit: ahf.import_folder(f"hf://{name}@v1", "desk/tone"),
    "path": lambda name, commit: ahf.RegistryChain.configured().path(f"hf://{name}@v1"),
    "path of the newest": lambda name, commit: ahf.RegistryChain.configured().path(f"hf://{name}"),
    "path of its commit": lambda name, commit: ahf.RegistryChain.configured().path(f"hf://{name}@{commit}"),
    "as of": lambda name, commit: ahf.RegistryChain.configured().resolve(f"hf://{name}", as_of="2024-01-01"),
}


@pytest.mark.parametrize("denied", ["/paths-info/", "/paths-info/|/tree/"])
@pytest.mark.parametrize("read", READS)
def test_a_version_whose_manifest_is_withheld_is_an_error(
    read: str, denied: str, proxy: Any, at_hub: Any, name: str, published: ahf.Version,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    commit = at_hub.api().list_repo_refs(name).tags[0].target_commit
    monkeypatch.setenv("AHF_CACHE", str(tmp_path / "another-cache"))  # what was read while publishing isn't known
    proxy.gone, proxy.denied = {"ahf_manifest.json"}, denied
    with pytest.raises((ahf.Corrupted, ahf.Unreachable), match="manifest") as raised:
        READS[read](name, commit)
    assert "\n" not in str(raised.value)
    assert ahf.Registry().names() == [] and ahf.RegistryChain.configured().answering(f"hf://{name}").names() == []


def test_a_list_says_which_version_lacks_its_manifest(
    proxy: Any, name: str, published: ahf.Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adapterhub_fin.publishing import catalogue

    monkeypatch.setenv("AHF_CACHE", str(tmp_path / "another-cache"))
    proxy.gone = {"ahf_manifest.json"}
    page = catalogue(f"hf://{name}").search()
    assert not page.rows and list(page.damaged) == [f"{name}@1"]


def test_nothing_is_published_beside_a_version_that_can_not_be_told(
    plain: Any, name: str, stored: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(name)
    ahf.publish(name, f"hf://{name}")
    monkeypatch.setenv("AHF_CACHE", str(tmp_path / "another-cache"))
    plain.gone = {"ahf_manifest.json"}
    with pytest.raises(ahf.Corrupted, match="lacks ahf_manifest.json"):
        ahf.publish(name, f"hf://{name}")
    assert list(plain.tags[name]) == ["v1"], "it is not there twice"


def test_what_others_tagged_v1_is_imported_by_its_commit(
    proxy: Any, at_hub: Any, name: str, adapter: Callable[..., dict[str, bytes]]
) -> None:
    from huggingface_hub import CommitOperationAdd

    files = adapter(5)
    at_hub.api().create_repo(name)
    at_hub.api().create_commit(name, [CommitOperationAdd(p, d) for p, d in files.items()], commit_message="an adapter")
    proxy.gone = {"ahf_manifest.json"}  # as on a Hub that makes no version of what is pushed
    with pytest.raises(ahf.Corrupted, match="ahf import") as raised:
        ahf.pull(f"hf://{name}@v1", "desk/theirs")
    found = re.search(r"`ahf import (\S+) --as", str(raised.value))
    assert found
    assert ahf.import_folder(found[1], "desk/theirs").version.reference == "desk/theirs@1"


@pytest.mark.parametrize(
    ("place", "status"), [("upload", "307"), ("upload", "308"), ("commit", "307"), ("tag", "308"), ("create", "307")]
)
def test_what_is_redirected_is_sent_where_it_belongs(
    place: str, status: str, plain: Any, name: str, stored: Store
) -> None:
    version = stored(name, weights=LARGE)
    fault = plain.fault(f"again {status}", *WRITES[place], times=1000)
    assert ahf.publish(name, f"hf://{name}").reference == f"hf://{name}@v1"
    assert fault.met
    assert ahf.pull(f"hf://{name}", "desk/back").digest == version.digest


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited for, none of which passes."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


ASKED = {
    "refs": ("GET", r"/refs$"),
    "head": ("GET", r"/api/models/[^/]+/[^/]+(/revision/main)?(\?|$)"),
    "manifest": ("POST", r"/paths-info/"),
    "tree": ("GET", r"/tree/"),
    "create": ("POST", r"/api/repos/create$"),
    "commit": ("POST", r"/commit/main"),
    "tag": ("POST", r"/tag/"),
    "upload": ("PUT", r"/"),
}


@pytest.mark.parametrize("place", ASKED)
def test_a_busy_hub_is_asked_again(place: str, plain: Any, name: str, stored: Store, waits: list[float]) -> None:
    version = stored(name, weights=LARGE)
    fault = plain.fault("busy 3", *ASKED[place])
    assert ahf.publish(name, f"hf://{name}").reference == f"hf://{name}@v1"
    assert ahf.pull(f"hf://{name}", "desk/back").digest == version.digest
    assert fault.met == 1 and any(3 <= wait <= 4 for wait in waits), "as long as it asks for"


@pytest.mark.parametrize(
    ("place", "after"),
    [
        *[("refs", "30"), ("refs", "1000000"), ("refs", "a date"), ("refs", "none")],
        *[("tree", "30"), ("tree", "61"), ("tree", "1000000")],
    ],
)
def test_a_hub_that_stays_busy_ends_in_one_sentence_soon(
    place: str, after: str, proxy: Any, name: str, published: ahf.Version, waits: list[float]
) -> None:
    waits.clear()
    asked = {"a date": format_datetime(datetime.now(UTC) + timedelta(days=1)), "none": ""}.get(after, after)
    proxy.fault(f"busy {asked}", *ASKED[place], times=1000)
    with pytest.raises(ahf.Unreachable, match="try again later") as raised:
        ahf.pull(f"hf://{name}@v1", "desk/tone")
    assert "\n" not in str(raised.value) and ahf.Registry().names() == []
    # The client itself tries a tree five times more.
    assert sum(waits) <= (PATIENCE if place == "refs" else 5 * (PATIENCE + 1))
    if after in ("61", "1000000") or (after == "a date" and place == "refs"):
        assert not waits, "nobody waits for that"


def test_the_clients_own_questions_are_left_alone(proxy: Any, at_hub: Any, name: str, waits: list[float]) -> None:
    from huggingface_hub import HfApi

    at_hub.api().create_repo(name)
    with pytest.raises(ahf.NotFound):
        ahf.pull("hf://nobody/nothing")  # which has put its hooks on the session
    proxy.fault("busy 100", "GET", r"/tree/")
    assert list(HfApi(endpoint=proxy.url).list_repo_tree(name)) is not None and waits == [101.0]
