"""LoRA (Hu et al., arXiv 2106.09685), through PEFT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peft import LoraConfig, PeftConfig
from torch import nn

from adapterhub_fin.engine.peft_method import PeftMethod
from adapterhub_fin.engine.targets import linear_layers
from adapterhub_fin.interfaces import Site


class Lora(PeftMethod):
    """W x + (alpha / rank) B A x, with A random and B zero at the start."""

    @classmethod
    def options_from(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        targets = config.get("target_modules")
        return {
            "rank": config.get("r", 8),
            "alpha": config.get("lora_alpha", 8),
            "dropout": config.get("lora_dropout", 0.0),
            "targets": sorted(targets) if isinstance(targets, list) else None,
        }

    def peft_config(self, model: nn.Module, site: Site) -> PeftConfig:
        return LoraConfig(
            r=self.options.rank,
            lora_alpha=self.options.alpha,
            lora_dropout=self.options.dropout,
            target_modules=linear_layers(model, self.options.targets or site.targets, site.head_modules),
            modules_to_save=list(site.head_modules) or None,
        )
