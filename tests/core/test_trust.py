"""Signing, the policy and several registries, as a user of the command and of `ahf.load` meets them."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import adapterhub_fin as ahf
from adapterhub_fin.engine.training.run import Run

Ahf = Callable[..., tuple[int, str, str]]


@pytest.fixture
def key(run_ahf: Ahf, tmp_path: Path) -> Path:
    """A private key, made by the command."""
    assert run_ahf("sign", "--new-key", str(tmp_path / "desk.pem"))[0] == 0
    return tmp_path / "desk.pem"


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write the client's configuration."""

    def write(text: str) -> Path:
        path = tmp_path / "client.toml"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setenv("AHF_CONFIG", str(path))
        return path

    return write


def test_sign_and_verify_by_key(run_ahf: Ahf, stocked: Path, key: Path) -> None:
    public = str(key.with_suffix(".pub"))
    code, out, _ = run_ahf("verify", "acme/tone", "--key", public)
    assert code == 1 and "acme/tone@1 isn't signed by desk.pub" in out
    code, out, _ = run_ahf("sign", "acme/tone", "--key", str(key))
    fingerprint = out.split()[-1]
    assert code == 0 and out.startswith("acme/tone@1 is signed by ")
    assert json.loads(run_ahf("sign", "acme/tone@1", "--key", str(key), "--json")[1])["fingerprint"] == fingerprint
    assert run_ahf("verify", "acme/tone", "--key", public)[:1] == (0,)
    (row,) = json.loads(run_ahf("verify", "acme/tone", "--key", public, "--json")[1])
    assert (row["error"], row["signatures"]) == (None, 1)
    assert row["signed_by"] == [{"name": "desk.pub", "fingerprint": fingerprint}]
    assert "an unknown key" in run_ahf("verify", "--all")[1]


def test_a_stranger_s_signature_and_a_private_key_are_told_apart(
    run_ahf: Ahf, stocked: Path, key: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    document = json.loads(run_ahf("sign", "--new-key", str(other), "--kind", "ed25519", "--json")[1])
    assert document["public"] == str(other.with_suffix(".pub"))
    run_ahf("sign", "acme/tone", "--key", str(key))
    assert run_ahf("verify", "acme/tone", "--key", str(other.with_suffix(".pub")))[0] == 1
    either = ("--key", str(other.with_suffix(".pub")), "--key", str(key.with_suffix(".pub")))
    assert run_ahf("verify", "acme/tone", *either)[0] == 0
    code, _, err = run_ahf("verify", "acme/tone", "--key", str(key))
    assert code == 1 and "private key" in err and err.count("\n") == 1


def test_a_new_key_overwrites_nothing_and_is_its_owners_alone(run_ahf: Ahf, key: Path, tmp_path: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    code, _, err = run_ahf("sign", "--new-key", str(key))
    assert code == 1 and "no key is overwritten" in err and key.read_bytes() == before
    key.unlink()
    code, _, err = run_ahf("sign", "--new-key", str(key))  # its public half would be
    assert code == 1 and "desk.pub" in err and not key.exists()
    assert run_ahf("sign", "--new-key", str(tmp_path / "x.pub"))[0] == 1
    code, _, err = run_ahf("sign", "--new-key", str(tmp_path / "none" / "x.pem"))
    assert code == 1 and "can't be written" in err and err.count("\n") == 1


def test_sign_says_what_it_needs(run_ahf: Ahf, stocked: Path, key: Path) -> None:
    assert run_ahf("sign")[0] == run_ahf("sign", "acme/tone")[0] == run_ahf("sign", "--key", str(key))[0] == 2
    assert run_ahf("sign", "acme/tone", "--new-key", "x.pem")[0] == 2
    assert run_ahf("sign", "acme/none", "--key", str(key))[0] == 1
    key.chmod(0o644)
    code, _, err = run_ahf("sign", "acme/tone", "--key", str(key))
    assert code == 1 and "chmod 600" in err and err.count("\n") == 1


def test_an_encrypted_key_takes_its_passphrase_from_the_environment(
    run_ahf: Ahf, stocked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = str(tmp_path / "locked.pem")
    assert run_ahf("sign", "--new-key", locked, "--encrypt")[0] == 2  # nobody to ask
    monkeypatch.setenv("AHF_KEY_PASSPHRASE", "between us")
    assert run_ahf("sign", "--new-key", locked)[0] == 0 and b"ENCRYPTED" in Path(locked).read_bytes()
    assert run_ahf("sign", "acme/tone", "--key", locked)[0] == 0
    monkeypatch.delenv("AHF_KEY_PASSPHRASE")
    code, _, err = run_ahf("sign", "acme/tone", "--key", locked)
    assert code == 1 and "AHF_KEY_PASSPHRASE" in err


def test_a_policy_holds_for_loading_importing_and_training(
    run_ahf: Ahf, stocked: Path, trained: Run, key: Path, configure: Callable[[str], Path], encoder: Path
) -> None:
    source = configure(f"[policy]\nrequire_signature = true\nkeys = {{desk = '{key.with_suffix('.pub')}'}}\n")
    for refused in (
        lambda: ahf.load("acme/tone"),
        lambda: ahf.attach(trained.adapter.model, "acme/tone"),
        lambda: ahf.import_folder(trained.version.files, "acme/mine", labels=["a", "b", "c"]),
    ):
        with pytest.raises(ahf.Refused, match=f"signed by none of desk.*require_signature in {source}"):
            refused()
    for verb in (["predict", "acme/tone", "Profit rose."], ["path", "acme/tone"]):
        code, _, err = run_ahf(*verb)
        assert code == 1 and "require_signature" in err and err.count("\n") == 1
    code, out, _ = run_ahf("verify", "acme/tone")
    assert code == 1 and "intact" in out and "require_signature" in out
    assert run_ahf("show", "acme/tone")[0] == run_ahf("list")[0] == 0
    assert run_ahf("sign", "acme/tone", "--key", str(key))[0] == 0
    assert ahf.load("acme/tone").predict(["Profit rose."])
    assert "desk (" in run_ahf("verify", "acme/tone")[1]
    configure(f"sign_with = '{key}'\n{source.read_text()}")
    taken = ahf.import_folder(trained.version.files, "acme/mine", labels=["a", "b", "c"])
    assert run_ahf("verify", taken.version.reference, "--key", str(key.with_suffix(".pub")))[0] == 0


def test_several_registries_answer_in_order(
    run_ahf: Ahf,
    stocked: Path,
    trained: Run,
    configure: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("AHF_HOME")
    configure(
        f"[[registries]]\nname = 'personal'\npath = 'mine'\n"
        f"[[registries]]\nname = 'team'\npath = '{stocked}'\nread_only = true\n"
    )
    team = ahf.Registry(stocked)
    assert ahf.load("acme/tone").version.folder == team.resolve("acme/tone").folder
    assert run_ahf("path", "acme/tone")[1].strip() == str(team.path("acme/tone"))
    assert run_ahf("verify", "--all")[0] == 0
    code, _, err = run_ahf("alias", "acme/tone@1", "champion")
    assert code == 1 and "read_only" in err and err.count("\n") == 1
    assert run_ahf("show", "acme/none")[0] == 1
    # What is taken in goes to the first that can be written, and hides the name of the later one.
    taken = ahf.import_folder(trained.version.files, "acme/tone", labels=["a", "b", "c"])
    assert taken.version.folder.is_relative_to(tmp_path / "mine")
    code, out, _ = run_ahf("list")
    assert code == 0 and "registry" in out and "team (hidden)" in out
    rows = json.loads(run_ahf("list", "acme/tone", "--json")[1])
    assert [(row["registry"], row["hidden"]) for row in rows] == [("personal", False), ("team", True)]
    document = json.loads(run_ahf("show", "acme/tone", "--json")[1])
    assert document["digest"] == taken.version.digest
    assert (
        json.loads(run_ahf("--registry", "team", "show", "acme/tone", "--json")[1])["digest"] == trained.version.digest
    )
    assert json.loads(run_ahf("show", trained.version.digest, "--json")[1])["digest"] == trained.version.digest
    assert json.loads(run_ahf("show", "acme/tone", "--json")[1])["digest"] == taken.version.digest, "for one command"
    code, _, err = run_ahf("--registry", "teem", "list")
    assert code == 1 and "there is personal, team" in err


def test_reading_without_a_configuration_imports_no_toml_and_no_cryptography(stocked: Path) -> None:
    script = (
        "import sys; from adapterhub_fin_registry import RegistryChain; RegistryChain.configured().rows(); "
        "assert not {'tomllib', 'cryptography', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_copied_registry_keeps_its_signatures(run_ahf: Ahf, stocked: Path, key: Path, tmp_path: Path) -> None:
    run_ahf("sign", "acme/tone", "--key", str(key))
    shutil.copytree(stocked, tmp_path / "copy")
    assert len(ahf.Registry(tmp_path / "copy").signatures("acme/tone")) == 1
