"""Train with LoRA (Hu et al., arXiv 2106.09685) on PEFT, with PEFT's initializations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin import AttachContext, BadRecipe, PeftMethod, WrongBase, linear_layers, stated
from adapterhub_fin_plugins.methods import lora_init
from adapterhub_fin_plugins.methods.options import CHANGES_BASE

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor, nn

    Start = Mapping[str, Tensor]


class Lora(PeftMethod):
    """Compute W x + scale B A x, with scale = alpha / rank; B A is zero at the start unless `init` says otherwise.

    Some initializations subtract S = scale B0 A0 from W. On the unchanged base W, such an adapter has learned
    scale (B A - B0 A0) = scale [B, -B0] [A; A0], plain LoRA of twice the rank. That is what is stored.
    """

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.starts: dict[str, Start] = {}
        self.reload_after_save = getattr(options, "init", "default") in CHANGES_BASE

    @classmethod
    def options_from(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that a PEFT configuration of LoRA states."""
        names = {"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout", "rslora": "use_rslora"}
        options = stated(config, {**names, "dora": "use_dora"})
        if isinstance(targets := config.get("target_modules"), list):
            options["targets"] = sorted(targets, key=str)
        if (start := config.get("init_lora_weights")) is True:
            options["init"] = "default"
        elif isinstance(start, str):
            options["init"] = start.lower().replace("_", "-")
        return options

    def peft_config(self, model: nn.Module, context: AttachContext) -> PeftConfig:
        """Return PEFT's LoraConfig."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.options.rank,
            lora_alpha=self.options.alpha,
            lora_dropout=self.options.dropout,
            use_rslora=self.options.rslora,
            use_dora=self.options.dora,
            target_modules=linear_layers(model, self.options.targets or context.targets, context.modules_to_save),
            modules_to_save=list(context.modules_to_save) or None,
        )

    def attach(self, model: nn.Module, context: AttachContext) -> nn.Module:
        """Attach LoRA to the matching layers and initialize it.

        Raises BadRecipe if the init needs training batches and there are none, or if a layer is too small for it.
        """
        init = getattr(self.options, "init", "default")
        if init == "default":
            return super().attach(model, context)
        config = self._config(model, context)
        self._check_rank(init, model, config)
        if next(model.parameters()).is_meta:  # there are no weights to initialize from
            return self._inject(model, config, context.adapter_name)
        if init in lora_init.USES_DATA and context.batches is None:
            raise BadRecipe(f"the init {init} needs training batches, and none were given: choose another")
        batches = list(itertools.islice(context.batches(), self.options.init_batches)) if context.batches else []
        lora_init.prepare(init, model, config, batches, context.loss)
        wrapped = self._inject(model, config, context.adapter_name)
        lora_init.finish(init, wrapped, context.adapter_name, batches)
        if self.reload_after_save:
            stored = super().tensors(wrapped, context.adapter_name)
            self.starts[context.adapter_name] = {
                name: value.clone() for name, value in stored.items() if ".lora_" in name
            }
        return wrapped

    def _inject(self, model: nn.Module, config: PeftConfig, adapter_name: str) -> nn.Module:
        try:
            return super()._inject(model, config, adapter_name)
        except WrongBase as error:  # PEFT names its own option and a layer that the recipe doesn't name
            if "lora_dropout" not in str(error):
                raise
            raise BadRecipe(
                "this base stores the weights of its experts in one parameter, where LoRA supports no dropout: set "
                "method.dropout to 0"
            ) from error

    def _check_rank(self, init: str, model: nn.Module, config: Any) -> None:
        """Raise BadRecipe if a layer has fewer directions than the init needs: the rank, or twice that for LoRA-GA."""
        if init not in CHANGES_BASE:
            return
        from peft.tuners.tuners_utils import check_target_module_exists

        needed = self.options.rank * (2 if init == "lora-ga" else 1)
        for name, module in model.named_modules():
            weight = getattr(module, "weight", None)
            if weight is not None and check_target_module_exists(config, name) and min(weight.shape) < needed:
                raise BadRecipe(
                    f"the init {init} at rank {self.options.rank} needs {needed} directions, and {name} has "
                    f"{min(weight.shape)}: lower method.rank, or exclude the layer from method.targets"
                )

    def tensors(self, model: nn.Module, adapter_name: str) -> Mapping[str, Tensor]:
        """Return the adapter's tensors; after an init that changes the base, those of the difference to it."""
        current = super().tensors(model, adapter_name)
        start = self.starts.get(adapter_name)
        if start is None:
            return current
        return {name: _difference(name, value.detach(), start.get(name)) for name, value in current.items()}

    def plain_config(self, model: nn.Module, adapter_name: str) -> dict[str, Any]:
        """Return PEFT's configuration of the tensors that `tensors` returns."""
        config = super().plain_config(model, adapter_name)
        if adapter_name in self.starts:
            factor = math.sqrt(2) if config["use_rslora"] else 2
            config |= {"r": 2 * config["r"], "lora_alpha": factor * config["lora_alpha"]}
            config |= {"init_lora_weights": True, "corda_config": None, "lora_ga_config": None}
        return config


def _difference(name: str, value: Tensor, start: Tensor | None) -> Tensor:
    """Return [A; A0] for an A (rank, in), [B, -B0] for a B (out, rank), and other tensors unchanged."""
    if start is None:
        return value
    import torch

    return torch.cat([value, start.to(value)], 0) if ".lora_A" in name else torch.cat([value, -start.to(value)], 1)
