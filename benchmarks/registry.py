"""The registry at size: search, the whole process, the index's rebuild, adding and resolving; MLflow's beside it.

    python benchmarks/registry.py [--versions 100000] [--root FOLDER] [--mlflow]

The versions are written in the format directly, each with a manifest of the size that training writes (28 kB: tensors
and the base's probe) and without weights; a root that is there already is used again. Adding is measured by
`Registry.add` of a folder of 5 MB, in turn with a copy, a sha256 and an fsync of the same files. `--mlflow`, where it
is installed, does what it can of the same work in its SQLite registry, with at most 2000 versions.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from adapterhub_fin_registry import Manifest, Registry
from adapterhub_fin_registry.canonical import canonical, digest_of
from adapterhub_fin_registry.manifest import Knowledge, KnowledgeInput

NAMESPACES = ("acme", "beta", "credit", "desk", "equities", "fixed", "global", "house", "index", "macro")
SECTORS = ("banks", "energy", "health", "industrials", "media", "metals", "retail", "software", "telecoms", "utilities")
TASKS = ("sentiment", "topic", "surprise", "tone", "guidance")
BASES = ("acme/encoder-small", "acme/encoder-large", "acme/reader-1b", "acme/reader-7b")
CORPORA = ("headlines", "filings", "calls", "notes")
QUERIES = {
    "task and metric, best first": "task = 'sentiment' AND metrics.accuracy > 0.85 ORDER BY metrics.accuracy DESC",
    "alias": "alias = champion",
    "one name": "name = 'acme/banks-sentiment-0' ORDER BY version DESC",
    "option and base": "method.rank >= 16 AND base = 'acme/reader-7b'",
    "tag, negated": "tag = production AND NOT metrics.accuracy < 0.8",
    "words": "banks sentiment",
    "rare words and a metric": '"quarter 37" AND metrics.macro_f1 > 0.7',
    "evaluation": "eval.calls.test.accuracy > 0.9 ORDER BY eval.calls.test.accuracy DESC",
    "newest": "corpus IN (filings, calls) ORDER BY added_at DESC",
    "knowledge": "knowledge_end < 2016-01-01 AND NOT yanked = true",
    "part of a name": "name ~ 'METALS-TONE'",
    "nothing fits": "task = 'tone' AND metrics.accuracy > 0.999999",
}


def manifests(count: int) -> Iterator[tuple[int, dict[str, Any], bytes]]:
    """Manifests with the tensors of an encoder's adapter and a probe of its base, and what varies between versions."""
    draw = random.Random(0)
    layers = [
        f"encoder.layer.{i}.{part}" for i in range(6) for part in ("query", "key", "value", "output", "up", "down")
    ]
    tensors = sorted([f"base_model.{layer}.lora_{side}.weight", "F32", [16, 384]] for layer in layers for side in "AB")
    probes = {
        base: canonical(
            {
                "dtype": "float32",
                "values": {f"{layer}.{k}": [draw.random() for _ in range(8)] for layer in layers for k in "abc"},
            }
        )
        for base in BASES
    }
    for i in range(count):
        year, quarter = 2010 + i % 15, i % 60
        base, corpus, task = draw.choice(BASES), draw.choice(CORPORA), TASKS[i // 50 % len(TASKS)]
        inputs = [
            {"input": "base", "at": "2010-06-30T00:00:00Z", "kind": "asserted", "evidence": "card"},
            {
                "input": f"corpus:{corpus}",
                "at": f"{year}-{1 + i % 12:02}-28T00:00:00Z",
                "kind": "observed",
                "evidence": "",
            },
        ]
        document = {
            **{"format": 1, "environment": {"torch": "2.13.0", "device": "cpu"}, "parents": [], "recipe": None},
            "files": [["adapter_config.json", 900, "0" * 64], ["adapter_model.safetensors", 5 * 2**20, "1" * 64]],
            "tensors": tensors,
            "method": {
                "name": draw.choice(("lora", "lora", "adalora", "qlora")),
                "options": {"alpha": 32, "dropout": 0.05, "rank": draw.choice((4, 8, 16, 32)), "targets": "all-linear"},
                "provider": {"distribution": "adapterhub-fin", "version": "0.1.0"},
                "traits": [],
            },
            "head": {
                "name": "classify",
                "options": {"task": task},
                "labels": ["down", "flat", "up"],
                "modules": ["head"],
            },
            "base": {
                **dict.fromkeys(("revision", "config_digest", "tokenizer_digest", "structure_digest", "quantization")),
                **{"repository": base, "architecture": "BertModel", "vocabulary_size": 30522, "transformers": "5.23.0"},
                **{"weight_probe": "@", "pin": "verified"},
            },
            "corpus": {
                **{"name": corpus, "options": {"rows": 4000}, "digest": None, "rows": {"train": 3000, "test": 1000}},
                **{"available": None, "licence": "CC-BY-4.0"},
            },
            "knowledge": {"inputs": inputs, "end": max(entry["at"] for entry in inputs)},
            "metrics": {"accuracy": draw.random(), "macro_f1": draw.random()},
            "measured_on": {"split": "test", "rows": 1000, "corpus_digest": None},
            **{"seed": i % 10, "licence": "Apache-2.0", "tags": draw.sample(("production", "research", "old"), 1)},
            "description": f"The {task} of {corpus}, quarter {quarter}",
        }
        yield i, document, canonical(document).replace(b'"@"', probes[base])


def write_registry(root: Path, count: int) -> None:
    """Fifty versions a name; a tenth evaluated, a fiftieth yanked, a champion each."""
    print(f"writing {count:,} versions", file=sys.stderr)
    for i, _, data in manifests(count):
        group, number = divmod(i, 50)
        name = f"{SECTORS[group // 5 % 10]}-{TASKS[group % 5]}-{group // 500}"
        folder = root / "adapters" / NAMESPACES[group // 50 % 10] / name
        version = folder / "versions" / str(number + 1)
        (version / "files").mkdir(parents=True)
        (version / "manifest.json").write_bytes(data)
        at = {"at": f"2026-{1 + i % 12:02}-{1 + i % 28:02}T00:00:00Z", "by": "bench@host"}
        record = {"name": f"{folder.parent.name}/{name}", "version": number + 1, "origin": None}
        (version / "record.json").write_bytes(canonical({**record, "added_at": at["at"], "added_by": at["by"]}))
        events: list[dict[str, Any]] = []
        if i % 10 == 0:
            events.append(
                {"kind": "evaluation", "corpus": "calls", "split": "test", "metrics": {"accuracy": i % 997 / 997}}
            )
        if i % 50 == 7:
            events.append({"kind": "yank", "reason": "bench"})
        for place, event in enumerate(events, 1):
            (version / "events" / str(place)).mkdir(parents=True)
            (version / "events" / str(place) / "event.json").write_bytes(canonical({**event, **at}))
        if number == 0:
            (folder / "aliases" / "champion" / "1").mkdir(parents=True)
            (folder / "aliases" / "champion" / "1" / "alias.json").write_bytes(
                canonical({"version": 1, "at": at["at"]})
            )
            (folder / "changed").write_text(uuid.uuid4().hex)
    (root / "changed").write_text(uuid.uuid4().hex)
    (root / "registry.json").write_bytes(canonical({"format": 1, "id": str(uuid.uuid4())}))
