"""The example for Ray: its batches here, and the whole program where Ray is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import adapterhub_fin as ahf

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_bulk.py"
TEXTS = [f"Firm {number}: profit {'rose' if number % 3 else 'fell'}." for number in range(40)]


@pytest.fixture
def store(encoder: Path, save_adapter: Callable[..., Any], home: Path) -> ahf.Registry:
    registry = ahf.Registry(home)
    save_adapter("t/tone", encoder, registry)
    return registry


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ray_bulk", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_batch_has_each_rows_answer_version_and_digest(store: ahf.Registry, encoder: Path) -> None:
    answer = example().Answer(str(encoder), "t/tone", "headline")
    batch = answer({"headline": np.array(TEXTS), "n": np.arange(40)})
    alone = ahf.load("t/tone", base=encoder, registry=store).predict(TEXTS)
    assert batch["label"].tolist() == [each.label for each in alone]
    assert np.abs(batch["score"] - [each.score for each in alone]).max() < 1e-5
    assert set(batch["reference"]) == {"t/tone@1"} and set(batch["digest"]) == {store.resolve("t/tone").digest}
    assert batch["n"].tolist() == list(range(40))


@pytest.mark.timeout(600)
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray isn't installed: pip install 'ray[data]'")
def test_two_workers_of_ray_answer_a_table(store: ahf.Registry, encoder: Path, tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"text": TEXTS, "n": range(40)}), tmp_path / "in.parquet", row_group_size=10)
    options = ["--base", str(encoder), "--reference", "t/tone"]
    command = [sys.executable, str(EXAMPLE), *options, str(tmp_path / "in.parquet"), str(tmp_path / "out")]
    subprocess.run(command, check=True, env={**os.environ, "TORCHDYNAMO_DISABLE": "1"})
    rows = pa.parquet.read_table(tmp_path / "out").sort_by("n").to_pylist()
    alone = ahf.load("t/tone", base=encoder, registry=store).predict(TEXTS)
    assert [row["label"] for row in rows] == [each.label for each in alone]
    assert {row["digest"] for row in rows} == {store.resolve("t/tone").digest}
