"""Hold what training returns: the version, the adapter as it was trained, and how it went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.inference.adapter import Adapter
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    from adapterhub_fin.engine.evaluation.forgetting import Forgetting
    from adapterhub_fin.engine.training.baseline import Baseline
    from adapterhub_fin.reporting.report import Report
    from adapterhub_fin_registry import Version
    from adapterhub_fin_registry.model.history import History


@dataclass(frozen=True)
class Run:
    """Hold the result of training: the version, the adapter as it was trained, and its metrics."""

    version: Version
    adapter: Adapter
    metrics: Mapping[str, float]  # on the test split
    validation: Mapping[str, float]  # of the selected checkpoint
    trained_parameters: int
    steps: int
    notes: Mapping[str, int]  # numbers of rows that the corpus dropped, by reason
    losses: Sequence[float]  # of training, by epoch
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # numbers of rows, by label and split
    registry: Registry | None = field(default=None, repr=False)  # where the version is; None: a configured one
    history: History = field(default_factory=dict, repr=False)  # by step: loss, rate and so on; as `registry.history`
    baseline: Baseline | None = None  # the linear model on the base's embeddings beside the adapter
    forgetting: Sequence[Forgetting] = ()  # on each corpus that the recipe limits it on
    unmeasured: Mapping[str, str] = field(default_factory=dict)  # why something wasn't measured, such as `baseline`
    warnings: Sequence[str] = ()  # of rare labels, layers that the method can't adapt, or a constant prediction

    @property
    def reference(self) -> str:
        """Return the version's reference."""
        return self.version.reference

    def __repr__(self) -> str:
        metrics = ", ".join(f"{name}={value:.4f}" for name, value in self.metrics.items())
        return f"Run({self.reference}, {self.steps:,} steps, test {metrics})"

    def _repr_html_(self) -> str:
        from adapterhub_fin_registry.io.html_table import html_table

        compared = self.baseline.sentence() if self.baseline else ""
        facts: list[tuple[str, Any]] = [
            ("digest", self.version.digest),
            ("method", self.version.manifest.method.name),
            ("base", self.version.manifest.base.repository),
            *((f"test {name}", value) for name, value in self.metrics.items()),
            *((f"validation {name}", value) for name, value in self.validation.items()),
            ("trained parameters", f"{self.trained_parameters:,}"),
            ("steps", f"{self.steps:,}"),
            ("loss by epoch", list(self.losses)),
            *([("baseline", compared)] if self.baseline else []),
            *(("forgetting", each.sentence()) for each in self.forgetting),
            *((what, f"not measured, since {reason}") for what, reason in self.unmeasured.items()),
            *(("warning", warning) for warning in self.warnings if warning != compared),
        ]
        return html_table(f"Run {self.reference}", facts)

    def report(self, into: str | Path | None = None, **options: Any) -> Report:
        """Write a report of the run, as `ahf.report` does, with the adapter that is in memory.

        Raises what `ahf.report` raises.

        Example:
            >>> run.report("reports/tone").page
            PosixPath('reports/tone/report.html')
        """
        from adapterhub_fin.reporting.report import report

        return report(self.version, into=into, adapter=self.adapter, **{"registry": self.registry, **options})
