"""What the Trainer was taught: its loss, its share of a step, its order of batches, its rates."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import TrainerControl, TrainerState

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.data.sampling import LengthGroupedBatches
from adapterhub_fin.engine.evaluation.metrics import metric_for
from adapterhub_fin.engine.training import trainer as trainer_module
from adapterhub_fin.engine.training.arguments import arguments
from adapterhub_fin.engine.training.trainer import STATE, AdapterTrainer, _EpochOrder
from adapterhub_fin.recipe.recipe import Recipe
from adapterhub_fin.testing.bench import Bench
from adapterhub_fin_plugins.heads.regress import Regress
from adapterhub_fin_plugins.methods.lora import Lora

LORA = {"name": "lora", "rank": 4}


class Line(nn.Module):
    """Two layers, of which the second is a head, on the first token's id."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.classifier = nn.Linear(1, 2), nn.Linear(2, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return SimpleNamespace(logits=self.classifier(self.body(input_ids[:, :1].float())))


def made(folder: Path, *, head: Any = None, penalty: float | None = None, **extra: Any) -> AdapterTrainer:
    training = {"batch_size": 8, "accumulate": 2, "seed": 5, **extra.pop("training", {})}
    recipe = Recipe.read({"name": "a/b", "corpus": "headlines", "training": training}).check().resolved()
    reader = build_plugin(ahf.Head, "classify", head or {})
    reader.set_labels(["a", "b", "c"])
    method = SimpleNamespace(penalty=lambda model, adapter_name: None if penalty is None else torch.tensor(penalty))
    return AdapterTrainer(
        method=method,  # type: ignore[arg-type]
        head=reader,
        adapter_name="ahf_00000000",
        model=Line(),
        args=arguments(recipe.training, 21, metric_for("classify", "accuracy"), folder),
        train_dataset=[{"input_ids": list(range(1 + place % 4)), "labels": place % 3} for place in range(21)],
        eval_dataset=[{"input_ids": [1], "labels": 0}],
        **extra,
    )


def test_a_method_s_penalty_is_in_the_loss_of_training_and_not_in_that_of_evaluation(tmp_path: Path) -> None:
    """G 39: once a step, in the shares of its parts."""
    plain, held = made(tmp_path), made(tmp_path, penalty=3.0)
    outputs = SimpleNamespace(logits=torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 4.0]]))
    labels = torch.tensor([0, 0, 2])
    whole = float(plain.head.loss(outputs, labels))
    assert float(held._loss(outputs, labels)) == float(plain._loss(outputs, labels)) == whole
    assert float(plain._loss(outputs, labels, torch.tensor(3))) == pytest.approx(whole)
    assert float(held._loss(outputs, labels, torch.tensor(3))) == pytest.approx(whole + 3)
    assert float(held._loss(outputs, labels, torch.tensor(12))) == pytest.approx((whole + 3) / 4)


@pytest.mark.parametrize("weights", [None, {"a": 1.0, "b": 5.0, "c": 0.5}])
@pytest.mark.parametrize("focal", [0.0, 2.0])
def test_the_parts_of_a_step_sum_to_the_loss_of_the_whole(tmp_path: Path, weights: Any, focal: float) -> None:
    trainer = made(tmp_path, head={"weights": weights, "focal": focal}, penalty=2.0)
    if weights:
        trainer.head.weights = torch.tensor([weights[name] for name in "abc"])  # type: ignore[attr-defined]
    logits, labels = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 1, 1, 0, 2])
    parts = [slice(0, 2), slice(2, 3), slice(3, 7)]
    total = trainer._get_num_items_in_batch([{"labels": labels[part]} for part in parts], torch.device("cpu"))
    found = [trainer._loss(SimpleNamespace(logits=logits[part]), labels[part], total) for part in parts]
    whole = trainer.head.loss(SimpleNamespace(logits=logits), labels) + 2.0
    assert float(sum(found)) == pytest.approx(float(whole), rel=1e-6)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("answers", [None, 2])
def test_a_loss_that_is_no_number_is_an_error_in_training_and_evaluation(
    tmp_path: Path, wrong: float, answers: int | None
) -> None:
    outputs = SimpleNamespace(logits=torch.tensor([[wrong, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        made(tmp_path)._loss(outputs, torch.tensor([0, 1]), answers)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_checkpoint_of_one_value_that_is_no_number_is_not_written(
    tmp_path: Path, place: int, wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "write_adapter", lambda *given: None)  # what the adapter is doesn't matter
    trainer, values = made(tmp_path), torch.ones(3)
    trainer.method = SimpleNamespace(training_state=lambda model, adapter_name: {"a": torch.ones(2), "b": values})  # type: ignore
    trainer._save(str(tmp_path))
    (tmp_path / STATE).unlink()
    values[place] = wrong
    with pytest.raises(FloatingPointError, match="b holds NaN or infinite values"):
        trainer._save(str(tmp_path))
    assert not (tmp_path / STATE).exists()


def test_the_sampler_has_the_seed_and_the_size_of_a_step(tmp_path: Path) -> None:
    """G 39: a step is batch_size rows, however many parts it is computed in."""
    trainer = made(tmp_path)
    sampler = trainer._get_train_sampler()
    assert (sampler.batch_size, sampler.seed, sampler.epoch) == (8, 5, 0)
    assert sampler.lengths == [1 + place % 4 for place in range(21)] and trainer.order is sampler
    assert made(tmp_path, training={"accumulate": 1})._get_train_sampler().batch_size == 8
    rows = [{"input_ids": list(range(size))} for size in (3, 9, 1, 4, 9, 2, 7)]
    assert list(trainer._get_eval_sampler(rows)) == [1, 4, 6, 3, 0, 5, 2], "from the longest to the shortest"


@pytest.mark.parametrize(("at", "epoch"), [(None, 0), (0, 0), (1.0, 1), (2.999999, 2), (7.0, 7)])
def test_the_sampler_is_told_the_epoch(tmp_path: Path, at: float | None, epoch: int) -> None:
    trainer = made(tmp_path)
    sampler = trainer._get_train_sampler()
    sampler.set_epoch(3)
    _EpochOrder(trainer).on_epoch_begin(None, TrainerState(epoch=at), TrainerControl())
    assert sampler.epoch == epoch


def test_the_head_has_its_own_rate(tmp_path: Path) -> None:
    def rates(trainer: AdapterTrainer) -> dict[str, float]:
        by_parameter = {
            id(each): group["lr"] for group in trainer.create_optimizer().param_groups for each in group["params"]
        }
        return {name: by_parameter[id(each)] for name, each in trainer.adapted.named_parameters()}

    training = {"learning_rate": 1e-3}
    both = made(tmp_path, modules_to_save=["classifier"], head_rate=0.5, training=training)
    assert rates(both) == {
        "body.weight": 1e-3,
        "body.bias": 1e-3,
        "classifier.weight": 0.5,
        "classifier.bias": 0.5,
    }
    assert set(rates(made(tmp_path, modules_to_save=["classifier"], training=training)).values()) == {1e-3}
    assert set(rates(made(tmp_path, modules_to_save=["class"], head_rate=0.5, training=training)).values()) == {1e-3}


class Recorder(Regress):
    """Tells in which order it was trained on which targets."""

    seen: list[list[float]]
    measured: list[float]  # in evaluation

    def loss(self, outputs: Any, labels: Tensor) -> Tensor:
        targets = [round(value, 3) for value in self.truth(labels.numpy()).tolist()]
        if torch.is_grad_enabled():
            Recorder.seen.append(targets)
        else:
            Recorder.measured += targets
        return super().loss(outputs, labels)


@pytest.mark.parametrize("seed", [0, 3])
def test_a_run_goes_through_the_rows_in_the_order_of_its_seed_and_epoch(tmp_path: Path, seed: int) -> None:
    """G 39: `accumulate` cuts each of its batches into parts."""
    options = "adapterhub_fin_plugins.heads.options:RegressOptions"
    head = {"name": "recorder", "target": f"{__name__}:Recorder", "options": options, "consumes": ("target",)}
    ahf.register(ahf.Head(summary="Of a test.", task="SEQ_CLS", metrics="regression", **head))  # type: ignore[arg-type]
    lines = [f"Firm {'rose ' * (place % 7)},{place}.5,train" for place in range(22)]
    lines += [f"Firm {place},{30 + place}.5,validation" for place in range(3)]
    lines += [f"Firm {place},{40 + place}.5,test" for place in range(2)]
    (tmp_path / "rows.csv").write_text("text,target,part\n" + "\n".join(lines) + "\n")
    corpus = {"name": "table", "path": str(tmp_path / "rows.csv"), "target": "target", "split": "part"}
    bench = Bench(tmp_path, "encoder", LORA, {"name": "recorder"}, {**corpus, "splitter": {"by": "given"}})
    Recorder.seen, Recorder.measured = [], []
    recipe = bench.recipe("order", epochs=3, batch_size=8, accumulate=2, seed=seed)
    ahf.train(recipe, registry=bench.registry)
    lengths = [len(each["input_ids"]) for each in ahf.preview(recipe).examples["train"]]
    wanted = []
    for epoch in range(3):
        sampler = LengthGroupedBatches(lengths, 8, seed)
        sampler.set_epoch(epoch)
        drawn = [row + 0.5 for row in sampler]
        wanted += [drawn[start : start + 4] for start in range(0, len(drawn), 4)]
    assert Recorder.seen == wanted
    found = [Recorder.measured[start : start + 3] for start in (0, 3, 6, 9)]
    assert [sorted(each) for each in found] == [[30.5, 31.5, 32.5]] * 3 + [[40.5, 41.5]], "validation, and test once"


class Heavy(Lora):
    """Pays for every value of its update, beyond what it may gain."""

    def penalty(self, model: nn.Module, adapter_name: str) -> Tensor | None:
        found = [each.square().sum() for name, each in model.named_parameters() if "lora_A" in name]
        return 1e4 * torch.stack(found).sum()


def test_a_penalty_is_learnt_from(tmp_path: Path) -> None:
    """G 39: what grows without it shrinks with it."""
    options = "adapterhub_fin_plugins.methods.options:LoraOptions"
    ahf.register(ahf.Method(name="heavy", summary="Of a test.", target=f"{__name__}:Heavy", options=options))
    sizes = []
    for name in ("lora", "heavy"):
        bench = Bench(tmp_path / name, "encoder", {"name": name, "rank": 4}, {"name": "classify"})
        run = bench.train("run", epochs=2)
        found = [each.norm() for key, each in run.adapter.model.named_parameters() if "lora_A" in key]
        sizes.append(float(torch.stack(found).sum()))
    assert sizes[1] < 0.9 * sizes[0]
