"""Bases on a Hub: published, searched, pulled, and found there by what was trained on them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModel, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin import cli
from adapterhub_fin.engine.importing.store_base import store_base
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin.publishing import catalogue
from adapterhub_fin.testing import tiny_corpus
from adapterhub_fin_registry.hub_client import card

LOAD = """
import json, sys
import adapterhub_fin as ahf
adapter = ahf.load(sys.argv[1], download=sys.argv[2] == "download")
print(json.dumps(adapter.logits(["Arlo: profit rose."]).tolist()))
"""


@pytest.fixture
def base(name: str, encoder: Path) -> ahf.Version:
    known = KnownAt(datetime(2013, 12, 31, tzinfo=UTC), "observed", "available_at of its rows")
    return store_base(
        encoder,
        name=f"{name}-fin",
        registry=ahf.Registry(),
        method={"name": "pretraining", "options": {"layers": 2}},
        knowledge={"corpus:speeches": known},
        corpus={"name": "speeches", "license": "CC0-1.0"},
        license="CC0-1.0",
    )


@pytest.fixture
def tone(name: str, base: ahf.Version) -> ahf.Version:
    return ahf.train(
        name=f"{name}-tone",
        base=base.reference,
        method={"name": "lora", "rank": 2},
        corpus={"name": tiny_corpus(), "splitter": {"by": "stratified"}},
        training={"max_steps": 2, "batch_size": 8, "max_length": 32},
    ).version


def elsewhere(at_hub: Any, tmp_path: Path, reference: str, download: bool) -> subprocess.CompletedProcess[str]:
    """Load a version in a process with a home, a cache and a registry of its own, and nothing but a token."""
    env = at_hub.environment(tmp_path / "hf", token="reader")
    env |= {name: str(tmp_path / "other" / name) for name in ("AHF_HOME", "AHF_CACHE", "XDG_CONFIG_HOME")}
    command = [sys.executable, "-c", LOAD, reference, "download" if download else "here"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


def test_a_base_comes_from_the_hub_with_its_adapter(
    at_hub: Any,
    tone: ahf.Version,
    base: ahf.Version,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    on_hub = ahf.publish(tone.reference, f"hf://{tone.name}")
    assert on_hub.base is not None and (on_hub.base.digest, on_hub.base.name) == (base.digest, base.name)
    missing = elsewhere(at_hub, tmp_path, on_hub.reference, download=True)
    assert missing.returncode != 0
    assert f"was trained on the base {base.name}, {base.digest}, and no registry here holds it" in missing.stderr
    with monkeypatch.context() as patch:
        patch.setenv("AHF_HOME", str(tmp_path / "desk"))
        with pytest.raises(SystemExit):
            cli.main(["pull", on_hub.reference])
        assert f"needs its base {base.name}, {base.digest}: pull it too" in capsys.readouterr().err
    ahf.publish(base.reference, f"hf://{base.name}")
    unasked = elsewhere(at_hub, tmp_path, on_hub.reference, download=False)
    assert unasked.returncode != 0 and "--download" in unasked.stderr
    done = elsewhere(at_hub, tmp_path, on_hub.reference, download=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ahf.load(tone).logits(["Arlo: profit rose."]).tolist()
    again = elsewhere(at_hub, tmp_path, on_hub.reference, download=False)  # it is in the cache by now
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]


def test_a_published_base_is_the_same_version_everywhere(at_hub: Any, base: ahf.Version, tmp_path: Path) -> None:
    there = ahf.publish(base.reference, f"hf://{base.name}").reference
    other = ahf.Registry(tmp_path / "other")
    pulled = ahf.pull(there, "desk/fin", registry=other)
    assert pulled.digest == base.digest and other.verify("desk/fin@1").manifest.kind == "base"
    [row] = catalogue(f"hf://{base.name}").search("kind = base AND method = pretraining")
    assert (row["name"], row["kind"], row["knowledge_end"]) == (base.name, "base", "2013-12-31T00:00:00Z")
    info = at_hub.api().model_info(base.name)
    assert info.library_name == "transformers" and not [tag for tag in info.tags if tag.startswith("base_model")]
    plain = at_hub.api().snapshot_download(base.name, local_dir=tmp_path / "plain")
    assert AutoModel.from_pretrained(plain).config.model_type == "bert"
    assert AutoTokenizer.from_pretrained(plain)("profit")["input_ids"]


def test_an_adapter_is_trained_on_a_base_of_the_hub(at_hub: Any, name: str, base: ahf.Version) -> None:
    there = ahf.publish(base.reference, f"hf://{base.name}").reference
    ahf.Registry().delete(base.reference)
    keys: dict[str, Any] = {
        "method": {"name": "lora", "rank": 2},
        "corpus": {"name": tiny_corpus(), "splitter": {"by": "stratified"}},
        "training": {"max_steps": 1, "batch_size": 8, "max_length": 32},
    }
    version = ahf.train(name=f"{name}-tone", base=there, **keys).version
    recorded = version.manifest.base.version
    assert recorded is not None and recorded.digest == base.digest
    assert version.manifest.recipe is not None
    commit = at_hub.api().model_info(base.name, revision="v1").sha
    assert version.manifest.recipe["base"] == {"version": f"hf://{base.name}@{commit}"}
    assert ahf.load(version, download=True).predict(["Arlo: profit rose."])


def test_the_card_says_what_a_base_is(base: ahf.Version, tone: ahf.Version) -> None:
    text = card(base.manifest, "acme/fin")
    assert "library_name: transformers" in text and "base_model" not in text
    assert "A base model made by `pretraining`, of the architecture `BertModel`." in text
    assert 'AutoModel.from_pretrained("acme/fin")' in text and "peft" not in text
    assert f"Its base is the version `{base.digest}`, stored as `{base.name}`." in card(tone.manifest, "acme/tone")
