"""Check a stored version against the rules of a serving engine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.errors import UnknownName
from adapterhub_fin.exporting.finding import Finding, Rules, StoredAdapter
from adapterhub_fin.plugin.adapter_files import CONFIG
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Registry

if TYPE_CHECKING:
    from adapterhub_fin_registry import Version

TARGETS = ("vllm", "sglang", "transformers")


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
    """Return what a serving engine (vllm, sglang or transformers) would refuse of a version.

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
    stored = read_stored(version, registry.path(version))
    return Report(version, target, findings(stored, target, max_lora_rank))


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
    if config is None:
        return None
    head = version.manifest.head
    tokens = _object(folder / "added_tokens.json") or {}
    return StoredAdapter(
        config=config,
        tensors={tensor.name: tensor.shape for tensor in version.manifest.tensors},
        added_tokens={token: number for token, number in tokens.items() if isinstance(number, int)},
        labels=head.labels if head else None,
        vocabulary=version.manifest.base.vocabulary_size,
    )


def _object(path: Path) -> Mapping[str, Any] | None:
    """Return a JSON object of the folder; None where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None
