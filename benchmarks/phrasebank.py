"""PhraseBank 50Agree on minilm: accuracy and macro-F1 over seeds of split and training, with an interval.

    python benchmarks/phrasebank.py --path FOLDER [--methods lora adalora ...] [--seeds 0 1 2] [--set method.rank=8 ...]
        [--soup training.learning_rate=1e-3 training.batch_size=32] [--soup ...]

Each --soup trains once more, with these settings beside the others and from the same start. Measured is the mean
of all runs, merged by `linear` (Wortsman et al., Model soups, arXiv 2203.05482), beside each run alone and the mean of
their probabilities (Lakshminarayanan et al., Deep ensembles, arXiv 1612.01474). Each seed runs in a process of its own,
whose peak memory is what the operating system says of it. The interval is that of a bootstrap over the test rows, drawn
again within each seed and averaged over seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from adapterhub_fin_plugins.metrics import accuracy, macro_f1

RESAMPLES = 4000


def one_seed(path: str, method: str, seed: int, overrides: list[str], soup: list[list[str]]) -> dict[str, Any]:
    """Train and test once, here; of a soup every run, and then their mean."""
    import torch

    import adapterhub_fin as ahf
    from adapterhub_fin.engine.data.corpus import read_corpus

    split = {"by": "stratified", "validation": 0.1, "test": 0.2, "seed": seed}
    recipe = {
        "name": f"bench/phrasebank-{seed}",
        "base": "minilm",
        "method": method,
        "head": "classify",
        "corpus": {"name": "phrasebank", "path": path, "agreement": 50, "splitter": split},
        "training": {"seed": seed},
    }
    start = time.perf_counter()
    run = ahf.train(recipe, overrides=overrides)
    others = [ahf.train(recipe, overrides=[*overrides, *each]) for each in soup]
    adapter = run.adapter
    if others:
        merged = ahf.merge([each.version.reference for each in (run, *others)], using="linear", into="bench/soup")
        adapter = ahf.load(merged.version.reference)
    seconds = time.perf_counter() - start
    runs = [run, *others]
    manifest = run.version.manifest
    choice = ahf.Recipe.read(manifest.recipe or {}).corpus
    held_out = read_corpus(choice, "classify").splits["test"]
    labels = list(manifest.head.labels or ()) if manifest.head else []
    texts = list(held_out["text"])
    said = [labels.index(each.label) for each in adapter.predict(texts, batch_size=64)]
    shares = [each.adapter.logits(texts, batch_size=64).softmax(-1) for each in runs] if others else []
    return {
        "seed": seed,
        "truth": [labels.index(label) for label in held_out["label"]],
        "said": said,
        "alone": [each.metrics["accuracy"] for each in runs] if others else [],
        "together": torch.stack(shares).mean(0).argmax(-1).tolist() if shares else [],
        "parameters": run.trained_parameters,
        "steps": sum(each.steps for each in runs),
        "seconds": seconds,
        "rows": manifest.corpus.rows if manifest.corpus else {},
    }


def in_a_process(path: str, method: str, seed: int, overrides: list[str], soup: list[list[str]]) -> dict[str, Any]:
    """One seed in a fresh process, with its peak memory and CPU time."""
    with tempfile.TemporaryDirectory() as home:
        chosen = ["--methods", method, "--one", str(seed), *(f"--set={each}" for each in overrides)]
        chosen += [word for each in soup for word in ("--soup", *each)]
        command = [sys.executable, __file__, "--path", path, *chosen]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "AHF_HOME": home})
        assert child.stdout is not None
        out = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            raise SystemExit(f"seed {seed} failed")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return {**found, "peak_mb": usage.ru_maxrss / 1024, "cpu": usage.ru_utime + usage.ru_stime}


def interval(runs: list[dict[str, Any]], metric: Any, whose: str) -> tuple[float, float, float]:
    """Mean over seeds, and the bootstrap's 2.5 and 97.5 per cent."""
    rng = np.random.default_rng(0)
    pairs = [(np.array(run["truth"]), np.array(run[whose])) for run in runs]
    drawn = []
    for _ in range(RESAMPLES):
        rows = [rng.integers(0, len(truth), len(truth)) for truth, _ in pairs]
        drawn.append(np.mean([metric(t[r], s[r]) for (t, s), r in zip(pairs, rows, strict=True)]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(np.mean([metric(t, s) for t, s in pairs])), float(low), float(high)


def summary(runs: list[dict[str, Any]], whose: str = "said") -> str:
    """Accuracy and macro-F1 over seeds, as two cells."""
    scores = []
    for metric in (accuracy, macro_f1):
        mean, low, high = interval(runs, metric, whose)
        scores.append(f"**{mean:.4f}** ({low:.3f} to {high:.3f})")
    return " | ".join(scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True)
    parser.add_argument("--methods", nargs="+", default=["lora"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--soup", nargs="+", action="append", default=[])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    path = str(Path(arguments.path).resolve())
    if arguments.one is not None:
        print(json.dumps(one_seed(path, arguments.methods[0], arguments.one, arguments.overrides, arguments.soup)))
        return
    print("| method | seed | accuracy | macro-F1 | trained parameters | steps | peak memory | wall | CPU |")
    print("|---|---|---|---|---|---|---|---|---|")
    for method in arguments.methods:
        runs = []
        for seed in arguments.seeds:
            run = in_a_process(path, method, seed, arguments.overrides, arguments.soup)
            runs.append(run)
            truth = np.array(run["truth"])
            print(
                f"| {method} | {seed} | {accuracy(truth, np.array(run['said'])):.4f} "
                f"| {macro_f1(truth, np.array(run['said'])):.4f} | {run['parameters']:,} | {run['steps']} "
                f"| {run['peak_mb']:.0f} MB | {run['seconds']:.0f} s | {run['cpu']:.0f} s |",
                flush=True,
            )
            if run["together"]:
                print(f"| each run alone | {seed} | {', '.join(f'{each:.4f}' for each in run['alone'])} | | | | | | |")
                both = [f"{metric(truth, np.array(run['together'])):.4f}" for metric in (accuracy, macro_f1)]
                print(f"| their answers' mean | {seed} | {' | '.join(both)} | | | | | |", flush=True)
        over = f"mean of {len(runs)}"
        print(f"| **{method}** | {over} | {summary(runs)} | | | | | |", flush=True)
        if arguments.soup:
            print(f"| **their answers' mean** | {over} | {summary(runs, 'together')} | | | | | |", flush=True)


if __name__ == "__main__":
    main()
