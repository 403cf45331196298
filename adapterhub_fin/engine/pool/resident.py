"""Read one version into memory for a pool: its changes as tensors, and its head; or a private copy of its base."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from threading import RLock
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from adapterhub_fin.engine.base.chat_template import with_chat_template
from adapterhub_fin.engine.inference.attach import max_length
from adapterhub_fin.engine.merging.changes import StoredChanges, changes_of
from adapterhub_fin.engine.merging.unsupported_lora import why_not_plain
from adapterhub_fin.engine.pool.changes import Change, EmbeddingChange, LinearChange, ModuleChange, size_of
from adapterhub_fin.engine.pool.trunk import Trunk
from adapterhub_fin.errors import BadMerge, Unsupported, WrongTensors
from adapterhub_fin.plugin.adapter_files import CONFIG
from adapterhub_fin.plugin.interfaces import MethodImplementation
from adapterhub_fin.plugin.model_parts import backbone_prefix
from adapterhub_fin.plugin.peft_method import read_settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.engine.inference.adapter import Adapter
    from adapterhub_fin.engine.inference.find import ResolvedVersion
    from adapterhub_fin.engine.merging.parameters import AdaptedParameter
    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin_registry import Version


@dataclass(frozen=True, eq=False)
class Resident:
    """Hold a version in memory, on a trunk that it shares; `apart` says why it has a private copy of its base."""

    version: Version
    method: MethodImplementation
    head: HeadImplementation | None
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    trunk: Trunk | None
    changes: Mapping[str, Change]
    shell: nn.Module | None  # the head's model around the backbone; None where the trunk itself answers
    bytes: int
    apart: str | None = None
    adapter: Adapter | None = None
    lock: RLock = field(default_factory=RLock)  # of the shell, since some heads hang hooks on it

    @property
    def reference(self) -> str:
        return self.version.reference

    @property
    def writes(self) -> bool:
        """Return whether the answers are those of the base's own output layer."""
        return self.head is not None and self.head.task == "CAUSAL_LM"


def private(adapter: Adapter, reason: str) -> Resident:
    """Hold an adapter that has a base of its own, all of whose bytes count."""
    size = size_of(adapter.model.parameters()) + len(adapter.version.manifest_bytes)
    return Resident(
        adapter.version,
        adapter.method,
        adapter.head,
        adapter.tokenizer,
        adapter.max_length,
        None,
        {},
        None,
        size,
        reason,
        adapter,
    )


def shared(resolved: ResolvedVersion, trunk: Trunk, stored: StoredChanges) -> Resident:
    """Read a version onto a trunk. Raises Unsupported, with the reason, for one that can't share it."""
    shell, embeddings = trunk.head_for(resolved)
    if embeddings.modules or embeddings.trained_rows:
        raise Unsupported("it brings embeddings of its own")
    reader = _Reader(resolved, trunk, shell, stored)
    changes, own = reader.changes(), reader.shell()
    tensors = chain.from_iterable(change.tensors for change in changes.values())
    size = size_of(chain(tensors, own.parameters() if own is not None else ()))
    size += len(resolved.version.manifest_bytes)
    tokenizer = with_chat_template(trunk.tokenizer, resolved.head)
    length = max_length(resolved.version, trunk.tokenizer)
    facts = resolved.version, resolved.method, resolved.head, tokenizer, length
    return Resident(*facts, trunk, changes, own, size)


def plain_changes(resolved: ResolvedVersion) -> StoredChanges:
    """Return what a version adds to its base. Raises Unsupported, with the reason, where that is no low-rank sum."""
    manifest = resolved.version.manifest
    if type(resolved.method).hidden_states is not MethodImplementation.hidden_states:
        raise Unsupported(f"the method {manifest.method.name} reads the base's states in a way of its own")
    if (resolved.folder / CONFIG).is_file() and (reason := why_not_plain(read_settings(resolved.folder))):
        raise Unsupported(reason)
    try:
        return changes_of(resolved.version, tensors=resolved.tensors)
    except BadMerge as error:
        raise Unsupported(str(error)) from error


class _Reader:
    """Read what one stored version changes, onto the layers of a trunk."""

    def __init__(self, resolved: ResolvedVersion, trunk: Trunk, shell: nn.Module, stored: StoredChanges) -> None:
        self.resolved, self.trunk, self.model, self.stored = resolved, trunk, shell, stored
        self.whose = resolved.version.reference
        self.prefix = backbone_prefix(shell)
        self.remaining = set(stored.full_shapes)

    def changes(self) -> dict[str, Change]:
        """Return the changes by the layer's key. Raises WrongTensors where they don't fit, Unsupported as `shared`."""
        self._check_complete()
        read: dict[str, Change] = {}
        for parameter in self.stored.parameters.values():
            if parameter.kind == "bias":
                continue  # with its layer's weight
            self._check_inside(parameter.module)
            key, layer = self.trunk.layer(parameter.module, self.model)
            read[key] = self._change(parameter, layer)
        for module in self.stored.modules_to_save:
            if module.startswith(self.prefix) and (self.prefix or self.model is self.trunk.backbone):
                key, layer = self.trunk.layer(module, self.model)
                read[key] = ModuleChange(self._whole_module(module, layer))
        return read

    def _check_inside(self, name: str) -> None:
        if self.model not in (self.trunk.model, self.trunk.backbone) and not name.startswith(self.prefix):
            raise Unsupported(f"{self.whose} adapts {name}, a layer of its head")

    def _check_complete(self) -> None:
        """Raise WrongTensors where the configuration names layers that the file has no factors of."""
        if self.stored.config.get("peft_type") != "LORA":
            return
        names = tuple(name for name, _ in self.model.named_modules())
        stored = {parameter.module for parameter in self.stored.parameters.values()}
        expected = _targeted(_targets(self.resolved), names)
        if missing := sorted(expected - stored):
            raise WrongTensors(
                f"{self.whose} does not fit this model: {len(missing)} missing in the file (first {missing[0]}); load "
                "it on the base and head it was trained with"
            )

    def _change(self, parameter: AdaptedParameter, layer: nn.Module) -> Change:
        weight = getattr(layer, "weight", None)
        sizes = tuple(getattr(getattr(weight, "quant_state", weight), "shape", ()))
        fits = sizes in (parameter.shape, parameter.shape[::-1] if parameter.kind == "linear" else ())
        if parameter.kind == "convolution":
            raise Unsupported(f"{self.whose} adapts {parameter.module}, a convolution")
        if not fits:
            raise WrongTensors(
                f"{self.whose} changes {parameter.module} of {parameter.shape}, and this base has {sizes}: load the "
                "base that it was trained on"
            )
        change = self.stored.change(parameter.name)
        if parameter.kind == "embedding":
            return EmbeddingChange(self._ready(change.left), self._ready(change.right), change.scale)
        factors = self._ready(change.right.T), self._ready(change.left.T)
        return LinearChange(*factors, change.scale, self._bias(parameter.module))

    def _bias(self, module: str) -> Tensor | None:
        name = f"{module}.bias"
        if name not in self.stored.parameters:
            return None
        change = self.stored.change(name)
        return self._ready(change.left[:, 0])

    def _ready(self, tensor: Tensor) -> Tensor:
        """Return a tensor of any shape as layers compute with it: as PEFT does, in float32 at least.

        On the CPU it stays a view of the version's bytes where these are of such a dtype.
        """
        wide = tensor if tensor.dtype == torch.float64 else tensor.float()
        return wide.to(self.trunk.device)

    def shell(self) -> nn.Module | None:
        """Return the head with the version's values. Raises WrongTensors unless they match one to one."""
        shell = None
        if self.model not in (self.trunk.model, self.trunk.backbone):
            shell = self.trunk.copy_of(self.model, self._value)
        if self.remaining:
            name = min(self.remaining)
            raise WrongTensors(f"{self.whose} stores {name}, and this model has no such parameter to fill")
        return shell

    def _whole_module(self, name: str, layer: nn.Module) -> nn.Module:
        module = copy.deepcopy(layer)
        for part in module.modules():  # those within it take other versions' changes, which aren't this one's
            part._forward_hooks.clear()
        for path, parameter in list(module.named_parameters()):
            parameter.data = self._value(f"{name}.{path}", parameter)
        return module

    def _value(self, name: str, parameter: Tensor) -> Tensor:
        """Return the stored values of a parameter, in its dtype and on its device."""
        shape = self.stored.full_shapes.get(name)
        if shape != tuple(parameter.shape):
            stands = "missing in the file" if shape is None else f"of the shape {shape} in the file"
            raise WrongTensors(
                f"{self.whose} does not fit this model: {name} is {stands}; load it on the base and head it was "
                "trained with"
            )
        self.remaining.discard(name)
        return self.stored.values(name).to(parameter.device, parameter.dtype, copy=True)


def _targets(resolved: ResolvedVersion) -> str:
    """Return the settings of a LoRA that choose layers, as JSON."""
    config = read_settings(resolved.folder)
    keys = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save")
    return json.dumps({key: config[key] for key in keys if config.get(key) is not None}, sort_keys=True)


@lru_cache(maxsize=256)
def _targeted(settings: str, names: tuple[str, ...]) -> frozenset[str]:
    """Return the layers that PEFT would adapt, of all modules' names."""
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    config = LoraConfig(**json.loads(settings))
    if config.target_modules is None:
        return frozenset()  # PEFT chose them by the base's kind, and wrote down none
    if isinstance(config.target_modules, str) and config.target_modules == "all-linear":
        raise Unsupported("it adapts all-linear, which only PEFT resolves")
    return frozenset(name for name in names if name and check_target_module_exists(config, name))
