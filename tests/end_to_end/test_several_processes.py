"""`torchrun` with two processes gives the run that one process gives at the same global batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import adapterhub_fin as ahf
from adapterhub_fin.engine.evaluation import linear
from adapterhub_fin.testing.bench import Bench
from adapterhub_fin.testing.several import train_in_processes


def recipe(bench: Bench, **training: Any) -> dict[str, Any]:
    # 32 training rows in four batches of 8; no dropout, since each process draws its own.
    split = {"by": "random", "validation": 0.125, "test": 0.2084}
    corpus = {"name": bench.recipe("run")["corpus"]["name"], "splitter": split}
    return {**bench.recipe("run", **training), "base": {"path": str(bench.base())}, "corpus": corpus}


def test_two_processes_give_the_loss_curve_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "PACKAGE", "sklearn")
    bench = Bench(tmp_path, "decoder", {"name": "lora", "rank": 4, "dropout": 0.0}, {"name": "classify"})
    plan = recipe(bench, epochs=3)
    alone = ahf.train(plan, registry=bench.registry)
    together = train_in_processes(plan, bench.registry.root, tmp_path, 2)
    assert together["reference"] == "contract/run@2", "one version, stored once"
    assert len(together["losses"]) == 3
    assert together["losses"] == pytest.approx(list(alone.losses), rel=1e-4)
    assert together["metrics"] == pytest.approx(dict(alone.metrics))
    weights = [
        load_file(bench.registry.path(f"contract/run@{number}") / "adapter_model.safetensors") for number in (1, 2)
    ]
    worst = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0])
    assert worst < 1e-4, f"the weights differ by {worst:.2g}"
    assert not list((bench.registry.root / "runs").iterdir())
    assert together["left"], "whoever joins a group leaves it"
    (beside,) = [event for event in bench.registry.events("contract/run@2") if event["kind"] == "baseline"]
    assert beside["metrics"] == pytest.approx(dict(alone.baseline.metrics)), "measured once, on the same rows"
    assert beside["differences"] == pytest.approx(dict(alone.baseline.differences))


def test_two_processes_train_a_curriculum_as_one_does(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "decoder", {"name": "lora", "rank": 4, "dropout": 0.0}, {"name": "classify"})
    plan = recipe(bench, epochs=2)
    corpus = plan.pop("corpus")
    plan["curriculum"] = [{**corpus, "max_steps": 5}, {**corpus, "learning_rate": 1e-3}]
    alone = ahf.train(plan, registry=bench.registry)
    together = train_in_processes(plan, bench.registry.root, tmp_path, 2, forked=True)
    assert together["losses"] == pytest.approx(list(alone.losses), rel=1e-4) and len(alone.losses) == 4
    assert together["metrics"] == pytest.approx(dict(alone.metrics))
    assert bench.registry.history("contract/run@2")["training"]["stage"] == [1] * 5 + [2] * 8  # type: ignore[index]


def test_two_processes_keep_a_run_that_forgets_too_much_and_store_it_under_another_limit(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "decoder", {"name": "lora", "rank": 4, "dropout": 0.0}, {"name": "causal-lm"})
    (tmp_path / "general.csv").write_text("text,since\n" + "".join(f"ZQ##{n}%%&&XK$$,2020-05-04\n" for n in range(9)))
    corpus = {"name": "table", "path": str(tmp_path / "general.csv"), "text": "text"}
    corpus |= {"available_at": "since", "timezone": "Europe/Berlin"}
    limit = {"corpus": corpus, "split": "all", "at_most": 0.01}
    plan = recipe(bench, epochs=2, learning_rate=2e-2, forgetting=limit)
    with pytest.raises(AssertionError, match="ForgetsTooMuch: contract/run forgot too much"):
        train_in_processes(plan, bench.registry.root, tmp_path, 2, forked=True)
    assert list(bench.registry.names()) == [] and len(list((bench.registry.root / "runs").iterdir())) == 1
    plan["training"]["forgetting"] = {**limit, "at_most": 100.0}
    together = train_in_processes(plan, bench.registry.root, tmp_path, 2, resume=True, forked=True)
    assert together["reference"] == "contract/run@1"
    (stored,) = [event for event in bench.registry.events("contract/run@1") if event["kind"] == "forgetting"]
    (alone,) = ahf.train(plan, registry=bench.registry).forgetting
    assert (stored["before"], stored["after"]) == pytest.approx((alone.before, alone.after), rel=1e-4)


FSDP = """
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
num_machines: 1
num_processes: 2
use_cpu: true
mixed_precision: "no"
fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_reshard_after_forward: true
  fsdp_cpu_ram_efficient_loading: false
"""


LIMIT = {"corpus": "contract-tone", "at_most": 0.1}


def test_fsdp_shards_the_base_and_gives_the_run_of_one_process(tmp_path: Path) -> None:
    """As accelerate's own configuration says, in two gloo processes."""
    bench = Bench(tmp_path, "decoder", {"name": "lora", "rank": 4, "dropout": 0.0}, {"name": "classify"})
    plan = recipe(bench, epochs=3, accumulate=2, optimizer="sgd", clip=1e6)  # AdamW hides the scale of gradients
    config = tmp_path / "fsdp.yaml"
    alone = ahf.train(plan, registry=bench.registry)
    config.write_text(FSDP)
    together = train_in_processes(plan, bench.registry.root, tmp_path, 2, config)
    assert together["kinds"] == [["DTensor", False], ["Parameter", True]], "the base is sharded, the adapter is whole"
    assert together["losses"] == pytest.approx(list(alone.losses), rel=1e-4)
    assert together["metrics"] == pytest.approx(dict(alone.metrics))
    weights = [load_file(bench.registry.path(f"contract/run@{n}") / "adapter_model.safetensors") for n in (1, 2)]
    assert max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]) < 1e-4


def test_what_can_t_be_sharded_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what accelerate tells each process in its environment, as the test above shows with a run that is sharded."""
    bench = Bench(tmp_path, "decoder", {"name": "lora", "rank": 4, "dropout": 0.0}, {"name": "causal-lm"})
    for name, value in (("ACCELERATE_USE_FSDP", "true"), ("WORLD_SIZE", "2"), ("FSDP_VERSION", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ahf.BadRecipe, match="can't be measured where the base is sharded"):
        ahf.train(recipe(bench, forgetting=LIMIT), registry=bench.registry)
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(ahf.BadRecipe, match="asks for FSDP 1, and training shards with FSDP 2"):
        ahf.train(recipe(bench), registry=bench.registry)


HEADS: list[dict[str, Any]] = [
    {"name": "classify"},
    {"name": "classify", "weights": {"negative": 5.0, "neutral": 1.0, "positive": 0.2}},
    {"name": "causal-lm"},
]


@pytest.mark.parametrize("head", HEADS, ids=["rows", "weighted rows", "tokens"])
def test_parts_of_a_step_give_the_step(head: dict[str, Any], tmp_path: Path) -> None:
    bench = Bench(tmp_path, "decoder", {"name": "lora", "rank": 4, "dropout": 0.0}, head)
    whole = ahf.train(recipe(bench, epochs=2), registry=bench.registry)
    parts = ahf.train(recipe(bench, epochs=2, accumulate=4), registry=bench.registry)
    assert (parts.steps, whole.steps) == (8, 8)
    assert list(parts.losses) == pytest.approx(list(whole.losses), rel=1e-4)


def test_a_batch_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "decoder", {"name": "lora"}, {"name": "classify"})
    with pytest.raises(ahf.BadRecipe, match="batch_size is 8 and must divide into 3 parts"):
        ahf.train(recipe(bench, accumulate=3), registry=bench.registry)
