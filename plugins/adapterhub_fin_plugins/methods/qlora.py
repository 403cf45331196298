"""QLoRA (Dettmers et al., arXiv 2305.14314): LoRA on a base in four bits, by bitsandbytes, on a GPU or a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adapterhub_fin.errors import BadRecipe
from adapterhub_fin_plugins.methods.lora import Lora

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from torch import nn
    from transformers import PretrainedConfig


class QLora(Lora):
    """LoRA in full precision on a base whose linear layers are stored in four bits."""

    def check(self, config: PretrainedConfig, task: str | None) -> None:
        quantized = getattr(config, "quantization_config", None)
        if quantized is not None:
            raise BadRecipe(
                f"the base is quantized already ({_kind(quantized)}), and qlora quantizes it itself: use lora on it, "
                "or the base it was made from"
            )

    def loading(self) -> Mapping[str, Any]:
        import torch
        from transformers import BitsAndBytesConfig

        quantize: Any = BitsAndBytesConfig  # untyped, as its library is
        config = quantize(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.options.quantization,
            bnb_4bit_use_double_quant=self.options.double,
            bnb_4bit_compute_dtype=self._compute(),
        )
        place = {"device_map": {"": torch.cuda.current_device()}} if torch.cuda.is_available() else {}
        # What is not quantized, norms and embeddings, is computed in float32, as in the paper.
        return {"quantization_config": config, "dtype": torch.float32, **place}

    def _compute(self) -> torch.dtype:
        import torch

        if self.options.compute != "auto":
            dtype: torch.dtype = getattr(torch, self.options.compute)
            return dtype
        return torch.bfloat16 if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else torch.float32

    def _inject(self, model: nn.Module, config: PeftConfig, adapter_name: str) -> nn.Module:
        modules: Any = model.modules()
        for module in modules:
            # On processors with AVX512-BF16, bitsandbytes 0.50 repacks a layer for good at its first evaluation and
            # rounds its scales: training would go on with another base, and a resumed run with yet another.
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
        return super()._inject(model, config, adapter_name)


def _kind(quantized: Any) -> str:
    found = quantized if isinstance(quantized, Mapping) else getattr(quantized, "__dict__", {})
    return str(found.get("quant_method", "of an unknown kind"))
