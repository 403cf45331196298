"""The defaults of `ahf train` on five small data sets, beside a linear model on the frozen base's embeddings.

    python benchmarks/defaults.py --data FOLDER [--sets tatqa fiqa ...] [--seeds 0 1 2] [--rows 1000]
        [--set training.epochs=5 ...] [--json FILE]

FOLDER holds `financial_phrasebank/Sentences_50Agree.txt`, `fiqa_absa/task1_*.json`, `crypto_news/btc.json` and
`tatqa/tatqa_dataset_dev.json`, as their publishers wrote them; headlines are the shipped corpus. Of each set, 1,000
rows are drawn once: half to train on, a fifth for validation, the rest to test; a seed is that of split and training.

The interval of a mean over seeds takes the seeds' intervals as independent: half its width is the root of their halves'
squares' sum over their number.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import adapterhub_fin as ahf

Pairs = Iterator[tuple[str, str]]
TAG = re.compile(r"\s*\(?sentiment:\s*(\w+)\)?\s*$")


def phrasebank(data: Path) -> Pairs:
    """Yield the sentences on whose tone half of the annotators agree."""
    for line in (data / "financial_phrasebank/Sentences_50Agree.txt").read_text(encoding="latin-1").splitlines():
        text, _, label = line.strip().rpartition("@")
        yield text, label


def fiqa(data: Path) -> Pairs:
    """Yield headlines and posts with the sign of their mean score; the few of zero are left out."""
    for part in ("headline", "post"):
        for half in ("train", "test"):
            rows = json.loads((data / f"fiqa_absa/task1_{part}_ABSA_{half}.json").read_text())
            for row in rows.values():
                if score := sum(float(entry["sentiment_score"]) for entry in row["info"]):
                    yield row["sentence"], "positive" if score > 0 else "negative"


def crypto(data: Path) -> Pairs:
    """Yield news of bitcoin with the tag at its end, which is taken off."""
    for day in json.loads((data / "crypto_news/btc.json").read_text()).values():
        for text in day["news"]:
            if tag := TAG.search(text):
                yield text[: tag.start()], tag[1].lower()


def tatqa(data: Path) -> Pairs:
    """Yield questions about annual reports with the type of their answer; counting is rare, 2 %."""
    for context in json.loads((data / "tatqa/tatqa_dataset_dev.json").read_text()):
        for question in context["questions"]:
            yield question["question"], question["answer_type"]


SETS: dict[str, Callable[[Path], Pairs] | None] = {
    "tatqa": tatqa,
    "fiqa": fiqa,
    "phrasebank": phrasebank,
    "headlines": None,
    "crypto": crypto,
}


def drawn(pairs: Pairs, most: int) -> list[dict[str, str]]:
    """Return some rows of a set, without texts that stand twice with different labels."""
    labels: dict[str, set[str]] = {}
    for text, label in pairs:
        labels.setdefault(" ".join(text.split()), set()).add(label)
    rows = [{"text": text, "label": min(label)} for text, label in labels.items() if text and len(label) == 1]
    random.Random(0).shuffle(rows)
    return rows[:most]


def one_run(name: str, data: Path, seed: int, most: int, overrides: list[str]) -> dict[str, Any]:
    """Train once with the defaults, and return what the run says of itself and of the baseline."""
    read = SETS[name]
    splitter = {"by": "stratified", "validation": 0.2, "test": 0.3, "seed": seed}
    corpus: dict[str, Any] = {"name": "headlines", "rows": most, "splitter": splitter}
    if read is not None:
        corpus = {"data": drawn(read(data), most), "text": "text", "label": "label", "splitter": splitter}
    start = time.process_time()
    with tempfile.TemporaryDirectory() as home:
        os.environ["AHF_HOME"] = home
        run = ahf.train(
            name=f"bench/{name}",
            base="minilm",
            head="classify",
            corpus=corpus,
            training={"seed": seed},
            overrides=overrides,
        )
    if run.baseline is None:
        raise SystemExit(f"no baseline was measured: {run.unmeasured['baseline']}")
    return {
        "set": name,
        "seed": seed,
        "steps": run.steps,
        "cpu": time.process_time() - start,
        "validation": dict(run.validation),
        "validated": run.history["validation"]["macro_f1"],
        "metrics": dict(run.metrics),
        "baseline": run.baseline.body(),
    }


def over_seeds(runs: list[dict[str, Any]], metric: str) -> str:
    """Return the adapter's and the baseline's mean, and the mean difference with its interval, as three cells."""
    own = sum(run["metrics"][metric] for run in runs) / len(runs)
    linear = sum(run["baseline"]["metrics"][metric] for run in runs) / len(runs)
    ends = [run["baseline"]["difference_intervals"][metric] for run in runs]
    if None in ends:
        return f"{own:.3f} | {linear:.3f} | {own - linear:+.3f}, no interval"
    half = sum(((high - low) / 2) ** 2 for low, high in ends) ** 0.5 / len(runs)
    apart = own - linear
    return f"{own:.3f} | {linear:.3f} | {apart:+.3f} ({apart - half:+.3f} to {apart + half:+.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--json", type=Path, help="a file to which each run is appended")
    arguments = parser.parse_args()
    print("| set | macro-F1 | baseline | difference | accuracy | baseline | difference | validation | steps | CPU |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in arguments.sets:
        runs = []
        for seed in arguments.seeds:
            runs.append(one_run(name, arguments.data, seed, arguments.rows, arguments.overrides))
            if arguments.json is not None:
                with arguments.json.open("a") as file:
                    file.write(json.dumps(runs[-1]) + "\n")
        validation = sum(run["validation"]["macro_f1"] for run in runs) / len(runs)
        steps, cpu = (sum(run[key] for run in runs) / len(runs) for key in ("steps", "cpu"))
        cells = f"{over_seeds(runs, 'macro_f1')} | {over_seeds(runs, 'accuracy')}"
        print(f"| {name} | {cells} | {validation:.3f} | {steps:.0f} | {cpu:.0f} s |", flush=True)


if __name__ == "__main__":
    main()
