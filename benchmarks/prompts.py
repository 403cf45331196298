"""Why prompt-tuning trails LoRA on PhraseBank: what each way of changing a frozen encoder lets a linear head read.

    python benchmarks/prompts.py --path FOLDER [--seed 10] [--set training.epochs=5 ...]

A probe (logistic regression on the frozen base's outputs) is what is there without any method. A method that fits its
own training rows badly lacks the means, not the regularisation. Never run it on the seeds that results are given for.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.find import find_base
from adapterhub_fin.engine.data.corpus import read_corpus
from adapterhub_fin.recipe.choices import BaseChoice, CorpusChoice

METHODS: dict[str, dict[str, Any]] = {
    "prompt-tuning, 1 token": {"name": "prompt-tuning", "tokens": 1},
    "prompt-tuning, 20 tokens": {"name": "prompt-tuning", "tokens": 20},
    "prompt-tuning, 60 tokens": {"name": "prompt-tuning", "tokens": 60},
    "prefix-tuning, 20 tokens in every layer": {"name": "prefix-tuning", "tokens": 20},
    "lora": {"name": "lora"},
}


def features(texts: list[str]) -> dict[str, np.ndarray]:
    """What the frozen base says of each text: its pooler's output, and the mean of its last states, (texts, hidden)."""
    folder = find_base(BaseChoice(id="minilm")).folder
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    found: dict[str, list[np.ndarray]] = {"pooler": [], "mean": []}
    with torch.inference_mode():
        for start in range(0, len(texts), 64):
            batch = tokenizer(texts[start : start + 64], padding=True, truncation=True, return_tensors="pt")
            said, mask = model(**batch), batch["attention_mask"].unsqueeze(-1)
            found["pooler"].append(said.pooler_output.numpy())
            found["mean"].append(((said.last_hidden_state * mask).sum(1) / mask.sum(1)).numpy())
    return {name: np.concatenate(values) for name, values in found.items()}


def probes(parts: dict[str, Any]) -> None:
    """A line for each place in the frozen base that a probe reads."""
    read = {part: features(list(rows["text"])) for part, rows in parts.items() if part != "test"}
    for place in ("pooler", "mean"):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        probe.fit(read["train"][place], parts["train"]["label"])
        scores = [probe.score(read[part][place], parts[part]["label"]) for part in ("train", "validation")]
        print(f"| probe on the frozen {place} | {scores[0]:.3f} | {scores[1]:.3f} | |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True)
    parser.add_argument("--seed", type=int, default=10)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    arguments = parser.parse_args()
    corpus = {
        "name": "phrasebank",
        "path": str(Path(arguments.path).resolve()),
        "splitter": {"by": "stratified", "seed": arguments.seed},
    }
    parts = dict(read_corpus(CorpusChoice.model_validate(corpus), "classify").splits)
    print("| what is trained | accuracy on its training rows | on validation | parameters |\n|---|---|---|---|")
    probes(parts)
    for title, method in METHODS.items():
        recipe = {"name": "bench/prompts", "method": method, "corpus": corpus, "training": {"seed": arguments.seed}}
        with tempfile.TemporaryDirectory() as home:
            run = ahf.train(recipe, registry=ahf.Registry(home), overrides=arguments.overrides)
        scores = []
        for part in ("train", "validation"):
            said = [answer.label for answer in run.adapter.predict(list(parts[part]["text"]), batch_size=64)]
            scores.append(np.mean(np.array(said) == np.array(parts[part]["label"])))
        print(f"| {title} | {scores[0]:.3f} | {scores[1]:.3f} | {run.trained_parameters:,} |", flush=True)


if __name__ == "__main__":
    main()
