"""What `ahf plan` says before a run, against what the run does."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import adapterhub_fin as ahf
from adapterhub_fin import cli
from adapterhub_fin.engine.planning.batches import longest_part, training_parts
from adapterhub_fin.engine.planning.dry_run import dry_run
from adapterhub_fin.engine.planning.machine import find_device, known_speed
from adapterhub_fin.engine.training import train as training
from adapterhub_fin.engine.training.prepare import PreparedRun, load_run, prepare
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.testing import tiny_corpus
from adapterhub_fin.testing.bench import Bench

LORA: dict[str, Any] = {"name": "lora", "rank": 4}
PREFIX: dict[str, Any] = {"name": "prefix-tuning", "tokens": 5}
HEADS = {"encoder": "classify", "decoder": "causal-lm"}


def recipe(folder: Path, method: dict[str, Any], head: str = "classify", **keys: Any) -> dict[str, Any]:
    return {
        "name": "acme/planned",
        "base": {"path": str(folder)},
        "method": method,
        "head": head,
        "corpus": {"name": tiny_corpus(), "splitter": {"by": "random"}},
        "training": {"epochs": 1, "batch_size": 8, "max_length": 32, **keys},
    }


def prepared(folder: Path, method: dict[str, Any], head: str = "classify", **keys: Any) -> PreparedRun:
    return prepare(ahf.Recipe.read(recipe(folder, method, head, **keys)))


@contextmanager
def saved_bytes(model: torch.nn.Module, sizes: list[int]) -> Iterator[None]:
    """Bytes of the storages that autograd keeps in this block, without the model's own and the batch's."""
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield
    sizes.append(sum(storage.nbytes() for storage in kept.values()))


def real(plan: PreparedRun) -> tuple[Any, dict[str, Tensor]]:
    """The adapted model with its weights, and the batch that the dry run takes."""
    loaded = load_run(plan, plan.context.adapter_name)
    model: Any = loaded.method.attach(loaded.model, loaded.context).train()
    return model, plan.head.collator(plan.tokenizer)([dict(row) for row in longest_part(plan)])


@pytest.mark.parametrize("method", [LORA, PREFIX], ids=lambda method: method["name"])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_what_is_kept_for_the_backward_pass_is_what_a_real_forward_pass_keeps(
    request: pytest.FixtureRequest, kind: str, method: dict[str, Any]
) -> None:
    plan = prepared(request.getfixturevalue(kind), method, HEADS[kind])
    told = dry_run(plan)
    model, batch = real(plan)
    labels, sizes = batch.pop("labels"), list[int]()
    with saved_bytes(model, sizes):
        loss = plan.head.loss(model(**batch), labels)
    given = sum(tensor.nbytes for tensor in (labels, *batch.values()))
    assert loss.requires_grad and sizes[0] > 50_000
    assert abs(told.activations - sizes[0]) <= given + 512, "but for the batch itself and single numbers"


def test_the_operations_of_a_step_are_those_of_a_real_one(encoder: Path) -> None:
    plan = prepared(encoder, LORA)
    told = dry_run(plan)
    model, batch = real(plan)
    labels = batch.pop("labels")
    with FlopCounterMode(display=False) as counter:
        plan.head.loss(model(**batch), labels).backward()  # type: ignore[no-untyped-call]
    assert sum(work.flops for work in told.training.work) == counter.get_total_flops() > 0


@pytest.mark.parametrize("method", [LORA, PREFIX, {"name": "adalora"}], ids=lambda method: method["name"])
def test_parameters_and_optimizer_are_those_of_a_real_run(
    encoder: Path, method: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, int] = {}
    train = training.train_to_end

    def watched(trainer: Any, run: Any) -> None:
        train(trainer, run)
        parameters = list(trainer.model.parameters())
        seen["all"] = sum(parameter.numel() for parameter in parameters)
        seen["trained"] = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        states = [value for state in trainer.optimizer.state.values() for value in state.values()]
        seen["optimizer"] = sum(value.nbytes for value in states if isinstance(value, Tensor))

    monkeypatch.setattr(training, "train_to_end", watched)
    found = ahf.plan(recipe(encoder, method, epochs=4))
    run = ahf.train(recipe(encoder, method, epochs=4, patience=9))
    assert (found.parameters, found.trained_parameters, found.steps) == (seen["all"], seen["trained"], run.steps)
    assert found.largest["gradients"] == 4 * seen["trained"]
    allocator = 3 * 4 * seen["trained"] if method["name"] == "adalora" else 0  # its averages, of the adapter alone
    assert seen["optimizer"] <= found.largest["optimizer"] <= seen["optimizer"] + allocator
    assert found.memory["weights"] >= 4 * seen["all"]


def test_four_bits_weigh_what_they_weigh_when_loaded(decoder: Path) -> None:
    pytest.importorskip("bitsandbytes")
    plan = prepared(decoder, {"name": "qlora", "rank": 4}, "causal-lm")
    told, (model, _) = dry_run(plan), real(plan)
    assert told.weights < dry_run(prepared(decoder, LORA, "causal-lm")).weights
    assert told.trained == sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    packed = sum(parameter.nbytes for parameter in model.parameters())
    constants = sum(p.quant_state.absmax.nbytes for p in model.parameters() if hasattr(p, "quant_state"))
    assert packed + constants <= told.weights <= (packed + constants) * 1.25, "the tables of the codes are the rest"


def test_recomputing_and_parts_keep_less_for_the_backward_pass(decoder: Path) -> None:
    whole = dry_run(prepared(decoder, LORA, "causal-lm"))
    parts = dry_run(prepared(decoder, LORA, "causal-lm", accumulate=4))
    again = dry_run(prepared(decoder, LORA, "causal-lm", recompute=True))
    assert again.activations < whole.activations / 2 and parts.activations < whole.activations / 3
    assert again.training.bytes < whole.training.bytes
    assert sum(work.flops for work in again.training.work) > 1.2 * sum(work.flops for work in whole.training.work)
    assert (whole.training.rows, parts.training.rows) == (8, 2)


def test_the_longest_batch_is_one_that_the_run_makes(encoder: Path) -> None:
    plan = prepared(encoder, LORA, accumulate=2)
    rows = plan.examples["train"]
    longest = longest_part(plan)
    assert len(longest) == 4 and [[rows[i] for i in part] for part in training_parts(plan, 0)].count(list(longest)) == 1
    assert max(len(row["input_ids"]) for row in longest) == max(len(row["input_ids"]) for row in rows)


@pytest.mark.parametrize("damage", ["missing", "garbage"])
def test_no_weight_is_read(encoder: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "base"
    shutil.copytree(encoder, folder)
    expected = ahf.plan(recipe(folder, LORA), device="8GB")
    if damage == "missing":
        (folder / "model.safetensors").unlink()
    else:
        (folder / "model.safetensors").write_bytes(b"\xff" * 4096)
    assert ahf.plan(recipe(folder, LORA), device="8GB") == expected
    with pytest.raises(Exception, match="model.safetensors|header"):
        ahf.train(recipe(folder, LORA))


def test_the_type_of_the_weights_is_that_of_the_configuration_or_the_file(encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(encoder, folder)
    whole = ahf.plan(recipe(folder, LORA), device="8GB")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    assert ahf.plan(recipe(folder, LORA), device="8GB").memory["weights"] < 0.7 * whole.memory["weights"]
    del config["dtype"]
    (folder / "config.json").write_text(json.dumps(config))
    assert ahf.plan(recipe(folder, LORA), device="8GB") == whole
    (folder / "model.safetensors").unlink()
    said = ahf.plan(recipe(folder, LORA), device="8GB")
    assert said.memory == whole.memory and any("float32" in each for each in said.assumptions)


def test_what_does_not_fit_says_what_to_change_and_the_advice_holds(decoder: Path) -> None:
    given = recipe(decoder, LORA, "causal-lm")
    large = ahf.plan(given, device="8GB")
    assert large.fits and not large.changes
    short = large.bytes - large.memory["activations"] // 2
    found = ahf.plan(given, device=short)
    assert not found.fits and found.bytes == large.bytes
    assert [change.setting.partition("=")[0] for change in found.changes] == [
        "training.accumulate",
        "training.recompute",
        "training.recompute",
        "method.name",
        "training.max_length",
    ][: len(found.changes)]
    advised = [change for change in found.changes if change.advised]
    assert advised == [next(change for change in found.changes if change.fits)]
    again = ahf.plan(given, overrides=advised[0].setting.split(), device=short)
    assert again.fits and again.bytes == advised[0].bytes


def test_advice_leaves_out_what_the_method_cannot_do(decoder: Path) -> None:
    found = ahf.plan(recipe(decoder, PREFIX, "causal-lm"), device="1MB")
    assert {change.setting.partition("=")[0] for change in found.changes} <= {
        "training.accumulate",
        "training.max_length",
    }
    assert not any(change.advised for change in found.changes)


def test_time_is_told_once_this_machine_was_measured_and_grows_with_the_work(encoder: Path) -> None:
    assert ahf.plan(recipe(encoder, LORA), device="cpu").seconds is None
    first = ahf.plan(recipe(encoder, LORA), device="cpu", measure=True)
    speed = known_speed(find_device("cpu"))
    assert speed is not None and min(dataclasses.astuple(speed)) > 0
    again = ahf.plan(recipe(encoder, LORA), device="cpu")
    assert first.seconds is not None and again.seconds == first.seconds > 0
    longer = ahf.plan(recipe(encoder, LORA, epochs=3), device="cpu")
    assert longer.seconds is not None and 2 * first.seconds < longer.seconds < 3 * first.seconds


def test_a_device_that_is_not_there_and_a_base_that_cannot_be_told(encoder: Path, tmp_path: Path) -> None:
    given = recipe(encoder, LORA)
    with pytest.raises(BadRecipe, match="24GB, not 'large'"):
        ahf.plan(given, device="large")
    with pytest.raises(BadRecipe, match="own device alone"):
        ahf.plan(given, device="24GB", measure=True)
    if not torch.cuda.is_available():
        with pytest.raises(BadRecipe, match="no GPU"):
            ahf.plan(given, device="cuda")
    folder = tmp_path / "base"
    shutil.copytree(encoder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadRecipe, match="no other quantization"):
        ahf.plan(recipe(folder, LORA))
    assert find_device("24GB").available == 24 * 10**9 and find_device("1.5GiB").available == math.floor(1.5 * 2**30)


def test_plan_on_the_command_line(encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tone.yaml"
    path.write_text(json.dumps(recipe(encoder, LORA)))

    def run_ahf(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as leave:
            cli.main(list(arguments))
        out, err = capsys.readouterr()
        return int(leave.value.code or 0), out, err

    code, out, err = run_ahf("plan", str(path))
    assert code == 0 and "are trained" in out and "available: fits" in out and "assumed: " in err
    code, out, _ = run_ahf("plan", str(path), "--device", "1MB")
    assert code == 0 and "does not fit" in out and "training.accumulate=" in out
    document = json.loads(run_ahf("plan", str(path), "--json", "--set", "method.rank=2")[1])
    assert document["bytes"] == sum(document["memory"].values()) and document["recipe"]["method"]["rank"] == 2
    code, out, err = run_ahf("plan", str(path), "--device", "large")
    assert (code, out) == (1, "") and err.count("\n") == 1
    assert run_ahf("plan", str(path), "--set", "method.rnak=2")[0] == 1


def test_a_plan_takes_the_type_that_the_method_asks_for(tmp_path: Path) -> None:
    """qlora reads what it does not quantize in float32, whatever the base's file holds."""
    from transformers import AutoModelForCausalLM

    sizes = []
    for dtype in (torch.float32, torch.bfloat16):
        bench = Bench(tmp_path / str(dtype), "decoder", {"name": "qlora", "rank": 4}, {"name": "classify"})
        AutoModelForCausalLM.from_pretrained(bench.base(), dtype=dtype).save_pretrained(bench.base())
        sizes.append(dry_run(prepare(ahf.Recipe.read(bench.recipe("typed")))).weights)
    assert sizes[0] == sizes[1]
