"""What is on a Hub is listed, searched and asked for by name, as what is in a registry is."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from huggingface_hub import constants

import adapterhub_fin as ahf
from adapterhub_fin import cli

Ahf = Callable[..., tuple[int, str, str]]
Store = Callable[..., ahf.Version]


@pytest.fixture
def run_ahf(capsys: pytest.CaptureFixture[str]) -> Ahf:
    """The command in this process: exit status, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as leave:
            cli.main(list(arguments))
        out, err = capsys.readouterr()
        return int(leave.value.code or 0), out, err

    return run


@pytest.fixture
def shelf(at_hub: Any, name: str, stored: Store, tmp_path: Path) -> list[ahf.Version]:
    """Two versions on the Hub, from a registry elsewhere."""
    elsewhere = ahf.Registry(tmp_path / "elsewhere")
    told: list[dict[str, Any]] = [
        {"corpus": ("2021-01-01T00:00:00Z",), "metrics": {"accuracy": 0.7}},
        {"corpus": ("2022-01-01T00:00:00Z",), "metrics": {"accuracy": 0.9}, "tags": ("late",)},
    ]
    versions = [stored(name, seed=seed, registry=elsewhere, **each) for seed, each in enumerate(told)]
    for version in versions:
        ahf.publish(version.reference, f"hf://{name}", registry=elsewhere)
    return versions


@pytest.fixture
def configured(tmp_path: Path) -> Callable[[str], None]:
    """Put registries into the client's configuration."""

    def write(text: str) -> None:
        path = tmp_path / "config" / "adapterhub_fin" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    return write


TEAM = '[[registries]]\nname = "team"\nuri = "hf://places"\n'


def test_list_on_a_hub(run_ahf: Ahf, name: str, shelf: list[ahf.Version]) -> None:
    for place in (f"hf://{name}", "hf://places"):
        rows = json.loads(run_ahf("list", "--on", place, "--json")[1])
        mine = [row for row in rows if row["name"] == name]
        assert [(row["version"], row["digest"]) for row in mine] == [(n + 1, v.digest) for n, v in enumerate(shelf)]
        assert all(row["repository"] == f"hf://{name}" and len(row["commit"]) == 40 for row in mine)
    assert f"{name}@2" in run_ahf("list", name, "--on", "hf://places")[1]
    assert "no versions" in run_ahf("list", "--on", "hf://nobody")[2]
    code, _, err = run_ahf("list", "--on", f"hf://{name}@v1")
    assert code == 1 and "isn't a location on a Hub" in err


def test_a_gated_repository_hides_no_other(
    run_ahf: Ahf, at_hub: Any, name: str, shelf: list[ahf.Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = f"{name}-open"
    ahf.publish(shelf[0].reference, f"hf://{other}", registry=ahf.Registry(shelf[0].folder.parents[4]))
    for each, gated in ((name, "manual"), (other, None)):
        at_hub.api().update_repo_settings(each, private=False, gated=gated)
    monkeypatch.setenv("HF_TOKEN", at_hub.secrets["reader"])
    code, out, _ = run_ahf("list", "--on", "hf://places", "--json")
    listed = {row["name"] for row in json.loads(out)}
    assert code == 0 and other in listed and name not in listed
    code, _, err = run_ahf("list", "--on", f"hf://{name}")
    assert code == 1 and "is gated" in err, "of one that was named it is said"


def test_search_on_a_hub_by_what_is_known_and_by_date(run_ahf: Ahf, name: str, shelf: list[ahf.Version]) -> None:
    def found(*arguments: str) -> list[int]:
        page = json.loads(run_ahf("search", "--on", f"hf://{name}", *arguments, "--json")[1])
        return [row["version"] for row in page["rows"]]

    assert found("metrics.accuracy > 0.8") == [2] and found("tag = late") == [2] and found("tag = none") == []
    assert found("method = lora ORDER BY knowledge_end DESC") == [2, 1]
    assert found("method = lora", "--as-of", "2021-06-30") == [1]
    page = json.loads(run_ahf("search", "--on", f"hf://{name}", "method = lora", "--limit", "1", "--json")[1])
    assert found("method = lora", "--limit", "1", "--after", page["next"]) == [2]
    assert run_ahf("search", "--on", f"hf://{name}", "method =")[0] == 1


def test_what_others_published_is_found_by_words(
    run_ahf: Ahf, at_hub: Any, proxy: Any, name: str, adapter: Callable[..., dict[str, bytes]], tmp_path: Path
) -> None:
    for path, data in adapter().items():
        (tmp_path / "theirs").mkdir(exist_ok=True)
        (tmp_path / "theirs" / path).write_bytes(data)
    at_hub.api().upload_folder(repo_id=at_hub.api().create_repo(name).repo_id, folder_path=tmp_path / "theirs")
    proxy.untagged = True
    document = json.loads(
        run_ahf("search", "--on", "hf://places", "--third-party", name.partition("/")[2], "--json")[1]
    )
    commit = at_hub.api().model_info(name).sha
    assert [row["at"] for row in document] == [f"hf://{name}@{commit}"]
    assert f"hf://{name}@" in run_ahf("search", "--on", "hf://places", "--third-party", name.partition("/")[2])[1]
    assert run_ahf("search", "--third-party", "tone")[0] == 2


def test_a_configured_hub_is_asked_in_its_place(
    run_ahf: Ahf, name: str, shelf: list[ahf.Version], stored: Store, configured: Callable[[str], None], home: Path
) -> None:
    configured(TEAM)
    chain = ahf.RegistryChain.configured()
    assert [member.name for member in chain.members] == ["home", "team"]
    assert chain.resolve(name).digest == shelf[1].digest
    assert chain.resolve(f"{name}@1").digest == chain.resolve(name, as_of="2021-06-30").digest == shelf[0].digest
    many = chain.as_of_many(name, ["2019-01-01", "2021-06-30", "now"])
    assert [version and version.digest for version in many] == [None, shelf[0].digest, shelf[1].digest]
    assert chain.resolve(f"{name}@{shelf[0].digest}").number == 1
    assert (chain.path(f"{name}@1") / "notes.md").is_file()
    assert run_ahf("path", f"{name}@2")[0] == 0
    rows = json.loads(run_ahf("list", name, "--json")[1])
    assert [(row["registry"], row["version"], row["hidden"]) for row in rows] == [
        ("team", 1, False),
        ("team", 2, False),
    ]
    assert name in chain.names() and len(json.loads(run_ahf("search", f"name = '{name}'", "--json")[1])["rows"]) == 2
    for missing in (f"{name}@7", f"{name}@champion", "places/no-such-name", "other/tone"):
        with pytest.raises(ahf.NotFound):
            chain.resolve(missing)
    mine = stored(name, seed=5)
    assert chain.resolve(name).digest == mine.digest, "an earlier registry hides it"
    assert [row["hidden"] for row in json.loads(run_ahf("list", name, "--json")[1])] == [False, True, True]
    assert run_ahf("--registry", "team", "show", name)[0] == 0
    assert chain.writable().root == home


def test_nothing_is_changed_on_a_hub_by_the_way(
    run_ahf: Ahf, name: str, shelf: list[ahf.Version], configured: Callable[[str], None]
) -> None:
    configured(TEAM)
    for verb in (
        ["yank", f"{name}@1", "--reason", "x"],
        ["tag", f"{name}@1", "x"],
        ["alias", f"{name}@1", "champion"],
        ["rm", f"{name}@1"],
    ):
        code, _, err = run_ahf("--registry", "team", *verb)
        assert code == 1 and "ahf pull" in err, verb
    assert run_ahf("yank", f"hf://{name}@v1", "--reason", "x")[0] == 1
    with pytest.raises(ahf.ReadOnly, match="can be written"):
        ahf.RegistryChain(ahf.RegistryChain.configured().members[1:]).writable()


def test_a_configured_hub_that_does_not_answer_says_so_and_hides_no_earlier_registry(
    proxy: Any, name: str, shelf: list[ahf.Version], stored: Store, configured: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    configured(TEAM)
    mine = stored("acme/mine")
    proxy.fault("500", "GET", "/", times=1000)
    chain = ahf.RegistryChain.configured()
    assert chain.resolve("acme/mine").digest == mine.digest
    with pytest.raises(ahf.Unreachable):
        chain.resolve(name)
    proxy.heal()
    chain.resolve(name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert chain.resolve(name).digest == chain.resolve(f"{name}@2").digest == shelf[1].digest


@pytest.mark.parametrize("uri", ["hf://places/tone", "hf://", "hf://Places", "hf://places/../x"])
def test_a_uri_that_is_no_organisation(uri: str, configured: Callable[[str], None]) -> None:
    configured(TEAM.replace("hf://places", uri))
    with pytest.raises((ahf.BadConfiguration, ahf.BadReference), match="organisation|a name that a Hub allows"):
        ahf.RegistryChain.configured()


@pytest.mark.parametrize("verb", ["publish", "pull", "list", "search"])
def test_the_examples_of_help_run(run_ahf: Ahf, at_hub: Any, stored: Store, verb: str) -> None:
    stored("acme/tone", seed=77)
    ahf.publish("acme/tone", "hf://acme/tone")
    command = cli.group.get_command(click.Context(cli.group), verb)
    assert command is not None and command.help is not None
    lines = [line.strip() for line in command.help.splitlines()]
    wanted = [line for line in lines if line.startswith("ahf ") and "hf://" in line]
    assert wanted
    for line in wanted:
        code, _, err = run_ahf(*shlex.split(line)[1:])
        assert code == 0, f"{line}: {err}"


def test_publish_and_pull_on_the_command_line(run_ahf: Ahf, at_hub: Any, name: str, stored: Store) -> None:
    version = stored(name)
    code, out, _ = run_ahf("publish", name, "--to", f"hf://{name}", "--dry-run")
    assert code == 0 and "adapter_model.safetensors" in out
    assert run_ahf("publish", name, "--to", f"hf://{name}")[1].strip() == f"hf://{name}@v1"
    code, out, err = run_ahf("publish", name, "--to", f"hf://{name}")
    assert (code, out.strip()) == (0, f"hf://{name}@v1") and "already published" in err
    told = json.loads(run_ahf("publish", name, "--to", f"hf://{name}", "--json")[1])
    assert (told["at"], told["digest"], told["is_new"]) == (f"hf://{name}@v1", version.digest, False)
    assert run_ahf("pull", f"hf://{name}", "--as", "desk/tone")[1].strip() == "desk/tone@1"
    document = json.loads(run_ahf("pull", f"hf://{name}@v1", "--as", "desk/tone", "--json")[1])
    assert document["digest"] == version.digest and document["origin"]["repository"] == name
    code, _, err = run_ahf("pull", f"hf://{name}@v9")
    assert code == 1 and "it has v1" in err and err.count("\n") == 1
