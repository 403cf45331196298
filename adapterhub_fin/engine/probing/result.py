"""Hold what a probe measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.probing.probes import LayerProbe
from adapterhub_fin.engine.probing.similarity import LayerSimilarity
from adapterhub_fin.engine.probing.states import States
from adapterhub_fin.engine.probing.targets import Targets
from adapterhub_fin.stats.representations import Components

if TYPE_CHECKING:
    from adapterhub_fin_registry import Version


@dataclass(frozen=True)
class Probe:
    """Hold what the layers of a version and of its bare base hold of the same rows; layer 0 is the embeddings.

    `cka` and `cka_debiased` have a row for each layer of the base and a column for each of the version, None where a
    layer has one vector for all rows. `unmeasured` says why a part is missing, by its name.
    """

    version: Version
    corpus: str
    corpus_options: Mapping[str, Any]  # without paths of this machine
    corpus_digest: str
    split: str
    rows: int  # that were read
    rows_of_split: int
    texts: int  # distinct ones
    rows_seen: int | None  # in the version's training; None: unknown
    pooling: str
    target: str | None  # what the probes predict: labels, label sets or numbers
    score: str | None  # the name of the probes' score
    constant_score: float | None  # of the best answer that is the same for all rows
    probes: Sequence[LayerProbe]
    similarities: Sequence[LayerSimilarity]
    cka: Sequence[Sequence[float | None]]
    cka_debiased: Sequence[Sequence[float | None]]
    shares: Sequence[float]  # of the variance of the last layer's vectors, on the axes of the picture
    settings: Mapping[str, Any]  # folds, resamples, seed, level
    unmeasured: Mapping[str, str]
    warnings: Sequence[str]
    environment: Mapping[str, str]
    states: States = field(repr=False, compare=False)
    targets: Targets | None = field(repr=False, compare=False)
    components: Components | None = field(repr=False, compare=False)
    page: Path | None = None  # of the report, where one was asked for

    def __repr__(self) -> str:
        return f"Probe({self.reference} on {self.corpus}, {self.split}, {self.rows:,} rows, {self.layers} layers)"

    def _repr_html_(self) -> str:
        from adapterhub_fin_registry.io.html_table import html_table

        rows = [(p.layer, p.base.value, p.tuned.value, p.difference.value, p.p_corrected) for p in self.probes]
        columns = ("layer", f"{self.score} of base", "of version", "difference", "p, corrected")
        return html_table(repr(self), rows or list(self.unmeasured.items()), columns if rows else ("part", "reason"))

    @property
    def reference(self) -> str:
        """Return the version's reference."""
        return self.version.reference

    @property
    def layers(self) -> int:
        """Count the layers, without the embeddings."""
        return len(self.states.base) - 1

    def body(self) -> dict[str, Any]:
        """Return all but the vectors as plain values."""
        left_out = ("version", "states", "targets", "components", "probes", "similarities", "page")
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in left_out}
        tables = {"probes": [asdict(row) for row in self.probes]}
        return {**plain, **tables, "similarities": [asdict(row) for row in self.similarities]}
