"""Train with AdaLoRA (Zhang et al., arXiv 2303.10512) on PEFT; drive its rank allocator and save its state."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin.plugin import (
    CONFIG,
    PREFIX,
    WEIGHTS,
    AttachContext,
    BadRecipe,
    LoraFactors,
    NotAnAdapter,
    PeftMethod,
    linear_layers,
    peft_model,
    stated,
)

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor, nn
    from transformers import TrainerCallback

AVERAGES = (
    "ipt",
    "exp_avg_ipt",
    "exp_avg_unc",
)  # the allocator's importance scores, which PEFT's checkpoints don't contain
RANKS = "rank_pattern"
PARTS = (".lora_A", ".lora_B", ".lora_E")


class AdaLora(PeftMethod):
    """Compute W x + (alpha / initial rank) B E A x; E is diagonal, and training prunes its unimportant entries."""

    reload_after_save = True  # pruned entries are zero in training and absent when stored: equal up to rounding

    @classmethod
    def options_from(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that a PEFT configuration states. Raises NotAnAdapter without a valid rank and alpha."""
        _rank(config, "init_r", 12)  # without a rank and an alpha the scale is unknown, and the adapter unusable
        _alpha(config)
        names = {"initial_rank": "init_r", "alpha": "lora_alpha", "dropout": "lora_dropout", "interval": "deltaT"}
        options = stated(config, {**names, "target_rank": "target_r", "orthogonality": "orth_reg_weight"})
        if isinstance(targets := config.get("target_modules"), list):
            options["targets"] = sorted(targets, key=str)
        steps = [config[key] for key in ("total_step", "tinit", "tfinal") if type(config.get(key)) is int]
        if len(steps) == 3 and 0 <= steps[1] + steps[2] < steps[0]:
            options |= {"warmup": steps[1] / steps[0], "settle": steps[2] / steps[0]}
        return options

    def peft_config(self, model: nn.Module, context: AttachContext) -> PeftConfig:
        """Return PEFT's AdaLoraConfig."""
        from peft import AdaLoraConfig

        return AdaLoraConfig(
            init_r=self.options.initial_rank,
            target_r=self.options.target_rank,
            lora_alpha=self.options.alpha,
            lora_dropout=self.options.dropout,
            orth_reg_weight=self.options.orthogonality,
            deltaT=self.options.interval,
            total_step=1,  # PEFT requires it here; the real total is set when training starts
            target_modules=linear_layers(model, self.options.targets or context.targets, context.modules_to_save),
            modules_to_save=list(context.modules_to_save) or None,
        )

    def rebuild(self, model: nn.Module, context: AttachContext, folder: Path) -> nn.Module:
        """Attach the adapter with the ranks that its configuration records."""
        wrapped = super().rebuild(model, context, folder)
        config = peft_model(wrapped).peft_config[context.adapter_name]
        for name, mask in (config.rank_pattern or {}).items():
            layer = _layer(wrapped, name)
            layer.update_layer(context.adapter_name, sum(mask), config.lora_alpha, config=config)
            layer.ranknum[context.adapter_name].data.fill_(
                float(config.init_r)
            )  # the scale divides by the initial rank
        return wrapped

    def tensors(self, model: nn.Module, adapter_name: str) -> Mapping[str, Tensor]:
        """Return the adapter's tensors without pruned entries."""
        config = peft_model(model).peft_config[adapter_name]
        pattern = config.rank_pattern
        if config.inference_mode:  # the layers are already pruned, and PEFT would prune them again
            config.rank_pattern = None
        try:
            return super().tensors(model, adapter_name)
        finally:
            config.rank_pattern = pattern  # reading the tensors renames its keys

    def plain_config(self, model: nn.Module, adapter_name: str) -> dict[str, Any]:
        """Return PEFT's configuration with a rank pattern that names no adapter."""
        config = super().plain_config(model, adapter_name)
        pattern = config[RANKS] or {}
        return config | {RANKS: {name.replace(f".{adapter_name}", ""): mask for name, mask in pattern.items()} or None}

    def to_lora_factors(self, folder: Path) -> LoraFactors:
        """Return B E A as low-rank factors, scaled by alpha / (initial rank + 1e-5) as PEFT does.

        Pruned entries are not in the file. Raises NotAnAdapter for tensors or a configuration that don't fit together.
        """
        import torch
        from safetensors.torch import load

        from adapterhub_fin.plugin import LowRank

        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        initial, alpha = _rank(config, "init_r", 12), _alpha(config)
        scale = (alpha if alpha > 0 else initial) / (initial + 1e-5)
        stored = load((folder / WEIGHTS).read_bytes())  # safetensors 0.8's load_file loses memory at each tensor
        parts = {name: name.rpartition(".") for name in stored if name.endswith(PARTS)}
        changes = {}
        for module in sorted({module for module, _, _ in parts.values()}):
            a, b, e = _parts(stored, module)
            dtype = torch.promote_types(e.dtype, torch.float32)  # the product of two narrow numbers needs more digits
            changes[module.removeprefix(PREFIX)] = LowRank(b.to(dtype) * e.to(dtype).T, a.to(dtype), scale)
        return LoraFactors(changes, frozenset(parts))

    def callbacks(self, model: nn.Module, adapter_name: str, total_steps: int) -> Sequence[TrainerCallback]:
        """Return the callback that prunes after each step. Raises BadRecipe if the run has no steps to prune in."""
        config = peft_model(model).peft_config[adapter_name]
        config.total_step = total_steps
        config.tinit, config.tfinal = int(self.options.warmup * total_steps), int(self.options.settle * total_steps)
        # It prunes for good when the settling begins, by what the steps before that showed of each entry.
        if max(config.tinit, 1) >= total_steps - config.tfinal:
            raise BadRecipe(f"adalora has no steps to prune in: the run has {total_steps}; train longer")
        from adapterhub_fin_plugins.methods.adalora_allocation import Allocation

        return [Allocation(peft_model(model))]

    def penalty(self, model: nn.Module, adapter_name: str) -> Tensor | None:
        """Return the weighted mean distance of A A' and B' B from the identity, a scalar (equation 4); or None.

        PEFT adds it only to its own loss.
        """
        if not self.options.orthogonality:
            return None
        import torch

        distances = []
        for name, parameter in model.named_parameters():
            if name.endswith((f"lora_A.{adapter_name}", f"lora_B.{adapter_name}")):
                gram = parameter @ parameter.T if "lora_A" in name else parameter.T @ parameter
                distances.append(torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=gram.device)))
        penalty: Tensor = self.options.orthogonality * torch.stack(distances).mean()
        return penalty

    def training_state(self, model: nn.Module, adapter_name: str) -> Mapping[str, Tensor]:
        """Return the weights, the allocator's averages and the rank pattern, for a checkpoint."""
        import torch

        allocator = peft_model(model).base_model.rankallocator
        state = dict(super().training_state(model, adapter_name))
        for average in AVERAGES:
            state |= {f"{average}/{name}": value for name, value in getattr(allocator, average).items()}
        pattern = peft_model(model).peft_config[adapter_name].rank_pattern or {}
        return state | {f"{RANKS}/{name}": torch.tensor(mask) for name, mask in pattern.items()}

    def resume(self, model: nn.Module, adapter_name: str, state: Mapping[str, Tensor]) -> None:
        """Restore a checkpoint's weights, averages and rank pattern."""
        allocation: dict[str, dict[str, Tensor]] = {kind: {} for kind in (*AVERAGES, RANKS)}
        weights = {}
        for name, value in state.items():
            kind, _, rest = name.partition("/")
            if kind in allocation:
                allocation[kind][rest] = value
            else:
                weights[name] = value
        super().resume(model, adapter_name, weights)
        wrapped = peft_model(model)
        for average in AVERAGES:
            setattr(wrapped.base_model.rankallocator, average, allocation[average])
        pattern = {name: mask.tolist() for name, mask in allocation[RANKS].items()}
        wrapped.peft_config[adapter_name].rank_pattern = pattern or None


def _layer(model: nn.Module, name: str) -> Any:
    """Return the adapted layer of a rank pattern's key, such as `encoder.layer.0.query.lora_E`."""
    return peft_model(model).base_model.model.get_submodule(name.partition(".lora_E")[0])


def _rank(config: Mapping[str, Any], key: str, default: int) -> int:
    """Return a rank from PEFT's configuration. Raises NotAnAdapter if it is not a positive integer."""
    rank = config.get(key, default)
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise NotAnAdapter(f"{CONFIG} says that {key} is {str(rank)[:40]}, which isn't a rank: save the adapter again")
    return rank


def _alpha(config: Mapping[str, Any]) -> float:
    alpha = config.get("lora_alpha", 8)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) <= sys.float_info.max:
        raise NotAnAdapter(
            f"{CONFIG} says that lora_alpha is {str(alpha)[:40]}, which isn't a number: save the adapter again"
        )
    return alpha


def _parts(stored: Mapping[str, Tensor], module: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return A (rank, in), B (out, rank) and E (rank, 1) of one layer. Raises NotAnAdapter for other shapes."""
    if missing := [part for part in PARTS if module + part not in stored]:
        raise NotAnAdapter(f"{WEIGHTS} has no {module}{missing[0]}: save the adapter again")
    a, b, e = (stored[module + part] for part in PARTS)
    if a.ndim != 2 or b.ndim != 2 or b.shape[1] != len(a) or tuple(e.shape) != (len(a), 1):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (a, b, e))
        raise NotAnAdapter(f"{WEIGHTS} has A, B and E of {module} in the shapes {shapes}: save the adapter again")
    return a, b, e
