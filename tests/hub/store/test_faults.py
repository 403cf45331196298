"""Whatever breaks between a client and a Hub: publish and pull end in the whole old state or the whole new one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, constants

import adapterhub_fin as ahf

Store = Callable[..., ahf.Version]
WRITES = {
    "refs": ("GET", r"/refs$"),
    "create": ("POST", r"/api/repos/create$"),
    "head": ("GET", r"/api/models/[^/]+/[^/]+(/revision/main)?(\?|$)"),
    "tree": ("GET", r"/tree/"),
    "card": ("POST", r"/api/validate-yaml$"),
    "preupload": ("POST", r"/preupload/"),
    "commit": ("POST", r"/commit/main"),
    "tag": ("POST", r"/tag/"),
}
READS = {
    "refs": ("GET", r"/refs$"),
    "manifest's id": ("POST", r"/paths-info/"),
    "tree": ("GET", r"/tree/"),
    "manifest": ("GET", r"/resolve/.*/ahf_manifest.json$"),
    "weights": ("GET", r"/resolve/.*/adapter_model.safetensors$"),
}


@pytest.fixture
def published(proxy: Any, name: str, stored: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ahf.Version:
    """A version on the Hub, of which this client has read nothing yet."""
    elsewhere = ahf.Registry(tmp_path / "elsewhere")
    version = stored(name, registry=elsewhere)
    ahf.publish(name, f"hf://{name}", registry=elsewhere)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "another-cache"))
    return version


@pytest.mark.parametrize("kind", ["500", "503", "reset", "lost"])
@pytest.mark.parametrize("place", WRITES)
def test_a_fault_while_publishing(kind: str, place: str, plain: Any, name: str, stored: Store) -> None:
    stored(name)
    fault = plain.fault(kind, *WRITES[place])
    try:
        assert ahf.publish(name, f"hf://{name}").reference == f"hf://{name}@v1"
    except ahf.Unreachable:
        assert not plain.tags
    assert fault.met == 1, "the fault was met"
    plain.heal()
    assert ahf.publish(name, f"hf://{name}").reference == f"hf://{name}@v1"
    assert list(plain.tags[name]) == ["v1"]
    assert ahf.pull(f"hf://{name}", "acme/back").digest == ahf.Registry().resolve(name).digest


@pytest.mark.parametrize("place", ["commit", "tag"])
def test_an_answer_that_is_lost_costs_neither_a_version_nor_an_error(
    place: str, plain: Any, at_hub: Any, name: str, stored: Store
) -> None:
    stored(name)
    plain.fault("lost", *WRITES[place])
    done = ahf.publish(name, f"hf://{name}")
    assert done.published.number == 1 and done.published.is_new and list(plain.tags[name]) == ["v1"]
    commits = [commit.title for commit in at_hub.api().list_repo_commits(name, revision=plain.tags[name]["v1"])]
    assert commits.count(f"Version {done.version.digest}") == 1, "nothing was sent twice"


@pytest.mark.parametrize("place", ["commit", "tag"])
def test_a_publication_that_can_not_end_shows_nothing(place: str, plain: Any, name: str, stored: Store) -> None:
    stored(name)
    ahf.publish(name, f"hf://{name}")
    old = ahf.pull(f"hf://{name}", "acme/old").digest
    stored(name, seed=1)
    plain.fault("500", *WRITES[place], times=1000)
    with pytest.raises(ahf.Unreachable, match="try again"):
        ahf.publish(f"{name}@2", f"hf://{name}")
    assert list(plain.tags[name]) == ["v1"]
    assert ahf.RegistryChain.configured().resolve(f"hf://{name}").digest == old, "a head without a tag is no version"
    assert [event["kind"] for event in ahf.Registry().events(f"{name}@2")] == []
    plain.heal()
    assert ahf.publish(f"{name}@2", f"hf://{name}").reference == f"hf://{name}@v2"


@pytest.mark.parametrize(("place", "status"), [("commit", "412"), ("commit", "409"), ("tag", "409")])
def test_who_always_comes_second_is_told_after_twelve_tries(
    place: str, status: str, plain: Any, name: str, stored: Store
) -> None:
    stored(name)
    fault = plain.fault(status, *WRITES[place], times=1000)
    with pytest.raises(ahf.Refused, match="changed by others 12 times meanwhile: publish again later"):
        ahf.publish(name, f"hf://{name}")
    assert fault.met == 12 and not plain.tags
    plain.fault(status, *WRITES[place], times=11)
    assert ahf.publish(name, f"hf://{name}").reference == f"hf://{name}@v1"


@pytest.mark.parametrize("kind", ["500", "503", "reset", "lost", "truncated"])
@pytest.mark.parametrize("place", READS)
def test_a_fault_while_pulling(kind: str, place: str, proxy: Any, name: str, published: ahf.Version) -> None:
    fault = proxy.fault(kind, *READS[place])
    try:
        assert ahf.pull(f"hf://{name}").digest == published.digest
    except (ahf.Unreachable, ahf.Corrupted):
        assert ahf.Registry().names() == []
    assert fault.met == 1, "the fault was met"
    proxy.heal()
    assert ahf.pull(f"hf://{name}").reference == f"{name}@1"
    assert ahf.Registry().verify(name).digest == published.digest


@pytest.mark.parametrize("place", ["manifest", "weights"])
def test_wrong_bytes_of_the_right_length_are_refused(place: str, proxy: Any, name: str, published: ahf.Version) -> None:
    fault = proxy.fault("corrupt", *READS[place], times=1000)
    with pytest.raises(ahf.Corrupted, match="other bytes"):
        ahf.pull(f"hf://{name}")
    assert fault.met == 2, "it was fetched once more, lest only a cache was wrong"
    with pytest.raises(ahf.Corrupted, match="other bytes"):
        ahf.RegistryChain.configured().path(f"hf://{name}")
    assert ahf.Registry().names() == []
    proxy.heal()
    assert ahf.pull(f"hf://{name}").digest == published.digest, "and no cache kept them"


def test_a_pull_under_many_faults_at_once(proxy: Any, name: str, published: ahf.Version) -> None:
    faults = proxy.faults_of(
        ("lost", *READS["refs"]),
        ("500", *READS["manifest's id"]),
        ("corrupt", *READS["manifest"]),
        ("503", *READS["tree"]),
        ("truncated", *READS["weights"]),
        ("corrupt", *READS["weights"]),
        ("reset", *READS["weights"]),
    )
    for _ in faults:
        try:
            assert ahf.pull(f"hf://{name}").digest == published.digest
            break
        except (ahf.Unreachable, ahf.Corrupted):
            assert ahf.Registry().names() == []
    assert ahf.Registry().verify(f"{name}@1").digest == published.digest
    assert [fault.met for fault in faults] == [1] * len(faults)


@pytest.fixture
def theirs(at_hub: Any, proxy: Any, name: str, adapter: Callable[..., dict[str, bytes]]) -> dict[str, bytes]:
    """What somebody pushed who knows nothing of versions: its weights in git, its configuration as LFS."""
    files = adapter(5)
    at_hub.api().create_repo(name)
    added = [CommitOperationAdd(path, data) for path, data in files.items()]
    at_hub.api().create_commit(name, added, commit_message="an adapter")
    proxy.plain, proxy.gone = True, {"ahf_manifest.json"}
    return files


@pytest.mark.parametrize("path", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("oid", ["git's", "LFS's"])
def test_wrong_bytes_of_what_others_pushed_are_refused(
    oid: str, path: str, proxy: Any, name: str, theirs: dict[str, bytes]
) -> None:
    if oid == "git's":
        proxy.files = {path: theirs[path]}
    fault = proxy.fault("corrupt", "GET", rf"/resolve/.*/{path}$", times=1000)
    for take in (lambda: ahf.pull(f"hf://{name}", "acme/theirs"), lambda: ahf.load(f"hf://{name}")):
        with pytest.raises(ahf.Corrupted, match=f"{path} of hf://{name}.* other bytes"):
            take()
    assert fault.met == 4, "each was fetched once more"
    assert ahf.Registry().names() == [] and ahf.RegistryChain.configured().answering(f"hf://{name}").names() == []
    proxy.heal()
    pulled = ahf.pull(f"hf://{name}", "acme/theirs")
    assert {each: (pulled.files / each).read_bytes() for each in theirs} == theirs


FOREIGN = {key: READS[key] for key in ("refs", "manifest's id", "tree", "weights")} | {
    "head": ("GET", r"/api/models/[^/]+/[^/]+(\?|$)"),
    "configuration": ("GET", r"/resolve/.*/adapter_config.json$"),
}


@pytest.mark.parametrize("kind", ["500", "reset", "truncated"])
@pytest.mark.parametrize("place", FOREIGN)
def test_a_fault_while_pulling_what_others_pushed(
    kind: str, place: str, proxy: Any, name: str, theirs: dict[str, bytes]
) -> None:
    fault = proxy.fault(kind, *FOREIGN[place])
    try:
        ahf.pull(f"hf://{name}", "acme/theirs")
    except ahf.Unreachable:
        assert ahf.Registry().names() == []
    assert fault.met == 1, "the fault was met"
    proxy.heal()
    pulled = ahf.pull(f"hf://{name}", "acme/theirs")
    assert {each: (pulled.files / each).read_bytes() for each in theirs} == theirs


@pytest.mark.parametrize(("answer", "error", "says"), [
    ("403 GatedRepo", ahf.Refused, "says so.*accept"),
    ("404 RepoNotFound", ahf.NotFound, "hf auth login"),
    ("404 RevisionNotFound", ahf.NotFound, "lists its versions"),
    ("403", ahf.Refused, "ask its owner"),
    ("418", ahf.Refused, "the proxy says so"),
    ("429", ahf.Unreachable, "try again later"),
])  # fmt: skip
def test_every_answer_of_a_hub_says_what_to_do(
    answer: str, error: type[Exception], says: str, proxy: Any, name: str
) -> None:
    proxy.fault(answer, "GET", "/", times=1000)
    with pytest.raises(error, match=says) as raised:
        ahf.pull(f"hf://{name}")
    assert "\n" not in str(raised.value) and ahf.Registry().names() == []
