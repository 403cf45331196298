"""Read what a stored adapter changes: a low-rank matrix for each adapted parameter, and the weights of modules_to_save.

The file is memory-mapped and read one matrix at a time; the base is never read. LoRA is read here, with any mix of
ranks, alphas, scalings and layers. Any other method is read through its `to_lora_factors`, or refused.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.base.load_base import outermost
from adapterhub_fin.engine.base.tensor_file import FLOAT_DTYPES
from adapterhub_fin.engine.merging.parameters import AdaptedParameter
from adapterhub_fin.engine.merging.unsupported_lora import check_plain
from adapterhub_fin.engine.peft.lora_config import lora_rank, lora_scale
from adapterhub_fin.errors import AdapterHubError, BadMerge, NotAnAdapter, PluginError, UnknownName
from adapterhub_fin.plugin.adapter_files import CONFIG, PREFIX, WEIGHTS, head_modules
from adapterhub_fin.plugin.descriptions import Method
from adapterhub_fin.plugin.low_rank import LowRank
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.stored_tensors import StoredTensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from adapterhub_fin.plugin.interfaces import LoraFactors, MethodImplementation
    from adapterhub_fin_registry import Version
    from adapterhub_fin_registry.model.manifest import Method as StoredMethod
else:
    torch = Lazy("torch")

MAGNITUDE = ".lora_magnitude_vector"
EXTRAS = {  # other tensors of a LoRA's file, by a part of their names
    "lora_magnitude_vector": "DoRA's magnitude, which needs the norms of the base's weights",
    "base_layer": "a copy of a layer of the base, or an adapter of a layer within an adapted one",
    "token_adapter": "trained tokens, which replace rows of the base's embedding",
}


class StoredChanges(ABC):
    """Represent what one stored adapter changes; reading a matrix reads only that matrix from disk."""

    def __init__(self, tensors: StoredTensors, called: str, config: Mapping[str, Any]) -> None:
        self.tensors = tensors
        self.called = called  # how messages name the adapter
        self.config = config  # adapter_config.json, verbatim; empty where the method writes none
        self.parameters: dict[str, AdaptedParameter] = {}  # by the parameter's name in the model, sorted
        self.modules_to_save: tuple[str, ...] = ()  # whose weights are stored in full
        self.full_shapes: dict[str, tuple[int, ...]] = {}  # of their parameters, by the parameter's name in the model
        self.dtypes: tuple[torch.dtype, ...] = ()  # of the factors
        self._full_tensors: dict[str, str] = {}  # the same parameters' names in the file
        self._magnitudes: dict[str, str] = {}  # names in the file of DoRA's magnitudes, by the parameter's name

    @abstractmethod
    def change(self, name: str) -> LowRank:
        """Return what is added to a parameter, as a matrix of shape `parameters[name].matrix` in its stored dtype.

        Raises BadMerge for NaN or infinite values.
        """

    def values(self, name: str) -> Tensor:
        """Return a parameter that is stored in full, in its shape. Raises BadMerge for NaN or infinite values."""
        return self._tensor(self._full_tensors[name])

    def magnitude(self, name: str) -> Tensor | None:
        """Return DoRA's norms: of each row of a changed weight, or each column of an embedding's; None without DoRA.

        The shape is (rows,) or (columns,). Raises BadMerge for NaN or infinite values.
        """
        return self._tensor(self._magnitudes[name]).flatten() if name in self._magnitudes else None

    @property
    def fan_in_fan_out(self) -> bool:
        """Tell whether linear layers store weights as (in, out), as GPT-2's Conv1D does; changes are (out, in)."""
        return bool(self.config.get("fan_in_fan_out"))

    @property
    def chooses_among_alike(self) -> bool:
        """Tell whether the base may have unadapted modules whose names end like those of adapted ones.

        A plain list of target_modules adapts them all; a pattern, an exclusion or a choice of layers may not.
        """
        chosen = any(self.config.get(key) for key in ("exclude_modules", "layers_to_transform"))
        return chosen or not isinstance(self.config.get("target_modules"), list)

    def _tensor(self, name: str) -> Tensor:
        return self._finite(self.tensors[name], name)

    def _finite(self, tensor: Tensor, name: str) -> Tensor:
        # A sum that is finite has finite terms, and takes a tenth of the time; it may overflow where no term does.
        if not bool(torch.isfinite(tensor.sum())) and not bool(torch.isfinite(tensor).all()):
            raise BadMerge(
                f"{self.called} holds NaN or infinite values, in {name}: its training diverged, leave it out"
            )
        return tensor

    def _read_full_tensors(self, header: Mapping[str, Any], modules: tuple[str, ...], factors: Collection[str]) -> None:
        """Register the tensors of `modules`; `factors` names those of the changes.

        Raises NotAnAdapter for an adapter without changes, and BadMerge for a tensor that belongs to neither.
        """
        if not self.parameters:
            raise NotAnAdapter(f"{self.called} changes no layer, so it is no PEFT adapter: save it again")
        for name, info in header.items():
            bare = name.removeprefix(PREFIX)
            if name in factors:
                continue
            if not bare.startswith(tuple(f"{module}." for module in modules)):
                description = next(
                    (text for part, text in EXTRAS.items() if part in name.split(".")), "no part of LoRA"
                )
                raise BadMerge(f"{self.called} can't be merged: {name} is {description}")
            if info.dtype.startswith("F8"):
                raise BadMerge(f"{self.called} holds {name} as {info.dtype}, which has no average: save it in float32")
            self.full_shapes[bare], self._full_tensors[bare] = tuple(info.shape), name
        present = {module for module in modules if any(name.startswith(f"{module}.") for name in self.full_shapes)}
        self.modules_to_save = outermost(sorted(present))


class _LoraFolder(StoredChanges):
    """Read a plain PEFT folder of type LORA."""

    def __init__(
        self,
        tensors: StoredTensors,
        called: str,
        config: Mapping[str, Any],
        modules_to_save: tuple[str, ...],
        base_at_hand: bool,
    ) -> None:
        super().__init__(tensors, called, config)
        check_plain(config, called, base_at_hand=base_at_hand)
        header = tensors.header
        shapes = {name: tuple(info.shape) for name, info in header.items()}
        self._pairs: dict[str, tuple[str, str]] = {}  # names in the file of A and B, by the parameter's name
        factors = set()
        for name in sorted(shapes):
            for down, up in ((".lora_A.weight", ".lora_B.weight"), (".lora_embedding_A", ".lora_embedding_B")):
                if name.endswith(down) and ".base_layer." not in name:
                    other = name.removesuffix(down) + up
                    self._add(name.removesuffix(down).removeprefix(PREFIX), name, other, shapes)
                    factors |= {name, other}
        for name in sorted(shapes):
            if name.endswith(".lora_B.bias") and name.removesuffix("bias") + "weight" in factors:
                module = name.removesuffix(".lora_B.bias").removeprefix(PREFIX)
                if shapes[name] != shapes[name.removesuffix("bias") + "weight"][:1]:
                    raise NotAnAdapter(f"{called} holds {name} of the shape {shapes[name]}: save it again")
                self._register(AdaptedParameter(module, "bias", shapes[name]), name, name)
                factors.add(name)
            if base_at_hand and name.endswith(MAGNITUDE):
                self._magnitudes[name.removesuffix(MAGNITUDE).removeprefix(PREFIX) + ".weight"] = name
                factors.add(name)
        self.parameters = dict(sorted(self.parameters.items()))
        self.dtypes = tuple(sorted({_dtype(header[name].dtype, called, name) for name in factors}, key=str))
        self._read_full_tensors(header, (*modules_to_save, *head_modules(config, shapes)), factors)

    def _register(self, parameter: AdaptedParameter, first: str, second: str) -> None:
        self.parameters[parameter.name] = parameter
        self._pairs[parameter.name] = first, second

    def _add(self, module: str, down: str, up: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
        if up not in shapes:
            raise NotAnAdapter(f"{self.called} holds {down} without {up}: save it again")
        a, b = shapes[down], shapes[up]
        try:
            rank = lora_rank(self.config, module)
            lora_scale(self.config, module)
        except ValueError as error:
            raise NotAnAdapter(f"the configuration of {self.called} can't be used: {error}") from error
        if len(a) < 2 or len(a) != len(b) or a[0] != rank or any(size != 1 for size in b[2:]):
            raise NotAnAdapter(
                f"{self.called} says that {module} has rank {rank}, and its factors have the shapes {a} and {b}: "
                "save it again"
            )
        if b[1] != a[0]:
            raise BadMerge(f"{self.called} can't be merged: {module} is a grouped convolution")
        if down.endswith("lora_embedding_A"):
            parameter = AdaptedParameter(module, "embedding", (a[1], b[0]))
        else:
            parameter = AdaptedParameter(module, "linear" if len(a) == 2 else "convolution", (b[0], *a[1:]))
        self._register(parameter, down, up)

    def change(self, name: str) -> LowRank:
        parameter, (down, up) = self.parameters[name], self._pairs[name]
        scale = lora_scale(self.config, parameter.module)
        if parameter.kind == "bias":
            bias = self._tensor(up)
            return LowRank(bias[:, None], torch.ones(1, 1, dtype=bias.dtype), scale)
        a, b = self._tensor(down), self._tensor(up)
        if parameter.kind == "embedding":
            return LowRank(a.T, b.T, scale)
        return LowRank(b.flatten(1), a.flatten(1), scale)


class _OtherMethod(StoredChanges):
    """Read a version of another method through its `to_lora_factors`."""

    def __init__(
        self,
        folder: Path,
        tensors: StoredTensors,
        called: str,
        config: Mapping[str, Any],
        modules_to_save: tuple[str, ...],
        stored: StoredMethod,
    ) -> None:
        super().__init__(tensors, called, config)
        factors = _factors(folder, called, stored)
        check_plain(config, called)
        self._changes = {f"{module}.weight": change for module, change in sorted(factors.changes.items())}
        for name, change in self._changes.items():
            self.parameters[name] = AdaptedParameter(name.removesuffix(".weight"), "linear", change.shape)
        self.dtypes = tuple(sorted({change.left.dtype for change in self._changes.values()}, key=str))
        header = tensors.header
        modules = (*modules_to_save, *head_modules(config, {name: tuple(info.shape) for name, info in header.items()}))
        self._read_full_tensors(header, modules, factors.tensors)

    def change(self, name: str) -> LowRank:
        change = self._changes[name]
        self._finite(change.left, name)
        self._finite(change.right, name)
        return change


def changes_of(version: Version, *, base_at_hand: bool = False, tensors: StoredTensors | None = None) -> StoredChanges:
    """Return what a version changes, read from its files without verifying them: do that first, with `Registry.path`.

    `tensors` are those of verified bytes, in place of its file's.

    Raises BadMerge, NotAnAdapter or PluginError as `open_changes`.
    """
    head = version.manifest.head
    return open_changes(
        version.files,
        version.reference,
        method=version.manifest.method,
        modules_to_save=tuple(head.modules_to_save) if head else (),
        base_at_hand=base_at_hand,
        tensors=tensors,
    )


def open_changes(
    folder: Path,
    called: str,
    *,
    method: StoredMethod | None = None,
    modules_to_save: tuple[str, ...] = (),
    base_at_hand: bool = False,
    tensors: StoredTensors | None = None,
) -> StoredChanges:
    """Return what the adapter in a folder changes; its file is mapped into memory unless its `tensors` are given.

    `modules_to_save` names modules stored in full, in addition to those of the configuration. Set `base_at_hand` if the
    base's weights are available too, so that DoRA's `magnitude` can be applied. Raises BadMerge for an adapter that is
    no sum of low-rank matrices, NotAnAdapter for one that is damaged, and PluginError where its method fails.
    """
    config = _config(folder / CONFIG, called)
    if config.get("peft_type") == "LORA":
        opened = tensors if tensors is not None else _opened(folder, called)
        return _LoraFolder(opened, called, config, modules_to_save, base_at_hand)
    if method is None:
        raise BadMerge(
            f"{called} is of the type {config.get('peft_type')}, and only LORA can be read without its method"
        )
    opened = tensors if tensors is not None else _opened(folder, called)
    return _OtherMethod(folder, opened, called, config, modules_to_save, method)


def _opened(folder: Path, called: str) -> StoredTensors:
    return StoredTensors.open(folder / WEIGHTS, f"{called}: {WEIGHTS}")


def _config(path: Path, called: str) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise NotAnAdapter(f"{CONFIG} of {called} is not JSON ({error}): save it again") from error
    if not isinstance(config, dict):
        raise NotAnAdapter(f"{CONFIG} of {called} is not a JSON object: save it again")
    return config


def _factors(folder: Path, called: str, stored: StoredMethod) -> LoraFactors:
    try:
        description = extensions().get(Method, stored.name)
    except UnknownName as error:
        raise BadMerge(
            f"{called} was made by the method {stored.name!r}, whose plugin is not installed: {error}"
        ) from error
    if "additive_low_rank" in description.traits:
        factors = _call_method(build_plugin(Method, stored.name, stored.options), folder, called, stored.name)
        if factors is not None:
            return factors
    raise BadMerge(
        f"{called} was made by the method {stored.name!r}, which adds no low-rank matrices to the base's weights: "
        "merge adapters of lora, qlora, adalora or a method that has to_lora_factors"
    )


def _call_method(method: MethodImplementation, folder: Path, called: str, name: str) -> LoraFactors | None:
    try:
        return method.to_lora_factors(folder)
    except (BadMerge, NotAnAdapter) as error:
        raise type(error)(f"{called} can't be read as low-rank matrices: {error}") from error
    except AdapterHubError:
        raise
    except Exception as error:
        raise PluginError(f"the method {name} could not read {called} ({type(error).__name__}: {error})") from error


def _dtype(name: str, called: str, tensor: str) -> torch.dtype:
    if name not in FLOAT_DTYPES:
        raise BadMerge(f"{called} holds {tensor} as {name}, which can't be merged: save it in float32")
    dtype: torch.dtype = getattr(torch, FLOAT_DTYPES[name])
    return dtype
