"""Keep a notebook free of what libraries say of their own bars, which nothing here draws."""

from __future__ import annotations

import warnings
from importlib import import_module


def import_tqdm() -> None:
    """Import tqdm, which datasets and Transformers use, without its warning that ipywidgets isn't installed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")
        import_module("tqdm.auto")
