"""Training, loading and asking from Python raise no library's deprecations, and leave a user's filters alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from adapterhub_fin.testing.fresh import CALM

SCRIPT = """
import json, sys, warnings
import torch
import adapterhub_fin as ahf
from adapterhub_fin.testing import tiny_corpus

for base, method, head in json.loads(sys.argv[1]):
    name = f"acme/{head}"
    before = list(warnings.filters)
    run = ahf.train(
        name=name, base={"path": base}, method=method, head={"name": head}, corpus={"name": tiny_corpus()},
        training={"epochs": 1, "batch_size": 8, "max_length": 48},
    )
    adapter = ahf.load(name, base=base)
    adapter.predict(["Profit rose."])
    adapter.embed(["Profit rose."])
    if head == "causal-lm":
        adapter.generate(["Profit"], max_new_tokens=2)
    ahf.evaluate(name, base=base, resamples=2)
    assert {str(each) for each in before} <= {str(each) for each in warnings.filters}, "a user's filter is gone"
"""


def test_a_run_raises_no_warning_of_a_library(encoder: Path, decoder: Path) -> None:
    runs = [(str(encoder), "lora", "classify"), (str(decoder), "prefix-tuning", "causal-lm")]
    strict = ["-W", "error::FutureWarning", "-W", "error::UserWarning"]
    ran = subprocess.run(
        [sys.executable, *strict, "-c", SCRIPT, json.dumps(runs)],
        capture_output=True,
        text=True,
        env={**os.environ, **CALM},
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "Warning" not in ran.stderr and "gemm_4bit" not in ran.stderr
