"""What tuning on filings does inside stories260K, and what it forgets: probes, CKA, PCA, perplexity.

    python benchmarks/filings.py --base stories260K --filings sec_filings [--report FOLDER] [--set training.epochs=2]

Rows are paragraphs of annual reports (10-K), labelled by their item. AAPL and AMZN are trained on, IBM validates and
tests. The probes tell business from risks in NFLX and NVDA; ten neighbouring paragraphs are a group. The stories are
written by the base itself, so that the rise of their perplexity estimates exp(KL(base || version)) - 1.
"""

from __future__ import annotations

import argparse
import logging
import re
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin_plugins.corpora.options import TextOptions
from adapterhub_fin_plugins.corpora.text import Text

PARTS = {"aapl": "train", "amzn": "train", "ibm": "validation"}
UNSEEN = ("nflx", "nvda")
ITEMS = {"1": "business", "1A": "risks", "7": "discussion", "8": "statements"}
HEADING = re.compile(r"item\s*(\d+[a-c]?)\b[.:]?", re.I)
LIMIT = 0.02


def paragraphs(folder: Path, most: int) -> list[dict[str, str]]:
    """Return paragraphs of 80 characters or more under the four items, of each company and item the first `most`."""
    rows: list[dict[str, str]] = []
    for document in Text(TextOptions(path=folder, glob="10-K/*.html")).load().table:
        firm, item, counts = document["group"].split("/")[-1].split("-")[0], "", dict.fromkeys(ITEMS.values(), 0)
        for line in document["text"].splitlines():
            if len(line) < 80 and (heading := HEADING.match(line.strip())):
                item = ITEMS.get(heading[1].upper(), "")
            elif len(line) >= 80 and item and counts[item] < most:
                counts[item] += 1
                block = f"{firm} {item} {counts[item] // 10}"
                rows.append({"text": line.strip()[:600], "label": item, "group": firm, "block": block})
    return rows


def stories(base: Path, count: int) -> list[dict[str, str]]:
    """Return stories that the base writes, drawn at temperature 1 with a seed."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base).eval(), AutoTokenizer.from_pretrained(base)
    torch.manual_seed(0)
    start = torch.full((count, 1), tokenizer.bos_token_id)
    with torch.inference_mode():
        drawn: Any = model.generate(
            start, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=100, min_new_tokens=60
        )
    return [{"text": text} for text in tokenizer.batch_decode(drawn, skip_special_tokens=True) if text.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="the folder of stories260K")
    parser.add_argument("--filings", type=Path, required=True, help="the folder that holds 10-K")
    parser.add_argument("--report", type=Path, help="where the page of the probe goes")
    parser.add_argument("--set", dest="sets", action="append", default=[], help="a change of the recipe")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = paragraphs(arguments.filings, 250)
    trained = [{**row, "part": PARTS[row["group"]]} for row in rows if row["group"] in PARTS]
    trained += [{**row, "part": "test"} for row in trained if row["part"] == "validation"][::2]
    unseen = [row for row in rows if row["group"] in UNSEEN and row["label"] in ("business", "risks")]
    tales = {"corpus": {"data": stories(arguments.base, 200)}, "split": "all"}
    recipe = {
        "name": "benchmark/filings",
        "base": {"path": str(arguments.base)},
        "method": {"name": "lora", "rank": 8},
        "head": "causal-lm",
        "corpus": {"data": trained, "split": "part", "splitter": {"by": "given", "drop_copies": True}},
        "training": {"max_length": 256, "batch_size": 16, "epochs": 4, "learning_rate": 5e-3},
    }
    with tempfile.TemporaryDirectory() as folder:
        registry = ahf.Registry(Path(folder) / "registry")
        given: dict[str, Any] = {"registry": registry, "overrides": arguments.sets}
        limited = {**recipe, "training": {**recipe["training"], "forgetting": {**tales, "at_most": LIMIT}}}  # type: ignore[dict-item]
        try:
            run = ahf.train(limited, **given)
        except ahf.ForgetsTooMuch as refused:
            print(f"refused: {refused}\n", flush=True)
            limited["training"]["forgetting"]["at_most"] = 1e9  # type: ignore[index]
            run = ahf.train(limited, resume=True, **given)
        print(run.forgetting[0].sentence())
        options: dict[str, Any] = {"registry": registry, "base": arguments.base, "split": "all"}
        print(ahf.forgetting(run.reference, {"data": unseen}, **options).sentence(), "\n")
        corpus = {"data": unseen, "label": "label", "group": "block"}
        inside = ahf.probe(run.reference, corpus, sample=3000, report=arguments.report, **options)
        print(
            f"{inside.rows} rows, {inside.texts} texts, one answer for all {inside.constant_score:.3f}", inside.warnings
        )
        for layer, alike in zip(inside.probes, inside.similarities, strict=True):
            low, high = layer.difference.interval or (0, 0)
            print(
                f"layer {layer.layer}: accuracy {layer.base.value:.3f} -> {layer.tuned.value:.3f}, difference "
                f"{layer.difference.value:+.3f} ({low:+.3f} to {high:+.3f}), p {layer.p:.4f}, corrected "
                f"{layer.p_corrected:.4f}; CKA {inside.cka_debiased[layer.layer][layer.layer]:.3f}; anisotropy "
                f"{alike.base['anisotropy'].value:.3f} -> {alike.tuned['anisotropy'].value:.3f}; separation "
                f"{alike.base['separation'].value:+.4f} -> {alike.tuned['separation'].value:+.4f}"
            )
        print(f"principal components hold {', '.join(f'{share:.1%}' for share in inside.shares)}")


if __name__ == "__main__":
    main()
