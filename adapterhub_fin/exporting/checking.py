"""Check a stored version against the rules of a serving engine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.base.stored_base import check_is_adapter
from adapterhub_fin.errors import UnknownName
from adapterhub_fin.exporting.finding import Finding, Rules, StoredAdapter
from adapterhub_fin.plugin.adapter_files import CONFIG
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    from adapterhub_fin_registry import Version

TARGETS = ("vllm", "sglang", "transformers", "onnx", "tei")
FOLDED = ("onnx", "tei")  # which read no adapter: the version is folded into its base


@dataclass(frozen=True)
class Report:
    """Hold the findings on a version for one engine."""

    version: Version
    target: str
    findings: Sequence[Finding]

    @property
    def served(self) -> bool:
        """Tell whether the engine serves the version as PEFT does; findings of the level `unsure` may prevent it."""
        return all(finding.level == "unsure" for finding in self.findings)


def check(reference: str, target: str, *, max_lora_rank: int | None = None, registry: Registry | None = None) -> Report:
    """Return what an engine (vllm, sglang, transformers, onnx or tei) would refuse of a version.

    The engine need not be installed. `max_lora_rank` is the server's own setting. The version's files are verified; no
    weight is read. Raises UnknownName for an engine without rules here, NotFound and Corrupted.

    Example:
        >>> report = ahf.check("acme/notes@1", "vllm", max_lora_rank=16)
        >>> report.served, [finding.rule for finding in report.findings]
        (False, ['rank'])
    """
    if target not in TARGETS:
        raise UnknownName("serving engine", target, TARGETS)
    registry = registry or configured_registries().answering(reference)
    version = registry.resolve(reference)
    check_is_adapter(version)
    return Report(version, target, version_findings(version, registry.path(version), target, max_lora_rank))


def version_findings(version: Version, folder: Path, target: str, max_lora_rank: int | None = None) -> list[Finding]:
    """Return the findings on a version whose verified files are in a folder."""
    stored = read_stored(version, folder)
    if stored is None and target in FOLDED:  # a method without PEFT folds by its own code
        stored = _stored(version, folder, {})
    return findings(stored, target, max_lora_rank)


def findings(stored: StoredAdapter | None, target: str, max_lora_rank: int | None = None) -> list[Finding]:
    """Return the findings on what was read of a version; None is a version that is no PEFT folder.

    Raises ImportError for a target without a module of rules.
    """
    if stored is None:
        says = f"it has no {CONFIG}, which every engine needs"
        return [Finding("refused", "config", CONFIG, says, "load it with ahf.load")]
    rules: Rules = import_module(f"adapterhub_fin.exporting.{target}").rules
    return rules(stored, max_lora_rank)


def read_stored(version: Version, folder: Path) -> StoredAdapter | None:
    """Return what the rules read of a version whose verified files are in a folder; None where it is no PEFT folder."""
    config = _object(folder / CONFIG)
    return None if config is None else _stored(version, folder, config)


def _stored(version: Version, folder: Path, config: Mapping[str, Any]) -> StoredAdapter:
    head, base = version.manifest.head, version.manifest.base
    tokens = _object(folder / "added_tokens.json") or {}
    return StoredAdapter(
        config=config,
        tensors={tensor.name: tensor.shape for tensor in version.manifest.tensors},
        added_tokens={token: number for token, number in tokens.items() if isinstance(number, int)},
        labels=head.labels if head else None,
        vocabulary=base.vocabulary_size,
        head=head.name if head else None,
        head_options=head.options if head else {},
        architecture=base.architecture,
        is_quantized=base.quantization is not None,
        is_low_rank="additive_low_rank" in version.manifest.method.traits,
    )


def _object(path: Path) -> Mapping[str, Any] | None:
    """Return a JSON object of the folder; None where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None
