"""Recover the base of a PEFT model as it was before any adapter, without changing the model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from peft import PeftModel
from peft.tuners.lora.layer import MultiheadAttention
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import ModulesToSaveWrapper
from torch import Tensor, nn

from adapterhub_fin.engine.base import fingerprint
from adapterhub_fin.engine.base.adapter_names import sharing_copy
from adapterhub_fin.plugin.base_changes import changes_biases, changes_weights
from adapterhub_fin.plugin.model_parts import backbone_prefix


def bare_base(model: PeftModel) -> nn.Module:
    """Return the base of a PEFT model without any wrapping; it shares the model's weights. The model is not changed."""
    copied: Any = sharing_copy(model)
    for name, module in list(copied.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):  # PEFT's own unload() would leave the trained copy there
            parent = copied.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], module.original_module)
    prompts = any(config.is_prompt_learning for config in model.peft_config.values())
    unload = None if prompts else getattr(copied.base_model, "unload", None)
    base: nn.Module = copied.get_base_model() if unload is None else unload()
    return base


def untouched(
    model: PeftModel, base: nn.Module, config: Mapping[str, Any], leave_out: Collection[str]
) -> Iterator[tuple[str, Tensor]]:
    """Yield the base's named parameters that neither the adapter's initialisation nor its training has changed.

    `leave_out` names modules whose weights are stored with the version.
    """
    changed = {tensor.data_ptr() for tensor in _changed(model, config)}  # by address: unload() may make new Parameters
    prefix, inner = backbone_prefix(base), model.get_base_model()
    attention = (name for name, module in inner.named_modules() if isinstance(module, MultiheadAttention))
    # PEFT merges into these weights in each forward pass and unmerges again, which leaves rounding errors.
    rounded = tuple(f"{name.removeprefix(prefix)}." for name in attention)
    for name, parameter in fingerprint.fingerprinted(base, leave_out):
        if parameter.data_ptr() not in changed and not name.startswith(rounded):
            yield name, parameter


def _changed(model: PeftModel, config: Mapping[str, Any]) -> Iterator[Tensor]:
    if config.get("bias") == "all":
        yield from (parameter for name, parameter in model.named_parameters() if name.endswith("bias"))
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            layer: Any = module.get_base_layer()
            if changes_biases(config) and getattr(layer, "bias", None) is not None:
                yield layer.bias
            if changes_weights(config):
                yield layer.weight
