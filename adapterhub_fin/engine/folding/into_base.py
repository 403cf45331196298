"""Write a version's base with the version folded in: a whole model that Transformers loads without PEFT."""

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
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.folding.four_bit import FourBit
from adapterhub_fin.engine.folding.loss import FoldedChange, Into, Loss, fitted
from adapterhub_fin.engine.folding.tuned import shell_of, untied
from adapterhub_fin.engine.folding.writing import Outgoing, write_shards
from adapterhub_fin.engine.inference.find import base_source, find_version
from adapterhub_fin.engine.merging.changes import changes_of
from adapterhub_fin.errors import Refused, Unsupported, WriteFailed, WrongTensors
from adapterhub_fin.plugin.progress_lines import progress

if TYPE_CHECKING:
    from adapterhub_fin.engine.inference.find import ResolvedVersion
    from adapterhub_fin.engine.merging.parameters import AdaptedParameter
    from adapterhub_fin_registry import Registry

# Files to copy from the base's folder; each kind of tokenizer adds its own (vocab_files_names).
COPIED = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    "generation_config.json",
)


@dataclass(frozen=True)
class Folded:
    """Describe what was folded into a base, and how far the written model is from what the adapter computes.

    `losses` are norms of that error over the norm of the change, over all changed weights: of rounding alone, or for an
    adapter trained on a quantized base, of each choice of what to fold it into.
    """

    base: str  # its id, or its folder's name
    into: Into | None
    dtypes: Sequence[str]
    changed: Sequence[str]  # parameters that a change was added to
    full_parameters: Sequence[str]  # parameters replaced by those that the version stores in full
    untied: Sequence[str]  # parameters that shared a weight, and are now stored separately
    losses: Mapping[str, float]
    worst: tuple[str, float] | None  # the weight that loses the largest share of its change, and that share


def fold_into_base(
    reference: str, built: Path, *, base: str | Path | None, into: Into | None, download: bool, registry: Registry
) -> Folded:
    """Write the whole model into an empty folder, and return what was measured.

    Raises BaseNotFound, WrongBase, WrongTensors or Unsupported before anything is written, and WriteFailed for a full
    disk.
    """
    resolved = find_version(reference, registry, None, True, None)
    source = base_source(resolved, base, download)[1]
    folding = _Folding(resolved, source.folder, into)
    folding.write(built)
    return folding.summary(source.repository or source.folder.name)


class _Folding:
    """Check one version and its base, then write the folded model."""

    def __init__(self, resolved: ResolvedVersion, folder: Path, into: Into | None) -> None:
        self.whose, self.folder, self.modules_to_save = resolved.version.reference, folder, resolved.modules_to_save
        self.base = expected_base(resolved.registry, resolved.version)
        self.changes = changes_of(resolved.version, base_at_hand=True)
        config = load_config(folder)
        self.model = shell_of(config, resolved.head, folder, self.whose)
        self.state = self.model.state_dict()
        self.ties: Mapping[str, str] = getattr(self.model, "all_tied_weights_keys", {})
        self.tensors = ModelTensors(folder, self.model)
        with quiet_loading():
            self.tokenizer = load_tokenizer(folder)
        self._check_base()
        self.four_bit = self._four_bit(into)
        self.into = (into or "dequantised") if self.base.quantization else None
        # Where the weights of the training can't be restored, only the rounding is measured.
        self.loss = Loss(self.into if self.four_bit else None)
        modules = dict(self.model.named_modules())
        self.transposed = {name for name, module in modules.items() if isinstance(module, Conv1D)}
        self.changed = [name for name, parameter in self.changes.parameters.items() if self._fits(parameter)]
        self._check_complete()
        self.config, self.untied = untied(self.model, {*self.changed, *self.changes.full_shapes}, self.whose)
        self.config.dtype = self.four_bit.compute if self.four_bit else config.dtype
        align_padding(self.model, self.tokenizer)

    def _check_base(self) -> None:
        """Check the base's files against the version's fingerprint of it."""
        read = fingerprinted(self.model, self.tensors, self.modules_to_save)
        check_base(self.model, self.tokenizer, self.base, self.modules_to_save, f"the base at {self.folder}", read)

    def _four_bit(self, into: Into | None) -> FourBit | None:
        """Return how the base was quantized in training; None for an unquantized base.

        None also where the quantization can't be reproduced and the change goes into the original weights anyway.
        """
        quantization = self.base.quantization
        if quantization is None:
            if into is not None:
                raise Unsupported(f"{self.whose} was not trained on a quantized base: leave out --into (into=...)")
            return None
        dtype = self.base.weight_probe.dtype if self.base.weight_probe else "float32"
        try:
            return FourBit(self.model, quantization, dtype, self.whose)
        except Refused:
            if into != "original":
                raise
            return None

    def _fits(self, parameter: AdaptedParameter) -> bool:
        """Return whether a parameter is to be changed.

        Raises Unsupported or WrongTensors where the base has no such parameter.
        """
        if parameter.kind == "bias" and parameter.name not in self.state:
            if self.changes.change(parameter.name).is_zero():
                return False  # as PEFT stores it for a layer without one
            raise Unsupported(
                f"{self.whose} adds a bias to {parameter.module}, and the base has none there: serve it with PEFT"
            )
        shape = parameter.shape[::-1] if self._is_transposed(parameter) else parameter.shape
        stored = self.tensors.find(self._twin(parameter.name), shape, f"{self.whose} changes")
        if stored.dtype not in FLOATS:
            raise Unsupported(
                f"the base holds {stored.name} as {stored.dtype}: name the base it was made from with --base"
            )
        return True

    def _is_transposed(self, parameter: AdaptedParameter) -> bool:
        """Return whether the base stores a weight as (in, out)."""
        return parameter.kind == "linear" and parameter.module in self.transposed

    def _change(self, key: str) -> FoldedChange:
        """Return the change of a parameter; it is read when the parameter is written."""
        parameter = self.changes.parameters[key]
        return FoldedChange(
            parameter, self.changes.change(key), self.changes.magnitude(key), self._is_transposed(parameter)
        )

    def _twin(self, key: str) -> str:
        """Return the name under which a parameter is stored: a tied one may be stored only under its twin's name."""
        return key if key in self.tensors.by_key else self.ties.get(key, key)

    def _check_complete(self) -> None:
        """Raise WrongTensors where a stored parameter fits none of the model's, or one of the model's has no values."""
        for name, shape in self.changes.full_shapes.items():
            if name not in self.state or tuple(self.state[name].shape) != shape:
                raise WrongTensors(
                    f"{self.whose} stores {name} of {shape}, and a {type(self.model).__name__} has no such parameter: "
                    "name the base it was trained on with --base (base=...)"
                )
        covered = {*self.tensors.by_key, *self.changes.full_shapes, *self.ties}
        missing = [name.rpartition(".")[0] for name, _ in self.model.named_parameters() if name not in covered]
        check_covered(missing, (), self.whose)

    def write(self, built: Path) -> None:
        """Write weights, configuration and tokenizer into an empty folder. Raises WriteFailed for a full disk."""
        shards = list(self._shards())
        size = sum(tensor.size for _, tensors in shards for tensor in tensors)
        if (free := shutil.disk_usage(built).free) < size:
            raise WriteFailed(
                f"the model takes {size:,} bytes and the disk has {free:,} left: make room, or choose another folder"
            )
        with progress("folding", sum(len(tensors) for _, tensors in shards)) as advance:
            write_shards(built, shards, advance)
        self.config.save_pretrained(built)
        for name in sorted({*COPIED, *self.tokenizer.vocab_files_names.values()}):
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, built / name)

    def _shards(self) -> Iterator[tuple[str, list[Outgoing]]]:
        """Yield the base's own shards with folded and replaced parameters; the last one also has the new parameters."""
        remaining = {*self.changes.full_shapes, *self.untied}
        for number, (name, shard) in enumerate(self.tensors.shards, start=1):
            outgoing = []
            for stored in shard:
                of_another_head = stored.direct and stored.key not in self.state
                if not of_another_head and (stored.direct or stored.key not in self.changes.full_shapes):
                    outgoing.append(self._outgoing(stored, stored.key))
                    remaining.discard(stored.key)
            if number == len(self.tensors.shards):
                outgoing += [self._outgoing(self.tensors.by_key.get(self._twin(key)), key) for key in sorted(remaining)]
            yield name, outgoing

    def _outgoing(self, stored: StoredTensor | None, key: str) -> Outgoing:
        """Return what is written for a parameter: replaced, folded, or unchanged."""
        if key in self.changes.full_shapes:
            shape, dtype = self.changes.full_shapes[key], self.changes.values(key).dtype
            return Outgoing(key, dtype, shape, lambda: self.changes.values(key))
        assert stored is not None  # _check_complete made sure
        name, dtype, base_tensor = _called(stored, key), self._dtype(stored.dtype), stored
        if key not in self.changed:
            return Outgoing(name, dtype, stored.shape, lambda: fitted(self._unchanged(base_tensor, key), dtype, key))
        return Outgoing(name, dtype, stored.shape, lambda: self._folded(base_tensor, key, dtype))

    def _unchanged(self, stored: StoredTensor, key: str) -> Tensor:
        weight = stored.tensor()
        if self.into == "dequantised" and self.four_bit and self.four_bit.holds(key):
            return self.four_bit.dequantised(key, weight)
        return weight

    def _folded(self, stored: StoredTensor, key: str, dtype: torch.dtype) -> Tensor:
        weight, change = stored.tensor(), self._change(key)
        if not (self.four_bit and self.four_bit.holds(key)):
            return self.loss.fold(key, change, weight, weight, dtype)
        trained_weight = self.four_bit.dequantised(key, weight)
        folded = self.loss.fold(key, change, weight, trained_weight, dtype)
        if self.into == "dequantised":
            self.loss.quantize_again(key, folded, self.four_bit.dequantised)
        return folded

    def _dtype(self, stored: torch.dtype) -> torch.dtype:
        """Return the base's own dtype; on a quantized base, the one that was computed in."""
        return self.four_bit.compute if self.four_bit and stored in FLOATS else stored

    def summary(self, base: str) -> Folded:
        """Return what was done, after `write`."""
        dtypes = {self._dtype(stored.dtype) for stored in self.tensors if stored.dtype in FLOATS}
        return Folded(
            base=base,
            into=self.into,
            dtypes=sorted(str(dtype).removeprefix("torch.") for dtype in dtypes),
            changed=self.changed,
            full_parameters=sorted(self.changes.full_shapes),
            untied=sorted(self.untied),
            losses=self.loss.relative(),
            worst=self.loss.worst(),
        )


def _called(stored: StoredTensor, key: str) -> str:
    """Return the model's name of a tensor, or the file's own where more than a prefix differs, as in old spellings."""
    spelled_alike = key.endswith(stored.name) or stored.name.endswith(key)
    return key if spelled_alike or key != stored.key else stored.name
