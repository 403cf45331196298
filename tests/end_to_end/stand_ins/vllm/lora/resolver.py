"""As vllm/lora/resolver.py of 0.33."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Set
from dataclasses import dataclass, field

from vllm.lora.request import LoRARequest


class LoRAResolver(ABC):
    @abstractmethod
    async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None: ...


@dataclass
class _LoRAResolverRegistry:
    resolvers: dict[str, LoRAResolver] = field(default_factory=dict)

    def get_supported_resolvers(self) -> Set[str]:
        return self.resolvers.keys()

    def register_resolver(self, resolver_name: str, resolver: LoRAResolver) -> None:
        if resolver_name in self.resolvers:
            logging.getLogger(__name__).warning("LoRA resolver %s is already registered", resolver_name)
        self.resolvers[resolver_name] = resolver

    def get_resolver(self, resolver_name: str) -> LoRAResolver:
        if resolver_name not in self.resolvers:
            raise KeyError(f"LoRA resolver {resolver_name!r} not found")
        return self.resolvers[resolver_name]


LoRAResolverRegistry = _LoRAResolverRegistry()
