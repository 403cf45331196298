"""What a method leaves of a mixture of experts is said, and what engines leave of an adapter on experts (G 18)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    GptOssConfig,
    GraniteMoeConfig,
    JetMoeConfig,
    LlamaConfig,
    MixtralConfig,
    PretrainedConfig,
    Qwen2MoeConfig,
    Qwen3MoeConfig,
)

import adapterhub_fin as ahf
from adapterhub_fin.cli import group
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.base.experts import OutOfReach, Reach
from adapterhub_fin.plugin.descriptions import Method
from adapterhub_fin.plugin.interfaces import AttachContext
from adapterhub_fin.testing import tiny_decoder
from adapterhub_fin.testing.tiny import SHAPE

SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 260, "max_position_embeddings": 128, "num_experts_per_tok": 2,
    "tie_word_embeddings": False, "pad_token_id": 0,
}  # fmt: skip
OWN: dict[str, Any] = {"moe_intermediate_size": 16}
LATENT: dict[str, Any] = {"kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "v_head_dim": 8} | {
    "qk_nope_head_dim": 8, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "n_routed_experts": 4,
}  # fmt: skip
FUSED = ("mlp.experts.down_proj", "mlp.experts.gate_up_proj")
MIXTURES: dict[str, tuple[Callable[[], PretrainedConfig], tuple[str, ...]]] = {
    "mixtral": (lambda: MixtralConfig(**SIZES, num_local_experts=4), FUSED),
    "qwen2": (lambda: Qwen2MoeConfig(**SIZES, **OWN, num_experts=4, shared_expert_intermediate_size=16), FUSED),
    "qwen3": (lambda: Qwen3MoeConfig(**SIZES, **OWN, num_experts=4, head_dim=8), FUSED),
    "gpt-oss": (lambda: GptOssConfig(**SIZES, num_local_experts=4, head_dim=8), FUSED),
    "granite": (
        lambda: GraniteMoeConfig(**SIZES, num_local_experts=4),
        ("block_sparse_moe.experts.down_proj", "block_sparse_moe.experts.gate_up_proj"),
    ),
    "jetmoe": (
        lambda: JetMoeConfig(**{**SIZES, "num_key_value_heads": 2}, kv_channels=8, num_local_experts=4),
        (
            "mlp.input_linear.weight",
            "mlp.output_linear.weight",
            "self_attention.experts.input_linear.weight",
            "self_attention.experts.output_linear.weight",
        ),
    ),
}


def skeleton(config: PretrainedConfig) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def left_out(config: PretrainedConfig, method: str, **options: Any) -> OutOfReach | None:
    """What of a base a method of ours leaves out."""
    base = skeleton(config)
    reach = Reach(base)
    return reach.out_of(
        build_plugin(Method, method, options).attach(base, AttachContext(adapter_name="ahf_00000000", task="CAUSAL_LM"))
    )


def counted(config: PretrainedConfig) -> float:
    """The share of a base's parameters that stand in tensors of three dimensions, which are its experts' weights."""
    sizes = [(each.numel(), each.ndim == 3) for each in skeleton(config).parameters()]
    return sum(size for size, stacked in sizes if stacked) / sum(size for size, _ in sizes)


@pytest.mark.parametrize("kind", MIXTURES)
def test_the_share_that_plain_lora_leaves_out_is_that_of_the_experts(kind: str) -> None:
    config, names = MIXTURES[kind][0](), MIXTURES[kind][1]
    found = left_out(config, "lora")
    assert found is not None and found.names == names
    assert found.share == pytest.approx(counted(config), abs=0.02) and found.share > 0.2
    said = found.sentence("lora")
    assert said.startswith(f"{found.share:.0%} of the base's parameters") and f"target_parameters: [{names[0]}" in said
    assert left_out(config, "peft:lora", target_parameters=list(names), target_modules=[]) is None, "what is advised"
    half = left_out(config, "peft:lora", target_parameters=[names[0]])
    assert half is not None and half.names == names[1:] and 0 < half.share < found.share


LLAMA = LlamaConfig(**{name: value for name, value in SIZES.items() if name != "num_experts_per_tok"})
DEEPSEEK = DeepseekV3Config(**{**SIZES, **OWN, **LATENT, "num_key_value_heads": 4})


@pytest.mark.parametrize(
    ("config", "method", "options"),
    [
        (MIXTURES["mixtral"][0](), "peft:prefix-tuning", {"num_virtual_tokens": 4}),  # which adapts no layer
        (LLAMA, "lora", {}),
        (DEEPSEEK, "lora", {"dropout": 0}),  # PEFT turns the names of its layers into those of its experts
    ],
)
def test_where_nothing_is_left_out_nothing_is_said(config: PretrainedConfig, method: str, options: Any) -> None:
    assert left_out(config, method, **options) is None


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Mixtral."""
    folder = tiny_decoder(tmp_path_factory.mktemp("mixture"))
    torch.manual_seed(0)
    shape = {**SHAPE, "num_key_value_heads": 1, "bos_token_id": 2, "eos_token_id": 3}
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    config = MixtralConfig(vocab_size=vocabulary, num_local_experts=4, num_experts_per_tok=2, **shape)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def recipe(mixture: Path, **method: Any) -> dict[str, Any]:
    return {
        "name": "acme/experts",
        "base": {"id": "acme/tiny", "path": str(mixture)},
        "method": method,
        "head": {"name": "causal-lm"},
        "corpus": {"name": "headlines", "rows": 60},
        "training": {"epochs": 1, "max_length": 64, "batch_size": 8},
    }


def test_a_run_a_dry_run_and_a_plan_say_it(mixture: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = recipe(mixture, name="lora", rank=2, dropout=0)
    with caplog.at_level(logging.WARNING):
        drafted = ahf.preview(given)
    assert drafted.unreached is not None
    sentence = drafted.unreached.sentence("lora")
    assert drafted.warnings[-1] == sentence and caplog.messages.count(sentence) == 1
    assert ahf.plan(given).warnings == drafted.warnings
    (tmp_path / "recipe.yaml").write_text(json.dumps(given))
    done = CliRunner().invoke(group, ["train", str(tmp_path / "recipe.yaml"), "--dry-run", "--json"])
    assert done.exit_code == 0 and sentence in json.loads(done.stdout)["warnings"]
    assert sentence in ahf.train(given).warnings


def test_what_is_advised_trains_stores_and_answers_the_same(mixture: Path) -> None:
    advised = recipe(
        mixture,
        name="peft:lora",
        r=2,
        target_modules=["q_proj"],
        target_parameters=list(FUSED),
        init_lora_weights=False,
    )
    run = ahf.train(advised)
    assert not [warning for warning in run.warnings if "out of reach" in warning]
    loaded = ahf.load("acme/experts", base=mixture)
    texts = ["Margins widened in Q3."]
    assert torch.equal(run.adapter.logits(texts), loaded.logits(texts))
    for engine in ("vllm", "sglang"):
        assert not ahf.check("acme/experts", engine).served


def saved(folder: Path, base: Any, **options: Any) -> Path:
    plan = LoraConfig(**{"r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", **options})
    plan.init_lora_weights = False
    get_peft_model(base, plan).save_pretrained(folder, save_embedding_layers=False)
    return folder


@pytest.mark.parametrize("kind", ["mixtral", "qwen3", "gpt-oss", "jetmoe"])
def test_engines_that_leave_experts_out_are_named_and_transformers_is_exact(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, names = MIXTURES[kind][0](), MIXTURES[kind][1]
    targets = ["kv_proj"] if kind == "jetmoe" else ["q_proj"]
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(config).eval()
    values = {name: value.clone() for name, value in base.state_dict().items()}
    folder = saved(tmp_path / "theirs", base, target_modules=targets, target_parameters=list(names))
    ids = torch.arange(5, 25)[None]
    wanted = base(ids).logits
    ahf.import_folder(folder, "acme/experts", base="acme/base")
    for engine in ("vllm", "sglang"):
        report = ahf.check("acme/experts", engine)
        [found] = [each for each in report.findings if each.rule == "experts"]
        assert not report.served and found.level == "wrong" and "experts" in found.says
        assert not [each for each in report.findings if each.rule == "rank" and kind != "jetmoe"], "they stack ranks"
        with pytest.raises(ahf.Refused, match="experts"):
            ahf.export("acme/experts", tmp_path / engine, layout="vllm" if engine == "vllm" else "peft", engine=engine)
    for engine in ("lorax", "tgi"):
        with pytest.raises(ahf.Refused, match="experts"):
            ahf.export("acme/experts", tmp_path / engine, engine=engine)
    assert ahf.check("acme/experts", "transformers").served
    fresh = AutoModelForCausalLM.from_config(config).eval()
    fresh.load_state_dict(values)
    plain = fresh(ids).logits
    fresh.load_adapter(str(folder))
    assert torch.allclose(fresh(ids).logits, wanted, atol=1e-5) and not torch.allclose(plain, wanted, atol=1e-3)


def test_what_lies_beside_fused_experts_is_served(tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_config(MIXTURES["mixtral"][0]()).eval()
    ahf.import_folder(saved(tmp_path / "theirs", base, target_modules=["q_proj", "v_proj"]), "acme/plain", base="a/b")
    for engine in ("vllm", "sglang", "transformers"):
        report = ahf.check("acme/plain", engine)
        assert report.served and not [each for each in report.findings if each.rule == "experts"]


def test_names_of_experts_are_known_without_the_configuration(tmp_path: Path) -> None:
    """As where PEFT made target_parameters of the layers that it was given, and another wrote the configuration."""
    base = AutoModelForCausalLM.from_config(MIXTURES["mixtral"][0]()).eval()
    folder = saved(tmp_path / "theirs", base, target_parameters=list(FUSED))
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "target_parameters": None}))
    ahf.import_folder(folder, "acme/experts", base="a/b")
    for engine in ("vllm", "sglang"):
        assert not ahf.check("acme/experts", engine).served
