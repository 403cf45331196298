"""Train with BitFit (Ben-Zaken et al., arXiv 2106.10199): only biases are trained, and the base stays unchanged."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adapterhub_fin import AttachContext, BadRecipe
from adapterhub_fin.plugin import MethodImplementation
from adapterhub_fin_bias_only.options import BiasOnlyOptions

CONFIG = "bias_only.json"


class Shifts(nn.Module):
    """Hold each adapter's shift of one layer's output; it is a child of the layer, which calls it through a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.by_adapter = nn.ParameterDict()
        self.active: str | None = None

    def forward(self, output: Tensor) -> Tensor:
        """Return the output plus the active adapter's shift."""
        return output + self.by_adapter[self.active] if self.active in self.by_adapter else output


class HeadCopies(nn.Module):
    """Replace a module of the head, and run the copy that belongs to the active adapter."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.original = original
        self.by_adapter = nn.ModuleDict()
        self.active: str | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the copy of the active adapter, or the original module."""
        module = self.by_adapter[self.active] if self.active in self.by_adapter else self.original  # noqa: SIM401 - has no get
        return module(*args, **kwargs)


class BiasOnly(MethodImplementation):
    """Compute W x + b + shift; the shift starts at zero, and only the shifts and the head are trained."""

    def __init__(self, options: BiasOnlyOptions) -> None:
        self.options = options

    def attach(self, model: nn.Module, context: AttachContext) -> nn.Module:
        """Attach zero shifts to the matching layers. Raises BadRecipe if no layer matches."""
        linear = [name for name, module in _unwrapped(model).named_modules() if isinstance(module, nn.Linear)]
        body = [
            name for name in linear if not any(f"{name}.".startswith(f"{head}.") for head in context.modules_to_save)
        ]
        layers = [name for name in body if fnmatchcase(name, self.options.layers)]
        if not layers:
            raise BadRecipe(f"method bias-only: no layer matches {self.options.layers!r}; a layer here is {body[0]}")
        model.requires_grad_(False)
        self._add(model, context.adapter_name, layers, context.modules_to_save, trainable=True)
        return model

    def rebuild(self, model: nn.Module, context: AttachContext, folder: Path) -> nn.Module:
        """Attach the shifts and head modules of a stored adapter, still without its weights."""
        stored = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        self._add(model, context.adapter_name, stored["layers"], stored["head_modules"], trainable=False)
        return model

    def _add(self, model: nn.Module, adapter_name: str, layers: list[str], heads: Any, *, trainable: bool) -> None:
        model = _unwrapped(model)
        for name in layers:
            layer = model.get_submodule(name)
            if not hasattr(layer, "bias_only"):
                layer.bias_only = Shifts()
                layer.register_forward_hook(_shift)
            weight = next(layer.parameters())
            shift = torch.zeros(layer.out_features, dtype=torch.float32, device=weight.device)
            layer.bias_only.by_adapter[adapter_name] = nn.Parameter(shift, requires_grad=trainable)
        for name in heads:
            parent, _, child = name.rpartition(".")
            module = model.get_submodule(name)
            if not isinstance(module, HeadCopies):
                module = HeadCopies(module)
                setattr(model.get_submodule(parent), child, module)
            module.by_adapter[adapter_name] = copy.deepcopy(module.original).requires_grad_(trainable)
        self.activate(model, adapter_name)

    def tensors(self, model: nn.Module, adapter_name: str) -> Mapping[str, Tensor]:
        """Return the shifts and the head's tensors of an adapter by name."""
        tensors: dict[str, Tensor] = {}
        for name, part in _parts(model, adapter_name):
            if isinstance(part, Shifts):
                tensors[f"{name}.shift"] = part.by_adapter[adapter_name]
            else:
                tensors |= {
                    f"{name}.{inner}": weight for inner, weight in part.by_adapter[adapter_name].named_parameters()
                }
        return tensors

    def write_config(self, model: nn.Module, adapter_name: str, folder: Path) -> None:
        """Write the names of the adapted layers and head modules."""
        parts = list(_parts(model, adapter_name))
        config = {
            "layers": [name for name, part in parts if isinstance(part, Shifts)],
            "head_modules": [name for name, part in parts if isinstance(part, HeadCopies)],
        }
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def activate(self, model: nn.Module, adapter_name: str) -> None:
        """Make an adapter the one that the model runs."""
        for module in model.modules():
            if isinstance(module, Shifts | HeadCopies):
                module.active = adapter_name


def _shift(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    # Look the child up on the layer instead of binding it here, so that a deep copy uses its own child.
    shifted: Tensor = layer.bias_only(output)
    return shifted


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the Transformers model, which another method may have wrapped in a PeftModel."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _parts(model: nn.Module, adapter_name: str) -> Iterator[tuple[str, Shifts | HeadCopies]]:
    """Yield the modules that hold an adapter, with the name of the layer or head module they belong to."""
    for name, module in _unwrapped(model).named_modules():
        if isinstance(module, Shifts | HeadCopies) and adapter_name in module.by_adapter:
            yield name.removesuffix(".bias_only"), module
