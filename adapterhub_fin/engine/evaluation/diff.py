"""Compare two versions: what their manifests say, and, tensor by tensor, how far apart their weights are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.base.tensor_file import TensorFile
from adapterhub_fin.registries import configured_registries
from adapterhub_fin_registry import Registry
from adapterhub_fin_registry.model.manifest_diff import Difference, differences

if TYPE_CHECKING:
    import numpy as np

    from adapterhub_fin_registry import Version
else:
    np = Lazy("numpy")

Described = tuple[str, tuple[int, ...]]  # dtype and shape


@dataclass(frozen=True)
class TensorDifference:
    """A tensor that differs: on one side only, of another type or shape, or of other values.

    `max_abs` is the largest distance of two elements and `relative_l2` that of all of them over the length of a's; both
    are None where shapes differ or a type can't be measured, and `relative_l2` where a is all zero. Elements that are
    no numbers on either side count in `not_finite`, and not in the distances.
    """

    name: str
    a: Described | None
    b: Described | None
    max_abs: float | None = None
    relative_l2: float | None = None
    not_finite: int = 0


@dataclass(frozen=True)
class Comparison:
    """Two versions, and in what they differ; `same_tensors` counts those that are equal bit for bit."""

    a: Version
    b: Version
    fields: Sequence[Difference]
    tensors: Sequence[TensorDifference]
    same_tensors: int

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.fields and not self.tensors


def diff(a: str, b: str, *, registry: Registry | None = None) -> Comparison:
    """What differs between two versions, a's fields and tensors against b's; the files of both are verified."""
    (one, left), (other, right) = (_found(reference, registry) for reference in (a, b))
    found = []
    names = sorted(left.keys() | right.keys())
    for name in names:
        difference = compare_tensor(name, left.get(name), right.get(name))
        if difference is not None:
            found.append(difference)
    return Comparison(one, other, differences(one, other), found, len(names) - len(found))


def _found(reference: str, registry: Registry | None) -> tuple[Version, dict[str, TensorFile]]:
    registry = registry or configured_registries().answering(reference)
    version = registry.resolve(reference)
    return version, _files(version, registry.path(version.reference))


def _files(version: Version, folder: Path) -> dict[str, TensorFile]:
    """Where each tensor of a version lies: no two of its files have one of the same name."""
    paths = [file.path for file in version.manifest.files if file.path.endswith(".safetensors")]
    files = [TensorFile(folder / path) for path in paths]
    return {name: file for file in files for name in file.tensors}


def compare_tensor(name: str, left: TensorFile | None, right: TensorFile | None) -> TensorDifference | None:
    """How a tensor of two files differs; None where it is the same bit for bit."""
    a, b = (_described(file, name) for file in (left, right))
    if left is None or right is None or a is None or b is None or a[1] != b[1]:
        return TensorDifference(name, a, b)
    if a == b and all(x == y for x, y in zip(left.raw(name), right.raw(name), strict=True)):
        return None
    if not (left.measurable(name) and right.measurable(name)):
        return TensorDifference(name, a, b)
    return _measured(name, left, right, a, b)


def _described(file: TensorFile | None, name: str) -> Described | None:
    return None if file is None else (file.tensors[name].dtype, file.tensors[name].shape)


def _measured(name: str, left: TensorFile, right: TensorFile, a: Described, b: Described) -> TensorDifference:
    largest, apart, length, not_finite = 0.0, 0.0, 0.0, 0
    for one, other in zip(left.values(name), right.values(name), strict=True):
        finite = np.isfinite(one) & np.isfinite(other)
        not_finite += int((~finite).sum())
        one, other = one[finite], other[finite]
        distance = one - other
        largest = max(largest, float(np.abs(distance).max(initial=0.0)))
        apart += float(distance @ distance)
        length += float(one @ one)
    relative = math.sqrt(apart / length) if length else 0.0 if not apart else math.inf
    return TensorDifference(name, a, b, _finite(largest), _finite(relative), not_finite)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
