"""How far apart two versions' weights are, tensor by tensor, in every type that a safetensors file has."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.tensor_file import ELEMENTS, TensorFile
from adapterhub_fin.engine.evaluation.diff import TensorDifference, compare_tensor

Write = Callable[[Mapping[str, Tensor]], TensorFile]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A safetensors file with these tensors."""

    def make(tensors: Mapping[str, Tensor]) -> TensorFile:
        path = tmp_path / f"{len(list(tmp_path.glob('*.safetensors')))}.safetensors"
        save_file(dict(tensors), path)
        return TensorFile(path)

    return make


def one(write: Write, a: Tensor, b: Tensor) -> TensorDifference | None:
    return compare_tensor("w", write({"w": a}), write({"w": b}))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_distances_are_torch_s_own(write: Write, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(ELEMENTS // 100 + 3, 101, generator=generator).to(dtype) for _ in range(2))  # several chunks
    found = one(write, a, b)
    assert found is not None
    apart = a.double() - b.double()
    assert found.max_abs == float(apart.abs().max())
    assert found.relative_l2 == pytest.approx(float(apart.norm() / a.double().norm()), rel=1e-12)
    assert one(write, a, a) is None


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool])
def test_integers_too(write: Write, dtype: torch.dtype) -> None:
    found = one(write, torch.tensor([1, 0, 1]).to(dtype), torch.tensor([1, 1, 1]).to(dtype))
    assert found is not None and (found.max_abs, found.relative_l2) == (1.0, pytest.approx(0.5**0.5))


def test_every_bfloat16_is_read_right(write: Write) -> None:
    bits = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    read = np.concatenate(list(write({"w": bits}).values("w")))
    assert np.array_equal(read, bits.double().numpy(), equal_nan=True)


def test_another_type_of_the_same_numbers_differs_by_nothing(write: Write) -> None:
    a = torch.arange(ELEMENTS + 5).remainder(7).float()
    found = one(write, a, a.to(torch.bfloat16))
    assert found is not None and (found.max_abs, found.relative_l2) == (0.0, 0.0)
    assert (found.a, found.b) == (("F32", (len(a),)), ("BF16", (len(a),)))


def test_what_can_not_be_measured_is_named_all_the_same(write: Write) -> None:
    small, other = (torch.tensor(values).to(torch.float8_e4m3fn) for values in ([1.0, 2.0], [2.0, 1.0]))
    for a, b in ((small, other), (torch.ones(2), torch.ones(3)), (torch.ones(2, 3), torch.ones(3, 2))):
        found = one(write, a, b)
        assert found is not None and found.max_abs is None and found.relative_l2 is None
    assert one(write, small, small) is None
    file = write({"w": torch.ones(1)})
    assert compare_tensor("w", file, None) == TensorDifference("w", ("F32", (1,)), None)


def test_zeros_and_what_is_no_number(write: Write) -> None:
    found = one(write, torch.zeros(3), torch.ones(3))
    assert found is not None and (found.max_abs, found.relative_l2) == (1.0, None)
    odd = torch.tensor([float("nan"), float("inf"), 2.0])
    found = one(write, odd, torch.tensor([1.0, 1.0, 1.0]))
    assert found is not None and (found.max_abs, found.relative_l2, found.not_finite) == (1.0, 0.5, 2)
    assert one(write, odd, odd) is None  # the same bits, whatever they mean
    found = one(write, torch.empty(0, 3), torch.empty(0, 3).half())
    assert found is not None and (found.max_abs, found.relative_l2) == (0.0, 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2, torch.complex64])
def test_all_zero(write: Write, dtype: torch.dtype) -> None:
    zeros = torch.zeros(9).to(dtype)
    last = zeros.clone()
    last[8] = 1
    file = write({"zeros": zeros, "last": last})
    assert file.all_zero("zeros") and not file.all_zero("last")
    assert write({"w": -torch.zeros(2)}).all_zero("w")


def test_comparing_imports_no_torch(tmp_path: Path) -> None:
    code = "import sys, adapterhub_fin as ahf; ahf.diff; ahf.check; ahf.export; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "peft"} & set(done.stdout.split())


def test_two_versions(stocked: Path, trained: object) -> None:
    taken = ahf.import_folder(ahf.Registry().path("acme/tone@1"), "acme/again").version
    found = ahf.diff("acme/tone@1", taken.reference)
    assert not found.tensors and found.same_tensors == len(taken.manifest.tensors) and not found.same
    assert {"corpus", "seed", "base.fingerprint", "head.labels"} <= {each.field for each in found.fields}
    assert ahf.diff("acme/tone@1", "acme/tone").same
