"""Which functions measure a head, and what they are given."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.evaluation.metrics import check_parts, measured, metric_for, metric_functions

TRUTH, SAID = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])


def share_of_labels(truth: np.ndarray, predicted: np.ndarray, *, labels: np.ndarray) -> float:
    """A stranger's metric, which is told the labels."""
    return len(np.unique(truth)) / len(labels)


def register(name: str, target: str) -> None:
    ahf.register(ahf.Metric(name=name, summary="Of a test.", target=target, measures="classification"))


def test_a_metric_that_takes_labels_is_given_the_head_s(monkeypatch: pytest.MonkeyPatch) -> None:
    register("share", f"{__name__}:share_of_labels")
    register("balance", "sklearn.metrics:cohen_kappa_score")  # labels=None
    register("right", "sklearn.metrics:accuracy_score")  # without them
    functions = metric_functions("classify", ["a", "b", "c", "d"])
    assert functions["share"](TRUTH, SAID) == 2 / 4
    assert functions["balance"](TRUTH, SAID) == pytest.approx(0.5) and functions["right"](TRUTH, SAID) == 3 / 4
    assert functions["macro_f1"](TRUTH, SAID) == pytest.approx((2 / 3 + 4 / 5) / 4)
    assert functions["accuracy"](TRUTH, SAID) == 3 / 4 and functions["mcc"](TRUTH, SAID) == pytest.approx(0.5773503)


def test_training_measures_over_all_labels_of_the_head() -> None:
    """G 6: the figure of a part that lacks a label, and that of one that has it, are of the same labels."""
    head: Any = build_plugin(ahf.Head, "classify", {})
    head.set_labels(["a", "b", "c"])
    answers = SimpleNamespace(label_ids=TRUTH, predictions=np.eye(3)[SAID])
    assert measured("classify", head)(answers) == pytest.approx(
        {"accuracy": 3 / 4, "macro_f1": (2 / 3 + 4 / 5) / 3, "mcc": 0.5773503}
    )


def test_a_function_without_a_signature_is_called_with_two_arrays() -> None:
    register("pairs", "builtins:zip")
    pairs: Any = metric_functions("classify", ["a", "b"])["pairs"](TRUTH, SAID)
    assert list(pairs) == [(0, 0), (0, 1), (1, 1), (1, 1)]


@pytest.mark.parametrize("flat", [-0.7, 0.1, 0.5, 0.0, 1e300, 5e-324])
@pytest.mark.parametrize(("part", "selects"), [("validation", "r2"), ("test", "r2"), ("test", "mae")])
def test_parts_that_leave_a_metric_undefined_are_refused(flat: float, part: str, selects: str) -> None:
    head: Any = build_plugin(ahf.Head, "regress", {})
    head.fit_labels(Dataset.from_dict({"target": [0.0, 1.0, 3.0]}))
    fine = Dataset.from_dict({"target": [0.0, 0.5]})
    parts = {"train": fine, "validation": fine, "test": fine}
    check_parts("regress", head, parts, metric_for("regress", selects), "mine")
    parts[part] = Dataset.from_dict({"target": [flat] * 10})
    with pytest.raises(ahf.BadCorpus, match=f"corpus mine, {part} part: r2 is undefined where all 10 targets are"):
        check_parts("regress", head, parts, metric_for("regress", selects), "mine")


def test_a_metric_that_is_not_asked_for_of_validation_may_be_undefined() -> None:
    head: Any = build_plugin(ahf.Head, "regress", {})
    head.fit_labels(Dataset.from_dict({"target": [0.0, 1.0, 3.0]}))
    fine, flat = Dataset.from_dict({"target": [0.0, 0.5]}), Dataset.from_dict({"target": [0.7, 0.7, 0.7]})
    check_parts("regress", head, {"validation": flat, "test": fine}, metric_for("regress", "mae"), "mine")
