"""The cheap baseline beside a run: what scikit-learn gives by hand, on the same rows, with the interval of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score, r2_score
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.cli.show import command as show
from adapterhub_fin.engine.evaluation import linear
from adapterhub_fin.engine.training import baseline
from adapterhub_fin.engine.training.record import record_once
from adapterhub_fin.testing.bench import Bench

WORDS = ("up", "down", "flat", "deal", "loss", "gain", "cut", "beat")


@pytest.fixture(autouse=True)
def with_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "PACKAGE", "sklearn")


def rows(count: int = 90) -> list[dict[str, Any]]:
    """Return texts of many lengths, so that the order by length is none that a table has."""
    draw = np.random.default_rng(1)
    table = []
    for number in range(count):
        words = draw.choice(WORDS, size=int(draw.integers(1, 9)))
        score = float(sum(word in ("up", "gain", "beat") for word in words) - 0.3 * len(words))
        label = "high" if score > 0.4 else "low" if score < -0.8 else "middle"
        part = ("train", "train", "train", "validation", "test")[number % 5]
        weight = 1.0 + number % 3
        table.append(
            {"text": " ".join([*words, str(number)]), "label": label, "target": score, "weight": weight, "split": part}
        )
    return table


def trained(base: Path, head: str, answer: str, **more: Any) -> Any:
    training = {"epochs": 1, "batch_size": 8, "max_length": 64, **more.pop("training", {})}
    columns = {"text": "text", answer: answer, "split": "split", "splitter": {"by": "given"}, **more}
    return ahf.train(
        name="acme/beside",
        base={"path": str(base)},
        method={"name": "lora", "rank": 2},
        head=head,
        corpus={"data": rows(), **columns},
        training=training,
    )


def embedded(base: Path, texts: list[str]) -> np.ndarray:
    """Return the mean of the last states, by Transformers alone and one text at a time."""
    model, tokenizer = AutoModel.from_pretrained(base).eval(), AutoTokenizer.from_pretrained(base)
    with torch.inference_mode():
        states = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in texts]
    return torch.stack(states).numpy()


def by_hand(base: Path, answer: str, model: Any, weighed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return truth and answers of the test rows."""
    table = rows()
    parts = {part: [row for row in table if row["split"] == part] for part in ("train", "test")}
    inputs = {part: embedded(base, [row["text"] for row in inside]) for part, inside in parts.items()}
    scaler = StandardScaler().fit(inputs["train"])
    weights = np.array([row["weight"] for row in parts["train"]]) if weighed else None
    model.fit(scaler.transform(inputs["train"]), [row[answer] for row in parts["train"]], sample_weight=weights)
    return np.array([row[answer] for row in parts["test"]]), model.predict(scaler.transform(inputs["test"]))


@pytest.mark.parametrize(("kind", "weighed"), [("encoder", False), ("decoder", False), ("encoder", True)])
def test_classes_are_compared_with_a_logistic_regression(
    kind: str, weighed: bool, encoder: Path, decoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(linear.PENALTIES, "logistic", (0.1,))
    base = encoder if kind == "encoder" else decoder
    run = trained(base, "classify", "label", **({"weight": "weight"} if weighed else {}))
    beside = run.baseline
    assert beside.model == "logistic regression" and beside.rows == {"train": 54, "validation": 18, "test": 18}
    model = LogisticRegression(C=0.1, class_weight=beside.options["class_weight"], max_iter=2000)
    truth, answers = by_hand(base, "label", model, weighed)
    assert beside.metrics["accuracy"] == pytest.approx(accuracy_score(truth, answers))
    assert beside.metrics["macro_f1"] == pytest.approx(f1_score(truth, answers, average="macro"))
    for name, value in run.metrics.items():
        assert beside.metrics[name] + beside.differences[name] == pytest.approx(value), "the adapter's own, same rows"
        low, high = beside.difference_intervals[name]
        assert low <= beside.differences[name] <= high


def test_numbers_are_compared_with_a_ridge_regression(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(linear.PENALTIES, "ridge", (10.0,))
    run = trained(encoder, "regress", "target")
    truth, answers = by_hand(encoder, "target", Ridge(alpha=10.0), weighed=False)
    assert run.baseline.model == "ridge regression" and run.baseline.metric == "r2"
    assert run.baseline.metrics["r2"] == pytest.approx(r2_score(truth, answers), abs=1e-4)
    assert run.baseline.metrics["r2"] + run.baseline.differences["r2"] == pytest.approx(run.metrics["r2"])


def test_rows_of_one_group_are_drawn_together(encoder: Path) -> None:
    """Draw whole groups for the difference's interval, as `ahf compare` does."""
    table = [{**row, "firm": f"firm {number % 6}"} for number, row in enumerate(rows())]
    grouped = trained(encoder, "classify", "label", data=table, group="firm").baseline
    alone = trained(encoder, "classify", "label", data=table).baseline
    assert (grouped.bootstrap["units"], alone.bootstrap["units"]) == (6, 18)
    assert dict(grouped.differences) == dict(alone.differences)
    assert grouped.difference_intervals["accuracy"] != alone.difference_intervals["accuracy"]


def test_the_penalty_is_chosen_on_the_validation_part(encoder: Path) -> None:
    """Choose on validation where the test part would choose another penalty."""
    table = [{**row, "target": row["target"] * (-1 if row["split"] == "test" else 1)} for row in rows()]
    parts = {part: [row for row in table if row["split"] == part] for part in ("train", "validation", "test")}
    targets = {part: [row["target"] for row in inside] for part, inside in parts.items()}
    inputs = {part: embedded(encoder, [row["text"] for row in inside]) for part, inside in parts.items()}
    scaler = StandardScaler().fit(inputs["train"])

    def best(part: str) -> float:
        scores = {}
        for alpha in reversed(linear.PENALTIES["ridge"]):
            model = Ridge(alpha=alpha).fit(scaler.transform(inputs["train"]), targets["train"])
            scores[alpha] = r2_score(targets[part], model.predict(scaler.transform(inputs[part])))
        return max(scores, key=lambda alpha: scores[alpha])

    assert best("validation") != best("test")
    assert trained(encoder, "regress", "target", data=table).baseline.options == {"alpha": best("validation")}


def test_a_run_that_does_not_beat_it_says_so_and_everybody_can_read_it(
    encoder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = trained(encoder, "classify", "label", training={"learning_rate": 1e-9, "max_steps": 1})
    said = run.baseline.sentence()
    assert run.baseline.verdict in ("worse", "no difference shown")
    assert said in run.warnings and said in caplog.text
    (event,) = [event for event in run.version.events if event["kind"] == "baseline"]
    assert event["verdict"] == run.baseline.verdict and event["metrics"] == dict(run.baseline.metrics)
    shown = CliRunner().invoke(show, [run.reference]).output
    assert "logistic regression" in shown and f"{event['metrics']['macro_f1']:.4f}" in shown
    page = run.report(tmp_path / "report").page.read_text()
    assert "adapter minus baseline" in page and f"{event['differences']['macro_f1']:+.4f}" in page
    assert "logistic regression" in run._repr_html_()


@pytest.mark.parametrize(
    ("ends", "greater", "verdict"),
    [
        ((0.1, 0.2), True, "better"),
        ((0.1, 0.2), False, "worse"),
        ((-0.2, -0.1), True, "worse"),
        ((-0.2, -0.1), False, "better"),
        ((-0.1, 0.1), True, "no difference shown"),
        ((0.0, 0.1), True, "no difference shown"),
        (None, True, "undefined"),
    ],
)
def test_the_verdict_is_the_interval_s(ends: Any, greater: bool, verdict: str) -> None:
    assert baseline._verdict(ends, greater_is_better=greater) == verdict


def test_why_nothing_was_measured_is_said(
    encoder: Path, decoder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    off = trained(encoder, "classify", "label", training={"baseline": False})
    assert off.baseline is None and off.unmeasured == {"baseline": "training.baseline is off"}
    monkeypatch.setattr(linear, "PACKAGE", "a_package_that_is_not_installed")
    bench = Bench(tmp_path, "encoder", {"name": "lora", "rank": 2}, {"name": "classify"})
    recipe = bench.recipe("plain", epochs=1)
    missing = ahf.train(recipe, registry=bench.registry)
    assert "adapterhub-fin[evidence]" in missing.unmeasured["baseline"]
    assert not [event for event in missing.version.events if event["kind"] == "baseline"]
    text = Bench(tmp_path / "text", "decoder", {"name": "lora", "rank": 2}, {"name": "causal-lm"})
    written = ahf.train(text.recipe("text", epochs=1), registry=text.registry)
    assert "causal-lm" in written.unmeasured["baseline"]


def test_a_metric_that_the_linear_model_leaves_undefined_is_the_reason(
    encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = baseline.metric_functions
    monkeypatch.setattr(
        baseline, "metric_functions", lambda *given: {**real(*given), "own": lambda *rows: float("nan")}
    )
    run = trained(encoder, "regress", "target")
    assert run.baseline is None
    assert run.unmeasured == {"baseline": "own of the linear model is undefined on the test part"}


def test_a_large_part_is_sampled_and_counted(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "MOST", 15)
    run = trained(encoder, "classify", "label")
    assert run.baseline.rows == {"train": 15, "validation": 15, "test": 15}
    drawn = baseline._sample(100, np.random.default_rng(0)).tolist()
    assert drawn == sorted(set(drawn)) and len(drawn) == 15 and drawn[-1] > 50, "over the whole part"
    assert np.isfinite(list(run.baseline.metrics.values())).all()


def test_it_changes_no_weight_and_is_stored_once(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(encoder, "classify", "label")
    record_once(run.registry, run.version, "baseline", run.baseline.body())
    assert [event["kind"] for event in run.version.events] == ["history", "baseline"]
    monkeypatch.setattr(linear, "PACKAGE", "a_package_that_is_not_installed")
    alone = trained(encoder, "classify", "label")
    weights = [(each.version.files / "adapter_model.safetensors").read_bytes() for each in (run, alone)]
    assert weights[0] == weights[1] and alone.metrics == run.metrics
