"""Train with QLoRA (Dettmers et al., arXiv 2305.14314): LoRA on a base in four or eight bits, on a GPU or a CPU."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin import BadRecipe
from adapterhub_fin_plugins.methods.lora import Lora

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from torch import nn
    from transformers import PretrainedConfig


class QLora(Lora):
    """Attach LoRA in full precision to a base whose linear layers bitsandbytes stores in four or eight bits."""

    def check(self, config: PretrainedConfig, task: str | None) -> None:
        """Raise BadRecipe for a base that is already quantized."""
        quantized = getattr(config, "quantization_config", None)
        if quantized is not None:
            raise BadRecipe(
                f"the base is quantized already ({_kind(quantized)}), and qlora quantizes it itself: use lora on it, "
                "or the unquantized base"
            )

    def loading(self) -> Mapping[str, Any]:
        """Return the arguments of from_pretrained that load the base in four or eight bits."""
        import torch
        from transformers import BitsAndBytesConfig

        quantize: Any = BitsAndBytesConfig  # its library has no types
        if self.options.bits == 8:
            # It warns at each layer of each batch that inputs are rounded to float16, which is LLM.int8 itself.
            logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
            config = quantize(load_in_8bit=True, llm_int8_threshold=self.options.threshold)
        else:
            config = quantize(
                load_in_4bit=True,
                bnb_4bit_quant_type=self.options.quantization,
                bnb_4bit_use_double_quant=self.options.double,
                bnb_4bit_compute_dtype=self._compute(),
            )
        device = {"device_map": {"": torch.cuda.current_device()}} if torch.cuda.is_available() else {}
        # Norms and embeddings are not quantized and stay in float32, as in the paper.
        return {"quantization_config": config, "dtype": torch.float32, **device}

    def _compute(self) -> torch.dtype:
        import torch

        if self.options.compute != "auto":
            dtype: torch.dtype = getattr(torch, self.options.compute)
            return dtype
        return torch.bfloat16 if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else torch.float32

    def prepare_base(self, model: nn.Module) -> None:
        modules: Any = model.modules()
        for module in modules:
            # On processors with AVX512-BF16, bitsandbytes 0.50 repacks a layer permanently at its first evaluation and
            # rounds its scales: training would continue on another base, and a resumed run on yet another.
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
            if hasattr(module, "init_8bit_state"):
                module.init_8bit_state = partial(_take_scales, module)

    def _inject(self, model: nn.Module, config: PeftConfig, adapter_name: str) -> nn.Module:
        self.prepare_base(model)  # one that other code loaded, too
        return super()._inject(model, config, adapter_name)


def _take_scales(layer: Any) -> None:
    """Move an eight-bit layer's weight and scales to where it computes with them.

    PEFT 0.21's DoRA makes a new weight at each forward pass on a CPU, which has no scales any more; the layer has them.
    """
    if layer.weight.SCB is None:
        layer.weight.SCB = layer.state.SCB
    type(layer).init_8bit_state(layer)


def _kind(quantized: Any) -> str:
    settings = quantized if isinstance(quantized, Mapping) else getattr(quantized, "__dict__", {})
    return str(settings.get("quant_method", "of an unknown kind"))
