"""Record beside a graph what it was made from, with what, and how far it is from torch."""

from __future__ import annotations

import json
import math
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapterhub_fin._version import __version__
from adapterhub_fin.exporting.onnx_graph.graph import INPUTS, OPSET, OUTPUT
from adapterhub_fin_registry.io.safe_read import hash_file
from adapterhub_fin_registry.model.knowledge import format_instant

if TYPE_CHECKING:
    from adapterhub_fin.plugin.answers import AnswerForm
    from adapterhub_fin_registry import Version

ANSWER: Final = "answer.json"
MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
LIBRARIES: Final = ("torch", "transformers", "tokenizers", "onnx", "onnxscript", "onnxruntime")
CPU_FEATURES: Final = re.compile(r"avx|amx|vnni|asimddp|i8mm|bf16")  # on which the rounding of int8 products depends


def write_answer(form: AnswerForm, version: Version, max_length: int, path: Path) -> None:
    """Write what a program needs beside the graph to make an answer of its outputs."""
    inputs = [*INPUTS, *(["features"] if form.mean else [])]
    empty = {key: value for key, value in asdict(form).items() if value not in ((), None)}
    if form.thresholds:  # as outputs, in which the head compares
        empty["limits"] = [math.log(value / (1 - value)) for value in form.thresholds]
    head = version.manifest.head
    _write(
        path,
        {"head": head.name if head else None, **empty, "inputs": inputs, "output": OUTPUT, "max_length": max_length},
    )


def write_manifest(
    version: Version, expected_base: Any, precision: str, measured: Mapping[str, Any], built: Path
) -> dict[str, Any]:
    """Write the manifest of a folder, with the size and the SHA-256 of every other file in it, and return it."""
    base = expected_base
    manifest = {
        "format": FORMAT,
        "layout": "onnx",
        "reference": version.reference,
        "digest": version.digest,
        "knowledge_end": {
            "with_base": format_instant(version.knows_until(True)),
            "without_base": format_instant(version.knows_until(False)),
        },
        "base": {
            "repository": base.repository,
            "revision": base.revision,
            "architecture": base.architecture,
            "fingerprint": base.fingerprint,
            "structure_digest": base.structure_digest,
            "tokenizer_digest": base.tokenizer_digest,
        },
        "precision": precision,
        "opset": OPSET,
        "exporter": {"adapterhub-fin": __version__, **{name: installed(name) for name in LIBRARIES}},
        "measured": {**measured, "cpu": cpu()},
        "files": [_file(path, built) for path in sorted(built.rglob("*")) if path.is_file()],
    }
    _write(built / MANIFEST, manifest)
    return manifest


def _file(path: Path, built: Path) -> dict[str, Any]:
    size, digest = hash_file(path)
    return {"path": path.relative_to(built).as_posix(), "size": size, "sha256": digest}


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def cpu() -> dict[str, Any]:
    """Return the name of this machine's processor, and the extensions on which int8 results depend."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.is_file() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name") or platform.processor() or platform.machine()
    flags = fields.get("flags", fields.get("Features", "")).split()
    features = sorted(flag for flag in flags if CPU_FEATURES.search(flag))
    return {"name": name, "machine": platform.machine(), "features": features}
