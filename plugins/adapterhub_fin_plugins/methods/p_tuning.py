"""P-tuning (Liu et al., arXiv 2103.10385), through PEFT."""

from __future__ import annotations

from peft import PeftConfig, PromptEncoderConfig
from torch import nn

from adapterhub_fin.interfaces import Site
from adapterhub_fin_plugins.methods.prompting import PromptMethod


class PTuning(PromptMethod):
    """Embeddings before those of every text, given by a small network that is trained and then dropped."""

    def peft_config(self, model: nn.Module, site: Site) -> PeftConfig:
        config = getattr(model, "config")  # noqa: B009  (a module's attributes have no types)
        return PromptEncoderConfig(
            num_virtual_tokens=self.options.tokens,
            encoder_reparameterization_type=self.options.network.upper(),
            encoder_hidden_size=self.options.hidden or config.get_text_config().hidden_size,
            encoder_num_layers=self.options.layers,
            encoder_dropout=self.options.dropout,
            modules_to_save=list(site.head_modules) or None,
        )
