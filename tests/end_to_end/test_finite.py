"""Adapters of NaN, of infinities or of integers are refused by save and by import, before anything is stored."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, ShiraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

import adapterhub_fin as ahf
from adapterhub_fin.engine.peft.finite import check_weights_finite

WEIGHTS = "adapter_model.safetensors"
TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2)


def folder_of(tensors: dict[str, torch.Tensor], folder: Path, kind: str = "LORA") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": kind, "r": 2, "target_modules": ["lin"]}))
    save_file(tensors, folder / WEIGHTS)
    return folder


def lora(**changed: torch.Tensor) -> dict[str, torch.Tensor]:
    place = "base_model.model.lin"
    return {f"{place}.lora_A.weight": torch.ones(2, 4), f"{place}.lora_B.weight": torch.ones(4, 2), **changed}


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(TYPES),
    bad=st.sampled_from([math.nan, math.inf, -math.inf]),
    size=st.integers(1, 700),
    data=st.data(),
)
def test_one_bad_element_anywhere_is_found_and_none_is_not(dtype: Any, bad: float, size: int, data: Any) -> None:
    import tempfile

    values = torch.linspace(-400, 400, size).to(dtype)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / WEIGHTS
        save_file({"a": torch.ones(3), "w": values}, path)
        check_weights_finite(path, path)
        values[data.draw(st.integers(0, size - 1))] = bad
        if values.float().isfinite().all():
            return  # this type has no infinity, and spells it as its largest number
        save_file({"a": torch.ones(3), "w": values}, path)
        with pytest.raises(ahf.NotAnAdapter, match="holds NaN or infinity in w"):
            check_weights_finite(path, path)


def test_the_last_element_of_a_large_tensor_is_read(tmp_path: Path) -> None:
    values = torch.zeros(3 * 2**19 + 1)
    values[-1] = math.nan
    save_file({"w": values}, tmp_path / WEIGHTS)
    with pytest.raises(ahf.NotAnAdapter, match="in w"):
        check_weights_finite(tmp_path / WEIGHTS, tmp_path)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_what_is_no_floating_point_weight_is_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    name = "base_model.model.lin.lora_A.weight"
    folder = folder_of(lora(**{name: torch.ones(2, 4).to(dtype)}), tmp_path / "theirs")
    with pytest.raises(ahf.NotAnAdapter, match=f"holds {name} as .*not a type of trained weights"):
        ahf.import_folder(folder, "acme/odd")
    assert ahf.Registry().names() == []


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_import_refuses_it(bad: float, tmp_path: Path) -> None:
    name = "base_model.model.lin.lora_B.weight"
    folder = folder_of(lora(**{name: torch.tensor([[1.0, bad]] * 4)}), tmp_path / "theirs")
    with pytest.raises(ahf.NotAnAdapter, match=f"holds NaN or infinity in {name}.*train it again"):
        ahf.import_folder(folder, "acme/broken")
    assert ahf.Registry().names() == []


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_save_refuses_it(bad: float) -> None:
    model: Any = get_peft_model(nn.Sequential(nn.Linear(4, 4)), LoraConfig(target_modules=["0"], r=2))
    with torch.no_grad():
        model.base_model.model[0].lora_B["default"].weight[1, 0] = bad
    with pytest.raises(ahf.NotAnAdapter, match=r"holds NaN or infinity in base_model.model.0.lora_B.weight"):
        ahf.save(model, "acme/broken")
    assert ahf.Registry().names() == []


def test_indices_that_a_type_stores_are_taken(tmp_path: Path) -> None:
    model: Any = get_peft_model(nn.Sequential(nn.Linear(8, 8)), ShiraConfig(target_modules=["0"], r=2))
    assert ahf.save(model, "acme/shira").number == 1
    model.save_pretrained(tmp_path / "theirs")
    assert not load_file(tmp_path / "theirs" / WEIGHTS)["base_model.model.0.shira_indices"].is_floating_point()
    assert ahf.import_folder(tmp_path / "theirs", "acme/shira").version.number == 2
