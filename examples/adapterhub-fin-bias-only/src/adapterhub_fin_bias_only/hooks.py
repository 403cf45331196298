"""Describe the plugins of this package; this module imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from adapterhub_fin import Corpus, Merger, Method, hookimpl

HERE = "adapterhub_fin_bias_only"


@hookimpl
def ahf_methods() -> Iterable[Method]:
    """Return this package's method."""
    return [
        Method(
            name="bias-only",
            summary="Learned shifts of the linear layers' biases (BitFit, Ben-Zaken et al. 2021).",
            target=f"{HERE}.bias_only:BiasOnly",
            options=f"{HERE}.options:BiasOnlyOptions",
        )
    ]


@hookimpl
def ahf_corpora() -> Iterable[Corpus]:
    """Return this package's corpus."""
    return [
        Corpus(
            name="earnings-notes",
            summary="Dated one-line notes on earnings with their tone, from a CSV or the included sample.",
            target=f"{HERE}.earnings_notes:EarningsNotes",
            options=f"{HERE}.options:EarningsNotesOptions",
            license="Apache-2.0",
            source="invented for this package; your own file keeps its own license",
        )
    ]


@hookimpl
def ahf_mergers() -> Iterable[Merger]:
    """Return this package's merger."""
    return [
        Merger(
            name="geometric-median",
            summary="Geometric median of the changes, robust to one outlier (Weiszfeld 1937).",
            target=f"{HERE}.geometric_median:GeometricMedian",
            options=f"{HERE}.options:GeometricMedianOptions",
            commutes="both",
        )
    ]
