"""The differences between two models' tensors, each taken in the form that a plain LoRA can hold it in."""

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
from adapterhub_fin.engine.base.progress import progress
from adapterhub_fin.engine.merging.parameters import AdaptedParameter, Kind
from adapterhub_fin.engine.peft.sketching import sketched
from adapterhub_fin.errors import BadRecipe, Unsupported, WrongBase
from adapterhub_fin.plugin.low_rank import LowRank
from adapterhub_fin.plugin.model_parts import outside_backbone

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from adapterhub_fin.engine.folding.tuned import Task

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
EXACT = 2**22  # elements of a matrix that is computed in float64


@dataclass(frozen=True)
class Extracted:
    """One matrix: the rank of what was taken, the share of the difference's energy, and its size beside the base's."""

    name: str
    shape: tuple[int, ...]
    rank: int
    energy: float
    size: float  # the norm of the difference over the base's


@dataclass
class ExtractedChanges:
    """What a LoRA will hold, and what was found on the way."""

    parameters: dict[str, AdaptedParameter] = field(default_factory=dict)
    changes: dict[str, LowRank] = field(default_factory=dict)
    full_weights: dict[str, Tensor] = field(default_factory=dict)
    modules_to_save: tuple[str, ...] = ()
    extracted: list[Extracted] = field(default_factory=list)
    left_out: dict[str, float] = field(default_factory=dict)
    unchanged: int = 0
    transposed: bool = False
    alike: bool = False  # whether the model has other modules whose names end as those of the places do
    dtype: torch.dtype = torch.float32


class Differences:
    """Two models of one shape: `stored` was tuned, `origin` is its base."""

    def __init__(
        self, model: PreTrainedModel, task: Task, stored: ModelTensors, origin: ModelTensors, leave_out: Sequence[str]
    ) -> None:
        self.stored, self.origin, self.leave_out = stored, origin, leave_out
        self.modules = dict(model.named_modules())
        self.ties: Mapping[str, str] = getattr(model, "all_tied_weights_keys", {})
        head = outside_backbone(model) if task.peft == "SEQ_CLS" else ()
        self.head = tuple(f"{module}." for module in head)
        self.sizes: dict[str, float] = {}  # of what differs: the norm of the difference over the base's
        self.keys = [key for key in model.state_dict() if key in dict(model.named_parameters(remove_duplicate=False))]

    def taken(self, rank: int | float) -> ExtractedChanges:
        """Every difference in its form, streamed: one matrix of each model is in memory at a time."""
        found, brought = ExtractedChanges(), []
        changed = self.sizes = {key: size for key in self.keys if (size := self._size(key)) != 0.0}
        self._leave_out(changed, found)
        found.unchanged = len(self.keys) - len(changed) - len(found.left_out)
        kinds = {key: self._kind(key) for key in changed}
        biased = any(kind == "bias" for kind in kinds.values())
        with progress("extracting", len(changed)) as move:
            for key, kind in kinds.items():
                # PEFT has no bias of LoRA beside an adapted embedding: of the two, the embedding goes whole.
                if kind is None or (kind == "embedding" and biased):
                    brought.append(key)
                else:
                    self._take(key, kind, rank, found)
                move(1)
        if not found.parameters:
            raise Unsupported("no matrix of the tuned model differs from its base: there is nothing for a LoRA to hold")
        for key in [key for key in changed if kinds[key] == "bias"]:  # PEFT has it only where it has a matrix
            self._add_zero(key, found)
        self._bring(brought, found)
        found.parameters = dict(sorted(found.parameters.items()))
        adapted = {place.module for place in found.parameters.values()}
        ends = tuple(f".{module}" for module in adapted)
        found.alike = any(name.endswith(ends) for name in self.modules if name not in adapted)
        return found

    def _size(self, key: str) -> float:
        """The norm of a parameter's difference over that of the base's; infinite where the base has none."""
        stored, there = self._stored(self.stored, key), self._stored(self.origin, key)
        if stored is None:
            raise Unsupported(f"the tuned model at {self.stored.folder} stores no {key}: save it again whole")
        if there is None or key.startswith(self.head):
            return math.inf
        parts, others = self.stored.parts(stored), self.origin.parts(there)
        if len(parts) != len(others):
            raise Unsupported(
                f"{key} is one tensor in one model and several in the other: save both by one Transformers"
            )
        pairs = list(zip(parts, others, strict=True))
        for one, other in pairs:
            if one.shape != other.shape:
                raise WrongBase(f"{key} has the shape {one.shape} in the tuned model and {other.shape} in its base")
        mapped = [(one.tensor(), other.tensor()) for one, other in pairs]
        if all(one.dtype not in FLOATS or torch.equal(one, other) for one, other in mapped):
            return 0.0
        moved = math.hypot(*(float(torch.linalg.vector_norm(_difference(*pair))) for pair in mapped))
        if not math.isfinite(moved):
            raise Unsupported(f"{key} holds NaN or infinite values: the tuning diverged")
        size = math.hypot(*(float(torch.linalg.vector_norm(_precise(other))) for _, other in mapped))
        return moved / size if size else math.inf

    def _stored(self, tensors: ModelTensors, key: str) -> StoredTensor | None:
        """A parameter's tensor, or one of them; a tied one's may be under its twin's name alone."""
        return tensors.by_key.get(key if key in tensors.by_key else self.ties.get(key, key))

    def _leave_out(self, changed: dict[str, float], found: ExtractedChanges) -> None:
        for pattern in self.leave_out:
            fitting = [key for key in changed if fnmatchcase(key, pattern) and not key.startswith(self.head)]
            if not fitting:
                raise BadRecipe(f"leave_out {pattern!r} fits no parameter that differs and is not the head's")
            for key in fitting:
                found.left_out[key] = changed.pop(key)

    def _kind(self, key: str) -> Kind | None:
        """What a parameter is to a LoRA; None for what goes whole."""
        stored = self._stored(self.stored, key)
        if stored is not None and not stored.direct:
            raise Unsupported(
                f"{key} differs by {self.sizes[key]:.2g} of its size, and Transformers makes it of several tensors "
                f"({stored.name}, ...), which no adapter is made of here: leave it out with --leave-out (leave_out=...)"
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

    def _take(self, key: str, kind: Kind, rank: int | float, found: ExtractedChanges) -> None:
        """The nearest change of the rank to one difference."""
        stored, there = self._stored(self.stored, key), self._stored(self.origin, key)
        assert stored is not None and there is not None
        difference = _difference(stored.tensor(), there.tensor())
        module = key.rpartition(".")[0]
        if isinstance(self.modules[module], Conv1D) and kind == "linear":
            difference, found.transposed = difference.T, True
        place = AdaptedParameter(module, kind, tuple(difference.shape))
        found.parameters[key] = place
        if kind == "bias":
            found.changes[key] = LowRank(difference[:, None], difference.new_ones(1, 1))
            return
        change, energy = sketched(difference.reshape(place.matrix), rank, Generator().manual_seed(0))
        found.changes[key] = change.to(found.dtype)
        found.extracted.append(Extracted(key, place.shape, change.rank, energy, self.sizes[key]))

    def _add_zero(self, key: str, found: ExtractedChanges) -> None:
        """No change of the weight whose bias differs."""
        module = key.rpartition(".")[0]
        weight = f"{module}.weight"
        stored = self._stored(self.origin, weight)
        if weight in found.parameters or stored is None:
            return
        shape, layer = stored.shape, self.modules[module]
        shape = shape[::-1] if isinstance(layer, Conv1D) else shape
        found.parameters[weight] = AdaptedParameter(
            module, "convolution" if isinstance(layer, CONVOLUTIONS) else "linear", shape
        )
        found.changes[weight] = LowRank.zero(found.parameters[weight].matrix, found.dtype)

    def _bring(self, keys: Sequence[str], found: ExtractedChanges) -> None:
        """The modules that hold these parameters, whole; Refused names one that holds modules of its own."""
        owners = outermost(sorted({self._owner(key) for key in keys}))
        # PEFT takes every module whose name ends with one of these, as in `norm` and `input_layernorm`.
        found.modules_to_save = outermost([name for name in self.modules if owners and name.endswith(owners)])
        inside = tuple(f"{module}." for module in found.modules_to_save)
        if adapted := [name for name in found.parameters if name.startswith(inside)]:
            raise Unsupported(
                f"{adapted[0]} differs, and so does a layer that goes whole and whose name its own ends with, so that "
                f"PEFT would take both whole ({', '.join(owners)}): leave one out with --leave-out (leave_out=...)"
            )
        for key in self.keys:
            if key.startswith(inside):
                stored = self._stored(self.stored, key)
                assert stored is not None
                found.full_weights[key] = stored.tensor().clone()

    def _owner(self, key: str) -> str:
        """The module to bring for a parameter: the head's whole module, else its own, which must hold no other."""
        for module in self.head:
            if key.startswith(module):
                return module.rstrip(".")
        module = key.rpartition(".")[0]
        if not module or any(True for _ in self.modules[module].children()):
            raise Unsupported(
                f"{key} differs by {self.sizes[key]:.2g} of its size, and belongs to a layer that holds others, which "
                "no LoRA can bring: leave it out with --leave-out (leave_out=...)"
            )
        return module


def _difference(one: Tensor, other: Tensor) -> Tensor:
    return _precise(one) - _precise(other)


def _precise(tensor: Tensor) -> Tensor:
    """In float64 where that is cheap, else in float32."""
    return tensor.to(torch.float64 if tensor.numel() <= EXACT else torch.float32)
