"""A version folded into its base answers as it did, from a folder that Transformers loads without PEFT."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

import adapterhub_fin as ahf
from adapterhub_fin.engine.folding.loss import FoldedChange, Loss
from adapterhub_fin.engine.merging.changes import open_changes
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.testing import tiny_corpus, tiny_decoder

TEXTS = ["Arlo: profit rose.", "Gant: profit fell a lot in the quarter", "Nyx: meets in May."]
TOKENS = torch.tensor([[1, 4, 2, 7, 9, 0], [3, 3, 10, 5, 8, 6]])
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
Import = Callable[..., str]


class Mixed(nn.Module):
    """One layer of each kind that LoRA reaches, in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 6)
        self.line = nn.Conv1d(6, 5, 3)
        self.plane = nn.Conv2d(1, 4, 3)
        self.deep = nn.Linear(4, 7)


def moved(model: Any, seed: int = 1, by: float = 0.3) -> Any:
    """A model with its trainable values moved, so that the adapter does something."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(by * torch.randn_like(parameter))
    return model


def logits(folder: Path, kind: Any, **loading: Any) -> Tensor:
    """What the whole model in a folder answers."""
    model, tokenizer = kind.from_pretrained(folder, **loading).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        answer: Tensor = model(**tokenizer(TEXTS, padding=True, return_tensors="pt"))[0]
    return answer


def off(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, relative to what was wanted at its largest."""
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("dora", [False, True])
def test_every_kind_of_layer_is_folded_as_peft_folds_it(dora: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = Mixed().double()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    plan = LoraConfig(r=2, lora_alpha=5, use_dora=dora, target_modules=["words", "line", "plane", "deep"])
    model = moved(get_peft_model(base, plan, autocast_adapter_dtype=False))
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    after = model.merge_and_unload().state_dict()
    changes, loss = open_changes(tmp_path, "it", base_at_hand=True), Loss(None)
    for name, parameter in changes.parameters.items():
        change = FoldedChange(parameter, changes.change(name), changes.magnitude(name), transposed=False)
        folded = loss.fold(name, change, before[name], before[name], torch.float64)
        assert torch.allclose(folded, after[name], rtol=1e-9, atol=1e-12), name
        assert not torch.allclose(folded, before[name], rtol=1e-3)
    assert len(changes.parameters) == 4 and loss.relative() == {"rounding": 0.0}


def test_a_merged_folder_answers_as_the_adapter(trained: Run, encoder: Path, tmp_path: Path) -> None:
    registry = ahf.Registry(trained.version.folder.parents[4])
    done = ahf.export("acme/tone", tmp_path / "out", layout="merged", base=encoder, registry=registry)
    adapter = ahf.load("acme/tone@1", base=encoder, registry=registry)
    model = AutoModelForSequenceClassification.from_pretrained(done.folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(done.folder)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        assert torch.allclose(model(**batch).logits, adapter.model(**batch).logits, atol=1e-5)
        assert not torch.allclose(model(**batch).logits, fresh_head(encoder, model)(**batch).logits, atol=1e-2)
    assert [model.config.id2label[place] for place in range(3)] == ["negative", "neutral", "positive"]
    assert sorted(path.name for path in done.folder.iterdir()) == [
        *("config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json")
    ]
    assert set(load_file(done.folder / WEIGHTS)) == set(model.state_dict())  # a bare base's names, and the head's
    assert done.folded is not None and done.folded.losses["rounding"] < 1e-4
    assert done.folded.full_parameters == ["classifier.bias", "classifier.weight"] and len(done.folded.changed) == 13


def fresh_head(encoder: Path, like: Any) -> Any:
    """The base itself under the same head: what would answer if nothing was folded."""
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
    model.classifier.load_state_dict(like.classifier.state_dict())
    return model.eval()


@pytest.fixture
def imported(tmp_path: Path) -> Import:
    """A version of what PEFT saves of a plan on a base in a folder."""

    def take(base: Path, plan: Any, kind: Any = AutoModelForCausalLM, dtype: torch.dtype = torch.float32) -> str:
        model = moved(get_peft_model(kind.from_pretrained(base), plan)).to(dtype)
        folder = tmp_path / f"theirs-{len(list(tmp_path.glob('theirs-*')))}"
        model.save_pretrained(folder, save_embedding_layers=False)
        return ahf.import_folder(folder, "acme/theirs", base="acme/base").version.reference

    return take


def by_peft(base: Path, reference: str, kind: Any = AutoModelForCausalLM) -> Tensor:
    """What PEFT answers with the version on its base."""
    model: Any = PeftModel.from_pretrained(kind.from_pretrained(base), str(ahf.Registry().path(reference))).eval()
    batch = AutoTokenizer.from_pretrained(base)(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        answer: Tensor = model(**batch)[0]
    return answer


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory, decoder: Path) -> Path:
    """A tiny GPT-2: weights as (in, out), the head tied to the embedding."""
    folder = tmp_path_factory.mktemp("gpt2")
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=128, bos_token_id=2)
    config.initializer_range = 0.2
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("options", "untied"),
    [
        ({"target_modules": ["c_attn", "c_proj"], "use_dora": True}, []),
        ({"target_modules": ["c_attn", "wte"]}, ["lm_head.weight", "transformer.wte.weight"]),
        ({"target_modules": ["c_attn", "lm_head"]}, ["lm_head.weight", "transformer.wte.weight"]),
        ({"target_modules": ["c_fc"], "modules_to_save": ["wte"]}, ["lm_head.weight", "transformer.wte.weight"]),
        ({"target_modules": ["c_fc"], "lora_bias": True, "rank_pattern": {"h.1.mlp.c_fc": 5}}, []),
    ],
)
def test_turned_weights_and_tied_ones(
    options: dict[str, Any], untied: list[str], gpt2: Path, imported: Import, tmp_path: Path
) -> None:
    reference = imported(gpt2, LoraConfig(r=3, task_type="CAUSAL_LM", fan_in_fan_out=True, **options))
    done = ahf.export(reference, tmp_path / "out", layout="merged", base=gpt2)
    assert done.folded is not None and done.folded.untied == untied
    assert json.loads((done.folder / "config.json").read_text())["tie_word_embeddings"] is not bool(untied)
    wanted = by_peft(gpt2, reference)
    assert (
        off(logits(done.folder, AutoModelForCausalLM), wanted)
        < 1e-5
        < 1e-2
        < off(logits(gpt2, AutoModelForCausalLM), wanted)
    )


def test_an_adalora_is_folded_as_peft_folds_it(decoder: Path, imported: Import, tmp_path: Path) -> None:
    plan = AdaLoraConfig(
        init_r=4, target_r=2, total_step=9, task_type="CAUSAL_LM", target_modules=["q_proj", "up_proj"]
    )
    reference = imported(decoder, plan)
    done = ahf.export(reference, tmp_path / "out", layout="merged", base=decoder)
    wanted, plain = by_peft(decoder, reference), logits(decoder, AutoModelForCausalLM)
    assert off(logits(done.folder, AutoModelForCausalLM), wanted) < 1e-5 < 1e-2 < off(plain, wanted)
    biased = imported(decoder, replace(plan, bias="all"))
    with pytest.raises(ahf.BadMerge, match="it sets bias to all"):
        ahf.export(biased, tmp_path / "biased", layout="merged", base=decoder)


def test_a_base_in_shards_gives_the_same_in_shards(decoder: Path, imported: Import, tmp_path: Path) -> None:
    sharded = tmp_path / "sharded"
    LlamaForCausalLM.from_pretrained(decoder).save_pretrained(sharded, max_shard_size="20KB")
    AutoTokenizer.from_pretrained(decoder).save_pretrained(sharded)
    reference = imported(decoder, LoraConfig(r=3, task_type="CAUSAL_LM", target_modules="all-linear"))
    one = ahf.export(reference, tmp_path / "one", layout="merged", base=decoder).folder
    several = ahf.export(reference, tmp_path / "several", layout="merged", base=sharded).folder
    index = json.loads((several / INDEX).read_text())
    files = sorted(set(index["weight_map"].values()))
    assert files == sorted(path.name for path in sharded.glob("*.safetensors")) and len(files) > 2
    whole = load_file(one / WEIGHTS)
    split = {name: value for file in files for name, value in load_file(several / file).items()}
    assert whole.keys() == split.keys() == index["weight_map"].keys()
    assert all(torch.equal(whole[name], split[name]) for name in whole)
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in whole.values())
    assert torch.equal(logits(one, AutoModelForCausalLM), logits(several, AutoModelForCausalLM))


def test_parameters_made_of_several_tensors_are_copied_and_never_changed(
    decoder: Path, imported: Import, tmp_path: Path
) -> None:
    base = tmp_path / "experts"
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    shape: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_local_experts": 4}
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.2}
    MixtralForCausalLM(MixtralConfig(vocab_size=len(tokenizer), **shape, **heads)).save_pretrained(base)
    tokenizer.save_pretrained(base)
    names = set(load_file(base / WEIGHTS))
    assert sum(".experts." in name for name in names) == 2 * 4 * 3  # which the model holds as two parameters a layer
    reference = imported(base, LoraConfig(r=2, task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"]))
    done = ahf.export(reference, tmp_path / "out", layout="merged", base=base)
    assert set(load_file(done.folder / WEIGHTS)) == names
    assert off(logits(done.folder, AutoModelForCausalLM), by_peft(base, reference)) < 1e-5


def test_a_base_in_the_cache_of_a_hub_is_links(decoder: Path, imported: Import, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(decoder.iterdir())):
        (blobs / f"{number:064}").write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(blobs / f"{number:064}")
    reference = imported(decoder, LoraConfig(r=2, task_type="CAUSAL_LM", target_modules=["q_proj"]))
    done = ahf.export(reference, tmp_path / "out", layout="merged", base=snapshot)
    assert (done.folder / WEIGHTS).is_file() and not (done.folder / WEIGHTS).is_symlink()
    assert off(logits(done.folder, AutoModelForCausalLM), by_peft(decoder, reference)) < 1e-5


def status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{key}:")).split()[1]) / 1024


def test_memory_does_not_grow_with_the_model(imported: Import, decoder: Path, tmp_path: Path) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of memory can be begun anew on Linux alone")
    peaks, sizes = [], []
    for layers in (2, 8, 40):  # the first is to warm up
        base = tmp_path / f"base-{layers}"
        shape: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 704, "num_attention_heads": 2}
        config = LlamaConfig(vocab_size=300, num_hidden_layers=layers, **shape)
        LlamaForCausalLM(config).save_pretrained(base, max_shard_size="8MB")
        AutoTokenizer.from_pretrained(decoder).save_pretrained(base)
        reference = imported(base, LoraConfig(r=2, task_type="CAUSAL_LM", target_modules="all-linear"))
        Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS")
        ahf.export(reference, tmp_path / f"out-{layers}", layout="merged", base=base)
        peaks.append(status("VmHWM") - before)
        sizes.append(sum(path.stat().st_size for path in base.glob("*.safetensors")) / 2**20)
    assert sizes[2] - sizes[1] > 80
    assert peaks[2] - peaks[1] < 20 and peaks[2] < 30, f"{peaks} MiB for bases of {sizes}"


def test_a_base_in_bfloat16_is_rounded_once_and_the_loss_is_told(
    decoder: Path, imported: Import, tmp_path: Path
) -> None:
    half = tmp_path / "half"
    LlamaForCausalLM.from_pretrained(decoder, dtype=torch.bfloat16).save_pretrained(half)
    AutoTokenizer.from_pretrained(decoder).save_pretrained(half)
    reference = imported(decoder, LoraConfig(r=3, task_type="CAUSAL_LM", target_modules=["q_proj", "down_proj"]))
    done = ahf.export(reference, tmp_path / "out", layout="merged", base=half)
    before, after = load_file(half / WEIGHTS), load_file(done.folder / WEIGHTS)
    changes = open_changes(ahf.Registry().path(reference), "it")
    off, size = 0.0, 0.0
    for name in changes.parameters:
        added = changes.change(name).to(torch.float64).dense()
        wanted = before[name].double() + added
        assert torch.equal(after[name], wanted.to(torch.bfloat16))
        off += float((after[name].double() - wanted).square().sum())
        size += float(added.square().sum())
    assert done.folded is not None and done.folded.dtypes == ["bfloat16"]
    assert done.folded.losses["rounding"] == pytest.approx((off / size) ** 0.5, rel=1e-3)
    assert done.folded.losses["rounding"] > 1e-3
    assert {str(value.dtype) for value in after.values()} == {"torch.bfloat16"}
    assert all(torch.equal(after[name], before[name]) for name in before.keys() - changes.parameters.keys())
    assert AutoModelForCausalLM.from_pretrained(done.folder).dtype == torch.bfloat16


def test_a_quantized_base_is_dequantised_as_it_was_in_training(encoder: Path, tmp_path: Path) -> None:
    run = ahf.train(
        name="acme/four-bit",
        base={"path": str(encoder)},
        method={"name": "qlora", "rank": 4},
        corpus={"name": tiny_corpus(), "splitter": {"by": "stratified"}},
        training={"epochs": 2, "batch_size": 16, "max_length": 32},
    )
    batch = run.adapter.tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        wanted = run.adapter.model(**batch).logits
    told = {}
    for into in (None, "original"):
        done = ahf.export("acme/four-bit", tmp_path / str(into), layout="merged", base=encoder, into=into)  # type: ignore[arg-type]
        off = (logits(done.folder, AutoModelForSequenceClassification) - wanted).abs().max()
        assert done.folded is not None
        told[done.folded.into] = (float(off), done.folded.losses)
    exact, lost = told["dequantised"], told["original"]
    assert exact[0] < 1e-5 < 1e-2 < lost[0]
    assert exact[1]["dequantised"] < 1e-4 < 1 < exact[1]["original"] == pytest.approx(lost[1]["original"])
    assert exact[1]["four bits again"] > 0.5 and "four bits again" not in lost[1]


class TestRefusals:
    """Before anything is written, and with what to do."""

    def refused(self, error: type[Exception], text: str, tmp_path: Path, *arguments: Any, **given: Any) -> None:
        with pytest.raises(error, match=text):
            ahf.export(*arguments, layout="merged", **given)
        assert not list(tmp_path.glob("out*")) and not list(tmp_path.glob(".out*"))

    def test_another_base(self, trained: Run, tmp_path: Path) -> None:
        from adapterhub_fin.testing import tiny_encoder

        registry, other = ahf.Registry(trained.version.folder.parents[4]), tiny_encoder(tmp_path / "other", seed=7)
        given = {"base": other, "registry": registry}
        self.refused(ahf.WrongBase, "has other weights", tmp_path, "acme/tone", tmp_path / "out", **given)

    def test_pickles_and_quantized_files(self, decoder: Path, imported: Import, tmp_path: Path) -> None:
        reference = imported(decoder, LoraConfig(r=2, task_type="CAUSAL_LM", target_modules=["q_proj"]))
        old = tmp_path / "old"
        tiny_decoder(old)
        (old / WEIGHTS).rename(old / "pytorch_model.bin")
        self.refused(ahf.Refused, "save it with save_pretrained", tmp_path, reference, tmp_path / "out", base=old)
        (old / "pytorch_model.bin").unlink()
        self.refused(ahf.BaseNotFound, "holds no model.safetensors", tmp_path, reference, tmp_path / "out", base=old)
        config = json.loads((decoder / "config.json").read_text())
        quantized = {**config, "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
        (old / "config.json").write_text(json.dumps(quantized))
        self.refused(ahf.Refused, "are quantized", tmp_path, reference, tmp_path / "out", base=old)

    def test_what_is_no_sum_of_matrices(self, decoder: Path, imported: Import, tmp_path: Path) -> None:
        plan = IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj"], feedforward_modules=[])
        self.refused(ahf.BadMerge, "low-rank", tmp_path, imported(decoder, plan), tmp_path / "out", base=decoder)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_a_bias_where_the_base_has_none(
        self, dtype: torch.dtype, decoder: Path, imported: Import, tmp_path: Path
    ) -> None:
        plan = LoraConfig(r=2, task_type="CAUSAL_LM", target_modules=["q_proj"], lora_bias=True)
        reference = imported(decoder, plan, dtype=dtype)
        self.refused(ahf.Refused, "adds a bias", tmp_path, reference, tmp_path / "out", base=decoder)
        folder = ahf.Registry().resolve(reference).files
        tensors = load_file(folder / "adapter_model.safetensors")
        none = {key: torch.zeros_like(value) if "bias" in key else value for key, value in tensors.items()}
        save_file(none, tmp_path / "theirs-0" / "adapter_model.safetensors", {"format": "pt"})
        zero = ahf.import_folder(tmp_path / "theirs-0", "acme/zero", base="acme/base").version.reference
        ahf.export(zero, tmp_path / "zero", layout="merged", base=decoder)
        assert load_file(tmp_path / "zero" / WEIGHTS).keys() == load_file(decoder / WEIGHTS).keys()

    def test_values_that_the_base_has_no_room_for(self, decoder: Path, imported: Import, tmp_path: Path) -> None:
        half = tmp_path / "half"
        LlamaForCausalLM.from_pretrained(decoder, dtype=torch.float16).save_pretrained(half)
        AutoTokenizer.from_pretrained(decoder).save_pretrained(half)
        huge = imported(decoder, LoraConfig(r=2, lora_alpha=4e6, task_type="CAUSAL_LM", target_modules=["q_proj"]))
        said = r"q_proj.weight would hold .*e\+0[56], and float16 ends at 6.55e\+04: name a base in bfloat16"
        self.refused(ahf.Refused, said, tmp_path, huge, tmp_path / "out", base=half)
        ahf.export(huge, tmp_path / "wide", layout="merged", base=decoder)

    def test_options_that_go_with_nothing(self, decoder: Path, imported: Import, tmp_path: Path) -> None:
        reference = imported(decoder, LoraConfig(r=2, task_type="CAUSAL_LM", target_modules=["q_proj"]))
        given: dict[str, Any] = {"base": decoder, "into": "original"}
        self.refused(ahf.Refused, "not trained on a quantized", tmp_path, reference, tmp_path / "out", **given)
        with pytest.raises(ahf.Refused, match="for the layouts merged and onnx"):
            ahf.export(reference, tmp_path / "out", base=decoder)

    def test_a_shard_that_is_not_there(self, decoder: Path, imported: Import, tmp_path: Path) -> None:
        reference = imported(decoder, LoraConfig(r=2, task_type="CAUSAL_LM", target_modules=["q_proj"]))
        base = tiny_decoder(tmp_path / "base")
        names = list(load_file(base / WEIGHTS))
        (base / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(names, "model-00001.safetensors")}))
        self.refused(ahf.Refused, "which is not there", tmp_path, reference, tmp_path / "out", base=base)

    def test_a_base_that_lacks_a_layer(self, decoder: Path, imported: Import, tmp_path: Path) -> None:
        reference = imported(decoder, LoraConfig(r=2, task_type="CAUSAL_LM", target_modules=["q_proj"]))
        base = tiny_decoder(tmp_path / "base")
        weights = load_file(base / WEIGHTS)
        for name, error in (("model.norm.weight", "model.norm"), ("model.layers.0.self_attn.q_proj.weight", "q_proj")):
            save_file({key: value for key, value in weights.items() if key != name}, base / WEIGHTS, {"format": "pt"})
            self.refused(ahf.WrongTensors, error, tmp_path, reference, tmp_path / "out", base=base)


def test_a_bare_backbone_is_written_bare(decoder: Path, imported: Import, tmp_path: Path) -> None:
    reference = imported(decoder, LoraConfig(r=2, target_modules=["q_proj"]), AutoModel)
    done = ahf.export(reference, tmp_path / "out", layout="merged", base=decoder)
    assert torch.allclose(logits(done.folder, AutoModel), by_peft(decoder, reference, AutoModel), atol=1e-5)
    assert json.loads((done.folder / "config.json").read_text())["architectures"] == ["LlamaModel"]
