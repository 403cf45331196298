"""Language modelling on filings: what LoRA and QLoRA take off the held-out loss of a small trained Llama.

python benchmarks/language.py --base FOLDER --path FOLDER [--epochs 2]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import adapterhub_fin as ahf


def loss_before(plan: Any) -> float:
    """The base's own loss on the examples of the test part, as the head measures it."""
    model, _ = plan.head.load_model(str(plan.source.folder), local_files_only=True)
    collate, examples = plan.head.collator(plan.tokenizer), plan.examples["test"]
    answers = []
    with torch.inference_mode():
        for start in range(0, len(examples), 16):
            batch = collate([dict(example) for example in examples[start : start + 16]])
            answers.append(plan.head.answers(model.eval()(**batch).logits, batch))
    means, tokens = torch.cat(answers).T.tolist()
    return float(np.average(means, weights=tokens))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    arguments = parser.parse_args()
    print("| method | base's loss | loss after | perplexity | blocks | trained parameters | time |")
    print("|---|---|---|---|---|---|---|")
    for method in ("lora", "qlora"):
        recipe = {
            "name": "bench/filings",
            "base": {"path": str(Path(arguments.base).resolve())},
            "method": {"name": method, "rank": 16},
            "head": "causal-lm",
            "corpus": {"name": "text", "path": str(Path(arguments.path).resolve()), "splitter": {"by": "random"}},
            "training": {"epochs": arguments.epochs, "learning_rate": 2e-3, "max_length": 256},
        }
        plan = ahf.preview(recipe, overrides=arguments.overrides)
        before = loss_before(plan)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as home:
            run = ahf.train(recipe, registry=ahf.Registry(home), overrides=arguments.overrides)
        print(
            f"| {method} | {before:.3f} | {run.metrics['loss']:.3f} | {run.metrics['perplexity']:.1f} "
            f"| {len(plan.examples['train'])} | {run.trained_parameters:,} | {time.perf_counter() - start:.0f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
