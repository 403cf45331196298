"""The first load of an import records the base as it was, so that every later load finds it again (G 19, 22)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import KasaConfig, LNTuningConfig, LoraConfig, PeftConfig, TrainableTokensConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.check import describe_base
from adapterhub_fin.testing import tiny_encoder

LABELS = ["negative", "neutral", "positive"]
TEXTS = ["Arlo: profit rose.", "Brent: profit fell."]
Theirs = Callable[..., Path]


def classifier(encoder: Path, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3, dtype=dtype).eval()


def writer(decoder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(decoder).eval()


def trained_by_peft(model: nn.Module, plan: PeftConfig, folder: Path) -> Path:
    """A folder as PEFT writes it after a training that moved whatever may be trained."""
    torch.manual_seed(1)
    wrapped = get_peft_model(model, plan)
    wrapped.peft_config["default"].base_model_name_or_path = "acme/tiny"
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    wrapped.save_pretrained(folder, save_embedding_layers=False)
    return folder


ON_ENCODER: Mapping[str, Callable[[], PeftConfig]] = {
    "bias-all": lambda: lora(bias="all"),
    "bias-of-lora-only": lambda: lora(bias="lora_only"),
    "module-of-the-backbone": lambda: lora(modules_to_save=["classifier", "pooler"]),
    "trained-tokens": lambda: lora(trainable_token_indices=[5, 9]),
    "pissa": lambda: lora(init_lora_weights="pissa"),
    "olora": lambda: lora(init_lora_weights="olora"),
    "kasa": lambda: lora(kasa_config=KasaConfig()),
}


def lora(**options: Any) -> LoraConfig:
    given = {"target_modules": ["query", "value"], "task_type": "SEQ_CLS", **options}
    return LoraConfig(r=2, **given)


def answers(name: str, base: Any) -> Tensor:
    return ahf.load(name, base=base).logits(TEXTS)


@pytest.mark.parametrize("kind", ON_ENCODER)
def test_what_alters_or_wraps_the_base_loads_as_often_as_one_likes(kind: str, encoder: Path, tmp_path: Path) -> None:
    folder = trained_by_peft(classifier(encoder), ON_ENCODER[kind](), tmp_path / "theirs")
    ahf.import_folder(folder, "acme/theirs", labels=LABELS)
    first = answers("acme/theirs", encoder)
    assert torch.equal(answers("acme/theirs", encoder), first) and torch.equal(answers("acme/theirs", encoder), first)
    [event] = [each for each in ahf.Registry().events("acme/theirs@1") if each["kind"] == "fingerprint-verified"]
    ahf.import_folder(trained_by_peft(classifier(encoder), lora(), tmp_path / "other"), "acme/plain", labels=LABELS)
    answers("acme/plain", encoder)
    [plain] = [each for each in ahf.Registry().events("acme/plain@1") if each["kind"] == "fingerprint-verified"]
    seen = event["base"]["weight_probe"]["values"]
    assert seen == {name: plain["base"]["weight_probe"]["values"][name] for name in seen}
    with pytest.raises(ahf.WrongBase):
        answers("acme/theirs", tiny_encoder(tmp_path / "another", seed=1))


ON_DECODER: Mapping[str, PeftConfig] = {
    "replicated-layers": LoraConfig(
        r=2, target_modules=["q_proj"], layer_replication=[(0, 2), (1, 2)], task_type="CAUSAL_LM"
    ),
    "trained-tokens": TrainableTokensConfig(token_indices=[5, 9], task_type="CAUSAL_LM"),
    "norms": LNTuningConfig(task_type="CAUSAL_LM"),
}


@pytest.mark.parametrize("kind", ON_DECODER)
def test_so_does_what_alters_or_wraps_a_decoder(kind: str, decoder: Path, tmp_path: Path) -> None:
    ahf.import_folder(trained_by_peft(writer(decoder), ON_DECODER[kind], tmp_path / "theirs"), "acme/theirs")
    first = answers("acme/theirs", decoder)
    assert torch.equal(answers("acme/theirs", decoder), first) and torch.equal(answers("acme/theirs", decoder), first)


def uneven(encoder: Path, folder: Path) -> Path:
    """A base with a few large weights among many small ones, as trained models have them."""
    model, generator = AutoModel.from_pretrained(encoder), torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(torch.randn(parameter.shape, generator=generator).exp())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
    return folder


def test_loads_and_merges_go_from_any_type_of_weights_to_any(encoder: Path, tmp_path: Path) -> None:
    """G 22: recorded by a first load in one type, loaded in another, and merged with what was recorded in a third."""
    types = (torch.float32, torch.bfloat16, torch.float16)
    encoder = uneven(encoder, tmp_path / "uneven")
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    names = {}
    for number, dtype in enumerate(types):
        folder = trained_by_peft(classifier(encoder), lora(), tmp_path / str(number))
        names[dtype] = f"acme/in-{str(dtype).removeprefix('torch.')}"
        ahf.import_folder(folder, names[dtype], labels=LABELS, description=str(number))
        ahf.load(names[dtype], base=classifier(encoder, dtype), tokenizer=tokenizer)
    for recorded, dtype in product(types, types):
        ahf.load(names[recorded], base=classifier(encoder, dtype), tokenizer=tokenizer)
    for one, other in product(types, types):
        if one != other:
            ahf.merge([names[one], names[other]], into="acme/merged", seed=types.index(one))
    merged = ahf.merge(list(names.values()), into="acme/merged", description="of all")
    assert (
        merged.warnings == [] and merged.version is not None and merged.version.manifest.base.fingerprint == "verified"
    )
    another = tiny_encoder(tmp_path / "another", seed=1)
    for name, dtype in product(names.values(), types):
        with pytest.raises(ahf.WrongBase, match="other weights than acme/tiny"):
            ahf.load(name, base=classifier(another, dtype), tokenizer=tokenizer)


def recorded_after_the_fact(name: str, base: Path) -> dict[str, Any]:
    """What the earlier release recorded of a first load: the base as the adapter had left it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("adapterhub_fin.engine.inference.attach.record_first_fingerprint", lambda *given: None)
        adapter = ahf.load(name, base=base)
    assert adapter.manifest.head is not None
    left = describe_base(adapter.model, adapter.tokenizer, adapter.manifest.head.modules_to_save, "acme/tiny", None)
    body: dict[str, Any] = left.model_dump(mode="json")
    if "trained-tokens" in name:  # as it named them
        values = body["weight_probe"]["values"]
        values["embeddings.word_embeddings.token_adapter.weight"] = values.pop("embeddings.word_embeddings.weight")
        body["structure_digest"] = "sha256:" + "0" * 64
    return {"base": body}


@pytest.mark.parametrize("kind", ["bias-all", "pissa", "trained-tokens"])
def test_doctor_withdraws_what_was_recorded_after_the_fact(kind: str, encoder: Path, tmp_path: Path) -> None:
    name, registry = f"acme/{kind}", ahf.Registry()
    ahf.import_folder(
        trained_by_peft(classifier(encoder), ON_ENCODER[kind](), tmp_path / "theirs"), name, labels=LABELS
    )
    ahf.import_folder(trained_by_peft(classifier(encoder), lora(), tmp_path / "plain"), "acme/plain", labels=LABELS)
    for each in (name, "acme/plain"):
        registry.add_event(f"{each}@1", "fingerprint-verified", recorded_after_the_fact(each, encoder))
    with pytest.raises(ahf.WrongBase):
        ahf.load(name, base=encoder)
    before = {path: path.read_bytes() for path in registry.root.rglob("*") if path.is_file() and path.name != "changed"}
    [found] = registry.doctor()
    assert (found.kind, found.path) == ("fingerprint", registry.resolve(name).folder / "events" / "1")
    [mended] = registry.doctor(repair=True)
    assert mended.repaired and registry.doctor() == []
    assert all(path.read_bytes() == held for path, held in before.items())  # it is an event more, and nothing rewritten
    assert torch.equal(answers(name, encoder), answers(name, encoder)) and registry.doctor() == []
    assert [event["kind"] for event in registry.events(f"{name}@1")] == [
        "fingerprint-verified",
        "fingerprint-withdrawn",
        "fingerprint-verified",
    ]
    with pytest.raises(ahf.WrongBase):
        ahf.load(name, base=tiny_encoder(tmp_path / "another", seed=1))
    answers("acme/plain", encoder)  # whose record was right all along, and stands
    assert [event["kind"] for event in registry.events("acme/plain@1")] == ["fingerprint-verified"]
