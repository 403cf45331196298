"""Check a model against the fingerprint of a version's base, before any weight is loaded.

PEFT loads onto a wrong base without a word; here every difference raises a WrongBase that names both sides.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any, NamedTuple

from adapterhub_fin.engine.base import fingerprint
from adapterhub_fin.engine.base.fingerprint_once import ModelCheck
from adapterhub_fin.engine.base.rounding import FLUSHED, allowed, apart, as_read
from adapterhub_fin.engine.base.row_sums import first_moved
from adapterhub_fin.engine.base.tokenizer_probe import describe_tokenizer, other_tokenizer
from adapterhub_fin.errors import ReadOnly, WrongBase
from adapterhub_fin.plugin.model_parts import backbone, unwrapped, vocabulary_size
from adapterhub_fin.plugin.options import checked
from adapterhub_fin_registry.model.events import recorded_fingerprint
from adapterhub_fin_registry.model.manifest import Base, RowSums, WeightProbe

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin_registry import Registry, Version

    Parameters = Iterable[tuple[str, Tensor]]  # by their names in a bare base

# Relative to the root mean square of a tensor's probed elements, a single four-bit element is off by up to 0.4 and all
# eight together by 0.1 (measured on NF4). Two unrelated models of one shape differ by 1.4.
QUANTIZED_TOLERANCE = 0.7


def describe_base(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase | None,
    leave_out: Collection[str],
    repository: str | None,
    revision: str | None,
    parameters: Parameters | None = None,
    *,
    rows: int | None = None,
) -> Base:
    """Return the fingerprint of a loaded model, marked "verified" since its own weights were read.

    Call it before an adapter is attached, since some adapters change the base. `parameters` are the named tensors to
    read instead of the model's: those of its files, for a model on the meta device, or those from before an adapter
    changed them. `rows` is the base's own vocabulary size if the model's was extended; the version stores the rows
    after it. Raises WrongBase if a weight is NaN or infinite.
    """
    probe = fingerprint.weight_probe(model, leave_out, parameters, rows)
    for name, values in probe["values"].items():
        if not all(map(math.isfinite, values)):
            raise WrongBase(
                f"the base can't be recorded: {_too_far(name, math.nan, 0)}; load it in another dtype, such as float32"
            )
    config: Any = getattr(unwrapped(model), "config", None)  # of a plain module there is none
    quantization: Any = getattr(config, "quantization_config", None)
    return checked(
        Base,
        {
            "repository": repository,
            "revision": revision,
            "architecture": type(backbone(model)).__name__,
            "config_digest": None if config is None else fingerprint.config_digest(config),
            "vocabulary_size": rows or vocabulary_size(model),
            **(describe_tokenizer(tokenizer) if tokenizer is not None else {}),
            "structure_digest": fingerprint.structure_digest(model, leave_out),
            "weight_probe": probe,
            "quantization": json.loads(quantization.to_json_string(use_diff=False))
            if hasattr(quantization, "to_json_string")
            else quantization,
            "transformers": installed("transformers"),
            "fingerprint": "verified",
        },
        "base",
    )


def expected_base(registry: Registry, version: Version) -> Base:
    """Return the base that a version must be loaded on: its manifest's, or the one recorded by an import's first load.

    If the recorded one was withdrawn since (see the registry's `doctor`), the next load records a new one.
    """
    base = version.manifest.base
    if base.fingerprint == "verified":
        return base
    event = recorded_fingerprint(registry.events(version))
    return base if event is None else Base.model_validate(event["base"])


def record_first_fingerprint(registry: Registry, version: Version, base: Base) -> None:
    """Record the base of an import's first load, as it was before the adapter, so that later loads must match it.

    In a read-only registry nothing is recorded and the declared fingerprint stays.
    """
    with suppress(ReadOnly):  # this load is safe all the same: its tensors were checked
        body = {"base": base.document(), "read": "before the adapter was attached"}
        registry.add_event(version, "fingerprint-verified", body)


def check_base(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase | None,
    base: Base,
    leave_out: Collection[str],
    described: str,
    parameters: Parameters | None = None,
    *,
    grown: bool = False,
    conversations: bool = False,
) -> None:
    """Check that a model is a version's base: vocabulary, layers, weights, tokenizer and configuration.

    `parameters` are the named tensors of its files, for a model on the meta device. With `grown`, the model may have
    more embedding rows than the base: only the base's are compared, and the version stores the others. With
    `conversations`, the chat template must match too. Raises WrongBase for the first difference.
    """
    if parameters is not None:
        _check_weights(model, base, leave_out, described, parameters, grown)
    elif not (once := ModelCheck(model, base, leave_out, grown)).is_known():
        _check_weights(model, base, leave_out, described, None, grown)
        once.remember()
    if tokenizer is not None and (off := other_tokenizer(tokenizer, base, conversations=conversations)):
        raise WrongBase(f"the tokenizer of {described} {off} of {_name(base)}: load the one it was trained with")
    config: Any = getattr(unwrapped(model), "config", None)
    # Another release of Transformers may write other defaults; structure and weights hold there.
    same_release = base.config_digest is not None and base.transformers == installed("transformers")
    if config is not None and same_release and base.config_digest not in fingerprint.config_digests(config):
        raise WrongBase(f"{described} has the weights of {_name(base)} under another configuration: load it unchanged")


def _check_weights(
    model: nn.Module,
    base: Base,
    leave_out: Collection[str],
    described: str,
    parameters: Parameters | None,
    grown: bool,
) -> None:
    """Check a model's vocabulary, layers and weights. Raises WrongBase for the first difference."""
    check_shape(model, base, leave_out, described, grown=grown)
    if base.weight_probe is not None:
        quantized = any(fingerprint.is_quantized(parameter) for parameter in backbone(model).parameters())
        here = fingerprint.weight_probe(model, leave_out, parameters, base.vocabulary_size)
        check_probe(here, base, described, quantized=quantized)


def check_shape(
    model: nn.Module, base: Base, leave_out: Collection[str], described: str, *, grown: bool = False
) -> None:
    """Check a model's vocabulary size and structure only, for which it may be on the meta device.

    Raises WrongBase if one of them differs from the base's.
    """
    size, expected = vocabulary_size(model), base.vocabulary_size
    if expected is not None and size != expected and not (grown and size is not None and size > expected):
        raise WrongBase(
            f"{described} ({type(backbone(model)).__name__}) has a vocabulary of {size} tokens; the version was "
            f"trained on {_name(base)} with {expected}: load that base"
        )
    if base.structure_digest is not None and fingerprint.structure_digest(model, leave_out) != base.structure_digest:
        raise WrongBase(
            f"{described} ({type(backbone(model)).__name__}) does not have the layers of {_name(base)}"
            f"{_difference(model, leave_out, base)}: load the base that the version was trained on"
        )


def _name(base: Base) -> str:
    return f"{base.exactly_called} ({base.architecture})"


def _difference(model: nn.Module, leave_out: Collection[str], base: Base) -> str:
    if base.weight_probe is None:
        return ""
    here, there = {name for name, _ in fingerprint.base_parameters(model, leave_out)}, set(base.weight_probe.values)
    sides = (("lacks", sorted(there - here)), ("adds", sorted(here - there)))
    parts = [f"it {word} {len(names)} tensors, first {names[0]}" for word, names in sides if names]
    return f": {' and '.join(parts) or 'the same names with other shapes'}"


def check_probe(here: Mapping[str, Any], base: Base, described: str, *, quantized: bool = False) -> None:
    """Compare a probe from `fingerprint.weight_probe` with a base's. Raises WrongBase if the weights differ."""
    stored = base.weight_probe
    assert stored is not None
    rows = {name: RowSums.model_construct(**sums) for name, sums in (here.get("rows") or {}).items()}
    # Built without validation, so that a NaN is reported as a difference.
    probe = WeightProbe.model_construct(dtype=here["dtype"], values=here["values"], rows=rows)
    if off := first_difference(probe, stored, quantized or base.quantization is not None):
        raise WrongBase(
            f"{described} has other weights than {_name(base)}: {off}; load the base that the version was trained on"
        )


class Difference(NamedTuple):
    """Name a tensor in which two bases differ, and how."""

    tensor: str
    how: str

    def __str__(self) -> str:
        return f"{self.tensor} {self.how}"


def _too_far(tensor: str, by: float, limit: float) -> Difference:
    if math.isfinite(by):
        return Difference(tensor, f"differs by {by:.3g} where {limit:.3g} is allowed")
    return Difference(tensor, "holds NaN or infinity, as a number above 65504 becomes in float16")


def first_difference(here: WeightProbe, stored: WeightProbe, quantized: bool) -> Difference | None:
    """Return the first tensor in which two probes differ by more than rounding explains, or None.

    Elements are compared one by one (see `rounding`), those of a quantized base all of a tensor together. A tensor that
    only one probe holds is skipped: the structure digest covers which layers there are.
    """
    names = [name for name in here.values if name in stored.values]
    if uneven := [name for name in names if len(here.values[name]) != len(stored.values[name])]:
        return Difference(uneven[0], f"has {len(stored.values[uneven[0]])} recorded elements")
    elements = _quantized_elements(names, here, stored) if quantized else _elements(names, here, stored)
    return elements or _moved_rows(here, stored)


def _elements(names: Sequence[str], here: WeightProbe, stored: WeightProbe) -> Difference | None:
    one, other = (as_read([value for name in names for value in probe.values[name]]) for probe in (here, stored))
    limit = allowed(one, here.dtype, other, stored.dtype)
    off = apart(one, other)
    if not (wrong := (off >= limit).nonzero()).numel():
        return None
    index = int(wrong[0])
    owners = [name for name in names for _ in here.values[name]]
    return _too_far(owners[index], float(off[index]), float(limit[index]))


def _quantized_elements(names: Sequence[str], here: WeightProbe, stored: WeightProbe) -> Difference | None:
    return next(filter(None, (_far_off(name, here.values[name], stored.values[name]) for name in names)), None)


def _moved_rows(here: WeightProbe, stored: WeightProbe) -> Difference | None:
    """Return the first embedding with rows that are new or were initialised again, or None."""
    stored_sums = stored.rows or {}
    for name, sums in (here.rows or {}).items():
        if name in stored_sums and (block := first_moved(sums, stored_sums[name])):
            start, stop = block
            where = f"row {start}" if stop == start + 1 else f"rows {start} to {stop - 1}"
            return Difference(name, f"has other values in {where}, as after its vocabulary was resized")
    return None


def _far_off(name: str, here: Sequence[float], stored: Sequence[float]) -> Difference | None:
    """Return the difference of a quantized tensor if it is more than quantization explains, else None."""
    limit = QUANTIZED_TOLERANCE * _root_mean_square(stored) + FLUSHED
    by = _root_mean_square([a - b for a, b in zip(here, stored, strict=True)])
    return None if by <= limit else _too_far(name, by, limit)  # also for NaN, which compares as false


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(sum(value * value for value in values) / len(values))
