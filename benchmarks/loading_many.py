"""Loads and answers with many adapters on one model in memory, beside PEFT's own, and one adapter folded into its base.

    OMP_NUM_THREADS=1 python benchmarks/loading_many.py [--count 64] [--rounds 3] [--ranks 8] [--home FOLDER]

The base has the size of MiniLM (6 layers of 384, 30,522 tokens) and random weights. Versions are LoRA of its linear
layers with a classifier of three labels; with several --ranks they are of these ranks in turn. Ours are loaded onto one
bare backbone (`ahf.load(name, base=backbone, tokenizer=tokenizer)`), PEFT's with `load_adapter` onto one PeftModel.
Figures are CPU time of the process; of several rounds, each on a new model, the median.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin_registry import Registry

TOKENS, WIDTH, LAYERS = 30_522, 384, 6
SHOWN = (2, 3, 8, 16, 32, 64)  # the numbers of the adapters whose loads are shown
RESIDENT = (1, 16, 64)
TEXT = "margins widened in the third quarter after the company raised its guidance"
LABELS = ["down", "flat", "up"]


def base(folder: Path) -> Path:
    """Write a BERT of MiniLM's size with random weights, and a WordPiece tokenizer of random words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    draw, letters = random.Random(0), "abcdefghijklmnopqrstuvwxyz"
    words = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *TEXT.split()])
    while len(words) < TOKENS:
        words[("" if draw.random() < 0.8 else "##") + "".join(draw.choices(letters, k=draw.randint(2, 9)))] = None
    tokenizer = Tokenizer(models.WordPiece(vocab={word: row for row, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    ends: Any = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    torch.manual_seed(0)
    size: Any = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "intermediate_size": 4 * WIDTH}
    BertModel(BertConfig(vocab_size=TOKENS, num_attention_heads=12, **size)).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **names).save_pretrained(folder)  # type: ignore[no-untyped-call]
    return folder


def classifier(folder: Path) -> Any:
    with quiet_loading():
        return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(LABELS))


def versions(folder: Path, registry: Registry, count: int, ranks: list[int]) -> list[Path]:
    """Store that many versions, bench/v1 and on; return their folders, which are PEFT's too."""
    folders, tokenizer = [], AutoTokenizer.from_pretrained(folder)
    for number in range(1, count + 1):
        plan = LoraConfig(
            r=ranks[number % len(ranks)], task_type="SEQ_CLS", target_modules=["query", "key", "value", "dense"]
        )
        model: Any = get_peft_model(classifier(folder), plan)
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        stored = ahf.save(model, f"bench/v{number}", base=folder, labels=LABELS, tokenizer=tokenizer, registry=registry)
        folders.append(stored.files)
    return folders


def milliseconds(work: Callable[[], Any], times: int = 1) -> float:
    """CPU time of each call, the mean of several."""
    start = time.process_time()
    for _ in range(times):
        work()
    return 1000 * (time.process_time() - start) / times


def turns(count: int) -> Iterator[int]:
    while True:
        yield from range(count)


class Ours:
    """Adapters of the registry on one bare backbone."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self.registry, self.adapters = registry, []  # type: ignore[var-annotated]
        self.backbone, self.tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)

    def load(self, number: int, folder: Path) -> None:
        options: Any = {"base": self.backbone, "tokenizer": self.tokenizer, "registry": self.registry}
        self.adapters.append(ahf.load(f"bench/v{number}", **options))

    def answer(self, index: int) -> Any:
        return self.adapters[index].predict([TEXT])


class Peft:
    """Measure the same adapters on one PeftModel."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self.model, self.tokenizer = classifier(folder), AutoTokenizer.from_pretrained(folder)

    def load(self, number: int, folder: Path) -> None:
        if number == 1:
            self.model = PeftModel.from_pretrained(self.model, folder, adapter_name="v1").eval()
        else:
            self.model.load_adapter(folder, f"v{number}")

    def answer(self, index: int) -> Any:
        if self.model.active_adapters != [f"v{index + 1}"]:
            self.model.set_adapter(f"v{index + 1}", inference_mode=True)
        with torch.inference_mode():
            return self.model(**self.tokenizer([TEXT], return_tensors="pt")).logits.softmax(-1).tolist()


def measured(kind: Any, folder: Path, registry: Registry, folders: list[Path]) -> dict[str, dict[int, float]]:
    """Return what loads and answers took, by the number of adapters on the model; `all` is the sum of the loads."""
    found: dict[str, dict[int, float]] = {"load": {}, "same": {}, "other": {}, "all": {0: 0.0}}
    model = kind(folder, registry)
    for number, each in enumerate(folders, start=1):
        took = milliseconds(lambda number=number, each=each: model.load(number, each))  # type: ignore[misc]
        found["load"][number] = took
        found["all"][0] += took
        if number in RESIDENT:
            order = turns(number)
            model.answer(0)
            found["same"][number] = milliseconds(lambda: model.answer(0), 20)
            found["other"][number] = milliseconds(lambda order=order: model.answer(next(order)), 20)  # type: ignore[misc]
    return found


def table(title: str, rounds: dict[str, list[dict[str, dict[int, float]]]], what: str, columns: list[int]) -> None:
    print(f"\n{title}\n\n| | {' | '.join(str(column) for column in columns)} |\n|---|{'---|' * len(columns)}")
    for name, found in rounds.items():
        medians = [statistics.median(each[what][column] for each in found) for column in columns]
        print(f"| {name} | {' | '.join(f'{value:,.1f}' for value in medians)} |", flush=True)


def folded(folder: Path, registry: Registry, version: Path, rounds: int) -> None:
    """One adapter on a base of its own: unfolded, folded, merged by PEFT in a bare loop, and the base without any.

    No folded version can be faster than the base alone, whose layers are of the same sizes.
    """
    plain, fold = (ahf.load("bench/v1", base=folder, registry=registry, fold=each) for each in (False, True))
    merged = PeftModel.from_pretrained(classifier(folder), version).merge_and_unload().eval()
    tokenizer, texts = AutoTokenizer.from_pretrained(folder), [f"{TEXT} {TEXT} {TEXT}"] * 32

    def bare(model: Any, rows: list[str]) -> Any:
        with torch.inference_mode():
            return model(**tokenizer(rows, return_tensors="pt")).logits.softmax(-1).tolist()

    ways: dict[str, Callable[[list[str]], Any]] = {
        "unfolded": plain.predict,
        "folded": fold.predict,
        "merged by PEFT, bare": partial(bare, merged),
        "the base alone, bare": partial(bare, classifier(folder).eval()),
    }
    print("\n| CPU ms | one text | 32 texts of 35 tokens |\n|---|---|---|")
    figures: dict[str, list[float]] = {}
    for rows, times in (([TEXT], 20), (texts, 3)):
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(2 * rounds + 1):
            for name in list(ways) if turn % 2 else list(ways)[::-1]:
                taken[name].append(milliseconds(lambda name=name, rows=rows: ways[name](rows), times))  # type: ignore[misc]
        for name, all_taken in taken.items():
            figures.setdefault(name, []).append(statistics.median(all_taken[1:]))
    for name, (one, many) in figures.items():
        print(f"| {name} | {one:.1f} | {many:.1f} |")
    both = [*texts[:1], TEXT]
    apart = (plain.logits(both) - fold.logits(both)).abs().max()
    print(f"\nlargest difference of a logit, folded to unfolded: {float(apart):.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ranks", type=int, nargs="+", default=[8])
    parser.add_argument("--home", type=Path, help="where the base and the versions are, or go")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)  # of plain PEFT
    root = arguments.home or Path(tempfile.mkdtemp(prefix="loading-many-"))
    os.environ["AHF_CACHE"] = str(root / "cache")
    registry, names = ahf.Registry(root / "home"), [f"bench/v{number}" for number in range(1, arguments.count + 1)]
    if set(names) <= set(registry.names()):
        folder, folders = root / "base", [registry.path(f"{name}@1") for name in names]
    else:
        folder = base(root / "base")
        folders = versions(folder, registry, arguments.count, arguments.ranks)
    ways = {"ahf.load": Ours, "PEFT load_adapter": Peft}
    for kind in ways.values():  # what a first load imports is no part of it
        measured(kind, folder, registry, folders[:3])
    rounds: dict[str, list[dict[str, dict[int, float]]]] = {name: [] for name in ways}
    for turn in range(arguments.rounds):
        for name in list(ways) if turn % 2 == 0 else list(ways)[::-1]:
            rounds[name].append(measured(ways[name], folder, registry, folders))
    shown, resident = ([number for number in each if number <= arguments.count] for each in (SHOWN, RESIDENT))
    table("CPU ms of the load of adapter number", rounds, "load", shown)
    table("CPU ms of all loads", rounds, "all", [0])
    table("CPU ms of an answer to one text by the same adapter, with so many on the model", rounds, "same", resident)
    table("CPU ms of an answer to one text by another adapter each time", rounds, "other", resident)
    folded(folder, registry, folders[0], arguments.rounds)


if __name__ == "__main__":
    main()
