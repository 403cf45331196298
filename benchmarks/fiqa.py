"""FiQA's scores by regression, minilm + lora, beside a ridge on the same base's frozen embeddings.

    python benchmarks/fiqa.py --path FOLDER [--seeds 0 1 2] [--set method.rank=8 ...]

Both see the same rows: split by sentence, the ridge's penalty chosen on the validation part. Intervals are those of a
bootstrap over the test rows, drawn again within each seed and averaged over seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.find import find_base
from adapterhub_fin.engine.data.corpus import read_corpus
from adapterhub_fin.recipe.choices import BaseChoice, CorpusChoice
from adapterhub_fin_plugins.metrics import r2, spearman

RESAMPLES = 4000
PENALTIES = np.logspace(-2, 4, 25)


def embeddings(texts: list[str]) -> np.ndarray:
    """Mean of the frozen base's last hidden states, (texts, hidden)."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = find_base(BaseChoice(id="minilm")).folder
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    found = []
    with torch.inference_mode():
        for start in range(0, len(texts), 64):
            batch = tokenizer(texts[start : start + 64], padding=True, truncation=True, return_tensors="pt")
            mask = batch["attention_mask"].unsqueeze(-1)
            found.append(((model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)).numpy())
    return np.concatenate(found)


def ridge(parts: dict[str, Any]) -> np.ndarray:
    """What a ridge says of the test rows."""
    x = {part: embeddings(list(rows["text"])) for part, rows in parts.items()}
    y = {part: np.array(rows["target"], float) for part, rows in parts.items()}
    centre, spread = x["train"].mean(0), x["train"].std(0) + 1e-6  # two of minilm's dimensions are constant
    x = {part: (values - centre) / spread for part, values in x.items()}
    level = y["train"].mean()

    def fit(penalty: float) -> np.ndarray:
        gram = x["train"].T @ x["train"] + penalty * np.eye(x["train"].shape[1])
        return np.linalg.solve(gram, x["train"].T @ (y["train"] - level))

    best = max(PENALTIES, key=lambda penalty: r2(y["validation"], level + x["validation"] @ fit(penalty)))
    return level + x["test"] @ fit(best)


def interval(runs: list[tuple[np.ndarray, np.ndarray]], metric: Callable[..., float]) -> str:
    """Mean over seeds with the bootstrap's 2.5 and 97.5 per cent."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        rows = [rng.integers(0, len(truth), len(truth)) for truth, _ in runs]
        drawn.append(np.mean([metric(t[r], s[r]) for (t, s), r in zip(runs, rows, strict=True)]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{np.mean([metric(t, s) for t, s in runs]):.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    arguments = parser.parse_args()
    said: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"regress + lora": [], "ridge on frozen embeddings": []}
    with tempfile.TemporaryDirectory() as home:
        for seed in arguments.seeds:
            corpus = {
                "name": "fiqa",
                "path": str(Path(arguments.path).resolve()),
                "splitter": {"by": "grouped", "seed": seed},
            }
            recipe = {
                "name": f"bench/fiqa-{seed}",
                "head": "regress",
                "corpus": corpus,
                "training": {"seed": seed, "epochs": 10},
            }
            run = ahf.train(recipe, registry=ahf.Registry(home), overrides=arguments.overrides)
            parts = dict(read_corpus(CorpusChoice.model_validate(corpus), "regress").splits)
            truth = np.array(parts["test"]["target"], float)
            answers = np.array([answer.value for answer in run.adapter.predict(list(parts["test"]["text"]))])
            said["regress + lora"].append((truth, answers))
            said["ridge on frozen embeddings"].append((truth, ridge(parts)))
            print(f"seed {seed}: {len(truth)} test rows, R2 {r2(truth, answers):.3f}", flush=True)
    print("| model | R2 | rank correlation |\n|---|---|---|")
    for name, runs in said.items():
        print(f"| {name} | {interval(runs, r2)} | {interval(runs, spearman)} |")


if __name__ == "__main__":
    main()
