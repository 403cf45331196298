"""`ahf.load("hf://...")` anywhere, of what was published here and of what anyone pushed with plain PEFT."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.training.run import Run

PICKLE = "adapter_model.bin"
TEXTS = ["Arlo: profit rose.", "Brent: profit fell."]
LOAD = """
import json, sys
import adapterhub_fin as ahf
adapter = ahf.load(sys.argv[1], base=sys.argv[2])
print(json.dumps([adapter.reference, adapter.version.digest, adapter.logits(json.loads(sys.argv[3])).tolist()]))
"""


@pytest.fixture
def on_hub(at_hub: Any, name: str, trained: Run) -> str:
    """The trained version, published."""
    registry = ahf.Registry(trained.version.folder.parents[4])
    return ahf.publish(trained.version.reference, f"hf://{name}", registry=registry).reference


def test_a_fresh_machine_answers_the_same(
    at_hub: Any, on_hub: str, trained: Run, encoder: Path, tmp_path: Path
) -> None:
    """Another process, with a cache, a home and a registry of its own, and nothing but the address and a token."""
    env = at_hub.environment(tmp_path / "hf", token="reader")
    env |= {name: str(tmp_path / name) for name in ("AHF_HOME", "AHF_CACHE", "XDG_CONFIG_HOME")}
    command = [sys.executable, "-c", LOAD, on_hub, str(encoder), json.dumps(TEXTS)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reference, digest, logits = json.loads(done.stdout.splitlines()[-1])
    assert digest == trained.version.digest and reference == on_hub.removeprefix("hf://").replace("@v", "@")
    assert torch.equal(torch.tensor(logits), trained.adapter.logits(TEXTS))
    assert not (tmp_path / "AHF_HOME").exists(), "what is only loaded is kept in the cache"


def test_no_hub_is_asked_without_a_reference_to_one(
    proxy: Any, name: str, trained: Run, encoder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = ahf.Registry(trained.version.folder.parents[4])
    ahf.load("acme/tone", base=encoder, registry=registry)
    ahf.RegistryChain.configured().search("tone")
    assert proxy.seen == []
    with caplog.at_level(logging.INFO), pytest.raises(ahf.NotFound):
        ahf.load(f"hf://{name}", base=encoder)
    assert proxy.seen


@pytest.fixture
def pushed(encoder: Path, at_hub: Any, name: str) -> tuple[PeftModel, str]:
    """An adapter that someone pushed with PEFT alone, to a branch, where nothing gives it a manifest; its commit."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2)
    adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=2, init_lora_weights=False))
    adapted.peft_config["default"].base_model_name_or_path = "acme/tiny"
    adapted.push_to_hub(name, revision="theirs", token=at_hub.secrets["writer"])
    return adapted.eval(), str(at_hub.api().model_info(name, revision="theirs").sha)


def _plain(model: PeftModel, encoder: Path) -> torch.Tensor:
    batch = AutoTokenizer.from_pretrained(encoder)(TEXTS, return_tensors="pt", padding=True)
    with torch.inference_mode():
        answer: torch.Tensor = model(**batch).logits
    return answer


def test_what_others_pushed_is_loaded_and_pinned_to_its_commit(
    pushed: tuple[PeftModel, str],
    name: str,
    encoder: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, commit = pushed
    with caplog.at_level(logging.INFO):
        adapter = ahf.load(f"hf://{name}@theirs", base=encoder)
    torch.testing.assert_close(adapter.logits(TEXTS), _plain(model, encoder), rtol=0, atol=1e-6)
    assert f"hf://{name}@theirs is commit {commit}" in caplog.text
    record, manifest = adapter.version.record, adapter.version.manifest
    assert (record["origin"]["repository"], record["origin"]["commit"]) == (name, commit)
    assert [i.evidence for i in manifest.knowledge.inputs if f"hf://{name}@{commit}" in i.evidence], "in the manifest"
    assert ahf.Registry().names() == [], "what is only loaded isn't taken into the registry"
    again = ahf.load(f"hf://{name}@{commit}", base=encoder)
    assert again.version.digest == adapter.version.digest, "one commit is one version"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert ahf.load(f"hf://{name}@{commit}", base=encoder).version.digest == adapter.version.digest


def test_what_others_pushed_is_imported_pulled_and_found(
    pushed: tuple[PeftModel, str], proxy: Any, name: str, encoder: Path
) -> None:
    commit = pushed[1]
    taken = ahf.import_folder(f"hf://{name}@theirs", "acme/theirs", labels=["down", "up"], license="MIT")
    assert taken.version.manifest.head is not None and taken.version.manifest.head.labels == ("down", "up")
    assert taken.version.record["origin"]["commit"] == commit
    as_path = ahf.import_folder(Path(f"hf://{name}@theirs"), "acme/theirs-too", labels=["down", "up"])
    assert as_path.version.record["origin"]["commit"] == commit
    pulled = ahf.pull(f"hf://{name}@theirs", "acme/pulled")
    assert pulled.record["origin"]["commit"] == commit and pulled.manifest.base.repository == "acme/tiny"
    pushed[0].push_to_hub(name, token=True)
    proxy.gone, proxy.plain = {"ahf_manifest.json"}, True  # a Hub that makes no version of it, and tags nothing
    head = ahf.RegistryChain.configured().answering(f"hf://{name}").hub.api.model_info(name).sha  # type: ignore[attr-defined]
    assert ahf.pull(f"hf://{name}", "acme/bare").record["origin"]["commit"] == head


def test_a_version_is_pulled_and_not_imported(on_hub: str) -> None:
    with pytest.raises(ahf.NotAnAdapter, match=f"ahf pull {on_hub}"):
        ahf.import_folder(on_hub, "acme/mine")


def test_a_pickle_is_read_on_request_alone(
    proxy: Any, at_hub: Any, name: str, pushed: tuple[PeftModel, str], tmp_path: Path
) -> None:
    folder = Path(at_hub.api().snapshot_download(name, revision="theirs", local_dir=tmp_path / "theirs"))
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / PICKLE)
    proxy.gone, proxy.files = {"adapter_model.safetensors"}, {PICKLE: (folder / PICKLE).read_bytes()}
    proxy.seen.clear()
    with pytest.raises(ahf.NotAnAdapter, match="--allow-pickle"):
        ahf.pull(f"hf://{name}@theirs", "acme/pickled")
    assert not [seen for seen in proxy.seen if "resolve" in seen], "nothing of it was downloaded"
    pulled = ahf.pull(f"hf://{name}@theirs", "acme/pickled", allow_pickle=True)
    assert PICKLE in pulled.record["origin"]["converted"]


def test_what_is_no_adapter_says_so(at_hub: Any, name: str) -> None:
    api = at_hub.api()
    api.create_repo(name)
    api.create_branch(name, branch="theirs")
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id=name, revision="theirs")
    with pytest.raises(ahf.NotAnAdapter, match="holds no adapter_config.json"):
        ahf.load(f"hf://{name}@theirs")


def test_transfers_at_once_leave_the_client_as_it_was() -> None:
    import logging

    from huggingface_hub import utils

    from adapterhub_fin_registry.hub_client.client import transferring

    spoken = logging.getLogger("huggingface_hub._commit_api")
    before = (spoken.level, utils.are_progress_bars_disabled())  # type: ignore[attr-defined]
    first, second = transferring(), transferring()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert utils.are_progress_bars_disabled(), "the second is under way, and this is no terminal"  # type: ignore[attr-defined]
    second.__exit__(None, None, None)
    assert (spoken.level, utils.are_progress_bars_disabled()) == before  # type: ignore[attr-defined]
