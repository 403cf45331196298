"""Define the plugins' options; a recipe is checked against them before torch is imported."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from adapterhub_fin.plugin import Options


class BiasOnlyOptions(Options):
    """Choose the layers whose biases are trained."""

    layers: str = Field(
        "*", min_length=1, description="Pattern of the linear layers' full names, such as *.attention.* or *.query."
    )


class GeometricMedianOptions(Options):
    """Choose how long to iterate."""

    steps: int = Field(100, ge=1, le=100_000, description="Steps of Weiszfeld's iteration.")


class EarningsNotesOptions(Options):
    """Choose the file of notes."""

    path: Path | None = Field(
        None, description="A CSV with the columns published, company, tone and note; by default the included sample."
    )
