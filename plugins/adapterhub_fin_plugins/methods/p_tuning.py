"""Train with P-tuning (Liu et al., arXiv 2103.10385) on PEFT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin import AttachContext, stated
from adapterhub_fin_plugins.methods.prompting import PromptMethod

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import nn


class PTuning(PromptMethod):
    """Prepend embeddings to every text; a small network computes them in training and is dropped afterwards."""

    @classmethod
    def options_from(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        names = {"network": "encoder_reparameterization_type", "hidden": "encoder_hidden_size"}
        options = stated(config, {**names, "layers": "encoder_num_layers", "dropout": "encoder_dropout"})
        if "network" in options:
            options["network"] = str(options["network"]).lower()
        return {**super().options_from(config), **options}

    def peft_config(self, model: nn.Module, context: AttachContext) -> PeftConfig:
        from peft import PromptEncoderConfig

        config = getattr(model, "config")  # noqa: B009  (a module's attributes have no types)
        return PromptEncoderConfig(
            num_virtual_tokens=self.options.tokens,
            encoder_reparameterization_type=self.options.network.upper(),
            encoder_hidden_size=self.options.hidden or config.get_text_config().hidden_size,
            encoder_num_layers=self.options.layers,
            encoder_dropout=self.options.dropout,
            modules_to_save=list(context.modules_to_save) or None,
        )
