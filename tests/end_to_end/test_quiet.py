"""Training, loading and asking from Python raise no library's deprecations, and leave a user's filters alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapterhub_fin.testing.fresh import CALM

SCRIPT = """
import sys, warnings
import torch
import adapterhub_fin as ahf
from adapterhub_fin.testing import tiny_corpus

base, method, head = sys.argv[1:]
before = list(warnings.filters)
run = ahf.train(
    name="acme/quiet", base={"path": base}, method=method, head={"name": head}, corpus={"name": tiny_corpus()},
    training={"epochs": 1, "batch_size": 8, "max_length": 48},
)
adapter = ahf.load("acme/quiet", base=base)
adapter.predict(["Profit rose."])
adapter.embed(["Profit rose."])
if head == "causal-lm":
    adapter.generate(["Profit"], max_new_tokens=2)
ahf.evaluate("acme/quiet", base=base, resamples=2)
assert {str(each) for each in before} <= {str(each) for each in warnings.filters}, "a user's filter is gone"
"""


@pytest.mark.parametrize(("head", "method"), [("classify", "lora"), ("causal-lm", "prefix-tuning")])
def test_a_run_raises_no_warning_of_a_library(encoder: Path, decoder: Path, head: str, method: str) -> None:
    base = decoder if head == "causal-lm" else encoder
    ran = subprocess.run(
        [
            sys.executable,
            "-W",
            "error::FutureWarning",
            "-W",
            "error::UserWarning",
            "-c",
            SCRIPT,
            str(base),
            method,
            head,
        ],
        capture_output=True,
        text=True,
        env={**os.environ, **CALM},
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "Warning" not in ran.stderr and "gemm_4bit" not in ran.stderr
