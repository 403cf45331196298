"""vLLM's interface for resolvers, where vLLM can't be installed: its names and signatures, and nothing behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm.lora.request import LoRARequest


@dataclass
class SamplingParams:
    temperature: float = 1.0
    max_tokens: int = 16


@dataclass
class CompletionOutput:
    text: str


@dataclass
class RequestOutput:
    outputs: list[CompletionOutput]


class LLM:
    """Calls the plugins as vllm/plugins/__init__.py does, and answers with where each prompt's adapter lies."""

    def __init__(self, model: str, *, enable_lora: bool = False, max_lora_rank: int = 16) -> None:
        for plugin in entry_points(group="vllm.general_plugins"):
            plugin.load()()

    def generate(
        self, prompts: Sequence[str], sampling_params: SamplingParams, *, lora_request: LoRARequest | None = None
    ) -> list[RequestOutput]:
        path = lora_request.lora_path if lora_request else ""
        return [RequestOutput([CompletionOutput(f"{prompt} {path}")]) for prompt in prompts]
