"""Our training against a bare Trainer + PEFT script, whole processes in turn (A B, B A, ...): the median ratio.

    python benchmarks/overhead.py --path FOLDER [--pairs 5] [--epochs 1]

Both read the same rows, train the same adapter by the same schedule, evaluate each epoch, keep the best checkpoint,
test and save. Ours also pins the base, digests the corpus, verifies slots and stores a version. One epoch is the hard
case: what is done once weighs most.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from adapterhub_fin.engine.data.corpus import read_corpus
from adapterhub_fin.recipe.choices import CorpusChoice

HERE = Path(__file__).parent


def timed(command: list[str], env: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=1)
    arguments = parser.parse_args()
    path = str(Path(arguments.path).resolve())
    corpus = {"name": "phrasebank", "path": path, "splitter": {"by": "stratified"}}
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.json"
        parts = read_corpus(CorpusChoice.model_validate(corpus), "classify").splits
        rows.write_text(
            json.dumps({name: part.select_columns(["text", "label"]).to_list() for name, part in parts.items()})
        )
        recipe = Path(folder) / "recipe.yaml"
        recipe.write_text(
            json.dumps({"name": "bench/overhead", "corpus": corpus, "training": {"epochs": arguments.epochs}})
        )
        ours = [str(Path(sys.executable).with_name("ahf")), "train", str(recipe)]
        bare = [sys.executable, str(HERE / "bare_trainer.py"), str(rows), folder, str(arguments.epochs)]
        print("| pair | order | ours | bare | ratio |\n|---|---|---|---|---|")
        for pair in range(arguments.pairs):
            seconds = {}
            for name in ("ours", "bare") if pair % 2 == 0 else ("bare", "ours"):
                env = {**os.environ, "AHF_HOME": f"{folder}/home-{pair}"}
                seconds[name] = timed(ours if name == "ours" else bare, env)
            ratios.append(seconds["ours"] / seconds["bare"])
            order = "ours, bare" if pair % 2 == 0 else "bare, ours"
            print(
                f"| {pair} | {order} | {seconds['ours']:.1f} s | {seconds['bare']:.1f} s | {ratios[-1]:.3f} |",
                flush=True,
            )
    print(f"\nmedian ratio {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
