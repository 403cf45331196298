"""Each optimisation is an option of its own: the same function gives the same losses and the same text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.testing.several import train_in_processes
from adapterhub_fin.testing.tiny_base import ENCODER, base_recipe, stored_weights


def losses(made: ahf.Pretrained) -> list[float]:
    return list(made.history["training"]["loss"])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> ahf.Pretrained:
    """The run that every option is compared with: SDPA, fused AdamW, packed blocks, float32."""
    return ahf.pretrain(base_recipe(training={"max_steps": 4}), registry=ahf.Registry(tmp_path_factory.mktemp("plain")))


@pytest.mark.parametrize(
    ("option", "within"),
    [
        ({"attn_implementation": "eager"}, 1e-5),
        ({"optimizer": "adamw_torch"}, 1e-5),
        ({"recompute": True}, 1e-6),
        ({"accumulate": 2}, 1e-5),
        ({"precision": "bf16"}, 5e-3),  # another rounding of the same function
    ],
)
def test_the_same_function_gives_the_same_losses(
    option: dict[str, Any], within: float, plain: ahf.Pretrained, home: Path
) -> None:
    made = ahf.pretrain(base_recipe(training={"max_steps": 4, **option}))
    assert losses(made) == pytest.approx(losses(plain), rel=within)
    assert made.metrics["loss"] == pytest.approx(plain.metrics["loss"], rel=within)
    assert all(value.dtype == torch.float32 for value in stored_weights(made.folder).values()), "weights stay float32"


def test_packed_and_padded_documents_have_the_same_losses() -> None:
    # All documents in one step: whole in their blocks, in either way of laying them out.
    shape = {"max_steps": 3, "block": 1024, "batch_size": 64, "learning_rate": 3e-3}
    both = [
        ahf.pretrain(base_recipe(until="2010-01-12", training={**shape, "packing": packing}))
        for packing in (True, False)
    ]
    assert losses(both[0]) == pytest.approx(losses(both[1]), rel=1e-5)
    assert both[0].metrics == pytest.approx(both[1].metrics, rel=1e-5)


def test_generation_gives_the_same_tokens_with_any_cache_and_without(plain: ahf.Pretrained) -> None:
    model = AutoModelForCausalLM.from_pretrained(plain.folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(plain.folder)
    prompts = tokenizer(["In the first quarter", "The"], return_tensors="pt", padding=True, padding_side="left")
    ways: list[dict[str, Any]] = [{"use_cache": False}, {}, {"cache_implementation": "static"}]
    written = [model.generate(**prompts, max_new_tokens=12, do_sample=False, **way) for way in ways]
    assert all(torch.equal(written[0], other) for other in written[1:])
    assert written[0].shape[1] > prompts["input_ids"].shape[1]


def test_two_processes_give_the_losses_and_the_weights_of_one_also_killed_and_resumed(tmp_path: Path) -> None:
    # Two passes over a number of blocks that two processes don't divide.
    plan = base_recipe(
        until="2010-01-14", training={"max_steps": None, "epochs": 2, "batch_size": 6, "checkpoint_steps": 2}
    )
    registries = [ahf.Registry(tmp_path / name) for name in ("one", "two")]
    blocks = len(ahf.preview_pretrain(plan, registry=registries[0]).parts["train"].blocks)
    assert blocks % 6 in (1, 2, 3), "the last step leaves a process without a block"
    alone = ahf.pretrain(plan, registry=registries[0])
    train_in_processes(plan, registries[1].root, tmp_path, 2, forked=True, kill=3)
    with pytest.raises(ahf.BadRecipe, match="had another number of processes"):
        ahf.pretrain(plan, registry=registries[1], resume=True)
    together = train_in_processes(plan, registries[1].root, tmp_path, 2, forked=True, resume=True)
    assert together["reference"] == "acme/fin@1", "one version, stored once"
    assert together["losses"] == pytest.approx(list(alone.losses), rel=1e-5)
    assert together["metrics"] == pytest.approx(dict(alone.metrics), rel=1e-5)
    one, two = stored_weights(alone.folder), stored_weights(registries[1].path("acme/fin@1"))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5
    assert together["left"], "whoever joins a group leaves it"


def test_patience_keeps_the_best_weights_and_none_keeps_the_last() -> None:
    rough = {"max_steps": 8, "learning_rate": 0.5, "eval_steps": 2, "warmup": 0, "schedule": "constant_with_warmup"}
    last = ahf.pretrain(base_recipe(training=rough))
    best = ahf.pretrain(base_recipe(training={**rough, "patience": 4}))
    measured = list(last.history["validation"]["loss"])  # type: ignore[arg-type]
    assert min(measured) < measured[-1], "it got worse on the way"
    assert last.validation["loss"] == pytest.approx(measured[-1])
    assert best.validation["loss"] == pytest.approx(min(measured))


def test_an_encoder_learns_to_fill_in_and_packing_keeps_its_documents_apart() -> None:
    long = {"max_steps": 30, "learning_rate": 1e-2, "batch_size": 16}
    made = ahf.pretrain(base_recipe(base=ENCODER, training=long))
    assert losses(made)[-1] < 0.8 * losses(made)[0]
    assert set(made.metrics) == {"loss"}, "bits a byte are of models that write on"
    assert made.version.manifest.base.architecture == "ModernBertModel"
