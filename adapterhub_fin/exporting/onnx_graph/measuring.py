"""Measure how far a graph's answers are from torch's, in the units of the answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from adapterhub_fin.errors import NotFinite, Unsupported

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapterhub_fin.plugin.answers import AnswerForm

Unit = Literal["probability", "value", "1 - cosine"]


@dataclass(frozen=True)
class Difference:
    """Hold how answers differ on some rows: labels that changed, and the largest change.

    `change` is of a probability, of a value in its own units, or one minus a cosine. `relative` is what the limit
    applies to: the same, but of a value in units of the head's scale.
    """

    rows: int
    labels_changed: int | None  # rows with another label; None where an answer has none
    change: float
    relative: float
    unit: Unit

    @property
    def share(self) -> float:
        """Return the share of rows whose labels changed."""
        return (self.labels_changed or 0) / self.rows

    def check(self, max_labels_changed: float, max_change: float, whose: str, precision: str) -> None:
        """Raise Unsupported where the answers are further apart than allowed."""
        too_far = []
        if self.share > max_labels_changed:
            too_far.append(
                f"{self.labels_changed} of {self.rows} rows get other labels ({self.share:.1%}, and "
                f"{max_labels_changed:.1%} are allowed)"
            )
        if self.relative > max_change:
            scale = " of the head's scale" if self.unit == "value" else ""
            too_far.append(f"a {self.unit} is off by {self.relative:.3g}{scale}, and {max_change:g} is allowed")
        if too_far:
            advice = "export it in fp32" if precision != "fp32" else "look at the base and at the version"
            raise Unsupported(
                f"{whose} in {precision} does not answer as torch does: {'; '.join(too_far)}: {advice}, or allow it "
                "with --max-labels-changed and --max-change (max_labels_changed=..., max_change=...)"
            )


def worst(one: Difference, other: Difference) -> Difference:
    """Return the larger figures of two measurements of the same rows."""
    labels = None if one.labels_changed is None else max(one.labels_changed, other.labels_changed or 0)
    change, relative = max(one.change, other.change), max(one.relative, other.relative)
    return Difference(one.rows, labels, change, relative, one.unit)


def difference(form: AnswerForm, torch_outputs: NDArray[np.float32], outputs: NDArray[np.float32]) -> Difference:
    """Compare two arrays of outputs (rows, outputs) as answers. Raises NotFinite for NaN or infinity."""
    if not np.isfinite(outputs).all():
        raise NotFinite("the graph answers with NaN or infinity: look at the weights, or export it in fp32")
    return _BY_KIND[form.kind](form, torch_outputs.astype(np.float64), outputs.astype(np.float64))


def _softmax(form: AnswerForm, one: NDArray[np.float64], other: NDArray[np.float64]) -> Difference:
    changed = int((one.argmax(1) != other.argmax(1)).sum())
    return _of_probabilities(_probabilities(one), _probabilities(other), changed)


def _probabilities(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(outputs - outputs.max(1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return shares


def _sigmoid(form: AnswerForm, one: NDArray[np.float64], other: NDArray[np.float64]) -> Difference:
    thresholds = np.array(form.thresholds)
    limits = np.log(thresholds / (1 - thresholds))
    changed = int(((one >= limits) != (other >= limits)).any(1).sum())
    first, second = (1 / (1 + np.exp(-np.clip(outputs, -700, 700))) for outputs in (one, other))
    return _of_probabilities(first, second, changed)


def _of_probabilities(one: NDArray[np.float64], other: NDArray[np.float64], changed: int) -> Difference:
    change = float(np.abs(one - other).max())
    return Difference(len(one), changed, change, change, "probability")


def _linear(form: AnswerForm, one: NDArray[np.float64], other: NDArray[np.float64]) -> Difference:
    change = float(np.abs(one - other).max())
    return Difference(len(one), None, change * abs(form.scale), change, "value")


def _vector(form: AnswerForm, one: NDArray[np.float64], other: NDArray[np.float64]) -> Difference:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (one * other).sum(1) / np.maximum(lengths, 1e-300)
    change = max(0.0, float((1 - cosines).max()))
    return Difference(len(one), None, change, change, "1 - cosine")


_BY_KIND: dict[str, Callable[..., Difference]] = {
    "softmax": _softmax,
    "sigmoid": _sigmoid,
    "linear": _linear,
    "vector": _vector,
}
