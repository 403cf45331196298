"""Compute the differences between two models' tensors, each in the form that a plain LoRA can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor, nn
from transformers.pytorch_utils import Conv1D

from adapterhub_fin.engine.base.load_base import outermost
from adapterhub_fin.engine.base.model_tensors import FLOATS, ModelTensors, StoredTensor
from adapterhub_fin.engine.merging.parameters import AdaptedParameter, Kind
from adapterhub_fin.engine.peft.sketching import sketched
from adapterhub_fin.errors import BadRecipe, Unsupported, WrongBase
from adapterhub_fin.plugin.low_rank import LowRank
from adapterhub_fin.plugin.model_parts import outside_backbone
from adapterhub_fin.plugin.progress_lines import progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from adapterhub_fin.engine.folding.tuned import Task

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
EXACT = 2**22  # larger matrices are computed in float32 instead of float64


@dataclass(frozen=True)
class Extracted:
    """Describe one extracted matrix: its rank, the share of the difference's energy it keeps, and its relative size."""

    name: str
    shape: tuple[int, ...]
    rank: int
    energy: float
    size: float  # norm of the difference over the norm of the base's weight


@dataclass
class ExtractedChanges:
    """Hold what the LoRA will store, and how it was found."""

    parameters: dict[str, AdaptedParameter] = field(default_factory=dict)
    changes: dict[str, LowRank] = field(default_factory=dict)
    full_weights: dict[str, Tensor] = field(default_factory=dict)
    modules_to_save: tuple[str, ...] = ()
    matrices: list[Extracted] = field(default_factory=list)
    left_out: dict[str, float] = field(default_factory=dict)
    unchanged: int = 0
    transposed: bool = False
    alike: bool = False  # whether the model has other modules whose names end like those of the parameters
    dtype: torch.dtype = torch.float32


class Differences:
    """Compare two models of one shape: `stored` was tuned, `origin` is its base."""

    def __init__(
        self, model: PreTrainedModel, task: Task, stored: ModelTensors, origin: ModelTensors, leave_out: Sequence[str]
    ) -> None:
        self.stored, self.origin, self.leave_out = stored, origin, leave_out
        self.modules = dict(model.named_modules())
        self.ties: Mapping[str, str] = getattr(model, "all_tied_weights_keys", {})
        head = outside_backbone(model) if task.peft == "SEQ_CLS" else ()
        self.head = tuple(f"{module}." for module in head)
        self.sizes: dict[str, float] = {}  # of each difference: its norm over the norm of the base's parameter
        self.keys = [key for key in model.state_dict() if key in dict(model.named_parameters(remove_duplicate=False))]

    def extract(self, rank: int | float) -> ExtractedChanges:
        """Return every difference in its form, with one matrix of each model in memory at a time.

        Raises Unsupported for a difference that no LoRA can hold, or where no matrix differs, WrongBase for other
        shapes, and BadRecipe for a pattern of `leave_out` that matches nothing.
        """
        extracted, in_full = ExtractedChanges(), []
        changed = self.sizes = {key: size for key in self.keys if (size := self._size(key)) != 0.0}
        self._leave_out(changed, extracted)
        extracted.unchanged = len(self.keys) - len(changed) - len(extracted.left_out)
        kinds = {key: self._kind(key) for key in changed}
        biased = any(kind == "bias" for kind in kinds.values())
        with progress("extracting", len(changed)) as move:
            for key, kind in kinds.items():
                # PEFT has no LoRA bias together with an adapted embedding; then the embedding is stored in full.
                if kind is None or (kind == "embedding" and biased):
                    in_full.append(key)
                else:
                    self._factor(key, kind, rank, extracted)
                move(1)
        if not extracted.parameters:
            raise Unsupported("no matrix of the tuned model differs from its base: there is nothing for a LoRA to hold")
        for key in [key for key in changed if kinds[key] == "bias"]:  # PEFT has a LoRA bias only with a matrix
            self._add_zero(key, extracted)
        self._store_in_full(in_full, extracted)
        extracted.parameters = dict(sorted(extracted.parameters.items()))
        adapted = {parameter.module for parameter in extracted.parameters.values()}
        ends = tuple(f".{module}" for module in adapted)
        extracted.alike = any(name.endswith(ends) for name in self.modules if name not in adapted)
        return extracted

    def _size(self, key: str) -> float:
        """Return the norm of a parameter's difference over the norm of the base's; infinite where the base has none."""
        stored, base_tensor = self._stored(self.stored, key), self._stored(self.origin, key)
        if stored is None:
            raise Unsupported(f"the tuned model at {self.stored.folder} stores no {key}: save all of it again")
        if base_tensor is None or key.startswith(self.head):
            return math.inf
        parts, base_parts = self.stored.parts(stored), self.origin.parts(base_tensor)
        if len(parts) != len(base_parts):
            raise Unsupported(
                f"{key} is one tensor in one model and several in the other: save both by one Transformers"
            )
        pairs = list(zip(parts, base_parts, strict=True))
        for one, other in pairs:
            if one.shape != other.shape:
                raise WrongBase(f"{key} has the shape {one.shape} in the tuned model and {other.shape} in its base")
        tensors = [(one.tensor(), other.tensor()) for one, other in pairs]
        if all(one.dtype not in FLOATS or torch.equal(one, other) for one, other in tensors):
            return 0.0
        distance = math.hypot(*(float(torch.linalg.vector_norm(_difference(*pair))) for pair in tensors))
        if not math.isfinite(distance):
            raise Unsupported(f"{key} holds NaN or infinite values: the tuning diverged")
        size = math.hypot(*(float(torch.linalg.vector_norm(_precise(other))) for _, other in tensors))
        return distance / size if size else math.inf

    def _stored(self, tensors: ModelTensors, key: str) -> StoredTensor | None:
        """Return a parameter's tensor, or one of them; a tied one may be stored under its twin's name."""
        return tensors.by_key.get(key if key in tensors.by_key else self.ties.get(key, key))

    def _leave_out(self, changed: dict[str, float], extracted: ExtractedChanges) -> None:
        for pattern in self.leave_out:
            matches = [key for key in changed if fnmatchcase(key, pattern) and not key.startswith(self.head)]
            if not matches:
                raise BadRecipe(f"leave_out {pattern!r} fits no parameter that differs and is not the head's")
            for key in matches:
                extracted.left_out[key] = changed.pop(key)

    def _kind(self, key: str) -> Kind | None:
        """Return the kind of LoRA factor for a parameter; None for one to store in full."""
        stored = self._stored(self.stored, key)
        if stored is not None and not stored.direct:
            raise Unsupported(
                f"{key} differs by {self.sizes[key]:.2g} of its size, and Transformers makes it of several tensors "
                f"({stored.name}, ...), which can't be extracted: leave it out with --leave-out (leave_out=...)"
            )
        module, _, name = key.rpartition(".")
        layer = self.modules[module]
        if key.startswith(self.head) or self._stored(self.origin, key) is None:
            return None
        linear = isinstance(layer, nn.Linear | Conv1D)
        convolution = isinstance(layer, CONVOLUTIONS) and getattr(layer, "groups", 1) == 1
        if name == "bias" and (linear or convolution):
            return "bias"
        if name == "weight" and isinstance(layer, nn.Embedding):
            return "embedding"
        if name != "weight" or not (linear or convolution):
            return None
        return "linear" if linear else "convolution"

    def _factor(self, key: str, kind: Kind, rank: int | float, extracted: ExtractedChanges) -> None:
        """Add the nearest change of the rank to one difference."""
        stored, base_tensor = self._stored(self.stored, key), self._stored(self.origin, key)
        assert stored is not None and base_tensor is not None
        difference = _difference(stored.tensor(), base_tensor.tensor())
        module = key.rpartition(".")[0]
        if isinstance(self.modules[module], Conv1D) and kind == "linear":
            difference, extracted.transposed = difference.T, True
        parameter = AdaptedParameter(module, kind, tuple(difference.shape))
        extracted.parameters[key] = parameter
        if kind == "bias":
            extracted.changes[key] = LowRank(difference[:, None], difference.new_ones(1, 1))
            return
        change, energy = sketched(difference.reshape(parameter.matrix), rank, Generator().manual_seed(0))
        extracted.changes[key] = change.to(extracted.dtype)
        extracted.matrices.append(Extracted(key, parameter.shape, change.rank, energy, self.sizes[key]))

    def _add_zero(self, key: str, extracted: ExtractedChanges) -> None:
        """Add a zero change of the weight whose bias differs."""
        module = key.rpartition(".")[0]
        weight = f"{module}.weight"
        stored = self._stored(self.origin, weight)
        if weight in extracted.parameters or stored is None:
            return
        shape, layer = stored.shape, self.modules[module]
        shape = shape[::-1] if isinstance(layer, Conv1D) else shape
        extracted.parameters[weight] = AdaptedParameter(
            module, "convolution" if isinstance(layer, CONVOLUTIONS) else "linear", shape
        )
        extracted.changes[weight] = LowRank.zero(extracted.parameters[weight].matrix, extracted.dtype)

    def _store_in_full(self, keys: Sequence[str], extracted: ExtractedChanges) -> None:
        """Store the modules that own these parameters in full.

        Raises Unsupported where PEFT would also store an adapted layer in full.
        """
        owners = outermost(sorted({self._owner(key) for key in keys}))
        # PEFT takes every module whose name ends with one of these, as in `norm` and `input_layernorm`.
        extracted.modules_to_save = outermost([name for name in self.modules if owners and name.endswith(owners)])
        inside = tuple(f"{module}." for module in extracted.modules_to_save)
        if adapted := [name for name in extracted.parameters if name.startswith(inside)]:
            raise Unsupported(
                f"{adapted[0]} differs, and its layer's name ends with that of a layer stored in full, so that PEFT "
                f"would store both in full ({', '.join(owners)}): leave one out with --leave-out (leave_out=...)"
            )
        for key in self.keys:
            if key.startswith(inside):
                stored = self._stored(self.stored, key)
                assert stored is not None
                extracted.full_weights[key] = stored.tensor().clone()

    def _owner(self, key: str) -> str:
        """Return the module to store for a parameter: the head's module, else its own.

        Raises Unsupported where that module holds other modules.
        """
        for module in self.head:
            if key.startswith(module):
                return module.rstrip(".")
        module = key.rpartition(".")[0]
        if not module or any(True for _ in self.modules[module].children()):
            raise Unsupported(
                f"{key} differs by {self.sizes[key]:.2g} of its size, and belongs to a layer that holds others, which "
                "no LoRA can store: leave it out with --leave-out (leave_out=...)"
            )
        return module


def _difference(one: Tensor, other: Tensor) -> Tensor:
    return _precise(one) - _precise(other)


def _precise(tensor: Tensor) -> Tensor:
    """Return a tensor in float64 where that is cheap, else in float32."""
    return tensor.to(torch.float64 if tensor.numel() <= EXACT else torch.float32)
