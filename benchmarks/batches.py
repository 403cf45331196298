"""Tokens a second in training: batches of like length, and packed blocks, against padded rows, in turn in one process.

    python benchmarks/batches.py --path PHRASEBANK --documents FOLDER --base CAUSAL_LM [--steps 60]

Only real tokens count: padding is what the other way computes for nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.adapter_names import new_adapter_name
from adapterhub_fin.engine.data.sampling import LengthGroupedBatches
from adapterhub_fin.engine.training.prepare import load_run, prepare
from adapterhub_fin.plugin.examples import lengths

ROUNDS = 3
Order = Callable[[Any, int], Iterator[int]]


def grouped(examples: Any, size: int) -> Iterator[int]:
    """As training does."""
    return iter(LengthGroupedBatches(lengths(examples), size))


def shuffled(examples: Any, size: int) -> Iterator[int]:
    """Plain random order."""
    return iter(torch.randperm(len(examples), generator=torch.Generator().manual_seed(0)).tolist())


def tokens_a_second(recipe: dict[str, Any], order: Order, steps: int) -> float:
    """Real tokens of some steps over their time, the first two left out."""
    loaded = load_run(prepare(ahf.Recipe.read(recipe)), new_adapter_name())
    model = loaded.method.attach(loaded.model, loaded.context).train()
    size, examples = loaded.recipe.training.batch_size, loaded.examples["train"]
    collate, places = loaded.head.collator(loaded.tokenizer), order(examples, size)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    seen, start = 0, 0.0
    for step in range(min(steps, len(examples) // size - 2) + 2):
        if step == 2:
            seen, start = 0, time.perf_counter()
        batch = collate([dict(examples[next(places)]) for _ in range(size)])
        seen += int(batch["attention_mask"].sum())
        labels = batch.pop("labels")
        loaded.head.loss(model(**batch), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    return seen / (time.perf_counter() - start)


def compare(title: str, ways: dict[str, tuple[dict[str, Any], Order]], steps: int) -> None:
    """A line a round, with the ratio of the first way to the second."""
    ratios, names = [], list(ways)
    print(f"\n{title}\n\n| round | {names[0]} | {names[1]} | ratio |\n|---|---|---|---|")
    for turn in range(ROUNDS):
        speed = {}
        for name in names if turn % 2 == 0 else names[::-1]:
            speed[name] = tokens_a_second(*ways[name], steps)
        ratios.append(speed[names[0]] / speed[names[1]])
        print(f"| {turn} | {speed[names[0]]:,.0f} | {speed[names[1]]:,.0f} | {ratios[-1]:.2f} |", flush=True)
    print(f"\nmedian ratio {statistics.median(ratios):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True)
    parser.add_argument("--documents", required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    recipe = {"name": "bench/batches", "corpus": {"name": "phrasebank", "path": str(Path(arguments.path).resolve())}}
    compare(
        "Sentences, tokens a second",
        {"length-grouped": (recipe, grouped), "shuffled": (recipe, shuffled)},
        arguments.steps,
    )
    recipe = {
        "name": "bench/batches",
        "base": {"path": str(Path(arguments.base).resolve())},
        "corpus": {"name": "text", "path": str(Path(arguments.documents).resolve()), "splitter": {"by": "random"}},
        "training": {"max_length": 256, "batch_size": 8},
    }
    whole = {**recipe, "head": {"name": "causal-lm", "packing": False}}
    compare(
        "Documents, tokens a second",
        {"packed": ({**recipe, "head": "causal-lm"}, grouped), "a document a row": (whole, shuffled)},
        arguments.steps,
    )
    read = [sum(lengths(ahf.preview(each).examples["train"])) for each in ({**recipe, "head": "causal-lm"}, whole)]
    print(f"\nan epoch reads {read[0]:,} tokens packed, and {read[1]:,} with a document a row, cut at the same length")


if __name__ == "__main__":
    main()
