"""Hold what pretraining returns: the stored base, and how it went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adapterhub_fin_registry import Version
    from adapterhub_fin_registry.model.history import History


@dataclass(frozen=True)
class Pretrained:
    """Hold a base that was trained here: its version, and its losses in nats a token."""

    version: Version
    metrics: Mapping[str, float]  # on the later rows where the recipe has test_until, else on validation
    validation: Mapping[str, float]
    parameters: int
    steps: int
    tokens: int  # that the model was trained on, with repeats and without padding
    losses: Sequence[float]  # of training, by epoch
    history: History = field(default_factory=dict, repr=False)  # by step: loss, rate and so on

    @property
    def reference(self) -> str:
        """Return the version's reference."""
        return self.version.reference

    @property
    def folder(self) -> Path:
        """Return the folder of the stored base, as plain Transformers loads it."""
        return self.version.files

    @property
    def perplexity(self) -> float:
        """Return e to the mean loss: between how many tokens it is undecided."""
        return math.exp(self.metrics["loss"])

    def __repr__(self) -> str:
        split = self.version.data["measured_on"]["split"]
        metrics = ", ".join(f"{name}={value:.4f}" for name, value in self.metrics.items())
        return f"Pretrained({self.reference}, {self.parameters:,} parameters, {self.steps:,} steps, {split} {metrics})"

    def _repr_html_(self) -> str:
        from adapterhub_fin_registry.io.html_table import html_table

        return html_table(f"Base {self.reference}", self.facts())

    def facts(self) -> list[tuple[str, Any]]:
        """Return what people want to see of it, by name."""
        split = self.version.data["measured_on"]["split"]
        return [
            ("version", self.reference),
            ("digest", self.version.digest),
            *((f"{split} {name}", f"{value:.4f}") for name, value in self.metrics.items()),
            (f"{split} perplexity", f"{self.perplexity:.2f}"),
            ("parameters", f"{self.parameters:,}"),
            ("steps", f"{self.steps:,}"),
            ("tokens trained on", f"{self.tokens:,}"),
            ("knowledge end", self.version.manifest.knowledge.end),
        ]
