"""A pool of adapters on one base beside PEFT: loading, a mixed batch, one text; CPU milliseconds in one run.

    python benchmarks/pool.py [--adapters 64] [--base minilm] [--repeats 7]

Every adapter is LoRA of rank 16 on all linear layers with a head of three labels, and random weights. PEFT's mixed
batch is `adapter_names` (PEFT issue 804, PR 1558) on one PeftModel with the same adapters and heads.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.find import find_base
from adapterhub_fin.recipe.choices import BaseChoice

LABELS, ROWS, TOKENS = ["negative", "neutral", "positive"], 64, 40
WORDS = (
    *("profit", "margins", "rose", "fell", "guidance", "quarter", "revenue"),
    *("demand", "costs", "outlook", "board", "dividend", "loss", "growth"),
)


def milliseconds(work: Callable[[], Any], repeats: int) -> float:
    """Return the median CPU milliseconds of one call, after one that isn't counted."""
    work()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - start))
    return median(taken)


def store_adapters(folder: Path, count: int, scratch: Path) -> None:
    """Store adapters with random weights, and beside the registry as PEFT folders."""
    plan = LoraConfig(r=16, lora_alpha=32, task_type="SEQ_CLS", target_modules="all-linear")
    model: Any = get_peft_model(AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3), plan)
    model.config.id2label = dict(enumerate(LABELS))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.03)
        version = ahf.save(model, f"bench/a{number:03}", base="minilm", labels=LABELS, tokenizer=tokenizer)
        target = scratch / f"a{number:03}"
        target.mkdir()
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            (target / name).write_bytes((version.files / name).read_bytes())


def texts(count: int, words: int) -> list[str]:
    return [" ".join(WORDS[(row * 7 + k * (row + 3)) % len(WORDS)] for k in range(words)) for row in range(count)]


def line(what: str, value: float, beside: str = "") -> None:
    print(f"{what:58} {value:9.1f} {beside}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", type=int, default=64)
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"AHF_HOME": f"{scratch}/home", "AHF_CACHE": f"{scratch}/cache"}
        folder = find_base(BaseChoice.read(given.base)).folder
        store_adapters(folder, given.adapters, Path(scratch))
        measure(folder, given.adapters, given.repeats, Path(scratch))


def measure(folder: Path, count: int, repeats: int, scratch: Path) -> None:
    names = [f"bench/a{number:03}" for number in range(count)]
    pool = ahf.pool(str(folder), bytes="4GiB")
    sentence = texts(1, 25)
    loads: list[float] = []
    for name in names:
        start = time.process_time()
        pool.pin(name)
        loads.append(1000 * (time.process_time() - start))
        if len(loads) == 1:
            one = milliseconds(lambda: pool.predict(sentence, names[0]), repeats)
    print("milliseconds of CPU, one thread")
    line("pool: load the 2nd (median of 2nd to 5th)", median(loads[1:5]))
    line(
        f"pool: load the last (median of the last 4 of {count})",
        median(loads[-4:]),
        f"x{median(loads[-4:]) / median(loads[1:5]):.2f}",
    )
    many = milliseconds(lambda: pool.predict(sentence, names[0]), repeats)
    line("pool: one text, 1 resident", one)
    line(f"pool: one text, {count} resident", many, f"x{many / one:.2f}")
    model, base, peft_loads, tokenizer = peft_model(folder, names, scratch)
    line("PEFT: load_adapter, the 2nd", peft_loads[0])
    line(f"PEFT: load_adapter, the last of {len(peft_loads) + 1}", peft_loads[-1])
    mixed(pool, model, base, tokenizer, names, repeats)


def peft_model(folder: Path, names: Sequence[str], scratch: Path, most: int = 32) -> tuple[Any, Any, list[float], Any]:
    """Return a PeftModel with the first adapters, a bare classifier, what each load took, and the tokenizer."""
    bare = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    model: Any = PeftModel.from_pretrained(bare, scratch / "a000", adapter_name="a000")
    taken = []
    for name in names[1:most]:
        short, start = name.removeprefix("bench/"), time.process_time()
        model.load_adapter(scratch / short, adapter_name=short)
        taken.append(1000 * (time.process_time() - start))
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3).eval()
    return model.eval(), base, taken, AutoTokenizer.from_pretrained(folder)


def mixed(pool: Any, model: Any, base: Any, tokenizer: Any, names: Sequence[str], repeats: int) -> None:
    """Compare a batch of 64 rows whose adapters are mixed, in one pass."""
    rows = texts(ROWS, TOKENS - 2)
    batch = tokenizer(rows, return_tensors="pt", padding=True)
    read = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        alone = milliseconds(lambda: base(**read), repeats)
    line(f"base alone, {ROWS} rows x {read['input_ids'].shape[1]} tokens", alone)
    for adapters in (8, 32):
        short = [names[row % adapters].removeprefix("bench/") for row in range(ROWS)]
        pairs = [(text, f"bench/{name}") for text, name in zip(rows, short, strict=True)]
        with torch.inference_mode():
            theirs = milliseconds(lambda: model(**read, adapter_names=short), repeats)  # noqa: B023
            expected = model(**read, adapter_names=short).logits
        ours = milliseconds(lambda: pool.predict(pairs), repeats)  # noqa: B023
        off = float((torch.stack(pool.logits(pairs)) - expected).abs().max())
        line(
            f"pool.predict, {adapters} adapters in the batch (tokenizing too)", ours, f"x{ours / alone:.2f} of the base"
        )
        line(
            f"PEFT adapter_names, {adapters} adapters",
            theirs,
            f"x{theirs / alone:.2f}; pool/PEFT {ours / theirs:.2f}; differ {off:.1e}",
        )


if __name__ == "__main__":
    main()
