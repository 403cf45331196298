"""Read a whole model's tensors from its safetensors files, one or several, by their names in the model.

The names in a file and those in a model differ: a bare base has no `bert.` before its own, old files say `gamma` for
`weight`, and some models make one parameter of several tensors. Transformers' own mapping translates them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from adapterhub_fin.engine.base import fingerprint
from adapterhub_fin.engine.base.tensor_file import FLOAT_DTYPES, TensorFile
from adapterhub_fin.errors import BaseNotFound, NotAnAdapter, Refused, WrongTensors
from adapterhub_fin.plugin.model_parts import backbone_prefix

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MODEL_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
FLOATS: tuple[torch.dtype, ...] = tuple(getattr(torch, name) for name in FLOAT_DTYPES.values())


@dataclass(frozen=True)
class StoredTensor:
    """Refer to one tensor of a file, and to the model's parameter that it is, or is a part of."""

    file: TensorFile
    name: str  # in the file
    key: str  # in the model
    direct: bool  # whether the parameter is this tensor and nothing else

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the tensor's shape."""
        return tuple(self.file.tensors[self.name].shape)

    @property
    def dtype(self) -> torch.dtype:
        """Return the tensor's type. Raises Refused for one that torch can't compute with here."""
        kind = self.file.tensors[self.name].dtype
        if kind not in DTYPES:
            raise Refused(f"{self.file.path.name} holds {self.name} as {kind}, a type that can't be computed with here")
        return DTYPES[kind]

    def tensor(self) -> Tensor:
        """Map the tensor, of its stored shape, into memory: pages are read when used. Raises Refused as `dtype` does.

        Writing to it changes a private copy, never the file.
        """
        info = self.file.tensors[self.name]
        if info.start == info.stop:
            return torch.empty(info.shape, dtype=self.dtype)
        offset = self.file.data + info.start
        mapped = np.memmap(self.file.path, np.uint8, "c", offset, (info.stop - info.start,))
        return torch.from_numpy(mapped).view(self.dtype).reshape(info.shape)


class ModelTensors:
    """Hold the tensors of a model's folder, by shard and by the parameters of the model (on the meta device).

    Raises BaseNotFound if the folder has no weights, and Refused for pickles and for files that can't be read.
    """

    def __init__(self, folder: Path, model: PreTrainedModel) -> None:
        self.folder = folder
        parameters: dict[str, Tensor] = dict(model.state_dict())
        transforms: list[Any] = get_model_conversion_mapping(model)
        converters = [transform for transform in transforms if isinstance(transform, WeightConverter)]
        renamings = [transform for transform in transforms if isinstance(transform, WeightRenaming)]
        self.shards: list[tuple[str, list[StoredTensor]]] = []  # (file name, its tensors)
        self.by_key: dict[str, StoredTensor] = {}
        for file_name, file in weight_files(folder):
            shard = []
            for name in file.tensors:
                key, converted = rename_source_key(name, renamings, converters, model.base_model_prefix, parameters)
                shard.append(StoredTensor(file, name, key, converted is None))
            self.shards.append((file_name, shard))
            self.by_key |= {stored.key: stored for stored in shard}

    def find(self, key: str, shape: tuple[int, ...], what: str) -> StoredTensor:
        """Return the tensor of the parameter `key`; `what` begins the error's sentence.

        Raises WrongTensors if there is none of that shape, and Refused if Transformers makes it of several tensors.
        """
        stored = self.by_key.get(key)
        if stored is None:
            raise WrongTensors(f"{what} {key}, and the model at {self.folder} stores no such tensor")
        if not stored.direct:
            raise Refused(
                f"{what} {key}, which Transformers makes of several tensors ({stored.name}, ...) when it reads "
                f"{self.folder}: such a parameter can't be split here; use PEFT's merge_and_unload on the model in "
                "memory"
            )
        if stored.shape != shape:
            raise WrongTensors(f"{what} {key} as {shape}, and the model at {self.folder} has it as {stored.shape}")
        return stored

    def parts(self, stored: StoredTensor) -> list[StoredTensor]:
        """Return all tensors of the parameter that `stored` belongs to, sorted by name."""
        if stored.direct:
            return [stored]
        return sorted((tensor for tensor in self if tensor.key == stored.key), key=lambda tensor: tensor.name)

    def __iter__(self) -> Iterator[StoredTensor]:
        for _, shard in self.shards:
            yield from shard


def fingerprinted(
    model: PreTrainedModel, tensors: ModelTensors, leave_out: Collection[str]
) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors that `fingerprint.weight_probe` reads, from a model's files; the model is on the meta device.

    Raises Refused for a tensor of a type that torch can't compute with here.
    """
    prefix = backbone_prefix(model)
    backbone = {name for name, _ in fingerprint.base_parameters(model, leave_out)}
    ties: Mapping[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
    twins = {source: target for target, source in ties.items()}  # of two tied ones, a file may hold only one name
    for name, _ in fingerprint.fingerprinted(model, leave_out):
        key = prefix + name if name in backbone else name
        stored = tensors.by_key.get(key) or tensors.by_key.get(twins.get(key, ""))
        if stored is not None and stored.direct:
            yield name, stored.tensor()


def weight_files(folder: Path) -> Iterator[tuple[str, TensorFile]]:
    """Yield the files of a folder's model, sorted by name; the header of each is checked.

    Raises BaseNotFound if the folder has no weights, and Refused for pickles and for files that can't be read.
    """
    try:
        if (folder / INDEX_FILE).is_file():
            yield from _sharded(folder)
        elif (folder / MODEL_FILE).is_file():
            yield MODEL_FILE, TensorFile((folder / MODEL_FILE).resolve())  # a link into the cache of a Hub
        elif any((folder / name).is_file() for name in PICKLES):
            raise Refused(
                f"{folder} has its weights in pytorch_model.bin, a pickle, which can run code when it is read: load "
                "the model with Transformers once and save it with save_pretrained, which writes safetensors"
            )
        else:
            raise BaseNotFound(f"{folder} holds no {MODEL_FILE} and no {INDEX_FILE}: name the folder of a whole model")
    except NotAnAdapter as error:  # read_header raises it for any file
        raise Refused(f"the model's weights can't be read: {error}") from error


def _sharded(folder: Path) -> Iterator[tuple[str, TensorFile]]:
    try:
        weight_map = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))["weight_map"]
        shard_of = {str(name): str(shard) for name, shard in weight_map.items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise Refused(f"{folder / INDEX_FILE} maps no tensors to files: download the model again") from error
    for shard in sorted(set(shard_of.values())):
        if Path(shard).name != shard or not (folder / shard).is_file():
            raise Refused(f"{folder / INDEX_FILE} names {shard}, which is not there: download the model again")
        file = TensorFile((folder / shard).resolve())
        if lost := sorted({name for name in shard_of if shard_of[name] == shard} - set(file.tensors)):
            raise Refused(f"{folder / shard} lacks {lost[0]}, which the index places there: download the model again")
        yield shard, file
