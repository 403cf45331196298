"""Compare two versions: the fields of their manifests, and the values of their tensors."""

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
    """Represent a tensor that differs between two versions: missing on one side, or of another dtype, shape or value.

    `max_abs` is the largest absolute difference of two elements. `relative_l2` is the L2 norm of the difference over
    that of a. Both are None where the shapes differ or the dtype has no arithmetic here; `relative_l2` is also None
    where a is all zeros and b is not. `not_finite` counts the elements that are NaN or infinite on either side; these
    are left out of both numbers.
    """

    name: str
    a: Described | None
    b: Described | None
    max_abs: float | None = None
    relative_l2: float | None = None
    not_finite: int = 0


@dataclass(frozen=True)
class Comparison:
    """Hold two versions and their differences; `same_tensors` counts the tensors that are equal bit for bit."""

    a: Version
    b: Version
    fields: Sequence[Difference]
    tensors: Sequence[TensorDifference]
    same_tensors: int

    def __repr__(self) -> str:
        return (
            f"Comparison({self.a.reference}, {self.b.reference}: {len(self.fields):,} fields and "
            f"{len(self.tensors):,} tensors differ, {self.same_tensors:,} tensors are the same)"
        )

    def _repr_html_(self) -> str:
        from adapterhub_fin_registry.io.html_table import html_table

        fields = [(each.field, each.a, each.b) for each in self.fields]
        return html_table(repr(self), fields, ("field", self.a.reference, self.b.reference))

    @property
    def same(self) -> bool:
        """Tell whether nothing differs."""
        return not self.fields and not self.tensors


def diff(a: str, b: str, *, registry: Registry | None = None) -> Comparison:
    """Return the differences between two versions: a's fields and tensors against b's. The files of both are verified.

    Raises NotFound for an unknown version and Corrupted where a file is not what its manifest says.

    Example:
        >>> comparison = ahf.diff("acme/tone@1", "acme/tone@2")
        >>> comparison.same, [tensor.name for tensor in comparison.tensors]
        (False, ['classifier.bias', 'classifier.weight'])
    """
    (one, left), (other, right) = (_resolved(reference, registry) for reference in (a, b))
    tensors = []
    names = sorted(left.keys() | right.keys())
    for name in names:
        difference = compare_tensor(name, left.get(name), right.get(name))
        if difference is not None:
            tensors.append(difference)
    return Comparison(one, other, differences(one, other), tensors, len(names) - len(tensors))


def _resolved(reference: str, registry: Registry | None) -> tuple[Version, dict[str, TensorFile]]:
    registry = registry or configured_registries().answering(reference)
    version = registry.resolve(reference)
    return version, _files(version, registry.path(version))


def _files(version: Version, folder: Path) -> dict[str, TensorFile]:
    """Return the file of each tensor of a version, by the tensor's name: no two files of a version share one."""
    paths = [file.path for file in version.manifest.files if file.path.endswith(".safetensors")]
    files = [TensorFile(folder / path) for path in paths]
    return {name: file for file in files for name in file.tensors}


def compare_tensor(name: str, left: TensorFile | None, right: TensorFile | None) -> TensorDifference | None:
    """Return how a tensor differs between two files; None where it is the same bit for bit."""
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
