"""Check that the base an engine serves is the one a version was trained on, from its files: no weight is loaded.

An engine names its base by a Hub id or a folder. If its files are on this machine, its layers are read from the
configuration and eight elements of each tensor from the checkpoint. If not, only the name is compared.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoModel, AutoModelForCausalLM

from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base import fingerprint
from adapterhub_fin.engine.base.check import check_probe, check_shape
from adapterhub_fin.engine.base.load_base import load_config
from adapterhub_fin.engine.base.locks import on_meta
from adapterhub_fin.engine.base.quiet import quiet_loading
from adapterhub_fin.engine.base.tensor_file import FLOAT_DTYPES, TensorFile
from adapterhub_fin.errors import BaseNotFound, WrongBase
from adapterhub_fin.recipe.choices import BaseChoice, named_base
from adapterhub_fin_registry.model.manifest import Base


def check_served(base: Base, served: str, leave_out: Collection[str] = ()) -> None:
    """Raise WrongBase unless the base that an engine serves under a Hub id or a folder matches a fingerprint.

    `leave_out` names the version's modules_to_save. A base that neither its files nor its name identify is refused too.
    """
    folder = _folder(served)
    described = f"the served base {served}"
    if folder is not None and base.structure_digest is not None:
        with quiet_loading():
            _check_layers(base, folder, leave_out, described)
        if _check_elements(base, folder, described):
            return
    if base.repository is None:
        raise WrongBase(
            "which base the version was trained on is not recorded: load it once with ahf.load(..., base=FOLDER), "
            "which records it"
        )
    if base.repository not in _names(served, folder):
        raise WrongBase(f"the version was trained on {base.repository}, and {served} is served: serve that base")


def _folder(served: str) -> Path | None:
    """Return the folder of a served base on this machine; None where it has none. Nothing is downloaded."""
    try:
        return bases.find_base(BaseChoice.read(served)).folder.resolve()
    except BaseNotFound:
        return None


def _names(served: str, folder: Path | None) -> Iterator[str]:
    """Yield the ids of a served base: its own, and for a folder `models--ORG--NAME` of a cache, or `ORG/NAME`."""
    yield served
    if folder is None or "path" not in named_base(served):
        return
    yield "/".join(folder.parts[-2:])
    for part in folder.parts:
        if part.startswith("models--"):
            yield part.removeprefix("models--").replace("--", "/")


def _check_layers(base: Base, folder: Path, leave_out: Collection[str], described: str) -> None:
    """Check names and shapes against the configuration, in either of the classes that can have been fingerprinted."""
    config = load_config(folder)
    mismatch: WrongBase | None = None
    classes: tuple[Any, ...] = (AutoModelForCausalLM, AutoModel)  # untyped, as Transformers has them
    for auto in classes:
        if type(config) not in auto._model_mapping:
            continue
        with on_meta():
            skeleton: nn.Module = auto.from_config(config)
        try:
            return check_shape(skeleton, base, leave_out, described)
        except WrongBase as error:
            mismatch = error
    raise mismatch or WrongBase(f"{described} is of a kind that Transformers does not know ({config.model_type})")


def _check_elements(base: Base, folder: Path, described: str) -> bool:
    """Compare the fingerprinted elements with the checkpoint's; return whether any could be compared."""
    if base.weight_probe is None:
        return False
    probe, checkpoint = base.weight_probe, _checkpoint(folder)
    prefix = _prefix(probe.values, checkpoint)
    elements: dict[str, list[float]] = {}
    kinds = set()
    for name in probe.values:
        file = checkpoint.get(prefix + name)
        info = file.tensors[prefix + name] if file else None
        if file is None or info is None or info.dtype not in FLOAT_DTYPES:
            continue  # under another name, or quantized: the other tensors decide
        elements[name] = file.elements(prefix + name, fingerprint.probed_elements(name, math.prod(info.shape)))
        kinds.add(info.dtype)
    if elements:
        coarsest = next(dtype for kind, dtype in FLOAT_DTYPES.items() if kind in kinds)
        check_probe({"dtype": coarsest, "values": elements}, base, described)
    return bool(elements)


def _checkpoint(folder: Path) -> dict[str, TensorFile]:
    """Return the file of each tensor; of a tensor in several files the last one's, which loaders use."""
    files = [TensorFile(path.resolve()) for path in sorted(folder.glob("*.safetensors"))]
    return {name: file for file in files for name in file.tensors}


def _prefix(probed: Collection[str], checkpoint: Collection[str]) -> str:
    """Return what a checkpoint puts before a bare base's names, such as `model.`: the prefix with the most matches."""
    longest = max(probed, key=len, default="")
    candidates = sorted({name.removesuffix(longest) for name in checkpoint if name.endswith(longest)})
    return max(candidates, key=lambda prefix: sum(prefix + name in checkpoint for name in probed), default="")
