"""Show how to serve an exported folder: the command that starts an engine with it, and a request that names it.

The commands are from each engine's repository: vLLM's docs/features/lora.md, SGLang's docs/advanced_features/lora.md,
LoRAX's docs/models/adapters and TGI's docs/source/conceptual/lora.md.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from adapterhub_fin.errors import UnknownName, Unsupported
from adapterhub_fin.exporting.finding import Finding, StoredAdapter
from adapterhub_fin.exporting.lora import experts, largest_rank, not_lora
from adapterhub_fin.exporting.vllm import RANKS

TEMPLATE = "chat_template.jinja"
UNNAMED = "BASE"  # placeholder for a base whose repository was not recorded
PROMPT = "Margins widened in Q3."


@dataclass(frozen=True)
class Launch:
    """Hold how to start an engine with one adapter, and the request that uses it."""

    engine: str
    name: str
    command: tuple[str, ...]
    path: str
    body: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return the command as a shell takes it, and the request on one line."""
        variables = [f"{key}={shlex.quote(value)}" for key, value in self.environment.items()]
        return [" ".join([*variables, shlex.join(self.command)]), f"POST {self.path} {json.dumps(self.body)}"]


def launch(
    engine: str, name: str, folder: Path, base: str | None, stored: StoredAdapter, templated: bool = False
) -> Launch:
    """Return how an engine serves the adapter in a folder under a name, on a base by its Hub id.

    `templated` says that the folder holds a chat template, which vLLM and SGLang take for the server as a whole.

    Raises UnknownName for another engine, and Unsupported where the engine can't serve the adapter.
    """
    if engine not in ENGINES:
        raise UnknownName("serving engine", engine, ENGINES)
    for finding in _stopping(engine, stored):
        raise Unsupported(f"{engine} can't serve {name}: {finding.says}; {finding.do}")
    _check_text(engine, name, folder)
    launched = ENGINES[engine](name, folder, base or UNNAMED, stored)
    if not (templated and engine in ("vllm", "sglang")):
        return launched
    return replace(launched, command=(*launched.command, "--chat-template", str(folder / TEMPLATE)))


def _vllm(name: str, folder: Path, base: str, stored: StoredAdapter) -> Launch:
    rank = str(next(limit for limit in RANKS if limit >= largest_rank(stored)))
    options = ("--enable-lora", "--max-lora-rank", rank, "--lora-modules", f"{name}={folder}")
    body = {"model": name, "prompt": PROMPT}
    return Launch("vllm", name, ("vllm", "serve", base, *options), "/v1/completions", body)


def _sglang(name: str, folder: Path, base: str, stored: StoredAdapter) -> Launch:
    options = ("--model-path", base, "--enable-lora", "--lora-paths", f"{name}={folder}")
    body = {"model": f"{base}:{name}", "prompt": PROMPT}
    return Launch("sglang", name, ("python", "-m", "sglang.launch_server", *options), "/v1/completions", body)


def _lorax(name: str, folder: Path, base: str, stored: StoredAdapter) -> Launch:
    body = {"inputs": PROMPT, "parameters": {"adapter_id": str(folder), "adapter_source": "local"}}
    return Launch("lorax", name, ("lorax-launcher", "--model-id", base), "/generate", body)


def _tgi(name: str, folder: Path, base: str, stored: StoredAdapter) -> Launch:
    body = {"inputs": PROMPT, "parameters": {"adapter_id": name}}
    adapters = {"LORA_ADAPTERS": f"{name}={folder}"}
    return Launch("tgi", name, ("text-generation-launcher", "--model-id", base), "/generate", body, adapters)


ENGINES: Mapping[str, Callable[[str, Path, str, StoredAdapter], Launch]] = {
    "vllm": _vllm,
    "sglang": _sglang,
    "lorax": _lorax,
    "tgi": _tgi,
}


def _stopping(engine: str, stored: StoredAdapter) -> list[Finding]:
    """Return the findings that stop an engine: by its own rules if they are known, else for what is no LoRA."""
    from adapterhub_fin.exporting.checking import TARGETS, findings

    if engine in TARGETS:
        all_findings = findings(stored, engine, RANKS[-1] if engine == "vllm" else None)
        return [finding for finding in all_findings if finding.level != "unsure"]
    name = {"lorax": "LoRAX", "tgi": "TGI"}[engine]
    return [*not_lora(stored, name), *experts(stored, name, "it adapts layers only")]


def _check_text(engine: str, name: str, folder: Path) -> None:
    """Raise Unsupported for a character that an engine splits a list or a name at."""
    separators = {"sglang": ("=:", ""), "tgi": ("=,", "=,"), "vllm": ("=", "")}.get(engine, ("", ""))
    for what, text, characters in (("name", name, separators[0]), ("folder", str(folder), separators[1])):
        for character in characters:
            if character in text:
                raise Unsupported(f"{engine} splits the {what} {text} at {character!r}: choose another {what}")
