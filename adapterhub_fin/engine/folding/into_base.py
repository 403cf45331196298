"""Write a version's base with the version folded into it: a whole model that Transformers loads without PEFT."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from adapterhub_fin.engine.base.check import check_base, expected_base
from adapterhub_fin.engine.base.load_base import check_covered, load_config, load_tokenizer
from adapterhub_fin.engine.base.model_tensors import FLOATS, ModelTensors, StoredTensor, fingerprinted
from adapterhub_fin.engine.base.padding import align_padding
from adapterhub_fin.engine.base.progress import progress
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.folding.arithmetic import FoldedChange
from adapterhub_fin.engine.folding.four_bit import FourBit
from adapterhub_fin.engine.folding.loss import Into, Loss, fitted
from adapterhub_fin.engine.folding.shell import shell_of, untied
from adapterhub_fin.engine.folding.writing import Outgoing, write_shards
from adapterhub_fin.engine.inference.load import base_source, find_version
from adapterhub_fin.engine.merging.changes import changes_of
from adapterhub_fin.errors import Refused, Unsupported, WriteFailed, WrongTensors

if TYPE_CHECKING:
    from adapterhub_fin.engine.inference.load import Found
    from adapterhub_fin.engine.merging.parameters import AdaptedParameter
    from adapterhub_fin_registry import Registry

# What Transformers calls these files whatever the tokenizer; each kind of tokenizer adds its own (vocab_files_names).
BESIDE = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    "generation_config.json",
)


@dataclass(frozen=True)
class Folded:
    """What was folded into a base, and how far what is written is from what the adapter computes with.

    `losses` are norms of that difference over the norm of the change, all changed weights together: of the rounding
    alone, or for an adapter that was trained on a quantized base, of each choice of what to fold it into.
    """

    base: str  # its id, or its folder's name
    into: Into | None
    dtypes: Sequence[str]
    changed: Sequence[str]  # parameters that were added to
    brought: Sequence[str]  # parameters that the version brought whole
    untied: Sequence[str]  # parameters that were one with another, and are stored apart
    losses: Mapping[str, float]
    worst: tuple[str, float] | None  # the weight that loses most of its change as it is written, and how much


def fold_into_base(
    reference: str, built: Path, *, base: str | Path | None, into: Into | None, download: bool, registry: Registry
) -> Folded:
    """Write the whole model into an empty folder, and say what was measured.

    Raises BaseNotFound, WrongBase, WrongTensors or Refused before anything is written.
    """
    found = find_version(reference, registry, None, True, None)
    source = base_source(found, base, download)[1]
    folding = _Folding(found, source.folder, into)
    folding.write(built)
    return folding.told(source.repository or source.folder.name)


class _Folding:
    """One version and its base, checked; then written."""

    def __init__(self, found: Found, folder: Path, into: Into | None) -> None:
        self.whose, self.folder, self.travelling = found.version.reference, folder, found.travelling
        self.base = expected_base(found.registry, found.version)
        self.changes = changes_of(found.version, base_at_hand=True)
        config = load_config(folder)
        self.model = shell_of(config, found.head, folder, self.whose)
        self.known = self.model.state_dict()
        self.ties: Mapping[str, str] = getattr(self.model, "all_tied_weights_keys", {})
        self.tensors = ModelTensors(folder, self.model)
        with quiet_loading():
            self.tokenizer = load_tokenizer(folder)
        self._check_base()
        self.four_bit = self._four_bit(into)
        self.into = (into or "dequantised") if self.base.quantization else None
        self.loss = Loss(self.into if self.four_bit else None)  # against what was never known, nothing is measured
        modules = dict(self.model.named_modules())
        self.turned = {name for name, module in modules.items() if isinstance(module, Conv1D)}
        self.changed = [name for name, place in self.changes.parameters.items() if self._fits(place)]
        self._check_complete()
        self.config, self.apart = untied(self.model, {*self.changed, *self.changes.full_shapes}, self.whose)
        self.config.dtype = self.four_bit.compute if self.four_bit else config.dtype
        align_padding(self.model, self.tokenizer)

    def _check_base(self) -> None:
        """Hold the base's files to the version's pin."""
        read = fingerprinted(self.model, self.tensors, self.travelling)
        check_base(self.model, self.tokenizer, self.base, self.travelling, f"the base at {self.folder}", read)

    def _four_bit(self, into: Into | None) -> FourBit | None:
        """How the base was quantized in training; None where it was not, or where it can't be told and need not be."""
        quantization = self.base.quantization
        if quantization is None:
            if into is not None:
                raise Unsupported(f"{self.whose} was not trained on a quantized base: there is one to fold it into")
            return None
        dtype = self.base.weight_probe.dtype if self.base.weight_probe else "float32"
        try:
            return FourBit(self.model, quantization, dtype, self.whose)
        except Refused:
            if into != "original":
                raise
            return None

    def _fits(self, place: AdaptedParameter) -> bool:
        """Whether a parameter is to be changed, once it is sure that the base has it as the adapter does."""
        if place.kind == "bias" and place.name not in self.known:
            if self.changes.change(place.name).is_zero():
                return False  # as PEFT stores it for a layer without one
            raise Unsupported(
                f"{self.whose} adds a bias to {place.module}, and the base has none there: serve it with PEFT"
            )
        shape = place.shape[::-1] if self._is_turned(place) else place.shape
        stored = self.tensors.find(self._twin(place.name), shape, f"{self.whose} changes")
        if stored.dtype not in FLOATS:
            raise Unsupported(
                f"the base holds {stored.name} as {stored.dtype}: name the base it was made from with --base"
            )
        return True

    def _is_turned(self, place: AdaptedParameter) -> bool:
        """Whether the base stores a weight as (in, out)."""
        return place.kind == "linear" and place.module in self.turned

    def _change(self, key: str) -> FoldedChange:
        """What becomes of a parameter; read when its turn comes."""
        place = self.changes.parameters[key]
        return FoldedChange(place, self.changes.change(key), self.changes.magnitude(key), self._is_turned(place))

    def _twin(self, key: str) -> str:
        """Where a parameter's values are stored: a tied one's may be under its twin's name alone."""
        return key if key in self.tensors.by_key else self.ties.get(key, key)

    def _check_complete(self) -> None:
        """What is brought has its place, and whatever the model has comes from somewhere."""
        for name, shape in self.changes.full_shapes.items():
            if name not in self.known or tuple(self.known[name].shape) != shape:
                raise WrongTensors(
                    f"{self.whose} brings {name} of {shape}, for which a {type(self.model).__name__} has no place: "
                    "name the base it was trained on with --base (base=...)"
                )
        sure = {*self.tensors.by_key, *self.changes.full_shapes, *self.ties}
        lost = [name.rpartition(".")[0] for name, _ in self.model.named_parameters() if name not in sure]
        check_covered(lost, (), self.whose)

    def write(self, built: Path) -> None:
        """Write weights, configuration and tokenizer into an empty folder."""
        shards = list(self._shards())
        size = sum(tensor.size for _, tensors in shards for tensor in tensors)
        if (free := shutil.disk_usage(built).free) < size:
            raise WriteFailed(
                f"the model takes {size:,} bytes and the disk has {free:,} left: make room, or go elsewhere"
            )
        with progress("folding", sum(len(tensors) for _, tensors in shards)) as advance:
            write_shards(built, shards, advance)
        self.config.save_pretrained(built)
        for name in sorted({*BESIDE, *self.tokenizer.vocab_files_names.values()}):
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, built / name)

    def _shards(self) -> Iterator[tuple[str, list[Outgoing]]]:
        """The base's own shards, with what is folded or brought in its place; what the base lacks ends the last one."""
        left = {*self.changes.full_shapes, *self.apart}
        for number, (name, shard) in enumerate(self.tensors.shards, start=1):
            outgoing = []
            for stored in shard:
                of_another_head = stored.direct and stored.key not in self.known
                if not of_another_head and (stored.direct or stored.key not in self.changes.full_shapes):
                    outgoing.append(self._outgoing(stored, stored.key))
                    left.discard(stored.key)
            if number == len(self.tensors.shards):
                outgoing += [self._outgoing(self.tensors.by_key.get(self._twin(key)), key) for key in sorted(left)]
            yield name, outgoing

    def _outgoing(self, stored: StoredTensor | None, key: str) -> Outgoing:
        """What is written for a parameter: brought, folded, or as it is."""
        if key in self.changes.full_shapes:
            shape, dtype = self.changes.full_shapes[key], self.changes.values(key).dtype
            return Outgoing(key, dtype, shape, lambda: self.changes.values(key))
        assert stored is not None  # _check_complete has seen to it
        name, dtype, there = _called(stored, key), self._dtype(stored.dtype), stored
        if key not in self.changed:
            return Outgoing(name, dtype, stored.shape, lambda: fitted(self._unchanged(there, key), dtype, key))
        return Outgoing(name, dtype, stored.shape, lambda: self._folded(there, key, dtype))

    def _unchanged(self, stored: StoredTensor, key: str) -> Tensor:
        weight = stored.tensor()
        if self.into == "dequantised" and self.four_bit and self.four_bit.holds(key):
            return self.four_bit.dequantised(key, weight)
        return weight

    def _folded(self, stored: StoredTensor, key: str, dtype: torch.dtype) -> Tensor:
        weight, change = stored.tensor(), self._change(key)
        if not (self.four_bit and self.four_bit.holds(key)):
            return self.loss.fold(key, change, weight, weight, dtype)
        held = self.four_bit.dequantised(key, weight)
        folded = self.loss.fold(key, change, weight, held, dtype)
        if self.into == "dequantised":
            self.loss.quantize_again(key, folded, self.four_bit.dequantised)
        return folded

    def _dtype(self, stored: torch.dtype) -> torch.dtype:
        """The base's own; on a quantized one, what was computed in."""
        return self.four_bit.compute if self.four_bit and stored in FLOATS else stored

    def told(self, base: str) -> Folded:
        """What was done, once it is."""
        dtypes = {self._dtype(stored.dtype) for stored in self.tensors if stored.dtype in FLOATS}
        return Folded(
            base=base,
            into=self.into,
            dtypes=sorted(str(dtype).removeprefix("torch.") for dtype in dtypes),
            changed=self.changed,
            brought=sorted(self.changes.full_shapes),
            untied=sorted(self.apart),
            losses=self.loss.relative(),
            worst=self.loss.worst(),
        )


def _called(stored: StoredTensor, key: str) -> str:
    """The model's name of a tensor; the file's own where more differs than what it begins with, as old spellings do."""
    spelled_alike = key.endswith(stored.name) or stored.name.endswith(key)
    return key if spelled_alike or key != stored.key else stored.name
