"""Predict in another process, with another seed: `python -m adapterhub_fin.testing.fresh` reads one JSON task a line.

Random values that were never stored can't be the same there. The process stays alive for the next task, because most
of its time goes into imports.
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
    """Return what a fresh interpreter prints. Raises AssertionError with the end of its standard error if it fails."""
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
    """Return the logits (texts, outputs) of a stored version, loaded by another process with another seed.

    Raises AssertionError with the traceback if that process fails.
    """
    import torch

    other = _other()
    assert other.stdin is not None and other.stdout is not None, "both are pipes"
    task = {"registry": str(registry), "reference": reference, "base": str(base), "texts": list(texts)}
    other.stdin.write(json.dumps({**task, "environment": {**os.environ, **CALM}}) + "\n")
    other.stdin.flush()
    if not (line := other.stdout.readline()):
        _other.cache_clear()  # so that the next task starts a new process
    answer = json.loads(line or '{"failed": "it ended"}')
    assert "failed" not in answer, f"another process failed:\n{answer['failed'][-3000:]}"
    return torch.tensor(answer["logits"])  # JSON keeps a float32 bit for bit


@cache
def _other() -> subprocess.Popen[str]:
    command, pipe = [sys.executable, "-m", __name__], subprocess.PIPE
    other = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **CALM})
    atexit.register(other.communicate)  # closes its standard input, which ends the process
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
    with os.fdopen(os.dup(1), "w") as output:
        os.dup2(2, 1)  # anything else that is printed goes to standard error
        for line in sys.stdin:
            try:
                answer: dict[str, Any] = {"logits": _answer(json.loads(line))}
            except Exception:
                answer = {"failed": traceback.format_exc()}
            print(json.dumps(answer), file=output, flush=True)


if __name__ == "__main__":
    _serve()
