"""DPO on a tiny trained Llama: the head preference, on pairs whose chosen answer ends a story well.

    python benchmarks/stories.py --path FOLDER [--seeds 0 1 2] [--set head.beta=0.5 ...]

FOLDER holds stories260K. The pairs are made here: two endings of one beginning. The names and the endings of the
held-out pairs occur in no other. Margins and their intervals are those of `ahf evaluate`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import product
from pathlib import Path

import adapterhub_fin as ahf

NAMES = {
    "train": ("Lily", "Tom", "Ben", "Mia", "Sam", "Sue", "Jack", "Anna"),
    "validation": ("Tim", "Lucy"),
    "test": ("Max", "Amy", "Bob", "Sara"),
}
PLACES = ("park", "house", "garden", "shop", "school", "big tree", "lake", "beach")
THINGS = ("ball", "cat", "book", "toy car", "red hat", "dog")
ENDINGS = {  # of each part: those that are preferred, and those that are not
    "train": (
        (" was very happy. They played all day.", " smiled and said thank you.", " had a lot of fun with it."),
        (" was very sad. It was lost.", " cried and went home alone.", " was scared and ran away."),
    ),
    "test": (
        (" was so glad and gave mom a big hug.", " laughed and shared it with a friend."),
        (" felt bad and did not want to play.", " was angry and broke it."),
    ),
}


def pairs(folder: Path) -> Path:
    """Write the pairs, and return their file."""
    rows = []
    for part, names in NAMES.items():
        well, badly = ENDINGS["test" if part == "test" else "train"]
        for number, (name, place, thing) in enumerate(product(names, PLACES, THINGS)):
            rows.append(
                {
                    "prompt": f"Once upon a time, {name} went to the {place} and found a {thing}. {name}",
                    "chosen": well[number % len(well)],
                    "rejected": badly[number // len(well) % len(badly)],
                    "part": part,
                }
            )
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder / "pairs.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, required=True, help="the folder of stories260K")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", dest="sets", action="append", default=[], help="a change of the recipe")
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        for epochs in (1, 2, 4):
            with tempfile.TemporaryDirectory() as folder:
                corpus = {
                    "name": "table",
                    "path": str(pairs(Path(folder))),
                    "columns": ["prompt", "chosen", "rejected"],
                    "split": "part",
                    "splitter": {"by": "given"},
                }
                recipe = {
                    "name": "benchmark/stories",
                    "base": {"path": str(arguments.path)},
                    "method": {"name": "lora"},
                    "head": {"name": "preference"},
                    "corpus": corpus,
                    "training": {"max_length": 128, "batch_size": 16, "epochs": epochs, "learning_rate": 3e-5},
                }
                registry = ahf.Registry(Path(folder) / "registry")
                run = ahf.train(recipe, registry=registry, overrides=[*arguments.sets, f"training.seed={seed}"])
                found = ahf.evaluate(run.reference, registry=registry, base=arguments.path, record=False)
                margin, accuracy = (found.intervals[name] for name in ("reward_margin", "reward_accuracy"))
                assert margin is not None and accuracy is not None
                print(
                    f"seed {seed}, {epochs} epochs, {found.rows} held-out pairs: "
                    f"margin {found.metrics['reward_margin']:.3f} ({margin[0]:.3f} to {margin[1]:.3f}), "
                    f"accuracy {found.metrics['reward_accuracy']:.3f} ({accuracy[0]:.3f} to {accuracy[1]:.3f}), "
                    f"loss {found.metrics['preference_loss']:.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
