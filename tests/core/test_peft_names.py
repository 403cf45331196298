"""Every name under `peft:TYPE` is held to the model's own: one that matches nothing is an error, with near names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.adapter_names import new_adapter_name
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.plugin.descriptions import Method
from adapterhub_fin.plugin.interfaces import AttachContext

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 64}
TARGETS = {"target_modules": ["q_proj", "v_proj"]}


def attach(name: str, **options: Any) -> Any:
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**SIZES))
    method = build_plugin(Method, name, options)
    with torch.random.fork_rng(devices=[]):
        return method.attach(model, AttachContext(adapter_name=new_adapter_name(), task="CAUSAL_LM"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target_modules": ["q_proj", "v_porj"]}, "target_modules names 'v_porj'.*did you mean v_proj"),
        ({"target_modules": ["q_proj", "_proj"]}, "target_modules names '_proj'"),  # the end of a name, and of no part
        ({"target_modules": r".*\.q_pro"}, "target_modules names"),  # the beginning of some, and none whole
        ({**TARGETS, "rank_pattern": {"q_pro": 4}}, "rank_pattern names 'q_pro'"),
        ({**TARGETS, "rank_pattern": {"q_prj": 4}}, "rank_pattern names 'q_prj'.*adapted module.*did you mean q_proj"),
        ({**TARGETS, "rank_pattern": {"k_proj": 4}}, "rank_pattern names 'k_proj'.*no adapted module"),
        ({**TARGETS, "alpha_pattern": {"layers.7.self_attn.q_proj": 4}}, "alpha_pattern names 'layers.7"),
        ({**TARGETS, "exclude_modules": ["o_porj"]}, "exclude_modules names 'o_porj'.*did you mean o_proj"),
        ({**TARGETS, "exclude_modules": r".*layers\.9.*"}, "exclude_modules names"),
        ({**TARGETS, "modules_to_save": ["lm_haed"]}, "modules_to_save names 'lm_haed'.*did you mean lm_head"),
        ({**TARGETS, "layers_to_transform": [0, 3]}, "layers_to_transform names '3'.*no adapted layer.*there are 0"),
        ({**TARGETS, "layers_to_transform": [0], "layers_pattern": ["layers", "blocks"]}, "layers_pattern names 'bl"),
        ({"target_modules": [], "target_parameters": ["q_proj.weight", "q_prj.weight"]}, "_parameters names 'q_prj"),
        ({**TARGETS, "trainable_token_indices": [3, 64]}, "token_indices names token 64, and the base has 64"),
        ({**TARGETS, "trainable_token_indices": {"embed_tokens": [3], "lm_hed": [4]}}, "names 'lm_hed'.*lm_head"),
        ({**TARGETS, "rank_pattern": {"q_proj(": 4}}, "is no regular expression"),
    ],
)  # fmt: skip
def test_a_name_that_matches_nothing_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ahf.BadRecipe, match=f"the method lora: .*{said}" if "expression" not in said else said):
        attach("peft:lora", **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("peft:ia3", {"target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj", "up_porj"]}),
        ("peft:loha", {**TARGETS, "rank_pattern": {"o_proj": 2}}),
        ("peft:trainable-tokens", {"target_modules": ["embed_tokens"], "token_indices": [80]}),
        ("peft:vera", {"target_modules": ["q_proj", "qq_proj"]}),
    ],
)
def test_of_other_types_too(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ahf.BadRecipe):
        attach(name, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": "all-linear", "exclude_modules": ["lm_head"]},
        {"target_modules": r".*\.(q|k)_proj"},
        {"target_modules": ["layers.1.self_attn.q_proj"], "rank_pattern": {"^model.layers.1.self_attn.q_proj": 4}},
        {**TARGETS, "layers_to_transform": [0, 2], "layers_pattern": "layers"},
        {**TARGETS, "layers_to_transform": 1, "alpha_pattern": {"layers.1.self_attn.v_proj": 3}},
        {**TARGETS, "modules_to_save": ["lm_head", "norm"]},
        {"target_modules": ["q_proj"], "target_parameters": ["k_proj.weight"]},
        {**TARGETS, "trainable_token_indices": {"embed_tokens": [0, 63]}},
    ],
)
def test_what_peft_matches_is_taken(options: dict[str, Any]) -> None:
    assert attach("peft:lora", **options).peft_config


@pytest.mark.parametrize("name", ["peft:adaption-prompt", "peft:prompt-tuning", "peft:lily", "peft:osf"])
def test_types_with_rules_of_their_own_attach_by_their_defaults(name: str) -> None:
    assert attach(name, **({"adapter_len": 4, "adapter_layers": 2} if "adaption" in name else {})).peft_config


KNOWN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@settings(max_examples=40, deadline=None)
@given(
    names=st.sets(st.sampled_from(KNOWN), min_size=1),
    odd=st.text(st.sampled_from("abq_proj.0"), min_size=1, max_size=8),
    field=st.sampled_from(["target_modules", "exclude_modules"]),
)
def test_a_list_is_taken_only_if_each_of_its_names_is_a_module_s(names: set[str], odd: str, field: str) -> None:
    with torch.device("meta"):
        modules = [name for name, _ in LlamaForCausalLM(LlamaConfig(**SIZES)).named_modules()]
    matches = any(module == odd or module.endswith(f".{odd}") for module in modules)
    options: dict[str, Any] = {"target_modules": KNOWN, field: sorted({*names, odd})}
    try:
        attach("peft:lora", **options)
    except ahf.BadRecipe as error:
        assert not matches and repr(odd) in str(error)
    except (ahf.WrongBase, ValueError):
        assert matches  # PEFT says that it can't adapt that kind of module, or that nothing is left
    else:
        assert matches
