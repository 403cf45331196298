"""Check a stored version against what a serving engine takes."""

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
    """What an engine would make of a version."""

    version: Version
    target: str
    findings: Sequence[Finding]

    @property
    def served(self) -> bool:
        """Whether nothing is refused and nothing would answer otherwise; what is unsure may still go either way."""
        return all(finding.level == "unsure" for finding in self.findings)


def check(reference: str, target: str, *, max_lora_rank: int | None = None, registry: Registry | None = None) -> Report:
    """What a serving engine (vllm, sglang or transformers) would refuse of a version, without the engine installed.

    `max_lora_rank` is the server's own setting. The version's files are verified; no weight is read.
    """
    if target not in TARGETS:
        raise UnknownName("serving engine", target, TARGETS)
    registry = registry or configured_registries().answering(reference)
    version = registry.resolve(reference)
    stored = read_stored(version, registry.path(version.reference))
    return Report(version, target, findings(stored, target, max_lora_rank))


def findings(stored: StoredAdapter | None, target: str, max_lora_rank: int | None = None) -> list[Finding]:
    """The findings on what was read of a version; None is one that PEFT knows nothing of."""
    if stored is None:
        says = f"it has no {CONFIG}, by which every engine knows an adapter"
        return [Finding("refused", "config", CONFIG, says, "load it with ahf.load")]
    rules: Rules = import_module(f"adapterhub_fin.exporting.{target}").rules
    return rules(stored, max_lora_rank)


def read_stored(version: Version, folder: Path) -> StoredAdapter | None:
    """What the rules read of a version whose files lie, verified, in a folder; None where it is no PEFT folder."""
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
    """A JSON object of the folder, which others wrote; None where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None
