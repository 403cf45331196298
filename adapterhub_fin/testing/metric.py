"""Test that a metric is pure, best for correct predictions, and independent of the order of the rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin.descriptions import Metric
from adapterhub_fin.plugin.token_states import TokenStates
from adapterhub_fin.testing.description import DescriptionContract

if TYPE_CHECKING:
    import numpy as np

ROWS = 40
SENTENCES = (
    "Net sales rose 5 % to $1.2 billion.",
    "The operating loss was (3.4) million euros in 2019.",
    "Gains fell.",
)
WORSE = "I can't say that 7 of it happened."  # an answer to each
LABELS = ("negative", "neutral", "positive")


class MetricContract(DescriptionContract):
    """Test a metric of classes, label sets, numbers or written text: inherit this and name the metric."""

    kind = Metric

    def _score(self, truth: np.ndarray, predicted: np.ndarray) -> float:
        score = self.description.load()(truth.copy(), predicted.copy(), **self._labels())
        assert isinstance(score, float), f"a metric returns a float, not {type(score).__name__}"
        return score

    def _answers(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (ROWS,) of truth and of predictions, some of them wrong, of the kind that the metric measures.

        Label sets have shape (ROWS, 3).
        """
        import numpy as np

        assert isinstance(self.description, Metric)
        rng = np.random.default_rng(0)
        if "classification" in self.description.kinds:
            truth = rng.permutation(np.arange(ROWS) % 3)
            return truth, np.where(rng.random(ROWS) < 0.5, truth, (truth + 1) % 3)
        if "multi-label" in self.description.kinds:
            truth = rng.random((ROWS, 3)) < 0.5
            return truth, truth ^ (rng.random((ROWS, 3)) < 0.3)
        if "written" in self.description.kinds:
            texts = LABELS if self._labels() else SENTENCES
            truth = np.array([texts[row % len(texts)] for row in range(ROWS)], object)
            return truth, np.where(rng.random(ROWS) < 0.5, truth, rng.permutation([WORSE, ""] * (ROWS // 2)))
        if "token-states" in self.description.kinds:
            return _states(rng), _states(rng)
        truth = rng.normal(size=ROWS)
        return truth, truth + rng.normal(size=ROWS)

    def test_leaves_its_input_alone(self) -> None:
        truth, predicted = self._answers()
        before = truth.copy(), predicted.copy()
        self.description.load()(truth, predicted, **self._labels())
        assert (truth == before[0]).all() and (predicted == before[1]).all(), "the input was written to"

    def test_the_right_answers_are_the_best(self) -> None:
        assert isinstance(self.description, Metric)
        truth, predicted = self._answers()
        best, other = self._score(truth, truth), self._score(truth, predicted)
        assert math.isfinite(best) and math.isfinite(other)
        assert best > other if self.description.greater_is_better else best < other, (best, other)

    def test_the_order_of_rows_does_not_matter(self) -> None:
        truth, predicted = self._answers()
        assert math.isclose(self._score(truth, predicted), self._score(truth[::-1], predicted[::-1]), rel_tol=1e-9)

    def test_the_scores_of_rows_have_the_metric_as_their_mean(self) -> None:
        import numpy as np
        import pytest

        assert isinstance(self.description, Metric)
        if self.description.row_scores is None:
            pytest.skip(f"{self.description.name} is no mean over rows")
        truth, predicted = self._answers()
        scores = self.description.load_row_scores()(truth, predicted, **self._labels())
        scores, weights = scores if isinstance(scores, tuple) else (scores, np.ones(ROWS))
        assert scores.shape == weights.shape == (ROWS,) and scores.dtype == np.float64, scores.dtype
        assert math.isclose(np.average(scores, weights=weights), self._score(truth, predicted), rel_tol=1e-9)
        assert self.description.test != "mcnemar" or set(scores) <= {0.0, 1.0}, "mcnemar needs rows right or wrong"

    def _labels(self) -> dict[str, Any]:
        from inspect import signature

        assert isinstance(self.description, Metric)
        labels: list[Any] = list(LABELS) if "written" in self.description.kinds else [0, 1, 2]
        return {"labels": labels} if "labels" in signature(self.description.load()).parameters else {}


def _states(rng: np.random.Generator) -> np.ndarray:
    """Return (ROWS,) of `TokenStates`, the first and last token of each a special one."""
    import numpy as np

    states = np.empty(ROWS, object)
    for row in range(ROWS):
        tokens = 3 + row % 5
        counts = np.array([False, *[True] * (tokens - 2), False])
        states[row] = TokenStates(rng.normal(size=(tokens, 4)).astype(np.float32), counts)
    return states
