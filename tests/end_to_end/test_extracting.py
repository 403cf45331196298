"""An adapter of a fine-tuned model: what differs from its base, in the form that a LoRA can hold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    MixtralConfig,
    MixtralForCausalLM,
)

import adapterhub_fin as ahf
from adapterhub_fin.engine.merging.changes import open_changes
from adapterhub_fin.engine.merging.merge import merge
from adapterhub_fin.engine.peft import sketching
from adapterhub_fin.engine.training.run import Run

TEXTS = ["Arlo: profit rose.", "Gant: profit fell a lot in the quarter", "Nyx: meets in May."]
WEIGHTS = "model.safetensors"
Tune = Callable[..., Any]


@pytest.fixture
def tune(tmp_path: Path) -> Tune:
    """A model of a base with what fits moved by random matrices of a rank, saved in tmp_path/tuned."""

    def make(
        base: Path, kind: Any, rank: int = 2, fits: Callable[[str], bool] = lambda name: True, **shape: Any
    ) -> Any:
        torch.manual_seed(3)
        model = kind.from_pretrained(base, **shape)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if fits(name) and parameter.ndim == 2:
                    rows, columns = parameter.shape
                    parameter.add_(0.05 * torch.randn(rows, rank) @ torch.randn(rank, columns))
                elif fits(name):
                    parameter.add_(0.05 * torch.randn_like(parameter))
        model.save_pretrained(tmp_path / "tuned")
        AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "tuned")
        return model.eval()

    return make


def answers(model: Any, folder: Path) -> Tensor:
    batch = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        answer: Tensor = model(**batch)[0]
    return answer


LABELS = {"num_labels": 3, "id2label": {0: "down", 1: "flat", 2: "up"}}


def test_a_classifier_tuned_whole_comes_back(tune: Tune, encoder: Path, tmp_path: Path) -> None:
    model = tune(encoder, AutoModelForSequenceClassification, **LABELS)
    stated = {"name": "desk-notes", "knowledge_end": "2021-03-01", "evidence": "the desk's record"}
    done = ahf.extract(tmp_path / "tuned", base=encoder, rank=2, into="acme/extracted", corpus=stated)
    assert all(each.rank == 2 and each.energy > 1 - 1e-9 for each in done.parameters) and len(done.parameters) == 13
    assert torch.allclose(answers(ahf.load("acme/extracted").model, encoder), answers(model, encoder), atol=1e-5)
    # PEFT has no bias of LoRA beside an adapted embedding, so the embeddings go whole, as norms and the head do.
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in done.full_parameters} == {
        *("classifier", "LayerNorm", "word_embeddings", "position_embeddings", "token_type_embeddings")
    }
    manifest = done.version.manifest
    assert manifest.head is not None and list(manifest.head.labels or ()) == ["down", "flat", "up"]
    assert manifest.base.fingerprint == "verified" and manifest.base.weight_probe is not None
    dated = {each.input: each.kind for each in manifest.knowledge.inputs}
    assert dated == {"base": "bounded", "corpus:desk-notes": "asserted"}
    recorded = (manifest.recipe or {})["extract"]
    assert recorded["rank"] == 2 and recorded["tuned"]["files"][0][0] == WEIGHTS
    assert recorded["energy"].keys() == {each.name for each in done.parameters}


def test_a_rank_keeps_what_the_best_of_that_rank_keeps(tune: Tune, decoder: Path, tmp_path: Path) -> None:
    tune(decoder, AutoModelForCausalLM, rank=32)
    done = ahf.extract(tmp_path / "tuned", base=decoder, rank=3, into="acme/extracted")
    share = ahf.extract(tmp_path / "tuned", base=decoder, rank=0.9, into="acme/share")
    before, after = load_file(decoder / WEIGHTS), load_file(tmp_path / "tuned" / WEIGHTS)
    changes = open_changes(ahf.Registry().path("acme/extracted"), "it")
    by_share = {each.name: each for each in share.parameters}
    for each in done.parameters:
        difference = after[each.name].double() - before[each.name].double()
        u, values, v = torch.linalg.svd(difference, full_matrices=False)
        best = u[:, :3] * values[:3] @ v[:3]
        found = changes.change(each.name).to(torch.float64).dense()
        assert torch.allclose(found, best, atol=1e-5 * float(values[0])), each.name
        held = values.square().cumsum(0) / values.square().sum()
        assert each.energy == pytest.approx(float(held[2]), abs=1e-6)
        assert each.size == pytest.approx(float(difference.norm() / before[each.name].norm()), rel=1e-4)
        assert by_share[each.name].rank == int((held < 0.9).sum()) + 1 and by_share[each.name].energy >= 0.9
    assert done.energy == min(each.energy for each in done.parameters) < 0.9


def test_turned_weights_and_a_tied_head(tune: Tune, decoder: Path, tmp_path: Path) -> None:
    base, tokenizer = tmp_path / "gpt2", AutoTokenizer.from_pretrained(decoder)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    model = tune(base, AutoModelForCausalLM, fits=lambda name: name.endswith("weight") and "ln_" not in name)
    done = ahf.extract(tmp_path / "tuned", base=base, rank=2, into="acme/extracted")
    assert {"lm_head.weight", "transformer.wte.weight"} <= {each.name for each in done.parameters}
    assert not done.full_parameters and done.unchanged == 18  # norms, and biases
    assert torch.allclose(answers(ahf.load("acme/extracted").model, base), answers(model, base), atol=1e-5)


def test_a_norm_whose_name_ends_others(tune: Tune, decoder: Path, tmp_path: Path) -> None:
    """PEFT brings whole what ends with a name: of a bare Llama `norm` is each `input_layernorm` too."""
    base = tmp_path / "bare"
    AutoModel.from_pretrained(decoder).save_pretrained(base)
    AutoTokenizer.from_pretrained(decoder).save_pretrained(base)
    model = tune(base, AutoModel, fits=lambda name: "0.self_attn.q_proj" in name or name == "norm.weight")
    done = ahf.extract(tmp_path / "tuned", base=base, rank=4, into="acme/x")
    assert len(done.full_parameters) == 5 and "layers.1.input_layernorm.weight" in done.full_parameters
    assert torch.allclose(answers(ahf.load("acme/x").model, base), answers(model, base), atol=1e-5)
    theirs = PeftModel.from_pretrained(AutoModel.from_pretrained(base), str(done.version.files)).eval()
    assert torch.allclose(answers(theirs, base), answers(model, base), atol=1e-5)


def test_what_is_left_out_is_told_by_its_size(tune: Tune, decoder: Path, tmp_path: Path) -> None:
    model = tune(decoder, AutoModelForCausalLM, fits=lambda name: "q_proj" in name or name == "model.norm.weight")
    done = ahf.extract(tmp_path / "tuned", base=decoder, rank=4, into="acme/x", leave_out=["*norm*"])
    before_all = load_file(decoder / WEIGHTS)
    before, after = before_all["model.norm.weight"], model.model.norm.weight.detach()
    assert done.left_out == {"model.norm.weight": pytest.approx(float((after - before).norm() / before.norm()))}
    assert [each.name.split(".")[-2] for each in done.parameters] == ["q_proj", "q_proj"] and not done.full_parameters
    assert done.unchanged == len(before_all) - 3
    with pytest.raises(ahf.BadRecipe, match="fits no parameter"):
        ahf.extract(tmp_path / "tuned", base=decoder, into="acme/x", leave_out=["*k_proj*"])


def test_what_can_not_be_an_adapter_is_refused(tune: Tune, decoder: Path, encoder: Path, tmp_path: Path) -> None:
    def refused(error: type[Exception], text: str, base: Path = decoder, **given: Any) -> None:
        with pytest.raises(error, match=text):
            ahf.extract(tmp_path / "tuned", base=base, into="acme/x", **given)

    refused(ahf.BaseNotFound, "holds no config.json")
    shutil.copytree(decoder, tmp_path / "tuned")
    refused(ahf.Refused, "no matrix of the tuned model differs")
    refused(ahf.WrongBase, "have different settings", base=encoder)
    refused(ahf.BadMerge, "a rank is a whole number", rank=0)
    config = json.loads((decoder / "config.json").read_text())
    (tmp_path / "tuned" / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    refused(ahf.WrongBase, "have different settings .rms_norm_eps")
    (tmp_path / "tuned" / "config.json").write_text(json.dumps({**config, "vocab_size": 999}))
    refused(ahf.WrongBase, "a vocabulary of 999 tokens")
    (tmp_path / "tuned" / "config.json").write_text(
        json.dumps({**config, "architectures": ["LlamaForTokenClassification"]})
    )
    refused(ahf.Refused, "LlamaForTokenClassification")
    shutil.copy(decoder / "config.json", tmp_path / "tuned")
    weights = load_file(decoder / WEIGHTS)
    weights["model.layers.0.self_attn.q_proj.weight"] *= float("nan")
    save_file(weights, tmp_path / "tuned" / WEIGHTS, {"format": "pt"})
    refused(ahf.Refused, "NaN or infinite")
    assert ahf.Registry().names() == []


def test_matrices_wide_enough_to_be_sketched_come_back_too(
    tune: Tune, decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tokenizer = tmp_path / "wide", AutoTokenizer.from_pretrained(decoder)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=128, n_layer=1, n_head=2, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    model = tune(base, AutoModelForCausalLM, fits=lambda name: "c_attn.weight" in name or "c_proj.weight" in name)
    sketches = []

    def observed(matrix: Tensor, *given: Any) -> Tensor:
        sketches.append(tuple(matrix.shape))
        return found_range(matrix, *given)

    found_range = sketching._range
    monkeypatch.setattr(sketching, "_range", observed)
    done = ahf.extract(tmp_path / "tuned", base=base, rank=2, into="acme/x")
    assert sorted(sketches) == [(128, 128), (128, 512), (384, 128)] and done.energy > 1 - 1e-9
    assert torch.allclose(answers(ahf.load("acme/x").model, base), answers(model, base), atol=1e-5)


def test_a_parameter_that_is_made_of_several_tensors_is_refused(tune: Tune, decoder: Path, tmp_path: Path) -> None:
    """Transformers stacks a mixture's experts as it reads them, each of which is stored by itself."""
    base, tokenizer = tmp_path / "mixture", AutoTokenizer.from_pretrained(decoder)
    torch.manual_seed(0)
    MixtralForCausalLM(
        MixtralConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            num_local_experts=2,
        )
    ).save_pretrained(base)
    tokenizer.save_pretrained(base)
    tune(base, AutoModelForCausalLM, fits=lambda name: "q_proj" in name)
    assert [each.name for each in ahf.extract(tmp_path / "tuned", base=base, rank=2, into="acme/x").parameters] == [
        "model.layers.0.self_attn.q_proj.weight"
    ]
    moved = load_file(tmp_path / "tuned" / WEIGHTS)
    expert = next(name for name in moved if name.endswith("experts.0.w2.weight"))
    moved[expert] += 1
    save_file(moved, tmp_path / "tuned" / WEIGHTS, {"format": "pt"})
    with pytest.raises(ahf.Refused, match="makes it of several tensors .* leave it out"):
        ahf.extract(tmp_path / "tuned", base=base, rank=2, into="acme/y")
    assert ahf.Registry().names() == ["acme/x"]
    without = ahf.extract(tmp_path / "tuned", base=base, rank=2, into="acme/y", leave_out=["*experts*"])
    stacked = torch.stack([value for name, value in load_file(base / WEIGHTS).items() if name.endswith("w2.weight")])
    added = moved[expert].numel() ** 0.5
    expected = {"model.layers.0.mlp.experts.down_proj": pytest.approx(added / float(stacked.norm()), rel=1e-4)}
    assert without.left_out == expected


def test_a_tuned_model_of_another_tokenizer_is_refused(tune: Tune, decoder: Path, tmp_path: Path) -> None:
    tune(decoder, AutoModelForCausalLM, fits=lambda name: "q_proj" in name)
    path = tmp_path / "tuned" / "tokenizer.json"
    given = json.loads(path.read_text())
    one, other, *_ = (name for name in given["model"]["vocab"] if name.isalpha())
    words = given["model"]["vocab"]
    words[one], words[other] = words[other], words[one]
    path.write_text(json.dumps(given))
    with pytest.raises(ahf.WrongBase, match="the tokenizer of the tuned model at .* has another vocabulary"):
        ahf.extract(tmp_path / "tuned", base=decoder, into="acme/x")
    for each in (path, tmp_path / "tuned" / "tokenizer_config.json"):
        each.unlink()
    assert ahf.extract(tmp_path / "tuned", base=decoder, into="acme/x").parameters


def test_a_version_is_resized_to_the_best_of_a_smaller_rank(trained: Run, tmp_path: Path) -> None:
    registry = ahf.Registry(shutil.copytree(trained.version.folder.parents[4], tmp_path / "copy"))
    made = merge(["acme/tone@1"], rank=2, into="acme/small", registry=registry)
    assert made.version is not None
    whole = open_changes(registry.path("acme/tone@1"), "whole", modules_to_save=("classifier",))
    small = open_changes(registry.path("acme/small"), "small", modules_to_save=("classifier",))
    assert whole.parameters.keys() == small.parameters.keys()
    for each in made.modules:
        u, values, v = torch.linalg.svd(whole.change(each.name).to(torch.float64).dense(), full_matrices=False)
        best, found = u[:, :2] * values[:2] @ v[:2], small.change(each.name).to(torch.float64)
        assert found.rank == each.rank == 2
        assert torch.linalg.matrix_norm(found.dense() - best) < 1e-6 * values[0]
        assert each.energy == pytest.approx(float(values[:2].square().sum() / values.square().sum()), abs=1e-9)
    assert all(torch.equal(whole.values(name), small.values(name)) for name in whole.full_shapes)
