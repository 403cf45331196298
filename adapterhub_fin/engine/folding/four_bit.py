"""Restore a base's weights as an adapter saw them that was trained on it in four bits.

Transformers decides which layers were quantized, and bitsandbytes quantizes and dequantizes each. So the weights are
those of the training bit for bit, where the same device quantizes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from adapterhub_fin.errors import Unsupported

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KINDS = ("bitsandbytes", "QuantizationMethod.BITS_AND_BYTES")  # the second is an early spelling of 0.1.0
SETTINGS = (
    *("load_in_4bit", "llm_int8_skip_modules", "bnb_4bit_compute_dtype"),
    *("bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "bnb_4bit_quant_storage"),
)


class FourBit:
    """Compute what bitsandbytes makes of a model's layers under one configuration."""

    def __init__(self, model: PreTrainedModel, quantization: Mapping[str, Any], dtype: str, whose: str) -> None:
        """Prepare the layers; raises Unsupported for another quantization, or without bitsandbytes.

        `model` is on the meta device; `dtype` is the one its weights were loaded in before they were quantized.
        """
        kind = str(quantization.get("quant_method", "an unknown method"))
        if kind not in KINDS or not quantization.get("load_in_4bit"):
            raise Unsupported(
                f"{whose} was trained on a base quantized by {kind}, and only bitsandbytes' four bits can be "
                "dequantised: fold it into the base's own weights with --into original (into='original')"
            )
        try:
            from transformers.integrations.bitsandbytes import replace_with_bnb_linear
            from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer
        except (ImportError, NameError) as error:
            raise Unsupported(
                f"{whose} was trained on a base in four bits, which bitsandbytes dequantises: pip install "
                "'adapterhub-fin[qlora]', or fold it into the base's own weights with --into original (into='original')"
            ) from error
        from transformers import BitsAndBytesConfig

        build: Any = BitsAndBytesConfig
        config = build.from_dict({key: value for key, value in quantization.items() if key in SETTINGS})
        self.compute: torch.dtype = config.bnb_4bit_compute_dtype
        self.dtype: torch.dtype = getattr(torch, dtype)
        skeleton: Any = copy.deepcopy(model)
        unquantized = Bnb4BitHfQuantizer.get_modules_to_not_convert(
            skeleton, config.llm_int8_skip_modules, skeleton._keep_in_fp32_modules
        )
        replace_with_bnb_linear(skeleton, modules_to_not_convert=unquantized, quantization_config=config)
        self._layers = {
            f"{name}.weight": module for name, module in skeleton.named_modules() if hasattr(module, "source_cls")
        }

    def holds(self, key: str) -> bool:
        """Return whether a parameter was quantized."""
        return key in self._layers

    def dequantised(self, key: str, weight: Tensor) -> Tensor:
        """Return a stored weight after quantization to four bits and back, in its shape and its loaded dtype."""
        from bitsandbytes.functional import dequantize_4bit
        from bitsandbytes.nn.modules import Params4bit
        from transformers.pytorch_utils import Conv1D

        layer = self._layers[key]
        transposed = issubclass(layer.source_cls, Conv1D)
        value = (weight.T if transposed else weight).to(self.dtype).contiguous()
        quantize: Any = Params4bit
        packed = quantize(value, requires_grad=False, **layer.weight.__dict__).to("cpu")
        restored: Tensor = dequantize_4bit(packed.data, packed.quant_state)
        return restored.T if transposed else restored
