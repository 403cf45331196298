"""What commands cost: CPU seconds of ten refusals, and of whole commands beside the imports that they need.

    python benchmarks/commands.py [--times 5]

Each is run in a process of its own, several times; the least of them is told, since whatever else a machine does only
adds to it. CPU seconds are those of user and system of the process and its threads, of one thread for torch. A refusal
needs no torch; a merge needs torch, an import and a diff numpy alone, and a prediction Transformers and PEFT too.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

AHF = "from adapterhub_fin.cli import main; main()"
NEEDS = {
    "merge": "import torch, safetensors.torch, pydantic, pluggy",
    "import": "import numpy, pydantic, pluggy",
    "diff": "import numpy, pydantic",
    "predict": "import torch, transformers, peft, pydantic, pluggy",
}


def cpu_seconds(code: str, *arguments: str, status: int = 0) -> float:
    """Return the CPU seconds of one process that runs `code` and ends with an exit status."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != status:
        raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def prepare(place: Path) -> None:
    """Put two tiny adapters of one base, one of another base and one in a folder into a registry at AHF_HOME."""
    import adapterhub_fin as ahf
    from adapterhub_fin.testing import tiny_corpus, tiny_decoder, tiny_encoder

    base, other = tiny_encoder(place / "encoder"), tiny_decoder(place / "decoder")
    common = {"method": {"name": "lora", "rank": 4}, "corpus": {"name": tiny_corpus()}}
    for seed, name in enumerate(("acme/a", "acme/b")):
        training = {"epochs": 1, "max_length": 32, "seed": seed}
        ahf.train(name=name, base={"path": str(base)}, training=training, **common)
    training = {"epochs": 1, "max_length": 32}
    ahf.train(name="acme/notes", base={"path": str(other)}, head="causal-lm", training=training, **common)
    ahf.export("acme/a", place / "folder")


def refusals(place: Path) -> list[Sequence[str]]:
    """Return ten commands that are refused, whose exit status is 1."""
    nowhere = str(place / "nowhere")
    train = ("train", "--name", "acme/x", "--set", f"base.path={place / 'encoder'}", "--set")
    return [
        ("predict", "acme/none", "Orders rose."),
        ("predict", "acme/a@9", "Orders rose."),
        ("predict", "acme/a", "--file", nowhere),
        ("predict", "acme/a", "Orders rose.", "--as-of", "June"),
        ("generate", "acme/a", "Orders rose."),
        ("merge", "acme/a@1", "acme/notes@1", "--into", "acme/x"),
        ("import", nowhere, "--as", "acme/x"),
        ("evaluate", "acme/a", "table", "--set", f"path={nowhere}"),
        (*train, "corpus.name=table", "--set", f"corpus.path={nowhere}"),
        (*train, "corpus=headlines", "--set", "method.rnak=3"),
    ]


def commands(place: Path, number: int) -> dict[str, Sequence[str]]:
    """Return whole commands by what they are; each run writes under a name of its own."""
    return {
        "merge": ("merge", "acme/a@1", "acme/b@1", "--into", f"acme/ab{number}"),
        "import": ("import", str(place / "folder"), "--as", f"acme/in{number}"),
        "diff": ("diff", "acme/a@1", "acme/b@1"),
        "predict": ("predict", "acme/a@1", "Orders rose."),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--times", type=int, default=5, help="runs of each; the least is told")
    times = range(arguments.parse_args().times)
    with tempfile.TemporaryDirectory(prefix="ahf-commands-") as name:
        place = Path(name)
        os.environ |= {"AHF_HOME": str(place / "home"), "AHF_CACHE": str(place / "cache")}
        os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        prepare(place)
        print(f"{'refused':<70} CPU s")
        for command in refusals(place):
            least = min(cpu_seconds(AHF, *command, status=1) for _ in times)
            print(f"{' '.join(command).replace(name, '')[:68]:<70} {least:5.2f}")
        print(f"\n{'command':<12} {'CPU s':>6} {'its imports':>12}")
        for verb, needed in NEEDS.items():
            whole = min(cpu_seconds(AHF, *commands(place, number)[verb]) for number in times)
            alone = min(cpu_seconds(needed) for _ in times)
            print(f"{verb:<12} {whole:6.2f} {alone:12.2f}")


if __name__ == "__main__":
    main()
