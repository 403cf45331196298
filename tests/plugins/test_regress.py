"""Figures are learnt on a scale of their own and told in the units of the rows."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.errors import BadCorpus
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.testing.bench import TEXTS, Bench

LORA = {"name": "lora", "rank": 4}


def head(**options: Any) -> Any:
    return build_plugin(Head, "regress", options)


def test_targets_are_standardised_and_answers_are_not() -> None:
    reader = head()
    reader.fit_labels(Dataset.from_dict({"target": [10.0, 20.0, 30.0]}))
    assert reader.fitted_options() == {"centre": 20.0, "scale": pytest.approx(8.16496580927726)}
    labels = np.array([reader.target({"target": value}) for value in (10.0, 20.0, 30.0)])
    assert labels.mean() == pytest.approx(0) and labels.std() == pytest.approx(1)
    assert reader.truth(labels) == pytest.approx([10, 20, 30])
    assert reader.decide(labels[:, None]) == pytest.approx([10, 20, 30])
    assert reader.predictions(torch.tensor([[0.0]]))[0].value == 20.0


def test_the_loss_is_huber_s_or_the_mean_square() -> None:
    outputs, labels = SimpleNamespace(logits=torch.tensor([[3.0], [0.5]])), torch.tensor([0.0, 0.0])
    assert head(loss="huber").loss(outputs, labels).item() == pytest.approx((2.5 + 0.125) / 2)  # |3| - 1/2, 0.5^2 / 2
    assert head(loss="mse").loss(outputs, labels).item() == pytest.approx((9 + 0.25) / 2)


def test_without_a_scale_targets_are_as_they_are() -> None:
    reader = head(standardize=False)
    reader.fit_labels(Dataset.from_dict({"target": [10.0, 20.0]}))
    assert reader.fitted_options() == {} and reader.target({"target": 10.0}) == 10.0


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ([1.0, math.nan], "not finite"),
        ([1.0, 2.0, math.inf], "not finite"),
        ([-math.inf, 2.0], "not finite"),
        ([2.0, 2.0], "all 2.0"),
        (["up", "down"], "no number"),
    ],
)
def test_targets_that_teach_nothing_are_named(targets: list[Any], said: str) -> None:
    with pytest.raises(BadCorpus, match=said):
        head().fit_labels(Dataset.from_dict({"target": targets}))


@settings(max_examples=100, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 40))
def test_targets_that_are_all_alike_are_refused_whatever_they_are(value: float, rows: int) -> None:
    """G 36: the mean of ten times 0.1 is not 0.1, and what it is from them was taken for their spread."""
    with pytest.raises(BadCorpus, match=r"the training targets are all .*: there is nothing to learn"):
        head().fit_labels(Dataset.from_dict({"target": [value] * rows}))
    with pytest.raises(BadCorpus, match="nothing to learn"):
        head(standardize=False).fit_labels(Dataset.from_dict({"target": [value] * rows}))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-50, 50), min_size=2, max_size=20, unique=True),
    st.sampled_from([1e-200, 1e-6, 1.0, 1e6, 1e200]),
    st.sampled_from([0, 1, 1000]),
)
def test_the_scale_is_the_standard_deviation_in_any_unit(values: list[int], unit: float, centre: int) -> None:
    reader = head()
    reader.fit_labels(Dataset.from_dict({"target": [(centre + value) * unit for value in values]}))
    found = reader.fitted_options()
    assert found["centre"] == pytest.approx((centre + np.mean(values)) * unit, rel=1e-9, abs=1e-9 * unit)
    assert found["scale"] == pytest.approx(np.std(values) * unit, rel=1e-6)


@pytest.mark.parametrize(
    ("targets", "options"),
    [
        ([1e9 + 1, 1e9 + 2], {"standardize": False}),
        ([1e300, 2.0], {"standardize": False}),
        ([1.0, 2.0], {"scale": 1e-300, "centre": 0.0}),
        ([1.0, 2.0], {"centre": 1e12}),
        ([1.0, 2.0], {"scale": 1e60}),
    ],
)
def test_targets_that_float32_cannot_hold_are_refused(targets: list[float], options: dict[str, Any]) -> None:
    with pytest.raises(BadCorpus, match="can't be told apart in float32"):
        head(**options).fit_labels(Dataset.from_dict({"target": targets}))


def test_figures_far_from_zero_keep_their_digits() -> None:
    """A model answers in float32, whose steps at 20 million are 2: the figures are made of that in float64."""
    reader = head()
    targets = [20_000_000.0, 20_000_000.25, 20_000_001.0]
    reader.fit_labels(Dataset.from_dict({"target": targets}))
    labels = np.array([reader.target({"target": value}) for value in targets], np.float32)
    assert reader.truth(labels).tolist() == pytest.approx(targets, rel=1e-12)
    assert reader.decide(labels[:, None]).tolist() == pytest.approx(targets, rel=1e-12)


def test_rows_that_leave_metrics_undefined_are_told_from_others() -> None:
    reader = head()
    reader.fit_labels(Dataset.from_dict({"target": [0.0, 1e12]}))
    assert set(reader.undefined_metrics(Dataset.from_dict({"target": [0.1] * 7}))) == {"r2", "spearman"}
    assert reader.undefined_metrics(Dataset.from_dict({"target": [0.0, 1e11]})) == {}
    alike = reader.undefined_metrics(Dataset.from_dict({"target": [1e12, 1e12 + 1]}))
    assert alike, "a model's float32 holds these two as one"


def test_plain_peft_loads_linear_regression(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "encoder", LORA, {"name": "regress"})
    run = bench.train("figures")
    base = AutoModelForSequenceClassification.from_pretrained(bench.base(), num_labels=1)
    plain = PeftModel.from_pretrained(base, str(run.version.files)).eval()
    batch = run.adapter.tokenizer(list(TEXTS), padding=True, truncation=True, max_length=48, return_tensors="pt")
    with torch.inference_mode():
        assert torch.allclose(plain(**batch).logits, run.adapter.logits(TEXTS), atol=1e-6)


def test_the_learnt_scale_is_in_the_version(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "encoder", LORA, {"name": "regress", "network": "mlp", "hidden": 8})
    run = bench.train("figures")
    stored = run.version.manifest.head
    assert stored is not None and set(stored.options) == {"network", "hidden", "centre", "scale"}
    loaded = ahf.load(run.reference, base=bench.base(), registry=bench.registry)
    assert loaded.predict(TEXTS) == run.adapter.predict(TEXTS)
    assert {type(answer) for answer in loaded.predict(TEXTS)} == {ahf.Estimate}


def test_a_network_needs_a_head_of_one_layer(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, RobertaConfig, RobertaModel

    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    bench = Bench(tmp_path, "encoder", LORA, {"name": "regress", "network": "mlp"})
    tokenizer = AutoTokenizer.from_pretrained(bench.base())
    RobertaModel(RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=130, **shape)).save_pretrained(
        tmp_path / "roberta"
    )
    tokenizer.save_pretrained(tmp_path / "roberta")
    recipe = {**bench.recipe("figures"), "base": {"path": str(tmp_path / "roberta")}}
    with pytest.raises(ahf.BadRecipe, match="head.network mlp needs a base whose head is one linear layer"):
        ahf.train(recipe, registry=bench.registry)
