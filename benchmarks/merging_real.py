"""A real merge: adapters of disjoint halves of PhraseBank, and one of PhraseBank with one of FiQA's sign.

    python benchmarks/merging_real.py train --data FOLDER --work FOLDER
    python benchmarks/merging_real.py merge --data FOLDER --work FOLDER

`--data` holds financial_phrasebank and fiqa_absa. PhraseBank is 50Agree, stratified, a fifth of it held out; what is
left is dealt into two halves, label by label. FiQA's label is the sign of its score, without the 14 scores of zero, and
it is split by sentence. All adapters are minilm + lora + classify with the same three labels and the defaults, in
bfloat16. What was trained stays in `--work`, so that only what is missing is trained.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import adapterhub_fin as ahf
from adapterhub_fin.engine.data.corpus import read_corpus
from adapterhub_fin.recipe.choices import CorpusChoice

LABELS = ("negative", "neutral", "positive")
# name: the parts of the data it sees, and the seed that draws A and the head at the start.
ADAPTERS: Mapping[str, tuple[str, int]] = {
    "half-a": ("half-a", 0),
    "half-b": ("half-b", 0),
    "half-b-other-start": ("half-b", 1),
    "fiqa": ("fiqa", 0),
    "phrasebank": ("phrasebank", 0),
}
Row = tuple[str, str]  # text and label


def phrasebank(data: Path) -> dict[str, dict[str, list[Row]]]:
    """Rows by table and part: the whole, and two halves of what is not held out."""
    split = {"by": "stratified", "validation": 0.1, "test": 0.2, "seed": 0}
    choice = CorpusChoice.read(
        {"name": "phrasebank", "path": str(data / "financial_phrasebank"), "agreement": 50, "splitter": split}
    )
    parts = {
        part: list(zip(rows["text"], rows["label"], strict=True))
        for part, rows in read_corpus(choice, "classify").splits.items()
    }
    tables: dict[str, dict[str, list[Row]]] = {"phrasebank": parts, "half-a": {}, "half-b": {}}
    for part in ("train", "validation"):
        for half, rows in zip(("half-a", "half-b"), _halves(parts[part]), strict=True):
            tables[half][part] = rows
    for half in ("half-a", "half-b"):
        tables[half]["test"] = parts["test"]
    return tables


def _halves(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_label[row[1]].append(row)
    halves: tuple[list[Row], list[Row]] = ([], [])
    for label in sorted(by_label):
        random.Random(0).shuffle(by_label[label])
        for place, row in enumerate(by_label[label]):
            halves[place % 2].append(row)
    return halves


def fiqa(data: Path) -> dict[str, list[Row]]:
    """FiQA by the sign of its score."""
    split = {"by": "grouped", "validation": 0.1, "test": 0.2, "seed": 0}
    choice = CorpusChoice.read({"name": "fiqa", "path": str(data / "fiqa_absa"), "splitter": split})
    return {
        part: [
            (text, "positive" if score > 0 else "negative")
            for text, score in zip(rows["text"], rows["target"], strict=True)
            if score
        ]
        for part, rows in read_corpus(choice, "regress").splits.items()
    }


def tables(data: Path) -> dict[str, dict[str, list[Row]]]:
    """Every table by name and part."""
    return {**phrasebank(data), "fiqa": fiqa(data)}


def train(data: Path, work: Path) -> None:
    """Train what is not in the registry of `work` yet."""
    work.mkdir(parents=True, exist_ok=True)
    registry, found = ahf.Registry(work / "registry"), tables(data)
    for adapter, (table, seed) in ADAPTERS.items():
        if f"bench/{adapter}" in registry.names():
            continue
        path = work / f"{table}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("text", "label", "part"))
            writer.writerows((*row, part) for part, rows in found[table].items() for row in rows)
        columns = {"name": "table", "path": str(path), "label": "label", "split": "part", "splitter": {"by": "given"}}
        recipe = {
            "name": f"bench/{adapter}",
            "base": "minilm",
            "method": "lora",
            "head": {"name": "classify", "labels": list(LABELS)},
            "corpus": columns,
            "training": {"seed": seed, "precision": "bf16"},
        }
        run = ahf.train(recipe, registry=registry)
        print(f"{run.version.reference}: {dict(run.metrics)}", flush=True)


PAIRS: Mapping[str, tuple[str, str]] = {
    "two halves": ("half-a", "half-b"),
    "two halves, drawn apart": ("half-a", "half-b-other-start"),
    "PhraseBank and FiQA": ("phrasebank", "fiqa"),
}
FIRST = "the first"
# By what is printed: the merger, and what it is given.
MERGERS: Mapping[str, dict[str, Any]] = {
    "linear": {"using": "linear"},
    "linear, weights 1, 1": {"using": "linear", "weights": [1.0, 1.0]},
    "linear, weights 0.9, 0.1": {"using": "linear", "weights": [0.9, 0.1]},
    "linear, weights 0.7, 0.3": {"using": "linear", "weights": [0.7, 0.3]},
    "svd to rank 16": {"using": "svd", "rank": 16},
    "slerp": {"using": "slerp"},
    "model-stock": {"using": "model-stock"},
    "tsv": {"using": "tsv"},
    "iso": {"using": "iso"},
    "ties, dense": {"using": "ties"},
    "dare-ties, dense": {"using": "dare-ties"},
    "knots-ties": {"using": "knots-ties"},
    "linear, the first one's head": {"using": "linear", "head_from": FIRST},
    "linear, weights 1, 1, the first one's head": {"using": "linear", "weights": [1.0, 1.0], "head_from": FIRST},
    "ties, dense, the first one's head": {"using": "ties", "head_from": FIRST},
}


class Measure:
    """The test rows of both tasks, which no adapter saw, and what an adapter makes of them."""

    def __init__(self, data: Path, registry: ahf.Registry) -> None:
        found = tables(data)
        self.registry = registry
        self.phrasebank, self.fiqa = found["phrasebank"]["test"], found["fiqa"]["test"]

    def row(self, reference: str) -> str:
        """Accuracy on PhraseBank, on FiQA, and on FiQA where only the likelier of its two labels counts."""
        adapter = ahf.load(reference, registry=self.registry)
        with torch.autocast("cpu", torch.bfloat16):  # as they were trained
            tone = adapter.predict([text for text, _ in self.phrasebank], batch_size=64)
            sign = adapter.predict([text for text, _ in self.fiqa], batch_size=64)
        either = ["positive" if each.scores["positive"] > each.scores["negative"] else "negative" for each in sign]
        shares = (
            _share([each.label for each in tone], self.phrasebank),
            _share([each.label for each in sign], self.fiqa),
            _share(either, self.fiqa),
        )
        return " | ".join(f"{share:.3f}" for share in shares)


def _share(said: Sequence[str], rows: Sequence[Row]) -> float:
    return sum(label == truth for label, (_, truth) in zip(said, rows, strict=True)) / len(rows)


def peft_says(registry: ahf.Registry, pair: Sequence[str]) -> str:
    """What PEFT answers when it is asked to merge the same two."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    from adapterhub_fin.engine.base.find import find_base
    from adapterhub_fin.recipe.choices import BaseChoice

    folders = [registry.path(f"bench/{name}@1") for name in pair]
    base = AutoModelForSequenceClassification.from_pretrained(find_base(BaseChoice(id="minilm")).folder, num_labels=3)
    model: Any = PeftModel.from_pretrained(base, folders[0], adapter_name="a0")
    model.load_adapter(folders[1], adapter_name="a1")
    try:
        model.add_weighted_adapter(["a0", "a1"], [0.5, 0.5], "merged", combination_type="linear")
    except ValueError as refusal:
        return f"refused: {str(refusal).splitlines()[0]}"
    return "merged"


def merge(data: Path, work: Path) -> None:
    """Merge each pair by each merger, and measure it beside its parents."""
    registry = ahf.Registry(work / "registry")
    measure = Measure(data, registry)
    print(f"{len(measure.phrasebank)} test rows of PhraseBank, {len(measure.fiqa)} of FiQA\n")
    print("| adapter | PhraseBank | FiQA | FiQA, the likelier of two |")
    print("|---|---|---|---|")
    for name in ADAPTERS:
        print(f"| {name} | {measure.row(f'bench/{name}@1')} |", flush=True)
    for called, pair in PAIRS.items():
        print(f"\n{called}; PEFT's linear: {peft_says(registry, pair)}\n")
        print("| merge | PhraseBank | FiQA | FiQA, the likelier of two | energy kept at least |")
        print("|---|---|---|---|---|")
        for name, given in MERGERS.items():
            references = [f"bench/{each}@1" for each in pair]
            named = {**given, "head_from": references[0]} if "head_from" in given else given
            made = ahf.merge(references, into="bench/merged", registry=registry, **named)
            assert made.version is not None
            print(f"| {name} | {measure.row(made.version.reference)} | {made.energy:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["train", "merge"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    step = train if arguments.step == "train" else merge
    step(arguments.data.resolve(), arguments.work.resolve())


if __name__ == "__main__":
    main()
