"""Answer in a process of its own, under another seed: `python -m adapterhub_fin.testing.fresh` reads its task as JSON.

What was drawn at random and never stored can't come back here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

OTHER_SEED = 90210
CALM = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}


def run_python(*arguments: str, task: Any = None) -> str:
    """What a fresh interpreter prints; AssertionError holds the end of what it said instead."""
    ran = subprocess.run(
        [sys.executable, *arguments],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        env={**os.environ, **CALM},
    )
    assert ran.returncode == 0, f"a fresh process failed:\n{ran.stderr[-3000:]}"
    return ran.stdout


def fresh_logits(registry: Path, reference: str, base: Path, texts: Sequence[str]) -> Tensor:
    """The logits of a stored version, loaded by another process with another seed."""
    return all_fresh_logits([(registry, reference, base)], texts)[0]


def all_fresh_logits(versions: Sequence[tuple[Path, str, Path]], texts: Sequence[str]) -> list[Tensor]:
    """The logits of several, each `(registry, reference, base)`, by one other process."""
    import torch

    tasks = [
        {"registry": str(registry), "reference": reference, "base": str(base), "texts": list(texts)}
        for registry, reference, base in versions
    ]
    return [torch.tensor(each) for each in json.loads(run_python("-m", __name__, task=tasks).splitlines()[-1])]


def _answer(task: dict[str, Any]) -> list[list[float]]:
    import torch

    import adapterhub_fin as ahf

    torch.manual_seed(OTHER_SEED)
    adapter = ahf.load(task["reference"], base=Path(task["base"]), registry=ahf.Registry(task["registry"]))
    answers: list[list[float]] = adapter.logits(task["texts"]).tolist()
    return answers


if __name__ == "__main__":
    print(json.dumps([_answer(task) for task in json.load(sys.stdin)]))  # a float32 survives JSON bit for bit
