"""Options of `classify`."""

from __future__ import annotations

from pydantic import Field

from adapterhub_fin.options import Options


class ClassifyOptions(Options):
    """Which labels there are."""

    labels: tuple[str, ...] | None = Field(
        None,
        min_length=2,
        description="Labels in the order of the outputs; by default those of the training rows, sorted.",
    )
