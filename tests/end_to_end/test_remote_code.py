"""A base that brings Python code of its own: run only where it is asked for, recorded, and forbidden by a policy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

import adapterhub_fin as ahf
from adapterhub_fin import cli
from adapterhub_fin.testing import tiny_corpus

CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM

Path("{trace}").touch()


class OwnConfig(LlamaConfig):
    model_type = "acme-own"


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def own(decoder: Path, tmp_path: Path) -> Path:
    """A folder with a model of its own code, which leaves a trace when it is imported."""
    folder = tmp_path / "own"
    shutil.copytree(decoder, folder)
    (folder / "modeling_own.py").write_text(CODE.format(trace=tmp_path / "ran"))
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    config |= {"model_type": "acme-own", "auto_map": classes}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def recipe(folder: Path, **base: Any) -> dict[str, Any]:
    return {
        "name": "acme/own",
        "base": {"path": str(folder), **base},
        "method": {"name": "lora", "rank": 2, "targets": ["q_proj"]},
        "head": "causal-lm",
        "corpus": tiny_corpus(),
        "training": {"epochs": 1, "max_length": 32},
    }


def test_it_runs_only_where_it_is_asked_for(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for refused in (ahf.train, ahf.preview, ahf.plan):
        with pytest.raises(ahf.Refused, match=r"brings Python code of its own.* base\.trust_remote_code=true"):
            refused(recipe(own))
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "policy.toml").write_text("forbid_remote_code = true\n")
    for refused in (ahf.train, ahf.preview, ahf.plan):
        with pytest.raises(
            ahf.PolicyViolation, match="runs its base's own code, against forbid_remote_code in .*policy"
        ):
            refused(recipe(own, trust_remote_code=True))
    assert not (tmp_path / "ran").exists(), "none of it was imported"
    (tmp_path / "home" / "policy.toml").unlink()
    assert ahf.plan(recipe(own, trust_remote_code=True)).trained_parameters > 0
    run = ahf.train(recipe(own, trust_remote_code=True))
    assert (tmp_path / "ran").exists()
    stored = run.version.manifest.recipe
    assert stored is not None and stored["base"]["trust_remote_code"] is True

    with pytest.raises(ahf.Refused, match="--trust-remote-code"):
        ahf.load("acme/own")
    text = ["Sales rose."]
    wanted = run.adapter.predict(text)
    assert ahf.load("acme/own", trust_remote_code=True).predict(text) == wanted
    with pytest.raises(ahf.Refused):
        ahf.load("acme/own")  # it was trusted for one load alone
    with pytest.raises(SystemExit) as leave:
        cli.main(["predict", "acme/own", *text])
    assert leave.value.code == 1 and "--trust-remote-code" in capsys.readouterr().err
    with pytest.raises(SystemExit) as leave:
        cli.main(["predict", "acme/own", *text, "--trust-remote-code"])
    assert not leave.value.code
    (tmp_path / "home" / "policy.toml").write_text("forbid_remote_code = true\n")
    with pytest.raises(ahf.PolicyViolation, match="forbid_remote_code"):
        ahf.load("acme/own", trust_remote_code=True)


def test_nothing_is_recorded_of_a_base_without_code(decoder: Path) -> None:
    run = ahf.train(recipe(decoder))
    assert AutoModelForCausalLM.from_pretrained(decoder) is not None
    stored = run.version.manifest.recipe
    assert stored is not None and "trust_remote_code" not in stored["base"]


def test_misuse_is_one_sentence(decoder: Path) -> None:
    with pytest.raises(ahf.BadRecipe, match="base.trust_remote_code: Input should be True"):
        ahf.preview(recipe(decoder, trust_remote_code="please"))


def test_a_policy_forbids_it_for_any_version_and_base(decoder: Path, own: Path, tmp_path: Path) -> None:
    """A version that never asked for it loads onto no base that brings code, whoever says trust_remote_code."""
    ahf.train(recipe(decoder))
    (tmp_path / "home" / "policy.toml").write_text("forbid_remote_code = true\n")
    [name] = ahf.Registry().names()
    with pytest.raises(ahf.PolicyViolation, match="forbid_remote_code"):
        ahf.load(name, base=own, trust_remote_code=True)
    assert not (tmp_path / "ran").exists(), "none of it was imported"
    assert ahf.load(name, base=decoder).reference == f"{name}@1"


VECTORS = """
from transformers import LlamaModel


class OwnModel(LlamaModel):
    config_class = OwnConfig
"""


def test_vectors_come_from_a_base_with_code_of_its_own(own: Path, tmp_path: Path) -> None:
    code, config = own / "modeling_own.py", json.loads((own / "config.json").read_text())
    code.write_text(code.read_text() + VECTORS)
    config["auto_map"]["AutoModel"] = "modeling_own.OwnModel"
    (own / "config.json").write_text(json.dumps(config))
    rows = [{"anchor": f"question {i}", "positive": f"The answer is {i}."} for i in range(30)]
    document = {
        **recipe(own, trust_remote_code=True),
        "head": "contrastive",
        "corpus": {"data": rows, "columns": ["anchor", "positive"]},
    }
    with pytest.raises(ahf.Refused, match="trust_remote_code"):
        ahf.train({**document, "base": {"path": str(own)}})
    assert not (tmp_path / "ran").exists()
    run = ahf.train(document)
    model: Any = run.adapter.model
    assert type(model.get_base_model()).__name__ == "OwnModel"
    with pytest.raises(ahf.Refused, match="--trust-remote-code"):
        ahf.load("acme/own")
    loaded = ahf.load("acme/own", trust_remote_code=True)
    texts = ["question 1", "The answer is 1."]
    assert loaded.embed(texts).tolist() == run.adapter.embed(texts).tolist()
