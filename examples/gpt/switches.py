"""Turn one switch at a time, train each model for some steps, and print what changed: python switches.py [STEPS]"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import date

import torch
from gpt import GPT, PAD, START, Shape, generate, loss_of, written_out
from texts import packed, padded, train_tokenizer
from tokenizers import Tokenizer
from torch import Tensor

from adapterhub_fin_plugins.corpora.headlines_text import generate as headlines

BATCH = 16
Blocks = Callable[[Tokenizer, list[str], int], Tensor]


def measure(shape: Shape, blocks: Tensor, unseen: Tensor, steps: int) -> tuple[GPT, float, float]:
    """Train on blocks (blocks, tokens + 1); return the model, tokens a CPU second and the loss on unseen ones."""
    torch.manual_seed(0)
    model, real = GPT(shape), 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    began = time.process_time()
    for _ in range(steps):
        batch = blocks[torch.randint(len(blocks), (BATCH,))]
        real += int((batch[:, 1:] != PAD).sum())  # padding is no work that anybody asked for
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()
    rate = real / (time.process_time() - began)
    with torch.inference_mode():
        return model.eval(), rate, loss_of(model, unseen).item()


def writing_rate(model: GPT, cached: bool) -> float:
    """Return the tokens that are written in a CPU second, over five texts."""
    torch.manual_seed(0)
    began = time.process_time()
    tokens = sum(len(generate(model, torch.tensor([START]), 64, 1.0, cached)) - 1 for _ in range(5))
    return tokens / (time.process_time() - began)


def main(steps: int) -> None:
    texts = [row.text for row in headlines(6_000, 0, date(2010, 1, 4), date(2019, 12, 31))]
    past, future = texts[:-300], texts[-300:]
    tokenizer = train_tokenizer(past, vocab=1024)
    sizes = {"vocab": tokenizer.get_vocab_size()}
    unseen = padded(tokenizer, future, Shape(**sizes).context)  # each text alone, whatever it was trained on
    ways: dict[str, tuple[Blocks, Shape]] = {
        "as it stands": (packed, Shape(**sizes)),
        "padded, not packed": (padded, Shape(**sizes)),
        "attention written out": (packed, Shape(**sizes, attend=written_out)),
        "embedding not tied": (packed, Shape(**sizes, tied=False)),
    }
    print(f"{'':24}{'tokens / CPU s':>15}{'loss':>8}{'weights':>10}")
    for name, (blocks, shape) in ways.items():
        model, rate, loss = measure(shape, blocks(tokenizer, past, shape.context), unseen, steps)
        weights = sum(parameter.numel() for parameter in model.parameters())
        print(f"{name:24}{rate:15,.0f}{loss:8.3f}{weights:10,}", flush=True)
    for name, cached in (("writing, with a cache", True), ("writing, without", False)):
        print(f"{name:24}{writing_rate(model, cached):15,.0f}", flush=True)


if __name__ == "__main__":
    main(int((*sys.argv, 200)[1]))
