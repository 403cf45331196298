"""Calibrate probabilities: by one temperature (Guo and others 2017), or by a monotone map of confidence."""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np

from adapterhub_fin.plugin import BadRecipe

SMALLEST: Final = 1e-12  # probability that a logarithm is taken of
HOTTEST: Final = 6.0  # logarithm of the highest temperature, and of the lowest one, less


class Calibration(Protocol):
    """Define what a fitted calibration does."""

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, (texts, 3), of (texts, 3)."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """Return its numbers, in JSON's types."""
        ...


class Temperature:
    """Raise probabilities to 1 / temperature, and make them sum to one: no answer changes, only its confidence."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, (texts, 3), of (texts, 3)."""
        raised = np.exp(_logits(probabilities) / self.temperature)
        calibrated: np.ndarray = raised / raised.sum(1, keepdims=True)
        return calibrated

    @property
    def facts(self) -> dict[str, Any]:
        """Return the temperature."""
        return {"name": "temperature", "temperature": self.temperature}


class Isotonic:
    """Map confidence to the share of right answers at it, monotonically; the other directions share what is left."""

    def __init__(self, confidence: np.ndarray, accuracy: np.ndarray) -> None:
        self.confidence, self.accuracy = confidence, accuracy  # (knots,) each, ascending

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, (texts, 3), of (texts, 3)."""
        best = probabilities.argmax(1)
        rows = np.arange(len(probabilities))
        top = np.interp(probabilities[rows, best], self.confidence, self.accuracy)
        others = 1 - probabilities[rows, best]
        scaled = np.where(others > 0, (1 - top) / np.where(others > 0, others, 1), 0.0)
        calibrated: np.ndarray = probabilities * scaled[:, None]
        calibrated[rows, best] = np.where(others > 0, top, 1.0)
        return calibrated

    @property
    def facts(self) -> dict[str, Any]:
        """Return the knots of the map."""
        return {"name": "isotonic", "confidence": self.confidence.tolist(), "accuracy": self.accuracy.tolist()}


def fit_calibration(name: str, probabilities: np.ndarray, truth: np.ndarray) -> Calibration:
    """Return a calibration fitted to probabilities (texts, 3) and the columns of the true directions, (texts,).

    Raises BadRecipe where all or none of the answers are right, so that no temperature is best.
    """
    if name == "isotonic":
        return _fit_isotonic(probabilities, truth)
    from scipy.optimize import minimize_scalar

    right = probabilities.argmax(1) == truth
    if right.all() or not right.any():
        raise BadRecipe(
            f"{'all' if right.all() else 'none'} of {len(right)} answers are right, so that no temperature fits: give "
            "more labelled texts"
        )
    logits, rows = _logits(probabilities), np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        likelihood = scaled[rows, truth] - np.log(np.exp(scaled).sum(1))
        return -float(likelihood.mean())

    found = minimize_scalar(loss, bounds=(-HOTTEST, HOTTEST), method="bounded", options={"xatol": 1e-9})
    return Temperature(float(np.exp(found.x)))


def _fit_isotonic(probabilities: np.ndarray, truth: np.ndarray) -> Isotonic:
    from scipy.optimize import isotonic_regression

    confidence = probabilities.max(1)
    right = (probabilities.argmax(1) == truth).astype(float)
    knots, at = np.unique(confidence, return_inverse=True)
    weight = np.bincount(at).astype(float)
    fitted = isotonic_regression(np.bincount(at, right) / weight, weights=weight).x
    return Isotonic(knots, np.asarray(fitted))


def _logits(probabilities: np.ndarray) -> np.ndarray:
    logits = np.log(np.maximum(probabilities, SMALLEST))
    shifted: np.ndarray = logits - logits.max(1, keepdims=True)
    return shifted
