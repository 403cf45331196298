"""Optimizers, steps, long rows, attention and eight bits: what other tools' configurations hold, in a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file

import adapterhub_fin as ahf
from adapterhub_fin.engine.training import train as training
from adapterhub_fin.recipe.recipe import Optimizer
from adapterhub_fin.testing.bench import TEXTS, Bench
from adapterhub_fin.testing.killed import train_and_be_killed

WIDE = {"name": "lora", "rank": 128}  # eight-bit optimizers hold smaller tensors in 32 bits
# All of them take minutes: `make resumes`.
EVERY = sorted(set(get_args(Optimizer)) - {"adamw_torch_fused"})
OPTIMIZERS = EVERY if os.environ.get("AHF_EVERY_RESUME") else ["adamw_bnb_8bit"]
WEIGHTS = "adapter_model.safetensors"


def bench(folder: Path, method: dict[str, Any] | None = None, head: str = "classify", kind: Any = "encoder") -> Bench:
    return Bench(folder, kind, method or WIDE, {"name": head})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_killed_run_resumes_to_the_last_bit_and_plan_counts_its_state(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, state = bench(tmp_path), dict[str, int]()
    recipe = {**at.recipe("run", optimizer=name, epochs=1, checkpoint_steps=2), "base": {"path": str(at.base())}}
    train = training.train_to_end

    def watched(trainer: Any, run: Any) -> None:
        train(trainer, run)
        held = [item for values in trainer.optimizer.state.values() for item in values.items()]
        tensors = [value for key, value in held if isinstance(value, torch.Tensor) and not key.startswith("qmap")]
        state["bytes"] = sum(value.nbytes for value in tensors)
        state["kinds"] = len({value.dtype for value in tensors})

    with monkeypatch.context() as patch:
        patch.setattr(training, "train_to_end", watched)
        whole = ahf.train(recipe, registry=at.registry)
    train_and_be_killed(recipe, at.registry.root, 4)
    resumed = ahf.train(recipe, registry=at.registry, resume=True)
    wanted, found = (load_file(run.version.files / WEIGHTS) for run in (whole, resumed))
    assert wanted.keys() == found.keys()
    assert [key for key in wanted if not wanted[key].equal(found[key])] == []
    assert "8bit" not in name or state["kinds"] > 1, "its state is in eight bits, but for small tensors"
    planned = ahf.plan(recipe).largest["optimizer"]
    assert state["bytes"] - 4 * 64 <= planned <= state["bytes"], "but for counters of steps"


def test_optimizers_differ_and_the_default_is_unchanged(tmp_path: Path) -> None:
    at = bench(tmp_path, {"name": "lora", "rank": 4})
    names = ("adamw_torch_fused", "adafactor", "sgd")
    runs = [at.train("run", epochs=1), *(at.train("run", epochs=1, optimizer=name) for name in names)]
    weights = [load_file(run.version.files / WEIGHTS) for run in runs]
    name = next(key for key in weights[0] if "lora_B" in key)
    assert weights[0][name].equal(weights[1][name])
    assert len({tuple(each[name].flatten().tolist()) for each in weights}) == 3


def test_steps_of_warmup_evaluation_and_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at, seen = bench(tmp_path, {"name": "lora", "rank": 4}), dict[str, Any]()
    train = training.train_to_end

    def watched(trainer: Any, run: Any) -> None:
        train(trainer, run)
        history = trainer.state.log_history
        seen["evaluated"] = [entry["step"] for entry in history if "eval_loss" in entry]
        seen["rates"] = {entry["step"]: entry["learning_rate"] for entry in history if "learning_rate" in entry}
        seen["checkpoints"] = sorted(path.name for path in Path(trainer.args.output_dir).glob("checkpoint-*"))

    monkeypatch.setattr(training, "train_to_end", watched)
    options = {"max_steps": 8, "eval_steps": 3, "warmup": 6, "patience": 9, "schedule": "constant_with_warmup"}
    assert ahf.preview(at.recipe("run", **options)).steps == 8
    run = at.train("run", **options)
    assert run.steps == 8 and seen["evaluated"] == [3, 6, 8]
    assert seen["rates"][3] == pytest.approx(1e-2 * 2 / 6) and seen["rates"][6] == pytest.approx(1e-2 * 5 / 6)
    assert len(run.losses) == 2 and "checkpoint-8" in seen["checkpoints"]


def test_a_run_evaluated_by_steps_resumes_to_the_last_bit(tmp_path: Path) -> None:
    at = bench(tmp_path, {"name": "lora", "rank": 4})
    options = {"max_steps": 12, "eval_steps": 4, "checkpoint_steps": 3, "patience": 9, "warmup": 3}
    recipe = {**at.recipe("run", **options), "base": {"path": str(at.base())}}
    whole = ahf.train(recipe, registry=at.registry)
    for step in (5, 10):  # epochs end at 5 and 10, where nothing is evaluated
        train_and_be_killed(recipe, at.registry.root, step)
        resumed = ahf.train(recipe, registry=at.registry, resume=True)
        wanted, found = (load_file(run.version.files / WEIGHTS) for run in (whole, resumed))
        assert all(wanted[key].equal(found[key]) for key in wanted)
        assert resumed.metrics == whole.metrics


def table(folder: Path, rows: list[tuple[str, str]]) -> dict[str, Any]:
    path = folder / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return {"name": "table", "path": str(path), "label": "label", "splitter": {"by": "random"}}


def test_long_rows_are_dropped_and_counted(tmp_path: Path) -> None:
    long = "and so on " * 30
    rows = [(f"Firm {i} rose {long if i % 5 == 0 else ''}", ("up", "down")[i % 2]) for i in range(60)]
    recipe = {**bench(tmp_path).recipe("run"), "corpus": table(tmp_path, rows), "method": {"name": "lora", "rank": 4}}
    cut = ahf.preview({**recipe, "training": {**recipe["training"], "max_length": 20}})
    assert sum(map(len, cut.examples.values())) == 60
    recipe["training"] = {**recipe["training"], "max_length": 20, "over_length": "drop", "epochs": 1}
    run = ahf.train(recipe, registry=bench(tmp_path).registry)
    dropped = {reason: count for reason, count in run.notes.items() if reason.startswith("longer than max_length")}
    assert sum(dropped.values()) == 12
    corpus = run.version.manifest.corpus
    assert corpus is not None and sum(corpus.rows.values()) == 48
    assert {reason: corpus.notes[reason] for reason in dropped} == dropped
    texts = [text for split in ahf.preview(recipe).corpora.splits.values() for text in split["text"]]
    assert len(texts) == 48 and not any("and so on" in text for text in texts)
    whole = ahf.preview({**recipe, "training": {**recipe["training"], "max_length": 20}})
    longest = max(len(row["input_ids"]) for rows in whole.examples.values() for row in rows)
    at_limit = ahf.preview({**recipe, "training": {**recipe["training"], "max_length": longest}})
    assert sum(map(len, at_limit.examples.values())) == 48, "a row of just the limit stays"
    with pytest.raises(ahf.BadCorpus, match=f"more than {longest - 1} tokens"):
        ahf.preview({**recipe, "training": {**recipe["training"], "max_length": longest - 1}})
    with pytest.raises(ahf.BadCorpus, match="every row of the train part has more than 2 tokens: raise"):
        ahf.preview({**recipe, "training": {**recipe["training"], "max_length": 2}})


def test_attention_is_computed_as_asked_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at, seen = bench(tmp_path, {"name": "lora", "rank": 4}, kind="decoder"), list[str]()
    train = training.train_to_end

    def watched(trainer: Any, run: Any) -> None:
        seen.append(trainer.adapted.base_model.model.config._attn_implementation)
        train(trainer, run)

    monkeypatch.setattr(training, "train_to_end", watched)
    runs = [at.train("run", epochs=1, **options) for options in ({}, {"attn_implementation": "eager"})]
    assert seen == ["sdpa", "eager"]
    digests = {run.version.manifest.base.config_digest for run in runs}
    assert len(digests) == 1, "it changes how the base is computed, and not which base it is"
    assert ahf.load(runs[1].reference, registry=at.registry, base=at.base()).logits(TEXTS).isfinite().all()
    plans = [ahf.plan(at.recipe("run", attn_implementation=name)).largest["activations"] for name in ("sdpa", "eager")]
    assert plans[0] < plans[1]
    with pytest.raises(ahf.BadRecipe, match="attn_implementation flash_attention_2 does not go with this base"):
        ahf.preview(at.recipe("run", attn_implementation="flash_attention_2"))


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_eight_bits_are_recorded_checked_and_counted(kind: Any, tmp_path: Path) -> None:
    at = bench(tmp_path, {"name": "qlora", "rank": 4, "bits": 8}, kind=kind)
    run = at.train("run")
    quantization = run.version.manifest.base.quantization
    assert quantization is not None and quantization["load_in_8bit"] and quantization["llm_int8_threshold"] == 6.0
    loaded = ahf.load(run.reference, registry=at.registry, base=at.base())
    wanted = run.adapter.logits(TEXTS)
    assert loaded.logits(TEXTS).equal(wanted)
    again = ahf.load(run.reference, registry=at.registry, base=loaded.model)  # its scales have moved by now
    assert again.logits(TEXTS).equal(wanted)
    layers = [
        each for each in loaded.model.modules() if type(each).__name__ == "Linear8bitLt" and not hasattr(each, "lora_A")
    ]
    assert layers and all(layer.weight.dtype == torch.int8 for layer in layers)
    with pytest.raises(ahf.WrongBase, match="other weights"):
        ahf.load(run.reference, registry=at.registry, base=at.base(seed=3))
    plan = ahf.plan(at.recipe("run"))
    one = run.adapter.model  # with one adapter
    scales = [each.state.SCB for each in one.modules() if hasattr(each, "init_8bit_state")]
    held = sum(tensor.nbytes for tensor in (*one.parameters(), *scales))
    assert held <= plan.memory["weights"] <= 1.1 * held


@pytest.mark.parametrize(
    ("section", "options", "sentence"),
    [
        ("training", {"optimizer": "adamw"}, "optimizer: Input should be 'adamw_torch'"),
        ("training", {"warmup": 1.5}, "warmup 1.5 is neither a share"),
        ("training", {"max_steps": 0}, "max_steps: Input should be greater"),
        ("training", {"over_length": "split"}, "over_length: Input should be 'cut' or 'drop'"),
        ("training", {"attn_implementation": "fast"}, "attn_implementation: Input should be 'eager'"),
        ("method", {"bits": 8, "double": False}, "double is an option of 4 bits, and bits is 8"),
        ("method", {"threshold": 0.0}, "threshold is an option of 8 bits, and bits is 4"),
        ("method", {"bits": 16}, "bits: Input should be 4 or 8"),
    ],
)
def test_misuse_is_one_sentence(section: str, options: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    at = bench(tmp_path, {"name": "qlora"})
    recipe = at.recipe("run")
    with pytest.raises(ahf.BadRecipe, match=sentence):
        ahf.Recipe.read({**recipe, section: {**recipe[section], **options}}).check()
