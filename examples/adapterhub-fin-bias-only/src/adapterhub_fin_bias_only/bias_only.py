"""BitFit (Ben-Zaken et al., arXiv 2106.10199): learn the biases alone, here beside a base that stays as it is."""

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
from adapterhub_fin.plugin.interfaces import MethodImplementation
from adapterhub_fin_bias_only.options import BiasOnlyOptions

CONFIG = "bias_only.json"


class Shifts(nn.Module):
    """Hold what each adapter adds to one layer's output; the layer has it as a child and calls it through a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.by_slot = nn.ParameterDict()
        self.active: str | None = None

    def forward(self, output: Tensor) -> Tensor:
        return output + self.by_slot[self.active] if self.active in self.by_slot else output


class HeadCopies(nn.Module):
    """Stands where a head's module stood, and answers with the copy of the active adapter_name."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.original = original
        self.by_slot = nn.ModuleDict()
        self.active: str | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        chosen = self.by_slot[self.active] if self.active in self.by_slot else self.original  # noqa: SIM401 - has no get
        return chosen(*args, **kwargs)


class BiasOnly(MethodImplementation):
    """W x + b + shift, where the shift begins at zero and is all that learns, with the head."""

    def __init__(self, options: BiasOnlyOptions) -> None:
        self.options = options

    def attach(self, model: nn.Module, site: AttachContext) -> nn.Module:
        linear = [name for name, module in _unwrapped(model).named_modules() if isinstance(module, nn.Linear)]
        body = [name for name in linear if not any(f"{name}.".startswith(f"{head}.") for head in site.modules_to_save)]
        chosen = [name for name in body if fnmatchcase(name, self.options.layers)]
        if not chosen:
            raise BadRecipe(f"method bias-only: no layer is named like {self.options.layers!r}; there is {body[0]}")
        model.requires_grad_(False)
        self._add(model, site.adapter_name, chosen, site.modules_to_save, learns=True)
        return model

    def rebuild(self, model: nn.Module, site: AttachContext, folder: Path) -> nn.Module:
        stored = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        self._add(model, site.adapter_name, stored["layers"], stored["head_modules"], learns=False)
        return model

    def _add(self, model: nn.Module, adapter_name: str, layers: list[str], heads: Any, *, learns: bool) -> None:
        model = _unwrapped(model)
        for name in layers:
            layer = model.get_submodule(name)
            if not hasattr(layer, "bias_only"):
                layer.bias_only = Shifts()
                layer.register_forward_hook(_shift)
            like = next(layer.parameters())
            shift = torch.zeros(layer.out_features, dtype=torch.float32, device=like.device)
            layer.bias_only.by_slot[adapter_name] = nn.Parameter(shift, requires_grad=learns)
        for name in heads:
            parent, _, child = name.rpartition(".")
            module = model.get_submodule(name)
            if not isinstance(module, HeadCopies):
                module = HeadCopies(module)
                setattr(model.get_submodule(parent), child, module)
            module.by_slot[adapter_name] = copy.deepcopy(module.original).requires_grad_(learns)
        self.activate(model, adapter_name)

    def tensors(self, model: nn.Module, adapter_name: str) -> Mapping[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, part in _parts(model, adapter_name):
            if isinstance(part, Shifts):
                found[f"{name}.shift"] = part.by_slot[adapter_name]
            else:
                found |= {f"{name}.{inner}": weight for inner, weight in part.by_slot[adapter_name].named_parameters()}
        return found

    def write_config(self, model: nn.Module, adapter_name: str, folder: Path) -> None:
        parts = list(_parts(model, adapter_name))
        config = {
            "layers": [name for name, part in parts if isinstance(part, Shifts)],
            "head_modules": [name for name, part in parts if isinstance(part, HeadCopies)],
        }
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def activate(self, model: nn.Module, adapter_name: str) -> None:
        for module in model.modules():
            if isinstance(module, Shifts | HeadCopies):
                module.active = adapter_name


def _shift(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    # The layer is asked for its child, rather than the child bound here, so that a deep copy has a hook of its own.
    shifted: Tensor = layer.bias_only(output)
    return shifted


def _unwrapped(model: nn.Module) -> nn.Module:
    """The Transformers model, where another method has wrapped it in a PeftModel."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _parts(model: nn.Module, adapter_name: str) -> Iterator[tuple[str, Shifts | HeadCopies]]:
    """What carries an adapter name, by the name of the layer or the head's module it belongs to."""
    for name, module in _unwrapped(model).named_modules():
        if isinstance(module, Shifts | HeadCopies) and adapter_name in module.by_slot:
            yield name.removesuffix(".bias_only"), module
