"""Two readings of one base agree in whatever types they were read; another base is still another one (G 22, 39)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, Gemma3Config, PreTrainedModel

from adapterhub_fin import WrongBase
from adapterhub_fin.engine.base import find as bases
from adapterhub_fin.engine.base import fingerprint
from adapterhub_fin.engine.base.check import Difference, check_base, describe_base, first_difference
from adapterhub_fin.engine.base.rounding import FLUSHED, as_read, grid, half_step
from adapterhub_fin.recipe.choices import BaseChoice
from adapterhub_fin_registry.model.manifest import WeightProbe

TYPES = (torch.float32, torch.float16, torch.bfloat16)
# From the original on, through what types a reading went; the last is what it is held in.
CHAINS: Sequence[tuple[torch.dtype, ...]] = (
    *((each,) for each in TYPES),
    (torch.bfloat16, torch.float32),
    (torch.float16, torch.float32),
    (torch.bfloat16, torch.float32, torch.float16),
    (torch.float64,),
)
singles = st.floats(width=32, allow_nan=False, allow_infinity=False)
weights = st.one_of(
    singles,
    st.floats(-0.25, 0.25, width=32),  # where the weights of models are
    st.floats(-(2.0**-14), 2.0**-14, width=32),  # below float16's smallest normal number
    st.sampled_from([0.0, -0.0, 1.0, 2.0**-25, 3 * 2.0**-25, 2.0**-126, 2.0**-149, 1 + 2.0**-8, 65504.0]),
)


def read(original: Tensor, chain: Sequence[torch.dtype]) -> Tensor:
    for dtype in chain:
        original = original.to(dtype)
    return original


def probe(tensor: Tensor) -> WeightProbe:
    """A fingerprint of a tensor's own elements, in the digits that a manifest holds."""
    values = [float(f"{value:.9g}") for value in tensor.float().tolist()]
    return WeightProbe.model_construct(dtype=str(tensor.dtype).removeprefix("torch."), values={"w": tuple(values)})


def differ(one: Tensor, other: Tensor) -> Difference | None:
    return first_difference(probe(one), probe(other), quantized=False)


@given(st.lists(weights, min_size=1, max_size=80), st.sampled_from(CHAINS), st.sampled_from(CHAINS))
@settings(max_examples=400, deadline=None)
def test_two_readings_of_the_same_numbers_agree(numbers: list[float], first: Any, second: Any) -> None:
    if {len(first), len(second)} != {1} and len({abs(number) for number in numbers}) < 64:
        numbers = [*numbers, *(math.sin(k) / 10 for k in range(80))]  # a few numbers don't show the type they went by
    original = torch.tensor(numbers, dtype=torch.float32)
    one, other = read(original, first), read(original, second)
    off = differ(one, other)
    if torch.isfinite(one).all() and torch.isfinite(other).all():
        assert off is None
    else:  # float16 has no such number, and a model that holds an infinity gives no answer
        assert off is not None and "65504" in str(off)


@given(st.floats(-0.5, 0.5, width=32), *(st.sampled_from(TYPES) for _ in range(2)), st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_one_element_further_off_than_both_types_round_is_another_base(
    number: float, first: Any, second: Any, up: bool, late: bool
) -> None:
    names = [str(dtype).removeprefix("torch.") for dtype in (first, second)]
    one = torch.tensor([number]).to(first)
    room = sum(float(half_step(as_read(one), name)) for name in names)
    moved = torch.tensor([number + (1.5 if up else -1.5) * room + (1 if up else -1) * 4 * FLUSHED]).to(second)
    off = abs(float(as_read(one)) - float(as_read(moved)))
    limit = float(half_step(as_read(one), names[0])) + float(half_step(as_read(moved), names[1])) + FLUSHED
    same = torch.full((7,), 0.1)
    pair = [(same.to(first), one), (same.to(second), moved)]
    here, there = (torch.cat(each if late else each[::-1]) for each in pair)
    assert (differ(here, there) is None) == (off < limit)
    assert off < limit or first != torch.float32 or second != torch.float32 or off > 1e-9 * abs(number)


@pytest.mark.parametrize("dtype", TYPES)
def test_neighbours_in_one_type_are_two_numbers(dtype: torch.dtype) -> None:
    """What was stored and what is at hand are in one type, so that they are equal or are not the same base."""
    number = torch.tensor([0.3]).to(dtype)
    bits = torch.int32 if dtype == torch.float32 else torch.int16
    assert differ(number, number) is None
    assert differ(number, (number.view(bits) + 1).view(dtype)) is not None


@pytest.mark.parametrize("place", range(fingerprint.PROBED))
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("what", [math.nan, math.inf, -math.inf])
def test_one_nan_among_the_elements_is_a_difference(place: int, quantized: bool, what: float) -> None:
    """G 39: wherever it stands, and whatever the others differ by."""
    stored = torch.linspace(-0.1, 0.1, fingerprint.PROBED)
    here = stored.clone()
    here[place] = what
    found = first_difference(probe(here), probe(stored), quantized)
    assert found is not None and "NaN" in str(found)


@pytest.mark.parametrize("share", [0.02, 1.0])
def test_a_base_with_some_nan_weights_is_neither_loaded_nor_recorded(encoder: Path, share: float) -> None:
    """G 39: a few elements of one tensor are enough."""
    model, tokenizer = AutoModel.from_pretrained(encoder), AutoTokenizer.from_pretrained(encoder)
    base = describe_base(model, tokenizer, (), "acme/tiny", None)
    name, weight = "encoder.layer.1.output.dense.weight", model.encoder.layer[1].output.dense.weight
    place = fingerprint.probed_elements(name, weight.numel())[3]
    with torch.no_grad():
        weight.view(-1)[place : place + max(1, int(share * 100))] = math.nan
    with pytest.raises(WrongBase, match=rf"{name} holds NaN"):
        check_base(model, tokenizer, base, (), "the model given")
    with pytest.raises(WrongBase, match=rf"{name} holds NaN"):
        describe_base(model, tokenizer, (), "acme/tiny", None)


def test_what_overflows_in_float16_is_said() -> None:
    off = differ(torch.tensor([0.5, 70000.0]).half(), torch.tensor([0.5, 70000.0]))
    assert off is not None and str(off) == "w holds NaN or infinity, as a number above 65504 becomes in float16"


def test_a_grid_is_told_by_many_numbers_and_not_by_zeros_and_ones() -> None:
    numbers = torch.sin(torch.arange(100.0))
    assert grid("float32", numbers.double()) == "float32"
    for dtype, name in ((torch.bfloat16, "bfloat16"), (torch.float16, "float16")):
        assert grid("float32", numbers.to(dtype).double()) == name
        assert grid(name, numbers.to(dtype).double()) == name
    assert grid("float32", torch.ones(100, dtype=torch.float64)) == "float32"
    ones, near = torch.ones(8), torch.full((8,), 1.001)
    assert differ(near, ones) is not None


def models(name: str, request: pytest.FixtureRequest) -> tuple[Any, dict[str, PreTrainedModel]]:
    """A base in every type, and by every way there."""
    folder: Path
    if name == "minilm":
        folder = bases.find_base(BaseChoice(id="minilm")).folder
    elif name == "stories260K":
        folder = request.getfixturevalue("shared") / "models" / name
    else:
        folder = request.getfixturevalue(name)
    found = {}
    for chain in CHAINS[:-1]:
        model = AutoModel.from_pretrained(folder, dtype=chain[0])
        for dtype in chain[1:]:
            model = model.to(dtype)
        found["-".join(str(dtype).removeprefix("torch.") for dtype in chain)] = model
    mixed = copy.deepcopy(found["bfloat16"])
    for module in mixed.modules():  # norms in float32, as a base prepared for four-bit training has them
        if "norm" in type(module).__name__.lower():
            module.float()
    return AutoTokenizer.from_pretrained(folder), {**found, "mixed": mixed}


@pytest.mark.parametrize("name", ["encoder", "decoder", "stories260K", "minilm"])
def test_every_reading_of_a_base_is_that_base_and_a_tuned_one_is_not(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer, readings = models(name, request)
    probes = {kind: WeightProbe(**fingerprint.weight_probe(model)) for kind, model in readings.items()}
    for one, other in product(probes, probes):
        assert first_difference(probes[one], probes[other], quantized=False) is None, (one, other)
    base = describe_base(readings["float32"], tokenizer, (), "acme/tiny", None)
    for kind in ("bfloat16", "float16"):
        check_base(readings[kind], tokenizer, base, (), f"the base in {kind}")
    tuned = tuned_a_little(readings["float32"])
    for dtype, kind in product(TYPES, probes):
        moved = WeightProbe(**fingerprint.weight_probe(tuned.to(dtype)))
        assert first_difference(moved, probes[kind], quantized=False) is not None, (dtype, kind)
    with pytest.raises(WrongBase, match="other weights than acme/tiny"):
        check_base(tuned, tokenizer, base, (), "the tuned model")


def tuned_a_little(model: nn.Module) -> nn.Module:
    """The same model after its weights were moved by a five-hundredth of themselves."""
    torch.manual_seed(0)
    tuned = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.mul_(1 + 0.002 * torch.randn_like(parameter))
    return tuned


def test_the_type_of_the_weights_is_no_part_of_a_configuration(encoder: Path) -> None:
    """Neither at the top nor in the parts of a composite; digests that were stored with it still hold."""
    one, other = AutoConfig.from_pretrained(encoder), AutoConfig.from_pretrained(encoder)
    other.dtype = "bfloat16"
    assert fingerprint.config_digest(one) == fingerprint.config_digest(other)
    parts = [Gemma3Config() for _ in range(3)]
    for config, dtype in zip(parts, (None, "float32", "bfloat16"), strict=True):
        config.text_config.dtype = config.vision_config.dtype = dtype
    assert len({fingerprint.config_digest(config) for config in parts}) == 1
    kept = {key: value for key, value in parts[2].to_diff_dict().items() if key not in fingerprint.VOLATILE}
    assert fingerprint._digest(kept) in fingerprint.config_digests(parts[1]) and fingerprint._digest(
        kept
    ) != fingerprint.config_digest(parts[1])
    parts[0].text_config.rms_norm_eps = 0.5
    assert not fingerprint.config_digests(parts[0]) & fingerprint.config_digests(parts[1])
