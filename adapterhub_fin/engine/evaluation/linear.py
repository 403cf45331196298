"""Fit the cheap alternative to an adapter: a linear model, on the frozen base's embeddings or on any other inputs.

It is scikit-learn's logistic regression for classes and ridge regression for numbers. Its penalty, and for classes
whether they weigh the same, is what gives the best metric on the validation part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.inference.embedding import Embedding
from adapterhub_fin.engine.inference.in_batches import answer_in_batches
from adapterhub_fin.plugin.model_parts import backbone

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn
else:
    np = Lazy("numpy")
    torch = Lazy("torch")

PACKAGE = "sklearn"  # of the extra evidence
INSTALL: Final = "scikit-learn is not installed: pip install 'adapterhub-fin[evidence]'"
PENALTIES: Final = {  # C of the logistic regression, alpha of the ridge regression, on standardised inputs
    "logistic": (0.001, 0.01, 0.1, 1.0),
    "ridge": (1.0, 10.0, 100.0, 1e3, 1e4, 1e5),
}
NAMES: Final = {"logistic": "logistic regression", "ridge": "ridge regression"}


def is_installed() -> bool:
    """Return whether scikit-learn is installed."""
    return find_spec(PACKAGE) is not None


def fit_linear(
    kind: str,
    inputs: Mapping[str, Any],
    labels: Mapping[str, np.ndarray],
    value: Callable[[np.ndarray], float],
    *,
    weights: np.ndarray | None = None,
    scaled: bool = True,
) -> tuple[dict[str, Any], np.ndarray]:
    """Return the options of the model that was chosen and its predictions on the test part, (tested,).

    `inputs` and `labels` are by part: train, validation and test; inputs are (rows, columns), dense or sparse. `value`
    is the metric of predictions on the validation part, more being better. With `scaled`, inputs are standardised.
    """
    if scaled:
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(inputs["train"])
        inputs = {part: scaler.transform(array) for part, array in inputs.items()}
    models = [
        (options, model.fit(inputs["train"], labels["train"], sample_weight=weights))
        for options, model in _models(kind, scaled=scaled)
    ]

    def validated(model: Any) -> float:
        measured = value(model.predict(inputs["validation"]))
        return measured if math.isfinite(measured) else -math.inf

    options, best = max(models, key=lambda tried: validated(tried[1]))  # of equals the one with the strongest penalty
    return options, best.predict(inputs["test"])


def _models(kind: str, *, scaled: bool) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield the options of each model that is tried, the strongest penalty first, and the model."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if kind == "ridge":
        penalties = PENALTIES[kind] if scaled else tuple(alpha / 1000 for alpha in PENALTIES[kind])
        yield from (({"alpha": alpha}, Ridge(alpha=alpha)) for alpha in reversed(penalties))
        return
    for balance in (None, "balanced"):
        for c in PENALTIES[kind] if scaled else tuple(1000 * c for c in PENALTIES[kind]):
            options = {"C": c, "class_weight": balance}
            yield options, LogisticRegression(**options, max_iter=2000)


def mean_states(model: nn.Module, collate: Any, examples: Sequence[dict[str, Any]], batch_size: int) -> np.ndarray:
    """Return the mean of a model's last hidden states of each example, (examples, hidden), float32."""
    core = backbone(model)

    def pooled(batch: dict[str, Any]) -> Tensor:
        mask = batch["attention_mask"]
        return Embedding().pool([core(input_ids=batch["input_ids"], attention_mask=mask)[0]], mask)

    vectors = answer_in_batches(model, examples, collate, pooled, batch_size=batch_size, title="baseline")
    return torch.stack(vectors).numpy()
