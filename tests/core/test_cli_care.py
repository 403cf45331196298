"""Run the commands that maintain a registry, as a user types them: tag, yank, rm, gc, doctor."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

import adapterhub_fin as ahf

Ahf = Callable[..., tuple[int, str, str]]


@pytest.fixture
def clean(run_ahf: Ahf, stocked: Path) -> Path:
    """acme/tone@1 in a registry without faults: the fixture's copy was made by other means."""
    assert run_ahf("doctor", "--repair")[0] == 0
    return stocked


def test_tag_and_untag(run_ahf: Ahf, clean: Path) -> None:
    assert run_ahf("tag", "acme/tone@1", "production")[1] == "acme/tone@1 is tagged production\n"
    assert json.loads(run_ahf("tag", "acme/tone", "risk", "--json")[1])["tags"] == ["production", "risk"]
    run_ahf("tag", "acme/tone@1", "risk", "--remove")
    assert run_ahf("tag", "acme/tone@1", "production", "--remove")[1] == "acme/tone@1 is tagged with nothing\n"
    assert run_ahf("tag", "acme/tone@1", "")[0] == 1


def test_yank_and_its_undoing(run_ahf: Ahf, clean: Path) -> None:
    assert run_ahf("yank", "acme/tone@1")[0] == 2  # without a reason
    assert run_ahf("yank", "acme/tone@1", "--reason", "the wrong rows")[1] == "acme/tone@1 is yanked\n"
    code, _, err = run_ahf("show", "acme/tone")
    assert code == 1 and "yanked" in err
    assert run_ahf("path", "acme/tone@1")[0] == 0
    event = ahf.Registry().events("acme/tone@1")[-1]
    assert (event["kind"], event["reason"]) == ("yank", "the wrong rows")
    assert json.loads(run_ahf("yank", "acme/tone@1", "--undo", "--json")[1])["yanked"] is False
    assert run_ahf("show", "acme/tone")[0] == 0


def test_rm_takes_an_exact_version_and_explains_aliases(run_ahf: Ahf, clean: Path) -> None:
    run_ahf("alias", "acme/tone@1", "champion")
    for reference in ("acme/tone", "acme/tone@champion", "acme/tone@latest"):
        code, _, err = run_ahf("rm", reference)
        assert code == 1 and "by number or by digest" in err and err.count("\n") == 1
    code, _, err = run_ahf("rm", "acme/tone@1")
    assert code == 1 and "champion" in err and "set the alias to another version first" in err
    run_ahf("alias", "acme/tone", "champion", "--remove")
    assert json.loads(run_ahf("rm", "acme/tone@1", "--reason", "a test", "--json")[1])["deleted"] is True
    assert run_ahf("show", "acme/tone@1")[0] == 1 and run_ahf("rm", "acme/tone@1")[0] == 1


def test_gc_lists_and_removes(run_ahf: Ahf, clean: Path) -> None:
    assert run_ahf("gc")[2] == "nothing was left behind\n"
    dead = clean / "tmp" / str(uuid.uuid4())
    dead.mkdir(mode=0o700)
    assert json.loads(run_ahf("gc", "--json")[1]) == []  # it may be alive
    os.utime(dead, (1_000_000_000, 1_000_000_000))
    code, out, _ = run_ahf("gc", "--dry-run")
    assert code == 0 and dead.name in out and "would be removed" in out and dead.exists()
    [left] = json.loads(run_ahf("gc", "--grace", "48", "--json")[1])
    assert left["kind"] == "unfinished" and left["removed"] and not dead.exists()


def test_doctor_explains_mends_and_says_what_is_left(run_ahf: Ahf, clean: Path) -> None:
    assert run_ahf("doctor")[::2] == (0, "nothing is wrong\n")
    (clean / "changed").write_text("")
    (clean / "adapters" / "Acme").mkdir()
    code, out, _ = run_ahf("doctor")
    assert code == 1 and "ahf doctor --repair" in out and "by hand" in out
    found = json.loads(run_ahf("doctor", "--repair", "--json")[1])
    assert {(finding["kind"], finding["repaired"]) for finding in found} >= {("mark", True), ("unexpected", False)}
    assert run_ahf("doctor", "--repair")[0] == 1
    (clean / "adapters" / "Acme").rmdir()
    assert run_ahf("doctor", "--repair")[0] == 0 and run_ahf("doctor")[0] == 0


def test_doctor_explains_what_it_may_not_mend(
    run_ahf: Ahf, clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "team").mkdir()
    text = "".join(
        f"[[registries]]\nname = '{path.name}x'\npath = '{path}'\nread_only = true\n"
        for path in (clean, tmp_path / "team")
    )
    (tmp_path / "config.toml").write_text(text)
    monkeypatch.setenv("AHF_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.delenv("AHF_HOME")
    assert run_ahf("doctor")[::2] == (0, "nothing is wrong\n")
    code, _, err = run_ahf("doctor", "--repair")
    assert code == 1 and "none of the registries" in err
