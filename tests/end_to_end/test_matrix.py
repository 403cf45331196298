"""Every method with every trainable head: trained, stored, and answering bit for bit the same in a fresh process.

Here each head is tried with one method of each kind, on an encoder and a decoder in turn, and each other method with a
classifier and a language model; `make matrix` tries every pair on both.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from adapterhub_fin.errors import BadRecipe, UnknownName
from adapterhub_fin.testing.bench import TEXTS, Bench
from adapterhub_fin.testing.fresh import fresh_logits

METHODS: list[dict[str, Any]] = [
    {"name": "lora", "rank": 4},
    {"name": "lora", "rank": 4, "init": "olora"},
    {"name": "qlora", "rank": 4},
    {"name": "adalora", "initial_rank": 4, "target_rank": 2},
    {"name": "prefix-tuning", "tokens": 4},
    {"name": "prefix-tuning", "tokens": 4, "projection": True},
    {"name": "prompt-tuning", "tokens": 4},
    {"name": "p-tuning", "tokens": 4},
    {"name": "peft:ia3"},
]
HEADS: list[dict[str, Any]] = [
    {"name": "classify"},
    {"name": "classify", "pooling": "mean"},
    {"name": "regress"},
    {"name": "regress", "network": "mlp"},
    {"name": "causal-lm"},
]
WIDE: list[dict[str, Any]] = [
    {"name": "multi-label", "pooling": "mean"},
    {"name": "multi-label"},
    {"name": "contrastive"},
    {"name": "preference"},
    {"name": "multi-task"},
    {"name": "multi-task", "losses": {"causal-lm": 1.0, "regress": 1.0}},
]
DECODERS = ("causal-lm", "preference", "multi-task")
EACH_KIND = ("lora", "prefix-tuning", "prompt-tuning", "peft:ia3")  # low rank, keys, embeddings, scales


def in_turn(method: dict[str, Any], head: dict[str, Any]) -> str:
    """Return the base of a pair: a head meets both, and so does a method."""
    if head["name"] == "causal-lm":
        return "decoder"
    return ("encoder", "decoder")[(EACH_KIND.index(method["name"]) + HEADS.index(head)) % 2]


EXHAUSTIVE = bool(os.environ.get("AHF_MATRIX"))
PAIRS = [
    (base, method, head)
    for base in ("encoder", "decoder")
    for method in METHODS
    for head in HEADS
    if (base, head["name"]) != ("encoder", "causal-lm")
    and (
        EXHAUSTIVE
        or (method["name"] in EACH_KIND and len(method) < 3 and base == in_turn(method, head))
        or (base, head) in (("encoder", HEADS[0]), ("decoder", HEADS[-1]))
    )
]
PAIRS += [
    (base, method, head)
    for base in ("encoder", "decoder")
    for method in METHODS
    for head in WIDE
    if (base == "decoder" or head["name"] not in DECODERS)
    and (
        EXHAUSTIVE
        or (method["name"] in EACH_KIND and len(method) < 3 and (base == "encoder") != (head["name"] in DECODERS))
    )
]


def corpus_for(head: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    """The rows that a head reads, where they are not those of every contract."""
    if head["name"] not in ("multi-label", "contrastive", "preference"):
        return None
    rows = [
        {
            "tags": ["up", "tax"][: n % 3],
            "text": f"Firm {n}: profit {'rose' if n % 2 else 'fell'}.",
            "anchor": f"firm {n}?",
        }
        | {"prompt": f"Firm {n}: profit", "chosen": " rose.", "rejected": f" fell by {n}."}
        for n in range(32)
    ]
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    columns: dict[str, Any] = {
        "multi-label": {"label": "tags"},
        "contrastive": {"columns": {"anchor": "anchor", "positive": "text"}},
        "preference": {"columns": ["prompt", "chosen", "rejected"]},
    }
    return {"name": "table", "path": str(path), **columns[head["name"]]}


def named(pair: tuple[str, dict[str, Any], dict[str, Any]]) -> str:
    base, method, head = pair
    said = [each["name"] + "".join(f",{k}={v}" for k, v in each.items() if k in SAID) for each in (method, head)]
    return "-".join((base, *said))


SAID = ("init", "projection", "network", "pooling", "losses")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Tensor, Tensor]]:
    """What each pair answers after training, and in another process."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(tmp_path_factory.mktemp("cache")))
        for pair in PAIRS:
            base, method, head = pair
            folder = tmp_path_factory.mktemp("pair")
            bench = Bench(folder, base, method, head, corpus_for(head, folder))  # type: ignore[arg-type]
            run = bench.train("pair", epochs=1)
            there = fresh_logits(bench.registry.root, run.reference, bench.base(), TEXTS)
            found[named(pair)] = run.adapter.logits(TEXTS), there
    return found


@pytest.mark.parametrize("pair", PAIRS, ids=named)
def test_a_fresh_process_answers_the_same(pair: Any, answers: dict[str, tuple[Tensor, Tensor]]) -> None:
    here, there = answers[named(pair)]
    assert here.equal(there), f"answers differ by {float((here - there).abs().max()):.3g}"


@pytest.mark.parametrize("method", METHODS, ids=lambda each: each["name"])
def test_causal_lm_on_an_encoder_is_refused(method: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="a bert base is an encoder"):
        Bench(tmp_path, "encoder", method, {"name": "causal-lm"}).train("pair")


def test_embed_is_no_head(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="embed"):
        Bench(tmp_path, "encoder", METHODS[0], {"name": "embed"}).train("pair")


@pytest.mark.parametrize("base", ["encoder", "decoder"])
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_a_base_in_sixteen_bits_answers_the_same_after_a_load(base: Any, method: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel, AutoModelForCausalLM

    from adapterhub_fin.engine.inference.load import load

    bench = Bench(tmp_path, base, {"name": method, "rank": 4}, {"name": "classify"})
    read = AutoModel if base == "encoder" else AutoModelForCausalLM
    read.from_pretrained(bench.base(), dtype=torch.bfloat16).save_pretrained(bench.base())
    run = bench.train("sixteen", epochs=1)
    assert (
        load(run.reference, base=bench.base(), registry=bench.registry).logits(TEXTS).equal(run.adapter.logits(TEXTS))
    )


def test_a_run_in_bfloat16_answers_as_what_it_stored(tmp_path: Path) -> None:
    """Its weights are float32, and the autocast of training is left behind."""
    from adapterhub_fin.engine.inference.load import load

    bench = Bench(tmp_path, "encoder", {"name": "lora", "rank": 4}, {"name": "classify"})
    run = bench.train("half", epochs=1, precision="bf16")
    assert (
        load(run.reference, base=bench.base(), registry=bench.registry).logits(TEXTS).equal(run.adapter.logits(TEXTS))
    )


@pytest.mark.parametrize(
    "training", [{"recompute": True}, {"neftune": 5.0}, {"schedule": "cosine_with_restarts", "cycles": 2}], ids=str
)
def test_a_way_of_training_trains(training: dict[str, Any], tmp_path: Path) -> None:
    bench = Bench(tmp_path, "decoder", {"name": "lora", "rank": 4}, {"name": "causal-lm"})
    run = bench.train("way", epochs=3, **training)
    assert run.losses[-1] < run.losses[0]


def test_the_head_learns_at_its_own_rate(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    bench = Bench(tmp_path, "encoder", {"name": "lora", "rank": 4}, {"name": "classify"})
    files = [
        load_file(bench.train(f"rate-{place}", **rates).version.files / "adapter_model.safetensors")
        for place, rates in enumerate(({"learning_rate": 1e-9}, {"learning_rate": 1e-9, "head_learning_rate": 1e-2}))
    ]
    moved = {name for name in files[0] if float((files[0][name] - files[1][name]).abs().max()) > 1e-4}
    assert moved == {name for name in files[0] if "classifier" in name}
