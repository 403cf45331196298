"""Hold a model to a version's base pin, before any weight is touched.

PEFT loads onto the wrong base in silence; here every difference is a WrongBase that names both sides.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Sequence
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from adapterhub_fin.engine import pin
from adapterhub_fin.errors import ReadOnly, WrongBase
from adapterhub_fin.options import checked
from adapterhub_fin_registry.manifest import Base, WeightProbe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin_registry import Registry, Version

# Relative to the root mean square of a tensor's probed elements. Of floats, the worst element may be off by some units
# in the last place of the narrower type. Of four-bit weights single elements are off by up to 0.4 of it, but all eight
# together by 0.1 (measured on NF4), where two models of one shape differ by 1.4.
TOLERANCE = {"float64": 1e-6, "float32": 1e-6, "bfloat16": 2**-7, "float16": 2**-10}
QUANTIZED_TOLERANCE = 0.7


Parameters = Iterable[tuple[str, Tensor]]  # by their names in a bare base


def describe_base(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase | None,
    leave_out: Collection[str],
    repository: str | None,
    revision: str | None,
    parameters: Parameters | None = None,
) -> Base:
    """The pin of a model that is at hand: verified, since its own weights were read.

    `parameters` are those of its files, for a model that is on the meta device.
    """
    config: Any = pin.unwrapped(model).config
    quantization: Any = getattr(config, "quantization_config", None)
    return checked(
        Base,
        {
            "repository": repository,
            "revision": revision,
            "architecture": type(pin.backbone(model)).__name__,
            "config_digest": pin.config_digest(config),
            "vocabulary_size": pin.vocabulary_size(model),
            "tokenizer_digest": pin.tokenizer_digest(tokenizer) if tokenizer is not None else None,
            "structure_digest": pin.structure_digest(model, leave_out),
            "weight_probe": pin.probe(parameters or pin.base_parameters(model, leave_out)),
            "quantization": json.loads(quantization.to_json_string(use_diff=False))
            if hasattr(quantization, "to_json_string")
            else quantization,
            "transformers": installed("transformers"),
            "pin": "verified",
        },
        "base",
    )


def held_base(registry: Registry, version: Version) -> Base:
    """The base that a version is held to: its manifest's, or what the first load of an import recorded."""
    base = version.manifest.base
    if base.pin == "verified":
        return base
    for event in registry.events(version.reference):
        if event["kind"] == "pin-verified":
            return Base.model_validate(event["base"])
    return base


def record_first_pin(
    registry: Registry,
    version: Version,
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    leave_out: Collection[str],
) -> None:
    """After the first load of an import, hold every later load to the base that it fitted.

    A registry that can't be written keeps its declared pin; the load itself was checked for its tensors.
    """
    if held_base(registry, version).pin == "verified":
        return
    stored = version.manifest.base
    found = describe_base(model, tokenizer, leave_out, stored.repository, stored.revision)
    try:
        registry.add_event(version.reference, "pin-verified", {"base": found.model_dump(mode="json")})
    except ReadOnly:
        return  # nothing can be written there, and nothing was claimed


def check_base(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    base: Base,
    leave_out: Collection[str],
    described: str,
    parameters: Parameters | None = None,
) -> None:
    """Vocabulary, layers, weights, tokenizer and configuration, in this order.

    `parameters` are those of its files, for a model that is on the meta device.
    """
    check_shape(model, base, leave_out, described)
    if base.weight_probe is not None:
        _check_weights(model, base, base.weight_probe, parameters or pin.base_parameters(model, leave_out), described)
    if base.tokenizer_digest is not None and pin.tokenizer_digest(tokenizer) != base.tokenizer_digest:
        raise WrongBase(f"the tokenizer of {described} is not that of {_name(base)}: load the one it was trained with")
    config: Any = pin.unwrapped(model).config
    # Another release of Transformers may write other defaults; structure and weights hold there.
    same_release = base.config_digest is not None and base.transformers == installed("transformers")
    if same_release and pin.config_digest(config) != base.config_digest:
        raise WrongBase(f"{described} has the weights of {_name(base)} under another configuration: load it unchanged")


def check_shape(model: nn.Module, base: Base, leave_out: Collection[str], described: str) -> None:
    """What a model's structure alone tells; the model may be on the meta device."""
    size = pin.vocabulary_size(model)
    if base.vocabulary_size is not None and size != base.vocabulary_size:
        raise WrongBase(
            f"{described} ({type(pin.backbone(model)).__name__}) has a vocabulary of {size} tokens; the version was "
            f"trained on {_name(base)} with {base.vocabulary_size}: load that base"
        )
    if base.structure_digest is not None and pin.structure_digest(model, leave_out) != base.structure_digest:
        raise WrongBase(
            f"{described} ({type(pin.backbone(model)).__name__}) does not have the layers of {_name(base)}"
            f"{_difference(model, leave_out, base)}: load the base that the version was trained on"
        )


def _name(base: Base) -> str:
    return f"{base.repository or 'an unnamed base'} ({base.architecture})"


def _difference(model: nn.Module, leave_out: Collection[str], base: Base) -> str:
    if base.weight_probe is None:
        return ""
    here, there = {name for name, _ in pin.base_parameters(model, leave_out)}, set(base.weight_probe.values)
    sides = (("lacks", sorted(there - here)), ("adds", sorted(here - there)))
    parts = [f"it {word} {len(names)} tensors, first {names[0]}" for word, names in sides if names]
    return f": {' and '.join(parts) or 'the same names with other shapes'}"


def _check_weights(model: nn.Module, base: Base, stored: WeightProbe, parameters: Parameters, described: str) -> None:
    here = WeightProbe.model_construct(**pin.probe(parameters))  # a NaN is told as a difference
    quantized = base.quantization is not None or any(
        hasattr(p, "quant_state") for p in pin.backbone(model).parameters()
    )
    if off := first_difference(here, stored, quantized):
        raise _other_weights(off, base, described)


class Difference(NamedTuple):
    """A tensor in which two bases differ: by how much, and how much is allowed."""

    tensor: str
    by: float
    allowed: float


def first_difference(here: WeightProbe, stored: WeightProbe, quantized: bool) -> Difference | None:
    """The first tensor in which a probe differs from a stored one by more than their types round; None if none does."""
    dtypes = {here.dtype, stored.dtype}
    each = (_difference_of(name, found, stored.values[name], dtypes, quantized) for name, found in here.values.items())
    return next(filter(None, each), None)


def check_elements(
    name: str, here: Sequence[float], stored: Sequence[float], base: Base, dtypes: Collection[str], described: str
) -> None:
    """Hold the probed elements of one tensor to the pin's, by the coarser of the types that both were held in."""
    if off := _difference_of(name, here, stored, dtypes, base.quantization is not None):
        raise _other_weights(off, base, described)


def _difference_of(
    name: str, here: Sequence[float], stored: Sequence[float], dtypes: Collection[str], quantized: bool
) -> Difference | None:
    tolerance = QUANTIZED_TOLERANCE if quantized else max(TOLERANCE.get(dtype, 1e-6) for dtype in dtypes)
    size = _root_mean_square(stored)
    off = [a - b for a, b in zip(here, stored, strict=True)]
    worst = _root_mean_square(off) if quantized else max(map(abs, off), key=lambda x: (x != x, x))
    if worst <= tolerance * size + torch.finfo(torch.float32).tiny:  # which no NaN is
        return None
    return Difference(name, worst, tolerance * size)


def _other_weights(off: Difference, base: Base, described: str) -> WrongBase:
    return WrongBase(
        f"{described} has other weights than {_name(base)}: {off.tensor} differs by {off.by:.3g} where "
        f"{off.allowed:.3g} is allowed; load the base that the version was trained on"
    )


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(sum(value * value for value in values) / len(values))
