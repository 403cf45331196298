"""Options of `classify`."""

from __future__ import annotations

from pydantic import Field

from adapterhub_fin.options import Options


class ClassifyOptions(Options):
    """Which labels there are, and how sure of them to be."""

    labels: tuple[str, ...] | None = Field(
        None,
        min_length=2,
        description="Labels in the order of the outputs; by default those of the training rows, sorted.",
    )
    smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the target spread over all labels (Szegedy et al. 2016), for noisy ones.",
    )
