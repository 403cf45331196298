"""What PEFT writes comes back as PEFT has it: a sample of our own; `make peft-cases` runs all of PEFT's test cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.config import KasaConfig, VeloraConfig
from torch import nn
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

import adapterhub_fin as ahf
from adapterhub_fin.testing.round_trip import answers, by_import, by_save, on_one_model, randomized
from adapterhub_fin.testing.tiny import tiny_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": 264, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "initializer_range": 0.2, "pad_token_id": 0,
}  # fmt: skip
T5: dict[str, Any] = {"vocab_size": 264, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}


class Plain(nn.Module):
    """No model of Transformers: no configuration, no embeddings to ask for, no tokenizer."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(264, 8)
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        out: torch.Tensor = self.second(self.first(self.words(input_ids)).relu())
        return out


MODELS: dict[str, Callable[[], nn.Module]] = {
    "plain": Plain,
    "encoder": lambda: BertModel(BertConfig(**SIZES)),
    "decoder": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "tied decoder": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "classifier": lambda: BertForSequenceClassification(BertConfig(**SIZES, num_labels=3)),
    "tagger": lambda: BertForTokenClassification(BertConfig(**SIZES, num_labels=5)),
    "reader": lambda: BertForQuestionAnswering(BertConfig(**SIZES)),
    "translator": lambda: T5ForConditionalGeneration(T5Config(**T5)),
}
TASKS = {
    "encoder": "FEATURE_EXTRACTION",
    "decoder": "CAUSAL_LM",
    "tied decoder": "CAUSAL_LM",
    "classifier": "SEQ_CLS",
    "tagger": "TOKEN_CLS",
    "reader": "QUESTION_ANS",
    "translator": "SEQ_2_SEQ_LM",
}
FIRST = {"target_modules": ["first"]}
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("plain", "Lora", {**FIRST, "init_lora_weights": False}),
    ("plain", "Lora", {**FIRST, "init_lora_weights": False, "use_dora": True}),
    ("plain", "Lora", {**FIRST, "init_lora_weights": False, "bias": "all"}),
    ("plain", "Lora", {**FIRST, "init_lora_weights": False, "bias": "lora_only", "modules_to_save": ["second"]}),
    ("plain", "Lora", {"target_modules": ["words"], "init_lora_weights": False}),
    ("plain", "Lora", {**FIRST, "r": 2, "init_lora_weights": "pissa"}),
    ("plain", "Lora", {**FIRST, "r": 2, "init_lora_weights": "olora"}),
    ("plain", "Lora", {**FIRST, "r": 2, "kasa_config": KasaConfig()}),
    ("plain", "Lora", {**FIRST, "r": 2, "velora_config": VeloraConfig(init_type="random")}),
    ("plain", "AdaLora", {**FIRST, "total_step": 1, "init_lora_weights": False}),
    ("plain", "Shira", {**FIRST, "r": 2}),
    ("plain", "TrainableTokens", {"target_modules": ["words"], "token_indices": [3, 5]}),
    ("encoder", "Frod", {"sparse_rate": 0.01}),
    ("encoder", "PrefixTuning", {"num_virtual_tokens": 4}),
    ("encoder", "Lora", {"trainable_token_indices": [3, 5]}),
    ("decoder", "PromptTuning", {"num_virtual_tokens": 4}),
    ("decoder", "CPT", {"cpt_token_ids": [5, 6], "cpt_mask": [1, 1], "cpt_tokens_type_mask": [1, 1]}),
    ("decoder", "Lora", {"target_modules": ["q_proj", "embed_tokens", "lm_head"], "init_lora_weights": False}),
    ("tied decoder", "Lora", {"trainable_token_indices": [3, 5]}),
    ("tied decoder", "TrainableTokens", {"token_indices": [3, 5]}),
    ("classifier", "PromptEncoder", {"num_virtual_tokens": 4, "encoder_hidden_size": 8}),
    ("tagger", "Lora", {"init_lora_weights": False}),
    ("reader", "IA3", {"init_ia3_weights": False}),
    ("translator", "Lora", {"init_lora_weights": False}),
    ("translator", "PromptTuning", {"num_virtual_tokens": 4}),
]


def told(case: tuple[str, str, dict[str, Any]]) -> str:
    model, kind, options = case
    return f"{model}-{kind}-{'-'.join(str(value) for value in options.values())}"[:80]


def build(model: str) -> Callable[[], nn.Module]:
    def fresh() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return MODELS[model]().eval()

    return fresh


@pytest.mark.parametrize("way", [by_save, by_import])
@pytest.mark.parametrize("case", CASES, ids=told)
def test_each_load_answers_as_plain_peft_does(case: tuple[str, str, dict[str, Any]], way: Any, tmp_path: Path) -> None:
    model, kind, options = case
    config = getattr(peft, f"{kind}Config")(task_type=TASKS.get(model), **options)
    inputs = {"input_ids": torch.tensor([[4, 5, 3], [6, 2, 7]]), "attention_mask": torch.ones(2, 3, dtype=torch.long)}
    if model == "translator":
        inputs["decoder_input_ids"] = inputs["input_ids"]
    tokenizer = None if model == "plain" else tiny_tokenizer("[CLS] $A [SEP]")
    trained = randomized(build(model), config)
    outcome = way(trained, build(model), inputs, ahf.Registry(tmp_path), tokenizer)
    assert outcome.result == "equal", outcome.reason


NEIGHBOURS = [
    {**FIRST, "init_lora_weights": False},
    {**FIRST, "init_lora_weights": False, "bias": "all"},
    {**FIRST, "init_lora_weights": False, "bias": "lora_only"},
    {**FIRST, "r": 2, "init_lora_weights": "pissa"},
    {**FIRST, "r": 2, "init_lora_weights": "olora"},
    {**FIRST, "r": 2, "kasa_config": KasaConfig()},
    {"target_modules": ["first", "second"], "init_lora_weights": False, "use_dora": True},
    {**FIRST, "init_lora_weights": False, "modules_to_save": ["second"]},
    {**FIRST, "init_lora_weights": False, "trainable_token_indices": {"words": [3, 5]}},
]
CHANGING = {"bias", "kasa_config"}


@pytest.mark.parametrize("other", NEIGHBOURS, ids=str)
@pytest.mark.parametrize("one", NEIGHBOURS, ids=str)
def test_no_adapter_changes_what_its_neighbour_answers(
    one: dict[str, Any], other: dict[str, Any], tmp_path: Path
) -> None:
    """Whatever is loaded beside it, and in any order; what would change it is refused beside another."""
    inputs = {"input_ids": torch.tensor([[4, 5, 3], [6, 2, 7]])}
    models = [randomized(build("plain"), LoraConfig(**each), seed) for seed, each in enumerate((one, other))]
    outcome = on_one_model(*models, build("plain"), inputs, ahf.Registry(tmp_path))
    changes = any(CHANGING & each.keys() or isinstance(each.get("init_lora_weights"), str) for each in (one, other))
    changes |= "second" in str(one) and "second" in str(other) and one != other  # one layer can't be both
    changes |= "trainable_token_indices" in one and one != other  # PEFT asks every adapter for the tokens' rows
    assert outcome.result == ("refused" if changes else "equal"), outcome.reason
    if changes:
        assert "onto a base of its own" in outcome.reason


class TestRefusedBeforeAnythingIsStored:
    """Each is one sentence that says what to do."""

    def test_a_start_that_no_load_can_repeat(self, tmp_path: Path) -> None:
        config = LoraConfig(target_modules=["first"], r=2, init_lora_weights="pissa_niter_2")
        model: Any = get_peft_model(build("plain")(), config)
        registry = ahf.Registry(tmp_path / "home")
        with pytest.raises(ahf.NotAnAdapter, match="drawn at random.*path_initial_model_for"):
            ahf.save(model, "acme/refused", registry=registry)
        model.save_pretrained(tmp_path / "theirs")
        with pytest.raises(ahf.NotAnAdapter, match="drawn at random.*path_initial_model_for"):
            ahf.import_folder(tmp_path / "theirs", "acme/refused", registry=registry)
        assert registry.names() == []

    @pytest.mark.parametrize("start", ["corda", "lora_ga", "loftq", "LoftQ"])
    def test_a_start_from_data(self, start: str, tmp_path: Path) -> None:
        trained: Any = get_peft_model(build("plain")(), LoraConfig(target_modules=["first"], r=2))
        trained.save_pretrained(tmp_path / "theirs")
        config = json.loads((tmp_path / "theirs" / "adapter_config.json").read_text())
        (tmp_path / "theirs" / "adapter_config.json").write_text(json.dumps({**config, "init_lora_weights": start}))
        with pytest.raises(ahf.NotAnAdapter, match="what training data or a quantization gave"):
            ahf.import_folder(tmp_path / "theirs", "acme/refused", registry=ahf.Registry(tmp_path / "home"))

    def test_a_prompt_without_a_task(self, tmp_path: Path) -> None:
        model: Any = get_peft_model(build("decoder")(), peft.PromptTuningConfig("CAUSAL_LM", num_virtual_tokens=2))
        model.peft_config["default"].task_type = None
        with pytest.raises(ahf.NotAnAdapter, match="holds a prompt and no task_type.*CAUSAL_LM"):
            ahf.save(model, "acme/refused", registry=ahf.Registry(tmp_path / "home"))

    def test_layers_that_were_replicated(self, tmp_path: Path) -> None:
        config = LoraConfig("CAUSAL_LM", layer_replication=[(0, 2), (1, 2)], init_lora_weights=False)
        model: Any = get_peft_model(build("decoder")(), config)
        with pytest.raises(ahf.BadRecipe, match="replicated its base's layers.*save_pretrained.*ahf import"):
            ahf.save(model, "acme/refused", registry=ahf.Registry(tmp_path / "home"))

    def test_a_merged_adapter(self, tmp_path: Path) -> None:
        config = LoraConfig(target_modules=["first"], init_lora_weights=False)
        model: Any = get_peft_model(build("plain")(), config)
        model.merge_adapter()
        with pytest.raises(ahf.BadRecipe, match="default is merged into the base's weights: call unmerge_adapter"):
            ahf.save(model, "acme/merged", registry=ahf.Registry(tmp_path))
        model.unmerge_adapter()
        assert ahf.save(model, "acme/merged", registry=ahf.Registry(tmp_path)).number == 1


@pytest.mark.parametrize("model", ["tagger", "reader", "translator", "encoder"])
def test_a_task_without_a_head_of_ours_loads_by_its_base_s_folder(model: str, tmp_path: Path) -> None:
    base: Any = build(model)()
    (base.save_pretrained if model in ("encoder", "translator") else base.base_model.save_pretrained)(tmp_path / "base")
    tiny_tokenizer("[CLS] $A [SEP]").save_pretrained(tmp_path / "base")
    trained = randomized(lambda: base, LoraConfig(TASKS[model], init_lora_weights=False))
    ids = torch.tensor([[4, 5, 3], [6, 2, 7]])
    inputs = {"input_ids": ids, **({"decoder_input_ids": ids} if model == "translator" else {})}
    expected = answers(trained, inputs)
    ahf.save(trained, "acme/task", base=tmp_path / "base")  # type: ignore[arg-type]
    adapter = ahf.load("acme/task", base=tmp_path / "base")
    assert all(map(torch.equal, answers(adapter.model, inputs), expected))
    with pytest.raises(ahf.BadRecipe, match="has no head to predict with; use embed"):
        adapter.predict(["a"])
    if model != "translator":
        assert adapter.embed(["Profit rose."]).shape == (1, 32)
