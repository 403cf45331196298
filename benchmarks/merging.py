"""Merging beside PEFT's add_weighted_adapter: time, memory and errors; and a merge at the shape of a 7B model.

    python benchmarks/merging.py [--only widths errors big fold] [--widths 384 768 1024 2048]

Widths: three rank-16 adapters on every linear layer of a Llama of four layers, PEFT's `svd` on the adapters in memory
against `ahf.merge` from stored version to stored version. Big: the 224 matrices of a Llama of hidden 4096, random
factors. Fold: a version into its base, beside PEFT's merge_and_unload. Each measured step is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

RANK, COUNT, LAYERS = 16, 3, 4
WEIGHTS = [0.5, 0.3, 0.2]
REPEATED = 5  # merges of ours, whose median is told
BIG_WIDTH, BIG_LAYERS, BIG_INNER = 4096, 32, 11008
SMALL = 64


def llama(width: int) -> Any:
    """A Llama of four layers with seeded random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    inner = (8 * width // 3 + 63) // 64 * 64
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=256,
            hidden_size=width,
            intermediate_size=inner,
            num_hidden_layers=LAYERS,
            num_attention_heads=8,
            num_key_value_heads=8,
        )
    )


def lora(seed: int, task: str = "CAUSAL_LM", **options: Any) -> Any:
    """A configuration of LoRA on every linear layer, whose B is not zero."""
    import torch
    from peft import LoraConfig

    torch.manual_seed(seed)
    return LoraConfig(
        **{"r": RANK, "lora_alpha": 32, "target_modules": "all-linear", "init_lora_weights": False, "task_type": task}
        | options
    )


def write_adapters(make: Callable[[], Any], folder: Path, options: list[dict[str, Any]]) -> list[Path]:
    """Adapters as PEFT saves them, each with its options."""
    from peft import get_peft_model

    folders = []
    for seed, given in enumerate(options):
        model = get_peft_model(make(), lora(seed, **given))
        model.save_pretrained(folder / f"adapter-{seed}", save_embedding_layers=False)
        folders.append(folder / f"adapter-{seed}")
    return folders


def stored(folders: list[Path], root: Path, **given: Any) -> list[str]:
    """The folders as versions of a registry."""
    import adapterhub_fin as ahf

    registry = ahf.Registry(root)
    return [
        ahf.import_folder(each, f"bench/{each.name}", base="bench/base", registry=registry, **given).version.reference
        for each in folders
    ]


def deltas(folder: Path) -> dict[str, Any]:
    """The dense change of each layer of a LoRA's folder, in float64."""
    from adapterhub_fin.engine.merging.changes import open_changes

    changes = open_changes(folder, folder.name)
    return {name: changes.change(name).to(_double()).dense() for name in changes.parameters}


def _double() -> Any:
    import torch

    return torch.float64


def error(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> float:
    """The norm of all differences over the norm of all that was wanted."""
    off = sum(float((found[name] - wanted[name]).square().sum()) for name in wanted)
    return float((off / sum(float(each.square().sum()) for each in wanted.values())) ** 0.5)


def peft_merge(model: Any, folders: list[Path], target: Path, **given: Any) -> dict[str, float]:
    """PEFT's own merge, saved in a folder; wall and CPU seconds of add_weighted_adapter alone."""
    from peft import PeftModel

    wrapped: Any = PeftModel.from_pretrained(model, folders[0], adapter_name="a0")
    for number, folder in enumerate(folders[1:], start=1):
        wrapped.load_adapter(folder, adapter_name=f"a{number}")
    names = [f"a{number}" for number in range(len(folders))]
    start, busy = time.perf_counter(), time.process_time()
    wrapped.add_weighted_adapter(names, WEIGHTS[: len(names)], "merged", **given)
    taken = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - busy}
    wrapped.save_pretrained(target, selected_adapters=["merged"], save_embedding_layers=False)
    return taken


def our_merge(references: list[str], root: Path, target: Path, **given: Any) -> dict[str, float]:
    """ahf.merge from stored versions to a stored version: the median wall and CPU seconds of five, and the peak memory.

    The peak is of the first after one that was only tried, so that the imports are not counted.
    """
    import adapterhub_fin as ahf
    from adapterhub_fin.engine.merging.merge import merge

    registry, shares = ahf.Registry(root), WEIGHTS[: len(references)]
    merge(references, weights=shares, dry_run=True, registry=registry, **given)
    walls, busies, peaks = [], [], []
    for number in range(REPEATED):
        with peak() as megabytes:
            start, busy = time.perf_counter(), time.process_time()
            done = merge(references, weights=shares, into=f"bench/merged-{number}", registry=registry, **given)
            walls.append(time.perf_counter() - start)
            busies.append(time.process_time() - busy)
        peaks.append(megabytes[0])
    assert done.version is not None
    target.symlink_to(done.version.files)
    return {"seconds": median(walls), "cpu": median(busies), "megabytes": peaks[0]}


@contextmanager
def peak() -> Iterator[list[float]]:
    """How many megabytes this process held at most within the block above what it held before (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, found = _status("VmRSS"), [0.0]
    yield found
    found[0] = (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1])


def step_peft(place: Path, width: int) -> dict[str, float]:
    """PEFT's svd at one width."""
    folders = sorted(place.glob("adapter-*"))
    return peft_merge(llama(width), folders, place / "peft", combination_type="svd", svd_rank=RANK)


def step_ours(place: Path, width: int) -> dict[str, float]:
    """Ours at the same."""
    references = [f"bench/{folder.name}@1" for folder in sorted(place.glob("adapter-*"))]
    return our_merge(references, place / "registry", place / "ours", using="svd", rank=RANK)


def in_a_process(step: str, place: Path, width: int, threads: int) -> dict[str, float]:
    """A step in a fresh process, with the most memory it ever held."""
    command = [sys.executable, __file__, "--step", step, "--place", str(place), "--widths", str(width)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "AHF_CACHE": str(place / "cache")}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def widths(chosen: list[int], threads: int) -> None:
    """The table by width."""
    print(
        "| hidden | PEFT `svd`: wall, CPU | `ahf merge`: wall, CPU | ratio of CPU | of wall | same change to "
        "| adapters | peak above the imports |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for width in chosen:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            folders = write_adapters(lambda width=width: llama(width), place, [{}] * COUNT)  # type: ignore[misc]
            stored(folders, place / "registry")
            size = sum((each / "adapter_model.safetensors").stat().st_size for each in folders) / 2**20
            peft, ours = (in_a_process(step, place, width, threads) for step in ("peft", "ours"))
            off = error(deltas(place / "ours"), deltas(place / "peft" / "merged"))
            print(
                f"| {width} | {peft['seconds']:.2f} s, {peft['cpu']:.2f} s "
                f"| {ours['seconds']:.2f} s, {ours['cpu']:.2f} s "
                f"| **{peft['cpu'] / ours['cpu']:.0f}** | {peft['seconds'] / ours['seconds']:.0f} | {off:.1e} "
                f"| {size:.0f} MB | {ours['megabytes']:.0f} MB ({ours['megabytes'] / size:.1f} times) |",
                flush=True,
            )


def wanted(folders: list[Path], rank: int | None) -> dict[str, Any]:
    """The weighted sum of dense changes in float64, the best of a rank where one is given."""
    import torch

    each = [deltas(folder) for folder in folders]
    names = sorted({name for found in each for name in found})
    summed = {
        name: sum(weight * found[name] for weight, found in zip(WEIGHTS, each, strict=False) if name in found)
        for name in names
    }
    if rank is None:
        return summed
    cut = {}
    for name, matrix in summed.items():
        u, values, v = torch.linalg.svd(matrix, full_matrices=False)
        cut[name] = (u[:, :rank] * values[:rank]) @ v[:rank]
    return cut


CASES: list[tuple[str, list[dict[str, Any]], str, int | None]] = [
    ("linear", [{}, {}], "linear", None),
    ("cat", [{}, {}], "cat", None),
    ("svd to rank 16", [{}, {}], "svd", RANK),
    ("cat of rsLoRA", [{"use_rslora": True}] * 2, "cat", None),
    ("svd to rank 16 of rsLoRA", [{"use_rslora": True}] * 2, "svd", RANK),
    ("linear, ranks 16 and 8", [{}, {"r": 8}], "linear", None),
    ("svd to rank 16, ranks by layer", [{"rank_pattern": {"q_proj": 4}}, {}], "svd", RANK),
    ("cat, alphas by layer", [{"alpha_pattern": {"q_proj": 4}}, {}], "cat", None),
    ("linear of two classifiers", [{"task": "SEQ_CLS"}] * 2, "linear", None),
]


def errors() -> None:
    """The table of errors against a dense sum in float64."""
    from transformers import AutoModelForSequenceClassification

    print("| merge of two adapters | PEFT is off by | `ahf merge` is off by |")
    print("|---|---|---|")
    for called, options, using, rank in CASES:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            os.environ["AHF_CACHE"] = str(place / "cache")

            def make(options: list[dict[str, Any]] = options) -> Any:
                model = llama(SMALL)
                if options[0].get("task") != "SEQ_CLS":
                    return model
                build: Any = AutoModelForSequenceClassification.from_config
                return build(model.config)

            folders = write_adapters(make, place, options)
            truth = wanted(folders, rank)
            given = {"combination_type": using, **({"svd_rank": rank} if rank else {})}
            try:
                peft_merge(make(), folders, place / "peft", **given)
                theirs = f"{error(_padded(deltas(place / 'peft' / 'merged'), truth), truth):.1e}"
            except Exception as refusal:  # whatever it says is what its user sees
                theirs = f"refused: {str(refusal).splitlines()[0][:90]}"
            labels = ["down", "up"] if options[0].get("task") == "SEQ_CLS" else None
            references = stored(folders, place / "registry", labels=labels)
            our_merge(references, place / "registry", place / "ours", using=using, rank=rank)
            print(f"| {called} | {theirs} | {error(deltas(place / 'ours'), truth):.1e} |", flush=True)


def _padded(found: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """What was found, and zeros for what was lost."""
    import torch

    return {name: found.get(name, torch.zeros_like(each)) for name, each in like.items()}


def write_big(place: Path) -> float:
    """Three adapters of the 224 linear layers of a 7B Llama, random factors; megabytes in all."""
    import torch
    from safetensors.torch import save_file

    shapes = {f"self_attn.{name}_proj": (BIG_WIDTH, BIG_WIDTH) for name in "qkvo"} | {
        "mlp.gate_proj": (BIG_INNER, BIG_WIDTH),
        "mlp.up_proj": (BIG_INNER, BIG_WIDTH),
        "mlp.down_proj": (BIG_WIDTH, BIG_INNER),
    }
    total = 0
    for seed in range(COUNT):
        draw, tensors = torch.Generator().manual_seed(seed), {}
        for layer in range(BIG_LAYERS):
            for name, (rows, columns) in shapes.items():
                module = f"base_model.model.model.layers.{layer}.{name}"
                tensors[f"{module}.lora_A.weight"] = torch.randn(RANK, columns, generator=draw) / columns**0.5
                tensors[f"{module}.lora_B.weight"] = torch.randn(rows, RANK, generator=draw) / RANK**0.5
        folder = place / f"adapter-{seed}"
        folder.mkdir()
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 32, "inference_mode": True}
        targets = sorted({name.rpartition(".")[2] for name in shapes})
        (folder / "adapter_config.json").write_text(json.dumps({**config, "target_modules": targets}))
        total += (folder / "adapter_model.safetensors").stat().st_size
    return total / 2**20


def big(threads: int) -> None:
    """The table at the shape of a 7B model."""
    print("| 224 matrices of hidden 4096, three of rank 16 | wall | CPU | most memory held, imports included |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        os.environ["AHF_CACHE"] = str(place / "cache")
        size = write_big(place)
        stored(sorted(place.glob("adapter-*")), place / "registry")
        for step in ("big-svd", "big-linear"):
            found = in_a_process(step, place, BIG_WIDTH, threads)
            called = f"{step.removeprefix('big-')}, {size:.0f} MB of adapters"
            print(
                f"| {called} | **{found['seconds']:.1f} s** | {found['cpu']:.1f} s | {found['peak']:.0f} MB |",
                flush=True,
            )


def step_big(place: Path, using: str) -> dict[str, float]:
    """One merge at that size, once."""
    import adapterhub_fin as ahf
    from adapterhub_fin.engine.merging.merge import merge

    references = [f"bench/{folder.name}@1" for folder in sorted(place.glob("adapter-*"))]
    start, busy = time.perf_counter(), time.process_time()
    rank = None if using == "linear" else RANK
    merge(
        references,
        weights=WEIGHTS,
        using=using,
        rank=rank,
        into=f"bench/{using}",
        registry=ahf.Registry(place / "registry"),
    )
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - busy}


def fold(chosen: list[int], threads: int) -> None:
    """The table of folding into the base: its files one tensor at a time, or the model in memory."""
    from adapterhub_fin.testing import tiny_decoder

    print("| base | PEFT `merge_and_unload`, saved: wall, CPU, peak | `--layout merged`: wall, CPU, peak | same to |")
    print("|---|---|---|---|")
    for width in chosen:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            tiny_decoder(place / "base")  # for its tokenizer
            (place / "base" / "model.safetensors").unlink()
            llama(width).save_pretrained(place / "base", max_shard_size="100MB")
            stored(write_adapters(lambda width=width: llama(width), place, [{}]), place / "registry")  # type: ignore[misc]
            size = sum(each.stat().st_size for each in (place / "base").glob("*.safetensors")) / 2**20
            peft, ours = (in_a_process(step, place, width, threads) for step in ("fold-peft", "fold-ours"))
            told = " | ".join(f"{e['seconds']:.1f} s, {e['cpu']:.1f} s, {e['peak']:.0f} MB" for e in (peft, ours))
            print(f"| hidden {width}, {size:.0f} MB | {told} | {_apart(place):.1e} |", flush=True)


def _apart(place: Path) -> float:
    """The largest difference of any weight of the two folded models."""
    from transformers import AutoModelForCausalLM

    one, other = (
        AutoModelForCausalLM.from_pretrained(place / name).state_dict() for name in ("folded-peft", "folded-ours")
    )
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def step_fold(place: Path, whose: str) -> dict[str, float]:
    """Fold once."""
    start, busy = time.perf_counter(), time.process_time()
    if whose == "peft":
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        model: Any = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(place / "base"), place / "adapter-0"
        )
        model.merge_and_unload().save_pretrained(place / "folded-peft")
    else:
        import adapterhub_fin as ahf

        registry = ahf.Registry(place / "registry")
        ahf.export("bench/adapter-0", place / "folded-ours", layout="merged", base=place / "base", registry=registry)
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - busy}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ["widths", "errors", "big", "fold"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--widths", type=int, nargs="+", default=[384, 768, 1024, 2048])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        steps = {"peft": step_peft, "ours": step_ours}
        if arguments.step in steps:
            found = steps[arguments.step](arguments.place, arguments.widths[0])
        elif arguments.step.startswith("fold-"):
            found = step_fold(arguments.place, arguments.step.removeprefix("fold-"))
        else:
            found = step_big(arguments.place, arguments.step.removeprefix("big-"))
        # The process's own peak: what the operating system says of a child begins with what its parent held.
        print(json.dumps({**found, "peak": _status("VmHWM") / 1024}))
        return
    print(f"load average {os.getloadavg()[0]:.1f}, {arguments.threads} threads", flush=True)
    if "errors" in arguments.only:
        errors()
    if "widths" in arguments.only:
        widths(arguments.widths, arguments.threads)
    if "big" in arguments.only:
        big(arguments.threads)
    if "fold" in arguments.only:
        fold([width for width in arguments.widths if width >= 1024], arguments.threads)


if __name__ == "__main__":
    main()
