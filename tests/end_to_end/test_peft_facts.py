"""What goes wrong in silence for PEFT's users: each case is shown on plain PEFT first, then refused or right here."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
)

import adapterhub_fin as ahf
from adapterhub_fin.engine.training.run import Run

LABELS = {"num_labels": 3}


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def registry_of(run: Run) -> ahf.Registry:
    return ahf.Registry(run.version.folder.parents[4])


class TestOneTheWrongBase:
    """Item 1: PEFT loads onto the wrong base and says nothing."""

    def refused(self, model: torch.nn.Module, run: Run, error: type[Exception], said: str) -> None:
        """Refused with both sides named, and the model is as it was."""
        before, modules = state(model), [name for name, _ in model.named_modules()]
        with pytest.raises(error, match=said):
            ahf.attach(model, run.reference, tokenizer=run.adapter.tokenizer, registry=registry_of(run))
        assert same(before, state(model)) and modules == [name for name, _ in model.named_modules()]

    def plain(self, model: torch.nn.Module, run: Run) -> torch.nn.Module:
        """Plain PEFT loads it without an exception."""
        return PeftModel.from_pretrained(copy.deepcopy(model), str(run.version.files))

    def test_other_weights_of_the_same_shape(self, trained: Run, encoder: Path) -> None:
        model = AutoModelForSequenceClassification.from_pretrained(encoder, **LABELS)
        with torch.no_grad():
            for parameter in model.bert.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            self.plain(model, trained)
        self.refused(model, trained, ahf.WrongBase, "other weights than acme/tiny")

    @pytest.mark.parametrize("layers", [1, 3])
    def test_another_depth(self, trained: Run, encoder: Path, layers: int) -> None:
        model = AutoModelForSequenceClassification.from_pretrained(encoder, num_hidden_layers=layers, **LABELS)
        self.plain(model, trained)
        self.refused(model, trained, ahf.WrongBase, "does not have the layers of acme/tiny")

    def test_another_vocabulary(self, trained: Run, encoder: Path) -> None:
        model = AutoModelForSequenceClassification.from_pretrained(encoder, **LABELS)
        model.resize_token_embeddings(400)
        self.plain(model, trained)
        self.refused(model, trained, ahf.WrongBase, "vocabulary of 400")

    def test_a_classifier_onto_a_language_model_loses_its_head(self, decoder: Path, encoder: Path) -> None:
        run = ahf.train(
            name="acme/decoder",
            base={"path": str(decoder)},
            method={"name": "lora", "rank": 2},
            corpus={"name": "headlines", "rows": 120},
            training={"epochs": 1, "max_length": 32},
        )
        model = AutoModelForCausalLM.from_pretrained(decoder)
        loaded = self.plain(model, run)
        assert not any("score" in name for name, _ in loaded.named_parameters())  # dropped, in silence
        self.refused(model, run, ahf.WrongTensors, "unexpected in the file .first base_model.model.score.weight")

    @pytest.mark.parametrize("change", ["missing", "extra", "reshaped"])
    def test_file_and_slots_match_one_to_one(self, trained: Run, encoder: Path, tmp_path: Path, change: str) -> None:
        tensors = load_file(trained.version.files / "adapter_model.safetensors")
        name = next(key for key in tensors if key.endswith("layer.1.output.dense.lora_B.weight"))
        if change == "missing":
            del tensors[name]
        elif change == "extra":
            tensors[name.replace("layer.1", "layer.7")] = tensors[name].clone()
        else:
            tensors[name] = torch.zeros(tensors[name].shape[0], 9)
        folder = tmp_path / "tampered"
        folder.mkdir()
        (folder / "adapter_config.json").write_bytes((trained.version.files / "adapter_config.json").read_bytes())
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        version = ahf.import_folder(folder, "acme/tampered").version
        model = AutoModelForSequenceClassification.from_pretrained(encoder, **LABELS)
        if change != "reshaped":
            PeftModel.from_pretrained(copy.deepcopy(model), str(folder))  # no exception
        before = state(model)
        with pytest.raises(ahf.WrongTensors, match="layer.[17].output.dense.lora_B"):
            ahf.attach(model, version.reference, tokenizer=trained.adapter.tokenizer)
        assert same(before, state(model))


def llama() -> torch.nn.Module:
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, max_position_embeddings=32, **shape))


class TestTwoTheNameOfAnAdapter:
    """Item 2: in PEFT the runtime name decides which tensors are saved."""

    def two_adapters(self, name: str) -> PeftModel:
        config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
        model = get_peft_model(llama(), config, adapter_name="other")
        model.add_adapter(name, copy.deepcopy(config))
        model.set_adapter(name)
        return model

    @pytest.mark.parametrize("name", ["1", "q_proj", "weight"])
    def test_every_tensor_of_the_adapter_and_none_of_its_sibling_s(self, name: str) -> None:
        model = self.two_adapters(name)
        # 3 layers x 2 targets x (A, B); the sibling or the adapter itself is saved wrong by PEFT.
        saved = {
            each: get_peft_model_state_dict(model, adapter_name=each, save_embedding_layers=False)
            for each in ("other", name)
        }
        assert {len(tensors) for tensors in saved.values()} != {12}
        for each in ("other", name):
            model.set_adapter(each)
            version = ahf.save(model, f"acme/named-{each.replace('_', '-')}", base="acme/llama")
            stored = load_file(version.files / "adapter_model.safetensors")
            live = dict(model.named_parameters())
            assert len(stored) == 12
            for key, tensor in stored.items():
                stem, _, kind = key.rpartition(".")
                assert torch.equal(tensor, live[f"{stem}.{each}.{kind}"])

    def test_a_slot_of_ours_is_no_user_s_string(self, trained: Run, encoder: Path) -> None:
        loaded = ahf.load(trained.reference, base=encoder, registry=registry_of(trained))
        assert loaded.adapter_name.startswith("ahf_") and len(loaded.adapter_name) == 12
        assert not any(loaded.adapter_name in name for name, _, _ in loaded.manifest.tensors)


class TestThreeTheHead:
    """Item 3: heads go missing."""

    def test_a_file_without_its_head_is_a_named_error(self, trained: Run, encoder: Path, tmp_path: Path) -> None:
        folder = tmp_path / "headless"
        folder.mkdir()
        tensors = load_file(trained.version.files / "adapter_model.safetensors")
        kept = {key: value for key, value in tensors.items() if "classifier" not in key}
        save_file(kept, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_bytes((trained.version.files / "adapter_config.json").read_bytes())
        with pytest.raises(KeyError):
            PeftModel.from_pretrained(
                AutoModelForSequenceClassification.from_pretrained(encoder, **LABELS), str(folder)
            )
        with pytest.raises(ahf.NotAnAdapter, match="classifier without its head"):
            ahf.import_folder(folder, "acme/headless")

    def test_every_module_drawn_at_random_travels(self, encoder: Path, tmp_path: Path, trained: Run) -> None:
        """A base without its pooler gets a random one: PEFT saves `classifier` alone, and a re-seeded load differs."""
        tokenizer, base = trained.adapter.tokenizer, tmp_path / "base"
        BertModel.from_pretrained(encoder, add_pooling_layer=False).save_pretrained(base)
        tokenizer.save_pretrained(base)
        torch.manual_seed(1)
        plain = AutoModelForSequenceClassification.from_pretrained(base, **LABELS)
        peft_model = get_peft_model(plain, LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS")).eval()
        peft_model.save_pretrained(tmp_path / "peft", save_embedding_layers=False)
        batch = tokenizer(["Margins widened."], return_tensors="pt")
        torch.manual_seed(2)
        again = AutoModelForSequenceClassification.from_pretrained(base, **LABELS)
        lost = PeftModel.from_pretrained(again, str(tmp_path / "peft")).eval()
        assert not torch.allclose(lost(**batch).logits, peft_model(**batch).logits, atol=1e-3)

        run = ahf.train(
            name="acme/poolerless",
            base={"path": str(base)},
            method={"name": "lora", "rank": 2},
            corpus={"name": "headlines", "rows": 120},
            training={"epochs": 1, "max_length": 32},
        )
        assert run.version.manifest.head is not None
        assert run.version.manifest.head.modules_to_save == ("bert.pooler", "classifier")
        assert not any("pooler" in name and "lora" in name for name, _, _ in run.version.manifest.tensors)
        torch.manual_seed(3)
        found = ahf.load("acme/poolerless")
        texts = ["Margins widened.", "Orders fell."]
        assert torch.equal(found.logits(texts), run.adapter.logits(texts))


class Hub(BaseHTTPRequestHandler):
    """A Hub that has nothing, and counts who asks."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    do_HEAD = do_POST = do_GET  # noqa: N815

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def hub() -> Any:
    """The address of such a Hub, and the list of what it was asked."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Counting", (Hub,), {"asked": asked}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


class TestTwelveTheNetwork:
    """Item 12: saving looks the base up on the Hub."""

    PLAIN = """
import sys, torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], num_labels=3)
peft_model = get_peft_model(model, LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS"))
peft_model.peft_config["default"].base_model_name_or_path = "acme/tiny"
peft_model.save_pretrained(sys.argv[2])
"""
    OURS = """
import sys, adapterhub_fin as ahf
base = {"id": "acme/tiny", "path": sys.argv[1]}
ahf.train(name="acme/tone", base=base, method={"name": "lora", "rank": 2}, corpus={"name": "headlines", "rows": 120},
          training={"epochs": 1, "max_length": 32})
ahf.load("acme/tone", base=sys.argv[1]).predict(["Orders fell."])
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], num_labels=3)
peft_model = get_peft_model(model, LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS"))
ahf.save(peft_model, "acme/saved", base="acme/tiny")
"""

    def run(self, code: str, hub: str, *arguments: str) -> None:
        env = {**os.environ, "HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0"}
        subprocess.run([sys.executable, "-c", code, *arguments], env=env, check=True, capture_output=True)

    def test_plain_peft_asks_and_we_do_not(self, hub: tuple[str, list[str]], encoder: Path, tmp_path: Path) -> None:
        address, asked = hub
        self.run(self.PLAIN, address, str(encoder), str(tmp_path / "plain"))
        assert any("acme/tiny" in path for path in asked)
        asked.clear()
        self.run(self.OURS, address, str(encoder))
        assert asked == []

    NOWHERE = """
import adapterhub_fin as ahf
try:
    ahf.train(name="acme/tone", base="acme/nowhere", corpus="headlines")
except ahf.BaseNotFound as error:
    assert "--download" in str(error)
else:
    raise SystemExit("found")
"""

    def test_a_base_that_is_not_here_is_an_error_that_says_how_to_get_it(self, hub: tuple[str, list[str]]) -> None:
        self.run(self.NOWHERE, hub[0])
        assert hub[1] == []
        self.run(self.NOWHERE.replace('corpus="headlines"', 'corpus="headlines", download=True'), hub[0])
        assert hub[1] != []


def test_nothing_stored_names_a_path_of_this_machine(trained: Run, encoder: Path) -> None:
    stored = json.loads((trained.version.files / "adapter_config.json").read_text())
    assert stored["base_model_name_or_path"] == "acme/tiny"
    for path in (trained.version.files / "adapter_config.json", trained.version.folder / "manifest.json"):
        assert str(encoder) not in path.read_text()
