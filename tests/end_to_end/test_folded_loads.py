"""A version that is loaded with fold=True answers as it does unfolded, from the weights of a base of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from peft import (
    IA3Config,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptTuningConfig,
    TaskType,
    get_peft_model,
)
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
)

import adapterhub_fin as ahf
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.testing import tiny_corpus
from adapterhub_fin.testing.tiny import tiny_decoder, tiny_encoder
from adapterhub_fin_registry import Registry

CASES = int(os.environ.get("AHF_CASES", "16"))
TEXTS = ["Arlo: profit rose.", "Gant: profit fell a lot in the quarter", "Nyx: meets in May."]
LABELS = ["negative", "neutral", "positive"]
CLOSE = 1e-12  # of the largest of an answer's numbers; these bases are float64
ROUNDED = 5e-6  # the same of a float32 base
NUMBERS = count()


@dataclass(frozen=True)
class Stock:
    """A registry of versions, and the folders of bases of four kinds."""

    registry: Registry
    bases: dict[str, Path]

    def model(self, kind: str) -> Any:
        if kind == "bert":
            return AutoModelForSequenceClassification.from_pretrained(self.bases[kind], num_labels=3)
        return AutoModelForCausalLM.from_pretrained(self.bases[kind])

    def saved(self, kind: str, plan: PeftConfig, seed: int) -> str:
        """Store an adapter of that plan with random weights; return its name."""
        torch.manual_seed(seed)
        plan.task_type = TaskType.SEQ_CLS if kind == "bert" else TaskType.CAUSAL_LM
        model: Any = get_peft_model(self.model(kind), plan)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.2 * torch.randn_like(parameter))
        name, folder = f"t/n{next(NUMBERS)}", self.bases[kind]
        options: dict[str, Any] = {"labels": LABELS} if kind == "bert" else {}
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ahf.save(model, name, base=folder, tokenizer=tokenizer, registry=self.registry, **options)
        return name

    def load(self, name: str, kind: str, **options: Any) -> Any:
        return ahf.load(name, base=self.bases[kind], registry=self.registry, **options)


def as_double(folder: Path) -> None:
    """Write a base's weights in float64, in which its answers tell an exact fold from one that is off by a little."""
    weights = {name: tensor.double() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float64"}))


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stock]:
    root = tmp_path_factory.mktemp("folded")
    bases = {"bert": tiny_encoder(root / "bert"), "llama": tiny_decoder(root / "llama")}
    tokenizer = AutoTokenizer.from_pretrained(bases["llama"])
    torch.manual_seed(3)
    size: Any = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128, "initializer_range": 0.2}
    ends: Any = {"bos_token_id": 2, "eos_token_id": 3}
    config = AutoConfig.from_pretrained(bases["llama"])
    config.tie_word_embeddings = True
    models = {
        "gpt2": GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **size, **ends)),  # Conv1D, tied
        "tied": LlamaForCausalLM(config),
    }
    for kind, model in models.items():
        bases[kind] = root / kind
        model.save_pretrained(bases[kind])
        tokenizer.save_pretrained(bases[kind])
    for folder in bases.values():
        as_double(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(root / "cache"))
        yield Stock(ahf.Registry(root / "home"), bases)


def off(folded: Any, plain: Any) -> float:
    """The largest difference of two arrays of one shape, relative to the largest number."""
    one, other = np.asarray(folded, dtype=np.float64), np.asarray(plain, dtype=np.float64)
    assert one.shape == other.shape
    return float(abs(one - other).max() / abs(other).max())


LAYERS: dict[str, list[list[str]]] = {
    "bert": [["query", "value"], ["dense"], ["word_embeddings", "key"], ["query", "intermediate.dense"]],
    "llama": [["q_proj", "down_proj"], ["embed_tokens", "v_proj"], ["k_proj", "lm_head"]],
    "gpt2": [["c_attn"], ["c_attn", "c_fc", "c_proj"], ["wte", "c_fc"]],
    "tied": [["q_proj", "o_proj"], ["embed_tokens"], ["up_proj", "lm_head"]],
}
SAVED = {"bert": "pooler", "llama": "norm", "gpt2": "ln_f", "tied": "norm"}


@st.composite
def plans(draw: st.DrawFn) -> tuple[str, LoraConfig]:
    kind = draw(st.sampled_from(sorted(LAYERS)))
    targets = draw(st.sampled_from(LAYERS[kind]))
    embeds = any("emb" in name or name == "wte" for name in targets)
    biased = not embeds and kind in ("bert", "gpt2") and draw(st.booleans())
    one = targets[0]
    saved = draw(st.booleans()) and not (kind == "bert" and targets == ["dense"])
    return kind, LoraConfig(
        r=draw(st.integers(1, 9)),
        lora_alpha=draw(st.sampled_from([1, 3, 16])),
        use_rslora=draw(st.booleans()),
        rank_pattern=draw(st.sampled_from([{}, {one: 2}])),
        alpha_pattern=draw(st.sampled_from([{}, {one: 5}])),
        lora_dropout=draw(st.sampled_from([0.0, 0.1])),
        lora_bias=biased,
        target_modules=targets,
        fan_in_fan_out=kind == "gpt2" and not embeds,
        modules_to_save=[SAVED[kind]] if saved else None,
    )


@given(plans(), st.integers(0, 99))
@settings(
    max_examples=CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.reuse, Phase.generate],  # an example takes a second, and is short enough to read
)
def test_a_folded_version_answers_as_the_adapter_does(stock: Stock, plan: tuple[str, LoraConfig], seed: int) -> None:
    kind, config = plan
    name = stock.saved(kind, config, seed)
    plain, folded = stock.load(name, kind), stock.load(name, kind, fold=True)
    assert not isinstance(folded.model, PeftModel) and folded.reference == plain.reference
    assert off(folded.embed(TEXTS), plain.embed(TEXTS)) < CLOSE
    assert off(folded.logits(TEXTS), plain.logits(TEXTS)) < CLOSE
    batch = plain.tokenizer(TEXTS, padding=True, return_tensors="pt")
    with folded.answering(), plain.answering():
        assert off(folded.model(**batch).logits, plain.model(**batch).logits) < CLOSE
    if kind != "bert":
        assert folded.generate(TEXTS, max_new_tokens=5) == plain.generate(TEXTS, max_new_tokens=5)
        assert "".join(folded.stream(TEXTS[0], max_new_tokens=5)) == plain.generate(TEXTS[:1], max_new_tokens=5)[0]
    bare = AutoModelForSequenceClassification if kind == "bert" else AutoModelForCausalLM
    base: Any = bare.from_pretrained(stock.bases[kind]).eval()
    with torch.inference_mode():
        hidden: Tensor = base(**batch, output_hidden_states=True).hidden_states[-1]
    assert off(folded.model(**batch, output_hidden_states=True).hidden_states[-1].detach(), hidden) > 1e-3


def test_a_folded_table_and_a_merge_answer_as_they_do_unfolded(stock: Stock, tmp_path: Path) -> None:
    names = [stock.saved("bert", LoraConfig(r=rank, target_modules=["query", "value"]), rank) for rank in (2, 3)]
    versions, registry = [f"{name}@1" for name in names], stock.registry
    ahf.merge(versions, weights=[0.7, 0.6], using="linear", into="t/both", registry=registry)
    plain, folded = stock.load("t/both", "bert"), stock.load("t/both", "bert", fold=True)
    assert off(folded.logits(TEXTS), plain.logits(TEXTS)) < CLOSE
    assert off(folded.logits(TEXTS), stock.load(names[0], "bert").logits(TEXTS)) > 1e-3
    (tmp_path / "rows.csv").write_text("text\n" + "\n".join(TEXTS))
    for adapter, out in ((plain, "plain.jsonl"), (folded, "folded.jsonl")):
        assert adapter.predict_table(tmp_path / "rows.csv", tmp_path / out) == 3
    assert [answer.label for answer in folded.predict(TEXTS)] == [answer.label for answer in plain.predict(TEXTS)]


def test_a_trained_version_keeps_the_type_of_its_base(trained: Run, encoder: Path, tmp_path: Path) -> None:
    registry = ahf.Registry(trained.version.folder.parents[4])
    plain = ahf.load("acme/tone", base=encoder, registry=registry)
    folded = ahf.load("acme/tone", base=encoder, registry=registry, fold=True)
    assert off(folded.logits(TEXTS), plain.logits(TEXTS)) < ROUNDED
    model = AutoModelForSequenceClassification.from_pretrained(encoder, dtype=torch.bfloat16)
    model.base_model.save_pretrained(tmp_path / "half")
    folded.tokenizer.save_pretrained(tmp_path / "half")
    half = ahf.load("acme/tone", base=tmp_path / "half", registry=registry, fold=True)
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}
    assert off(half.logits(TEXTS), plain.logits(TEXTS)) < 0.1


def test_adalora_is_folded_by_its_own_factors(encoder: Path) -> None:
    run = ahf.train(
        name="t/ada",
        base=str(encoder),
        method={"name": "adalora", "initial_rank": 3, "target_rank": 2},
        corpus={"name": tiny_corpus()},
        training={"epochs": 2, "max_length": 32},
    )
    plain, folded = (ahf.load(run.reference, base=encoder, fold=fold) for fold in (False, True))
    assert off(folded.logits(TEXTS), plain.logits(TEXTS)) < ROUNDED


def test_nothing_else_is_put_onto_a_folded_model(stock: Stock) -> None:
    one, other = (stock.saved("bert", LoraConfig(r=2, target_modules=["query"]), seed) for seed in (1, 2))
    folded = stock.load(one, "bert", fold=True)
    expected = folded.logits(TEXTS)
    with pytest.raises(ahf.WrongBase, match=f"{one}@1 is on this model and has changed the base's own weights"):
        ahf.load(other, base=folded.model, tokenizer=folded.tokenizer, registry=stock.registry)
    assert torch.equal(folded.logits(TEXTS), expected)
    with pytest.raises(ahf.Unsupported, match="folded into its base, which holds no tensor of it"):
        folded.method.tensors(folded.model, folded.adapter_name)


def test_a_model_that_is_given_is_never_folded_into(stock: Stock) -> None:
    name, model = stock.saved("bert", LoraConfig(r=2, target_modules=["query"]), 1), stock.model("bert")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ahf.Refused, match="may be shared: give its folder or id, or leave fold out"):
        ahf.load(name, base=model, registry=stock.registry, fold=True)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


PLANS: dict[str, tuple[str, PeftConfig, str]] = {
    "dora": ("bert", LoraConfig(r=2, use_dora=True, target_modules=["query"]), "use_dora"),
    "ia3": ("bert", IA3Config(target_modules=["query"], feedforward_modules=[]), "low-rank"),
    "prompt": ("llama", PromptTuningConfig(num_virtual_tokens=2), "low-rank"),
    "prefix": ("llama", PrefixTuningConfig(num_virtual_tokens=2), "low-rank"),
    "biases": ("bert", LoraConfig(r=2, bias="all", target_modules=["query"]), "bias"),
    "tokens": ("llama", LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices=[5]), "trainable_token"),
}


@pytest.mark.parametrize("which", sorted(PLANS))
def test_what_is_no_sum_of_low_rank_matrices_is_not_folded(stock: Stock, which: str) -> None:
    kind, plan, reason = PLANS[which]
    name = stock.saved(kind, plan, 4)
    with pytest.raises(ahf.Unsupported, match=rf"(?s){name}@1 can't be folded into its base, .*{reason}"):
        stock.load(name, kind, fold=True)
    assert len(stock.load(name, kind).logits(TEXTS)) == 3


def test_a_quantized_base_takes_no_change(encoder: Path) -> None:
    run = ahf.train(
        name="t/four",
        base=str(encoder),
        method={"name": "qlora", "rank": 2},
        corpus={"name": tiny_corpus()},
        training={"epochs": 1, "max_length": 32},
    )
    with pytest.raises(ahf.Unsupported, match=r"t/four@1 is for a quantized base.*--layout merged"):
        ahf.load(run.reference, base=encoder, fold=True)


def test_another_base_is_refused_as_it_is_unfolded(stock: Stock, tmp_path: Path) -> None:
    name = stock.saved("bert", LoraConfig(r=2, target_modules=["query"]), 1)
    with pytest.raises(ahf.WrongBase, match="other weights"):
        ahf.load(name, base=tiny_encoder(tmp_path / "other", seed=5), registry=stock.registry, fold=True)
