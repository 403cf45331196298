"""Train with prompt tuning (Lester et al., arXiv 2104.08691) on PEFT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin import AttachContext, peft_model
from adapterhub_fin_plugins.methods.prompting import PromptMethod, text_tokens

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import nn

INITS = {"TEXT": "text", "SAMPLE_VOCAB": "vocabulary", "RANDOM": "random"}  # by PEFT's name


class PromptTuning(PromptMethod):
    """Prepend trained embeddings to those of every text."""

    @classmethod
    def options_from(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        options = super().options_from(config)
        start = config.get("prompt_tuning_init")
        if start in INITS:
            options["init"] = INITS[start]
        if start == "TEXT" and config.get("prompt_tuning_init_text"):
            options["text"] = config["prompt_tuning_init_text"]
        return options

    def peft_config(self, model: nn.Module, context: AttachContext) -> PeftConfig:
        from peft import PromptTuningConfig

        return PromptTuningConfig(
            num_virtual_tokens=self.options.tokens, modules_to_save=list(context.modules_to_save) or None
        )

    def attach(self, model: nn.Module, context: AttachContext) -> nn.Module:
        import torch

        wrapped = super().attach(model, context)
        prompt = peft_model(wrapped).prompt_encoder[context.adapter_name].embedding.weight
        if self.options.init != "random" and not prompt.is_meta:
            words = peft_model(wrapped).get_base_model().get_input_embeddings()
            if self.options.init == "text" and context.tokenizer is not None:
                ids = torch.tensor(text_tokens(context.tokenizer, self.options.text, self.options.tokens))
            else:
                ids = torch.randint(0, words.weight.shape[0], (self.options.tokens,))
            with torch.no_grad():
                prompt.copy_(words(ids.to(words.weight.device)))
        return wrapped
