"""Answer in another process, under another seed: `python -m adapterhub_fin.testing.fresh` reads a task a line, as JSON.

What was drawn at random and never stored can't come back there. The process has trained nothing; it lives on to answer
the next task, since most of its time goes into imports.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from functools import cache
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
    import torch

    other = _other()
    assert other.stdin is not None and other.stdout is not None, "both are pipes"
    task = {"registry": str(registry), "reference": reference, "base": str(base), "texts": list(texts)}
    other.stdin.write(json.dumps({**task, "environment": {**os.environ, **CALM}}) + "\n")
    other.stdin.flush()
    if not (line := other.stdout.readline()):
        _other.cache_clear()  # so that the next task gets one that is alive
    said = json.loads(line or '{"failed": "it ended"}')
    assert "failed" not in said, f"another process failed:\n{said['failed'][-3000:]}"
    return torch.tensor(said["logits"])  # a float32 survives JSON bit for bit


@cache
def _other() -> subprocess.Popen[str]:
    command, pipe = [sys.executable, "-m", __name__], subprocess.PIPE
    other = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **CALM})
    atexit.register(other.communicate)  # which ends what it reads, and so the process
    return other


def _answer(task: dict[str, Any]) -> list[list[float]]:
    import torch

    import adapterhub_fin as ahf

    os.environ.clear()
    os.environ.update(task["environment"])
    torch.manual_seed(OTHER_SEED)
    adapter = ahf.load(task["reference"], base=Path(task["base"]), registry=ahf.Registry(task["registry"]))
    answers: list[list[float]] = adapter.logits(task["texts"]).tolist()
    return answers


def _serve() -> None:
    with os.fdopen(os.dup(1), "w") as said:
        os.dup2(2, 1)  # what else is printed is no answer
        for line in sys.stdin:
            try:
                answer: dict[str, Any] = {"logits": _answer(json.loads(line))}
            except Exception:
                answer = {"failed": traceback.format_exc()}
            print(json.dumps(answer), file=said, flush=True)


if __name__ == "__main__":
    _serve()
