"""Print the ladder of pretraining: what each optimisation gives alone, on top of packing, and all of them together.

    python benchmarks/pretraining.py --minutes FOLDER [--releases FILE] [--shape 4x256x4] [--vocabulary 8192]
        [--tokens 20480] [--seeds 3] [--rungs NAME,...]

FOLDER holds the FOMC's minutes as text, and FILE their release dates (by default release_dates_raw.csv in FOLDER). A
row is a sentence: of some 32 tokens of a vocabulary of 8,192, so that padding to a block of 128 wastes three tokens of
four. The shape (layers, width, heads) and the vocabulary are those of the recipe in the documentation. Every rung is
one run of `ahf.pretrain`'s own trainer in a process of its own, on the same sentences and the same number of real
tokens: padding is never counted. Speed is real tokens a second between the beginning of a step and its end, the first
two steps aside; memory is the process's largest. The loss is measured on the latest sentences; `at equal time`, given
where several seeds are, trains for as long as the baseline took.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BASELINE = {"packing": False, "attn_implementation": "eager", "optimizer": "adamw_torch", "tied": False}
PACKED = {**BASELINE, "packing": True, "attn_implementation": "sdpa"}
TWIN = {**PACKED, "optimizer": "adamw_torch_fused", "tied": True}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "packing": {"packing": True},
    "SDPA": {"attn_implementation": "sdpa"},
    "fused AdamW": {"optimizer": "adamw_torch_fused"},
    "tied embeddings": {"tied": True},
    "bf16": {"precision": "bf16"},
    "recomputation": {"recompute": True},
    "torch.compile": {"compile": True},
    "Muon": {"optimizer": "muon"},
}
RUNGS: Mapping[str, Mapping[str, Any]] = {
    "baseline: padded to 128, eager, AdamW in a loop, fp32": BASELINE,
    **{f"baseline, {name} alone": {**BASELINE, **given} for name, given in OPTIONS.items()},
    "packed into 128, SDPA": PACKED,
    "packed into 256, SDPA": {**PACKED, "block": 256, "batch_size": 8},
    **{f"packed, SDPA, {name}": {**PACKED, **given} for name, given in list(OPTIONS.items())[2:]},
    "twin: packed, SDPA, fused AdamW, tied": TWIN,
    "twin and bf16": {**TWIN, "precision": "bf16"},
    "twin, bf16 and torch.compile": {**TWIN, "precision": "bf16", "compile": True},
    "twin, bf16 and Muon": {**TWIN, "precision": "bf16", "optimizer": "muon"},
}
SAME = ("baseline, SDPA alone", "baseline, fused AdamW alone", "baseline, recomputation alone")  # the same function
SEEDED = (next(iter(RUNGS)), "packed into 128, SDPA", *(name for name in RUNGS if name.startswith("twin")))


def sentences(minutes: Path, releases: Path, out: Path) -> Path:
    """Write a row for each sentence of the minutes, with the instant at which they came out."""
    from adapterhub_fin.plugin import corpus_options, load_corpus

    corpus = {"name": "fomc", "path": str(minutes), "glob": "2*.txt", "releases": str(releases)}
    table = load_corpus(*corpus_options(corpus)).table
    with out.open("w", encoding="utf-8") as file:
        for text, at in zip(table["text"], table["available_at"], strict=True):
            for sentence in re.split(r"(?<=[.!?])\s+|\n+", text):
                if len(sentence.strip()) > 3:
                    file.write(json.dumps({"text": sentence.strip(), "at": at.isoformat()}) + "\n")
    return out


def run(rows: Path, shape: Mapping[str, Any], given: Mapping[str, Any], tokens: int, seed: int) -> dict[str, float]:
    """Train one rung on so many real tokens, and return its speed, its memory and its loss."""
    from transformers import TrainerCallback

    import adapterhub_fin as ahf
    from adapterhub_fin.engine.pretraining.fitting import load, new_trainer

    training = {"block": 128, "batch_size": 16, "warmup": 5, "seed": seed, **given}
    base = {"new": "llama", **shape, "tied": training.pop("tied")}
    corpus = {"name": "table", "path": str(rows), "text": "text", "available_at": "at"}
    recipe = {"name": "bench/ladder", "base": base, "corpus": corpus, "until": "2025-12-31"}
    blocks = ahf.preview_pretrain({**recipe, "training": training}).parts["train"].blocks
    real = training["batch_size"] * blocks.tokens / len(blocks)  # tokens of a step that are no padding
    training["max_steps"] = round(tokens / real)
    prepared = ahf.preview_pretrain({**recipe, "training": {**training, "eval_steps": training["max_steps"]}})

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Time the steps alone."""

        def __init__(self) -> None:
            self.took: list[float] = []

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            """Start the clock."""
            self.began = time.perf_counter()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            """Stop the clock."""
            self.took.append(time.perf_counter() - self.began)

    with tempfile.TemporaryDirectory() as folder:
        loaded = load(prepared, "ahf_00000000")
        trainer, clock = new_trainer(loaded, Path(folder), "ladder"), Clock()
        trainer.add_callback(clock)
        trainer.train()
        loss = trainer.state.best_metric  # of the only evaluation, after the last step
    took = clock.took[2:]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"speed": real * len(took) / sum(took), "memory": memory, "loss": loss, "seconds": sum(clock.took)}


def apart(**work: Any) -> dict[str, float]:
    """Return `run` of a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", json.dumps(work)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def spread(values: Sequence[float], form: str) -> str:
    """Return values as one text: the one, or all of several seeds."""
    return " / ".join(format(value, form) for value in values)


def times(results: Sequence[Mapping[str, float]], others: Sequence[Mapping[str, float]]) -> list[float]:
    """Return how many times as fast as the others some runs are, seed by seed."""
    return [one["speed"] / other["speed"] for one, other in zip(results, others, strict=False)]


def ladder(rows: Path, shape: Mapping[str, Any], tokens: int, seeds: int, names: Sequence[str]) -> None:
    """Print a line as each rung ends."""
    print("| | real tokens a second | times baseline | times packed | MB | loss at equal tokens | at equal time |")
    print("|---|---|---|---|---|---|---|", flush=True)
    first: list[dict[str, float]] = []
    packed: list[dict[str, float]] = []
    for name in names:
        work = {"rows": str(rows), "shape": shape, "given": RUNGS[name]}
        results = [apart(**work, tokens=tokens, seed=seed) for seed in range(seeds if name in SEEDED else 1)]
        first = first or results
        packed = results if RUNGS[name] is PACKED else packed
        ratios = times(results, first)
        longer = round(tokens * ratios[0])
        timely = apart(**work, tokens=longer, seed=0)["loss"] if name in SEEDED and name != names[0] else None
        cells = (
            spread([result["speed"] for result in results], ",.0f"),
            spread(ratios, ".2f"),
            spread(times(results, packed), ".2f"),
            f"{results[0]['memory']:,.0f}",
            spread([result["loss"] for result in results], ".3f"),
            "" if timely is None else f"{timely:.3f}",
        )
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        if name in SAME and abs(results[0]["loss"] - first[0]["loss"]) > 1e-3:
            print(f"NOT THE SAME FUNCTION: {name}", flush=True)


def generation() -> None:
    """Print how fast a small model writes without a cache, with one that grows, and with one of a set size."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1024, hidden_size=96, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4
    )
    model, prompt = LlamaForCausalLM(config).eval(), torch.arange(16)[None]
    print("\n| writing 96 tokens | tokens a second |\n|---|---|")
    written = {}
    ways: Mapping[str, Mapping[str, Any]] = {
        "no cache": {"use_cache": False},
        "cache that grows": {},
        "cache of a set size": {"cache_implementation": "static"},
    }
    for name, how in ways.items():
        fixed: Any = {"max_new_tokens": 96, "min_new_tokens": 96, "do_sample": False, "pad_token_id": 0, **how}
        model.generate(prompt, **fixed)
        began = time.perf_counter()
        written[name] = model.generate(prompt, **fixed)
        print(f"| {name} | {96 / (time.perf_counter() - began):,.0f} |", flush=True)
    same = all(torch.equal(tokens, written["no cache"]) for tokens in written.values())
    print(f"the same tokens: {same}")


def main() -> None:
    """Print the ladder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=Path)
    parser.add_argument("--releases", type=Path)
    parser.add_argument("--shape", default="4x256x4", help="LAYERSxWIDTHxHEADS")
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--tokens", type=int, default=20_480)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--rungs", default="", help="parts of the names of the rungs to print; the baseline comes first"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        work = json.loads(arguments.one)
        print(json.dumps(run(**{**work, "rows": Path(work["rows"])})))
        return
    layers, width, heads = map(int, arguments.shape.split("x"))
    shape = {"layers": layers, "width": width, "heads": heads, "tokenizer": {"train": arguments.vocabulary}}
    releases = arguments.releases or arguments.minutes / "release_dates_raw.csv"
    with tempfile.TemporaryDirectory() as folder:
        rows = sentences(arguments.minutes, releases, Path(folder) / "sentences.jsonl")
        wanted = [part for part in arguments.rungs.split(",") if part]
        names = [
            name
            for number, name in enumerate(RUNGS)
            if number == 0 or not wanted or any(part in name for part in wanted)
        ]
        ladder(rows, shape, arguments.tokens, arguments.seeds, names)
    generation()


if __name__ == "__main__":
    main()
