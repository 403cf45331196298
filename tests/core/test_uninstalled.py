"""An adapter whose method nobody here has is an adapter like any other, until it is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Ahf = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def no_method(stocked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry holds a trained version; from then on no plugin is there."""
    monkeypatch.setenv("AHF_DISABLE_PLUGINS", "shipped")


def test_it_is_listed_searched_shown_and_verified(run_ahf: Ahf) -> None:
    [row] = json.loads(run_ahf("list", "--json")[1])
    assert (row["name"], row["method"]) == ("acme/tone", "lora")
    assert json.loads(run_ahf("search", "method = lora AND method.rank = 4", "--json")[1])["rows"] == [row]
    assert "lora" in run_ahf("show", "acme/tone")[1]
    assert run_ahf("verify", "--all")[0] == 0
    assert Path(run_ahf("path", "acme/tone")[1].strip()).is_dir()
    assert run_ahf("diff", "acme/tone", "acme/tone@1", "--exit-code")[0] == 0


def test_it_is_tagged_named_signed_and_exported(run_ahf: Ahf, tmp_path: Path) -> None:
    key = tmp_path / "desk.pem"
    assert run_ahf("tag", "acme/tone", "reviewed")[0] == 0
    assert run_ahf("alias", "acme/tone@1", "champion")[0] == 0
    assert run_ahf("sign", "--new-key", str(key))[0] == 0
    assert run_ahf("sign", "acme/tone@champion", "--key", str(key))[0] == 0
    assert run_ahf("verify", "acme/tone@1", "--key", str(key.with_suffix(".pub")))[0] == 0
    assert run_ahf("export", "acme/tone", str(tmp_path / "out"))[0] == 0
    assert (tmp_path / "out/adapter_model.safetensors").is_file()


def test_it_is_stored_again_from_its_folder(run_ahf: Ahf, tmp_path: Path) -> None:
    assert run_ahf("export", "acme/tone", str(tmp_path / "out"))[0] == 0
    code, _, err = run_ahf("import", str(tmp_path / "out"), "--as", "acme/again", "--base", "acme/tiny")
    assert code == 0, err
    assert run_ahf("verify", "acme/again")[0] == 0


def test_only_loading_says_what_to_install(run_ahf: Ahf) -> None:
    code, out, err = run_ahf("predict", "acme/tone", "Margins widened.")
    assert (code, out) == (1, "") and "pip install 'adapterhub-fin==" in err and err.count("\n") == 1
