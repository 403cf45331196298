"""What a PEFT configuration changes of the base itself, beside which no other adapter may stand."""

from __future__ import annotations

from typing import Any

import pytest

from adapterhub_fin.plugin.base_changes import changes_base, computes_with_weights, unrepeatable

LORA: dict[str, Any] = {"peft_type": "LORA", "r": 2, "bias": "none", "init_lora_weights": True}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, None),
        ({"bias": False}, None),
        ({"bias": "all"}, "bias: all"),
        ({"bias": "lora_only"}, "bias: lora_only"),
        ({"init_lora_weights": "gaussian"}, None),
        ({"init_lora_weights": "PiSSA"}, "init_lora_weights: PiSSA"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights: pissa_niter_4"),
        ({"init_lora_weights": "olora"}, "init_lora_weights: olora"),
        ({"init_lora_weights": "corda"}, "init_lora_weights: corda"),
        ({"init_lora_weights": "lora_ga"}, "init_lora_weights: lora_ga"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights: loftq"),
        ({"kasa_config": {"beta": 1}}, "kasa_config"),
        ({"kasa_config": None}, None),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication"),
        ({"layer_replication": None}, None),
    ],
)
def test_changes_of_the_base(config: dict[str, Any], said: str | None) -> None:
    assert changes_base({**LORA, **config}) == said
    needs_real_weights = said is not None and "bias" not in said and "replication" not in said
    assert computes_with_weights({**LORA, **config}) == needs_real_weights


@pytest.mark.parametrize("start", [True, False, "gaussian", "pissa", "olora", None])
def test_starts_that_every_load_repeats(start: Any) -> None:
    assert unrepeatable({**LORA, "init_lora_weights": start}) is None


@pytest.mark.parametrize("start", ["pissa_niter_2", "corda", "lora_ga", "loftq", "LoftQ"])
def test_starts_that_no_load_repeats(start: str) -> None:
    assert "no load can do it again" in str(unrepeatable({**LORA, "init_lora_weights": start}))
