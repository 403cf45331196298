"""Answers a second of one adapter: torch, torch with the adapter folded in, ONNX Runtime and OpenVINO, in turn.

    python benchmarks/desk.py --path PHRASEBANK [--rows 800] [--rounds 15] [--set training.epochs=1 ...]

Every way goes from texts to answers on one thread, tokens included. Times are CPU time, medians over the rounds; within
a round each way answers the same texts, so that a busy machine slows all of them. What is compared are the ratios.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.find import find_base
from adapterhub_fin.engine.folding.in_memory import fold_in_memory
from adapterhub_fin.engine.inference.find import find_version
from adapterhub_fin.recipe.choices import BaseChoice

CLIENT = Path(__file__).parents[1] / "examples" / "onnx_client" / "client.py"
BATCH = 32
Way = Callable[[Sequence[str]], Any]


def load_client() -> Any:
    """Import the module of the example's client."""
    spec = importlib.util.spec_from_file_location("client", CLIENT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def folded(registry: ahf.Registry, adapter: Any) -> Way:
    """Answer with the folded model in torch, without an adapter's wrappers."""
    version = find_version("bench/desk@1", registry, None, True, None)
    model = fold_in_memory(version, find_base(BaseChoice(id="minilm")).folder, adapter.tokenizer)

    def answer(texts: Sequence[str]) -> Any:
        batch = adapter.tokenizer(
            list(texts), padding=True, truncation=True, max_length=adapter.max_length, return_tensors="pt"
        )
        with torch.inference_mode():
            return adapter.head.predictions(model(batch["input_ids"], batch["attention_mask"]).logits)

    return answer


def graph(client: Any, folder: Path) -> Way:
    """Answer with the example's client, on one thread."""
    reader = client.Client(folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    reader.session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    return lambda texts: reader.predict(list(texts))


class OpenVinoSession:
    """Stand in for a session of ONNX Runtime, so that the client can ask it."""

    def __init__(self, path: Path, precision: str) -> None:
        import openvino

        settings = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        self.model = openvino.Core().compile_model(str(path), "CPU", settings)

    def run(self, names: None, batch: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [self.model(batch)[0]]


def openvino_ways(client: Any, folders: dict[str, Path]) -> dict[str, Way]:
    """Answer with the same graphs in OpenVINO, where it is installed."""
    if importlib.util.find_spec("openvino") is None:
        return {}
    ways: dict[str, Way] = {}
    for title, precision, name in (
        ("fp32", "f32", "fp32"),
        ("bf16", "bf16", "fp32"),
        ("int8-dynamic", "f32", "int8-dynamic"),
    ):
        reader = client.Client(folders[name])
        reader.session = OpenVinoSession(folders[name] / "model.onnx", precision)
        ways[f"OpenVINO {title}"] = lambda texts, reader=reader: reader.predict(list(texts))
    return ways


def measure(ways: dict[str, Way], texts: Sequence[str], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median CPU milliseconds of one text, and of BATCH texts, by way."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ways}
    for turn in range(rounds + 3):
        chosen = [texts[(turn * BATCH + offset) % len(texts)] for offset in range(BATCH)]
        for name in list(ways) if turn % 2 else [*ways][::-1]:
            for part, asked in enumerate((chosen[:1], chosen)):
                start = time.process_time()
                ways[name](asked)
                if turn >= 3:  # the first rounds warm up
                    times[name][part].append(1000 * (time.process_time() - start))
    return {name: (statistics.median(one), statistics.median(many)) for name, (one, many) in times.items()}


def off(ways: dict[str, Way], texts: Sequence[str]) -> dict[str, tuple[int, float]]:
    """Return how many labels differ from torch's, and the largest change of a probability, in batches of BATCH."""
    answers = {}
    for name, way in ways.items():
        pairs = [answer for start in range(0, len(texts), BATCH) for answer in way(texts[start : start + BATCH])]
        answers[name] = [
            (each[0], np.array(each[1])) if isinstance(each, tuple) else (each.label, np.array([*each.scores.values()]))
            for each in pairs
        ]
    first = answers[next(iter(ways))]
    return {
        name: (
            sum(one[0] != other[0] for one, other in zip(first, own, strict=True)),
            max(float(np.abs(one[1] - other[1]).max()) for one, other in zip(first, own, strict=True)),
        )
        for name, own in answers.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True)
    parser.add_argument("--rows", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--work", type=Path, help="A folder to keep the registry and the exports in.")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work = arguments.work or Path(tempfile.mkdtemp())
    registry = ahf.Registry(work / "registry")
    corpus = {"name": "phrasebank", "path": str(Path(arguments.path).resolve()), "splitter": {"by": "stratified"}}
    if not (work / "registry").exists():
        recipe = {"name": "bench/desk", "base": "minilm", "method": "lora", "corpus": corpus}
        overrides = [f"training.max_steps={arguments.rows // 16}", *arguments.overrides]
        ahf.train(recipe, registry=registry, overrides=overrides)
    folders = {}
    for precision in ("fp32", "int8", "int8-dynamic"):
        folders[precision] = work / precision
        if not folders[precision].exists():
            options = {"precision": precision, "max_change": 1.0, "max_labels_changed": 1.0}
            ahf.export("bench/desk@1", folders[precision], layout="onnx", registry=registry, **options)
    adapter, client = ahf.load("bench/desk@1", registry=registry), load_client()
    ways: dict[str, Way] = {"torch, the adapter as it is": adapter.predict, "torch, folded": folded(registry, adapter)}
    ways |= {f"ONNX Runtime {name}": graph(client, folder) for name, folder in folders.items()}
    ways |= openvino_ways(client, folders)
    texts = Path(arguments.path, "Sentences_50Agree.txt").read_text("latin-1").splitlines()[::12]
    texts = [line.rpartition("@")[0] for line in texts]
    times, differences = measure(ways, texts, arguments.rounds), off(ways, texts)
    first = next(iter(times.values()))
    print("| way | one text, CPU ms | speed | 32 texts, CPU ms | speed | labels changed | largest change |")
    print("|---|---|---|---|---|---|---|")
    for name, (one, many) in times.items():
        labels, change = differences[name]
        print(
            f"| {name} | {one:.1f} | {first[0] / one:.2f} | {many:.0f} | {first[1] / many:.2f} | {labels} of "
            f"{len(texts)} | {change:.2g} |"
        )
    sizes = {name: (folder / "model.onnx").stat().st_size / 1e6 for name, folder in folders.items()}
    print("\n" + ", ".join(f"{name}: {size:.1f} MB" for name, size in sizes.items()))


if __name__ == "__main__":
    main()
