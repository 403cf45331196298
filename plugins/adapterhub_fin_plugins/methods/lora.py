"""LoRA (Hu et al., arXiv 2106.09685), through PEFT."""

from __future__ import annotations

from peft import LoraConfig, PeftConfig
from torch import nn

from adapterhub_fin.engine.peft_method import PeftMethod
from adapterhub_fin.engine.targets import linear_layers
from adapterhub_fin.interfaces import Site


class Lora(PeftMethod):
    """W x + (alpha / rank) B A x, with A random and B zero at the start."""

    def peft_config(self, model: nn.Module, site: Site) -> PeftConfig:
        return LoraConfig(
            r=self.options.rank,
            lora_alpha=self.options.alpha,
            lora_dropout=self.options.dropout,
            target_modules=linear_layers(model, self.options.targets or site.targets, site.head_modules),
            modules_to_save=list(site.head_modules) or None,
        )
