"""Several registries asked in order: which answers, what it hides, where new versions go, and what is only read."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapterhub_fin_registry import Manifest, Registry, RegistryChain
from adapterhub_fin_registry.errors import (
    BadConfiguration,
    BadQuery,
    BadReference,
    Corrupted,
    NotFound,
    ReadOnly,
    Refused,
)
from adapterhub_fin_registry.registry_chain import Member

MakeFolder = Callable[..., Path]
MakeManifest = Callable[..., Manifest]
Configure = Callable[[str], Path]
Add = Callable[..., str]


@pytest.fixture
def personal(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "personal")


@pytest.fixture
def team(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "team")


@pytest.fixture
def chain(personal: Registry, team: Registry) -> RegistryChain:
    return RegistryChain([Member("personal", personal), Member("team", team)])


@pytest.fixture
def add(make_folder: MakeFolder, make_manifest: MakeManifest) -> Add:
    """Add versions of a name, each from a folder of its own, and give the digest of the last."""

    def several(registry: Registry, name: str, *seeds: int, corpus: str = "2021-01-01T00:00:00Z") -> str:
        for seed in seeds:
            version = registry.add(make_folder(seed), make_manifest("2020-01-01T00:00:00Z", corpus), name=name)
        return version.digest

    return several


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch, configure: Configure, personal: Registry, team: Registry) -> Path:
    """A configuration of the two, the team's to be read only, without AHF_HOME."""
    monkeypatch.delenv("AHF_HOME")
    return configure(
        f"[[registries]]\nname = 'personal'\npath = '{personal.root}'\n"
        f"[[registries]]\nname = 'team'\npath = '{team.root}'\nread_only = true\n"
    )


def test_the_first_that_has_the_name_answers_and_hides_it_in_the_others(
    chain: RegistryChain, personal: Registry, team: Registry, add: Add, caplog: pytest.LogCaptureFixture
) -> None:
    mine = add(personal, "acme/tone", 1)
    theirs = add(team, "acme/tone", 2, 3)
    shared = add(team, "acme/news", 4)
    team.set_alias("acme/tone", "champion", 2)
    with caplog.at_level(logging.INFO):
        assert chain.resolve("acme/tone").digest == mine
        assert chain.path("acme/news") == team.path("acme/news")
    assert f"acme/tone is answered by the registry personal at {personal.root}" in caplog.text
    assert f"acme/news is answered by the registry team at {team.root}" in caplog.text
    assert chain.resolve("acme/news@1").digest == shared
    for reference in ("acme/tone@2", "acme/tone@champion"):  # of the one that answers, and of no other
        with pytest.raises(NotFound):
            chain.resolve(reference)
    # The same bytes are the same wherever they lie.
    for reference in (theirs, f"acme/tone@{theirs}", f"@{theirs}"):
        assert chain.resolve(reference).folder == team.resolve(theirs).folder


def test_a_date_chooses_within_the_registry_that_answers(
    chain: RegistryChain, personal: Registry, team: Registry, add: Add
) -> None:
    add(personal, "acme/tone", 1, corpus="2022-01-01T00:00:00Z")
    add(team, "acme/tone", 2, corpus="2020-06-01T00:00:00Z")
    assert chain.resolve("acme/tone", as_of="2023-01-01").folder.is_relative_to(personal.root)
    with pytest.raises(Refused, match="2022"):
        chain.resolve("acme/tone", as_of="2021-01-01")


def test_a_lock_holds_its_version_though_an_earlier_registry_has_the_name_by_now(
    chain: RegistryChain, personal: Registry, team: Registry, add: Add, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lock = tmp_path / "adapters.lock"
    theirs = add(team, "acme/tone", 1)
    assert chain.resolve("acme/tone", lock=lock).digest == theirs
    before = lock.read_bytes()
    mine = add(personal, "acme/tone", 2)
    add(team, "acme/tone", 3)
    with caplog.at_level(logging.WARNING):
        registry, version = chain.locate("acme/tone", lock=lock)
    assert (registry.root, version.digest, version.number) == (team.root, theirs, 1)
    assert chain.path("acme/tone", lock=lock) == team.path("acme/tone@1") and lock.read_bytes() == before
    # Both are acme/tone@1: only a digest tells them apart.
    assert f"holds acme/tone to acme/tone@1, {theirs}; by now it is acme/tone@1, {mine}" in caplog.text
    assert chain.resolve("acme/tone").digest == mine


def test_a_date_is_checked_on_a_version_that_a_lock_holds_in_a_later_registry(
    chain: RegistryChain, personal: Registry, team: Registry, add: Add, tmp_path: Path
) -> None:
    lock = tmp_path / "adapters.lock"
    add(team, "acme/tone", 1, corpus="2020-06-01T00:00:00Z")
    future = add(team, "acme/tone", 2, corpus="2022-01-01T00:00:00Z")
    held = chain.resolve("acme/tone", as_of="2021-01-01", lock=lock)
    add(personal, "acme/tone", 3, corpus="2019-06-01T00:00:00Z")
    assert held.number == 1 and chain.resolve("acme/tone", as_of="2021-01-01", lock=lock).folder == held.folder
    lock.write_text(lock.read_text().replace(held.digest, future))
    with pytest.raises(Refused, match="2022"):
        chain.resolve("acme/tone", as_of="2021-01-01", lock=lock)


def test_a_version_that_a_lock_holds_and_no_registry_has_is_said_to_be_gone(
    chain: RegistryChain, personal: Registry, team: Registry, add: Add, tmp_path: Path
) -> None:
    lock = tmp_path / "adapters.lock"
    digest = add(team, "acme/tone", 1)
    chain.resolve("acme/tone", lock=lock)
    add(personal, "acme/tone", 2)
    team.delete("acme/tone@1")
    with pytest.raises(NotFound, match=f"{lock} holds acme/tone to acme/tone@1, {digest}, which is gone"):
        chain.resolve("acme/tone", lock=lock)


def test_lists_name_the_registry_and_what_is_hidden(
    chain: RegistryChain, personal: Registry, team: Registry, add: Add
) -> None:
    add(personal, "acme/tone", 1)
    add(team, "acme/tone", 2)
    add(team, "acme/news", 3)
    rows = [(row["registry"], row["name"], row["hidden"]) for row in chain.rows()]
    assert rows == [("personal", "acme/tone", False), ("team", "acme/news", False), ("team", "acme/tone", True)]
    assert [row["registry"] for row in chain.rows("acme/tone")] == ["personal", "team"]
    assert chain.names() == ["acme/news", "acme/tone"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, None])
def test_a_search_goes_through_them_page_by_page(
    chain: RegistryChain, personal: Registry, team: Registry, add: Add, size: int | None
) -> None:
    add(personal, "acme/tone", 1)
    add(team, "acme/tone", 2)
    add(team, "acme/news", 3, 4)
    pages = [chain.search("method = lora", limit=size)]
    while pages[-1].next is not None:
        pages.append(chain.search("method = lora", limit=size, after=pages[-1].next))
    rows = [row for page in pages for row in page]
    assert all(len(page) == size for page in pages[:-1])
    key = ("registry", "name", "version", "hidden")
    assert sorted(tuple(row[each] for each in key) for row in rows) == [
        ("personal", "acme/tone", 1, False),
        ("team", "acme/news", 1, False),
        ("team", "acme/news", 2, False),
        ("team", "acme/tone", 1, True),
    ]
    assert [row["registry"] for row in rows] == ["personal", *["team"] * 3]


@pytest.mark.parametrize("cursor", ["", "x", "2.", "-1.", "0", "\u0661.", "1.x", "99999999999."])
def test_a_cursor_of_nothing_is_refused(chain: RegistryChain, team: Registry, add: Add, cursor: str) -> None:
    add(team, "acme/tone", 1)
    with pytest.raises(BadQuery, match="begin at its first page"):
        chain.search("", after=cursor)


def test_what_was_deleted_hides_nothing_and_what_is_damaged_does(
    chain: RegistryChain, personal: Registry, team: Registry, add: Add
) -> None:
    add(personal, "acme/tone", 1)
    theirs = add(team, "acme/tone", 2)
    manifest = personal.resolve("acme/tone").folder / "manifest.json"
    whole = manifest.read_bytes()
    manifest.write_bytes(b"{")
    with pytest.raises(Corrupted):
        chain.resolve("acme/tone@1")
    with pytest.raises(NotFound, match="damaged|no adapter"):
        chain.resolve("acme/tone")
    manifest.unlink()
    with pytest.raises(NotFound):
        chain.resolve("acme/tone")
    manifest.write_bytes(whole)
    personal.delete("acme/tone@1")
    assert chain.resolve("acme/tone").digest == theirs


def test_what_is_nowhere_is_told_with_the_near_names_of_all(
    chain: RegistryChain, team: Registry, add: Add, personal: Registry
) -> None:
    add(team, "acme/tone", 1)
    add(personal, "acme/news", 2)
    with pytest.raises(NotFound, match="did you mean acme/tone"):
        chain.resolve("acme/tune")
    with pytest.raises(NotFound, match="acme/tone has versions 1"):
        chain.resolve(f"acme/tone@sha256:{'0' * 64}")
    with pytest.raises(NotFound, match="in personal, team"):
        chain.resolve(f"sha256:{'0' * 64}")
    for hostile in ("../acme/tone", "acme/../tone", "/etc/passwd", "acme\\tone", "ACME/tone"):
        with pytest.raises(BadReference):
            chain.resolve(hostile)


def test_new_versions_go_to_the_first_that_can_be_written(
    both: Path, configure: Configure, personal: Registry, team: Registry, add: Add
) -> None:
    add(team, "acme/tone", 1)
    assert RegistryChain.configured().writable().root == personal.root
    shutil.rmtree(personal.root)  # made by the question
    configure(both.read_text().replace("name = 'personal'", "name = 'personal'\nread_only = true"))
    with pytest.raises(BadConfiguration, match="personal in .* isn't there"):
        RegistryChain.configured()
    add(personal, "acme/tone", 1)
    with pytest.raises(ReadOnly, match="none of the registries personal, team"):
        RegistryChain.configured().writable()
    assert RegistryChain.configured().writable_or_first().root == personal.root
    configure(f"{both.read_text()}[[registries]]\nname = 'last'\npath = 'last'\n")
    assert RegistryChain.configured().writable().root == both.parent / "last"
    assert RegistryChain.configured().writable_or_first().root == both.parent / "last"


def test_a_registry_that_is_only_read_is_never_written(
    both: Path, team: Registry, add: Add, make_folder: MakeFolder, make_manifest: MakeManifest
) -> None:
    add(team, "acme/tone", 1)
    before = {path: path.stat().st_mtime_ns for path in team.root.rglob("*")}
    registry = RegistryChain.configured().answering("acme/tone")
    assert registry.root == team.root and registry.path("acme/tone").is_dir()
    for change in (
        lambda: registry.add(make_folder(2), make_manifest(), name="acme/tone"),
        lambda: registry.set_alias("acme/tone", "champion", 1),
        lambda: registry.add_event("acme/tone", "yank"),
        lambda: registry.delete("acme/tone@1"),
        registry.check_writable,
    ):
        with pytest.raises(ReadOnly, match="the configuration makes it read_only"):
            change()
    assert {path: path.stat().st_mtime_ns for path in team.root.rglob("*")} == before


def test_without_configured_registries_there_is_the_default_one(home: Path, add: Add) -> None:
    add(Registry(), "acme/tone", 1)
    chain = RegistryChain.configured()
    assert [(member.name, member.registry.root) for member in chain.members] == [("home", home)]
    assert chain.resolve("acme/tone").number == 1 and chain.writable().root == home
    assert not chain.rows()[0]["hidden"]


def test_the_environments_registry_is_asked_first(
    both: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, team: Registry, add: Add
) -> None:
    add(team, "acme/tone", 1)
    monkeypatch.setenv("AHF_HOME", str(tmp_path / "home"))
    assert [member.name for member in RegistryChain.configured().members] == ["home", "personal", "team"]
    monkeypatch.setenv("AHF_HOME", str(team.root))
    assert [member.name for member in RegistryChain.configured().members] == ["personal", "team"]
    monkeypatch.setenv("AHF_REGISTRY", "team")
    assert [member.name for member in RegistryChain.configured().members] == ["team"]
    monkeypatch.setenv("AHF_REGISTRY", "teem")
    with pytest.raises(NotFound, match="no registry named 'teem' in .*: there is personal, team"):
        RegistryChain.configured()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("registries = 3", "must be a list of tables"),
        ("registries = ['/mnt']", "must be a list of tables"),
        ("[[registries]]\npath = 'x'", "is named None"),
        ("[[registries]]\nname = '../x'\npath = 'x'", "is named '../x'"),
        ("[[registries]]\nname = 'home'\npath = 'x'", "not home"),
        ("[[registries]]\nname = 'x'", "a path or a uri"),
        ("[[registries]]\nname = 'x'\npath = 'x'\nuri = 'hf://acme'", "a path or a uri"),
        ("[[registries]]\nname = 'x'\nuri = 'https://acme'", "begins with hf://"),
        ("[[registries]]\nname = 'x'\nuri = 'hf://acme/tone'", "name an organisation"),
        ("[[registries]]\nname = 'x'\npath = 'x'\nreadonly = true", "did you mean read_only"),
        ("[[registries]]\nname = 'x'\npath = 'x'\nread_only = 'yes'", "true or false"),
        ("[[registries]]\nname = 'x'\npath = 'x'\n[[registries]]\nname = 'x'\npath = 'y'", "two registries x"),
    ],
)
def test_registries_that_cannot_be_used_are_refused(configure: Configure, text: str, said: str) -> None:
    configure(text)
    with pytest.raises(BadConfiguration, match=said) as raised:
        RegistryChain.configured()
    assert "\n" not in str(raised.value)


def test_a_registrys_own_policy_rules_over_it_alone(
    chain: RegistryChain, personal: Registry, team: Registry, add: Add
) -> None:
    add(personal, "acme/tone", 1)
    add(team, "acme/news", 2)
    (team.root / "policy.toml").write_text("max_size = 1")
    assert chain.path("acme/tone").is_dir()
    with pytest.raises(Refused, match="max_size in .*team"):
        chain.path("acme/news")


@pytest.fixture
def mounted(add: Add) -> Iterator[Path]:
    """A registry that its reader may not write to, in a place that any user can reach."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    add(Registry(place / "team"), "acme/tone", 1)
    for folder, _, files in os.walk(place / "team"):
        Path(folder).chmod(0o555)
        for file in files:
            (Path(folder) / file).chmod(0o444)
    yield place / "team"
    for folder, _, _ in os.walk(place / "team"):
        Path(folder).chmod(0o755)
    shutil.rmtree(place)


def test_a_folder_that_may_not_be_written_is_read_and_skipped_for_writing(mounted: Path) -> None:
    """Also where nobody said so in a configuration, as any user but root sees it."""

    def as_a_user() -> None:
        own = Path(tempfile.mkdtemp())
        chain = RegistryChain([Member("team", Registry(mounted)), Member("own", Registry(own))])
        assert chain.path("acme/tone").is_dir() and chain.rows()[0]["registry"] == "team"
        assert chain.writable().root == own
        with pytest.raises(ReadOnly):
            chain.answering("acme/tone").set_alias("acme/tone", "champion", 1)
        shutil.rmtree(own)

    Registry(mounted).verify("acme/tone")  # so that the child has imported what it needs
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.getuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            os.environ["XDG_CONFIG_HOME"] = str(mounted.parent / "none")
            as_a_user()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
