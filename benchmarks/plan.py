"""What `ahf plan` says of a run's memory against what the run took, each in a process of its own, on a CPU or a GPU.

    python benchmarks/plan.py [--calibrate] [--only NAME]

Measured is the process's own high-water mark (on a GPU, what PyTorch had allocated at most). `--calibrate` goes through
other recipes and gives what each says of the constant HOLES in engine/planning/plan.py: freed memory that glibc's heap
holds and can't use again, as a share of the tensors on it. The recipes of the table have no part in that constant.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from adapterhub_fin.engine.planning.plan import HOLES
from adapterhub_fin.plugin.descriptions import Corpus
from adapterhub_fin.plugin.interfaces import CorpusImplementation, Rows
from adapterhub_fin.plugin.manager import register

SHORT = {"name": "headlines", "rows": 200}
LONG = {"name": "bench-long", "splitter": {"by": "random"}}
LLAMA: dict[str, Any] = {
    "base": "llama",
    "head": {"name": "causal-lm", "packing": False},
    "corpus": LONG,
    "training": {"batch_size": 8, "max_length": 128},
}
JUDGED: dict[str, dict[str, Any]] = {
    "encoder, lora": {"corpus": SHORT},
    "encoder, lora, long rows": {"corpus": LONG},
    "encoder, adalora": {"corpus": SHORT, "method": {"name": "adalora", "initial_rank": 24}},
    "encoder, prefix-tuning": {"corpus": LONG, "method": "prefix-tuning", "training": {"max_length": 192}},
    "decoder, lora": LLAMA,
    "decoder, qlora": {**LLAMA, "method": "qlora"},
    "decoder, lora, recompute": {**LLAMA, "training": {"batch_size": 16, "max_length": 256, "recompute": True}},
    "decoder, lora, accumulate": {**LLAMA, "training": {"batch_size": 16, "max_length": 192, "accumulate": 4}},
}
OTHERS: dict[str, dict[str, Any]] = {
    "encoder, rank 64": {"corpus": LONG, "method": {"name": "lora", "rank": 64}, "training": {"max_length": 128}},
    "encoder, 48 short rows": {"corpus": SHORT, "training": {"batch_size": 48}},
    "encoder, two targets": {
        "corpus": LONG,
        "method": {"name": "lora", "targets": ["query", "value"]},
        "training": {"batch_size": 8},
    },
    "decoder, classify": {"base": "llama", "corpus": LONG, "training": {"batch_size": 8, "max_length": 96}},
    "decoder, 4 rows": {**LLAMA, "training": {"batch_size": 4, "max_length": 256}},
    "decoder, dora": {**LLAMA, "method": {"name": "lora", "dora": True}, "training": {"batch_size": 4}},
}


class LongRows(CorpusImplementation):
    """Twelve headlines in a row, so that every text is cut."""

    def __init__(self, options: Any) -> None: ...

    def load(self) -> Rows:
        from datasets import Dataset

        from adapterhub_fin_plugins.corpora.headlines import Headlines
        from adapterhub_fin_plugins.corpora.options import HeadlinesOptions

        rows = Headlines(HeadlinesOptions(rows=480)).load().table
        texts, labels = rows["text"][:], rows["label"][:]
        cut = [{"text": " ".join(texts[at : at + 12]), "label": labels[at]} for at in range(0, 480, 12)]
        return Rows(Dataset.from_list(cut))


def llama(folder: Path) -> Path:
    """A Llama of 46 million random weights, large enough not to be lost in the process's own memory."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from adapterhub_fin.testing.tiny import tiny_decoder

    tiny_decoder(folder)  # its tokenizer
    torch.manual_seed(0)
    shape = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 12, "num_attention_heads": 8}
    config = LlamaConfig(vocab_size=8192, num_key_value_heads=4, max_position_embeddings=512, pad_token_id=0, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def child(task: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """In a process of its own: plan, or train and tell the high-water mark."""
    import torch

    import adapterhub_fin as ahf

    register(Corpus(name=LONG["name"], summary="Long rows.", target=f"{__name__}:LongRows", license="Apache-2.0"))
    if task == "plan":
        found = ahf.plan(recipe)
        return {"bytes": found.bytes, "memory": dict(found.memory), "peak_phase": found.peak_phase}
    ahf.train(recipe)
    if torch.cuda.is_available():
        return {"bytes": torch.cuda.max_memory_allocated()}
    return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def in_child(task: str, recipe: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "AHF_HOME": home, "AHF_CACHE": home, "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, __file__, "--child", task, json.dumps(recipe)]
        done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(arguments.child[0], json.loads(arguments.child[1]))))
        return
    recipes = {
        name: each for name, each in (OTHERS if arguments.calibrate else JUDGED).items() if arguments.only in name
    }
    print("| recipe | peak in | estimate | measured | ratio |" + (" holes |" if arguments.calibrate else ""))
    print("|---|---|---|---|---|" + ("---|" if arguments.calibrate else ""))
    holes = []
    with tempfile.TemporaryDirectory() as folder:
        decoder = str(llama(Path(folder) / "llama"))
        for name, each in recipes.items():
            recipe = {"name": "bench/plan", **each, "training": {"epochs": 1, **each.get("training", {})}}
            recipe["base"] = {"id": "bench/llama", "path": decoder} if each.get("base") else "minilm"
            said, took = in_child("plan", recipe), in_child("train", recipe)["bytes"]
            estimate, measured = (f"{count / 2**20:.0f} MiB" for count in (said["bytes"], took))
            line = f"| {name} | {said['peak_phase']} | {estimate} | {measured} | {said['bytes'] / took:.2f} |"
            if arguments.calibrate:
                holes.append(HOLES * (1 + (took - said["bytes"]) / said["memory"]["allocator"]))
                line += f" {holes[-1]:.2f} |"
            print(line, flush=True)
    if holes:
        print(f"\nmedian {statistics.median(holes):.2f}")


if __name__ == "__main__":
    main()
