"""Provide contract tests that a plugin's author inherits: a class with a name is a complete test file.

    from adapterhub_fin.testing import MethodContract

    class TestBiasOnly(MethodContract):
        name = "bias-only"

The plugin must be installed, because part of a contract runs in another process. No contract uses a network or a real
base: tiny bases with seeded random weights are made when needed.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in ("description", "base", "method", "head", "corpus", "merger", "metric", "store", "bench")
    )
)

from adapterhub_fin.testing.base import BaseContract  # noqa: E402 - register the assert rewriting first
from adapterhub_fin.testing.bench import Bench  # noqa: E402
from adapterhub_fin.testing.corpus import CorpusContract  # noqa: E402
from adapterhub_fin.testing.head import HeadContract  # noqa: E402
from adapterhub_fin.testing.merger import MergerContract  # noqa: E402
from adapterhub_fin.testing.method import MethodContract  # noqa: E402
from adapterhub_fin.testing.metric import MetricContract  # noqa: E402
from adapterhub_fin.testing.store import StoreContract  # noqa: E402
from adapterhub_fin.testing.tiny import tiny_corpus, tiny_decoder, tiny_encoder  # noqa: E402

__all__ = [
    "BaseContract",
    "Bench",
    "CorpusContract",
    "HeadContract",
    "MergerContract",
    "MethodContract",
    "MetricContract",
    "StoreContract",
    "tiny_corpus",
    "tiny_decoder",
    "tiny_encoder",
]
