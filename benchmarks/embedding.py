"""Embed the same sentences with a folded version, with it unfolded, and with sentence-transformers, in one run.

    python benchmarks/embedding.py [--sentences 20000] [--folder SCRATCH]

The version is LoRA of rank 16 on all linear layers of MiniLM, with random weights. sentence-transformers reads the
folder that `ahf export --layout merged` writes of it. Sentences have 5 to 40 words; CPU seconds, one thread.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AutoModel, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.find import find_base
from adapterhub_fin.recipe.choices import BaseChoice

WORDS = (
    *("profit", "margins", "rose", "fell", "guidance", "quarter", "revenue"),
    *("demand", "costs", "outlook", "board", "dividend", "loss", "growth"),
)


def sentences(count: int) -> list[str]:
    drawn = random.Random(0)
    return [" ".join(drawn.choice(WORDS) for _ in range(drawn.randint(5, 40))) for _ in range(count)]


def store(folder: Path) -> None:
    plan = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="FEATURE_EXTRACTION")
    model: Any = get_peft_model(AutoModel.from_pretrained(folder), plan)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.03)
    ahf.save(model, "bench/vectors", base="minilm", tokenizer=AutoTokenizer.from_pretrained(folder))


def seconds(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.process_time()
    vectors = work()
    return time.process_time() - start, vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=20_000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"AHF_HOME": f"{scratch}/home", "AHF_CACHE": f"{scratch}/cache"}
        store(find_base(BaseChoice.read("minilm")).folder)
        ahf.export("bench/vectors", f"{scratch}/merged", layout="merged")
        body = Transformer(f"{scratch}/merged", max_seq_length=512)
        theirs = SentenceTransformer(modules=[body, Pooling(body.get_embedding_dimension())], device="cpu")
        folded, plain = ahf.load("bench/vectors", fold=True), ahf.load("bench/vectors")
        texts = sentences(given.sentences)
        runs: dict[str, Callable[[], np.ndarray]] = {
            "sentence-transformers, merged": lambda: np.asarray(theirs.encode(texts, batch_size=32)),
            "ahf.load(fold=True).embed": lambda: folded.embed(texts),
            "ahf.load().embed": lambda: plain.embed(texts),
        }
        for run in runs.values():  # what is imported and allocated once isn't counted
            texts, all_texts = texts[:64], texts
            run()
            texts = all_texts
        measured = {name: seconds(run) for name, run in runs.items()}
        first, expected = measured["sentence-transformers, merged"]
        for name, (taken, vectors) in measured.items():
            off = float(np.abs(vectors - expected).max())
            print(f"{name:32} {len(texts) / taken:8.1f} rows a CPU second, x{first / taken:.2f}, differs {off:.1e}")


if __name__ == "__main__":
    main()
