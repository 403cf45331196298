"""When two readings of a base's probed elements are of two bases; `test_readings` has whole models."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertModel

from adapterhub_fin.engine.base import fingerprint
from adapterhub_fin.engine.base.check import QUANTIZED_TOLERANCE, check_shape, first_difference
from adapterhub_fin.errors import WrongBase
from adapterhub_fin_registry.model.manifest import Base, WeightProbe


def probe(dtype: str = "float32", **values: list[float]) -> WeightProbe:
    return WeightProbe.model_construct(dtype=dtype, values=values)


def drawn(seed: int, scale: float) -> torch.Tensor:
    return torch.randn(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def rms(values: torch.Tensor) -> float:
    return float(values.square().mean().sqrt())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 99), st.sampled_from([1e-3, 0.02, 1.0, 30.0]), st.sampled_from([0.1, 0.4, 0.69, 0.71, 0.84, 1.4]))
def test_a_quantized_tensor_is_off_by_less_than_two_models_of_one_shape(seed: int, scale: float, ratio: float) -> None:
    """All elements of a tensor together, beside the root mean square of what was recorded: the unit doesn't matter."""
    stored, noise = drawn(seed, scale), drawn(seed + 1000, 1.0)
    here = stored + noise / rms(noise) * rms(stored) * ratio
    found = first_difference(probe(a=here.tolist()), probe(a=stored.tolist()), quantized=True)
    assert (found is None) == (ratio < QUANTIZED_TOLERANCE) and 0.4 < QUANTIZED_TOLERANCE < 1
    if found:
        assert found.tensor == "a" and "differs by" in found.how
    assert first_difference(probe(a=here.tolist()), probe(a=stored.tolist()), quantized=False) is not None


@pytest.mark.parametrize("quantized", [False, True])
def test_the_first_tensor_that_differs_is_named(quantized: bool) -> None:
    same, other = drawn(0, 1.0).tolist(), drawn(1, 1.0).tolist()
    kwargs: Any = {"quantized": quantized}
    assert first_difference(probe(a=same, b=same), probe(a=same, b=same), **kwargs) is None
    for place in range(8):
        changed = [*same[:place], same[place] + 3, *same[place + 1 :]]
        found = first_difference(probe(a=same, b=changed, c=other), probe(a=same, b=same, c=same), **kwargs)
        assert found is not None and found.tensor == "b"
    assert first_difference(probe(a=same, x=other), probe(a=same, y=same), **kwargs) is None, "what one of them lacks"


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("length", [0, 7, 9])
def test_as_many_elements_are_compared_as_were_recorded(quantized: bool, length: int) -> None:
    values = drawn(0, 1.0).tolist()
    found = first_difference(probe(a=(values * 2)[:length]), probe(a=values), quantized=quantized)
    assert found is not None and str(found) == "a has 8 recorded elements"


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_one_element_that_is_no_number_is_a_difference(quantized: bool, wrong: float) -> None:
    values = drawn(0, 1.0).tolist()
    for place in (0, 3, 7):
        here = [*values[:place], wrong, *values[place + 1 :]]
        found = first_difference(probe(a=values, b=here), probe(a=values, b=values), quantized=quantized)
        assert found is not None and found.tensor == "b" and "NaN or infinity" in found.how


def test_half_a_step_of_each_type_is_allowed_and_no_more() -> None:
    """Of bfloat16 and float32 at 1.0: 2 ** -8, and 2 ** -25; of float16 beside it 2 ** -11."""
    for dtype, half in (("bfloat16", 2.0**-8), ("float16", 2.0**-11)):
        within, beyond = 1 + half * 0.99, 1 + half * 1.01
        assert first_difference(probe(dtype, a=[1.0]), probe(a=[within]), quantized=False) is None
        assert first_difference(probe(a=[within]), probe(dtype, a=[1.0]), quantized=False) is None
        assert first_difference(probe(dtype, a=[1.0]), probe(a=[beyond]), quantized=False) is not None
        assert first_difference(probe(a=[1.0]), probe(a=[within]), quantized=False) is not None


def bert(tokens: int) -> BertModel:
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    torch.manual_seed(0)
    return BertModel(BertConfig(vocab_size=tokens, **shape))


@pytest.mark.parametrize(("tokens", "grown", "taken"), [(30, False, True), (30, True, True), (34, True, True)])
@pytest.mark.parametrize("also", [29, 31, 34])
def test_a_vocabulary_may_have_grown_where_that_is_said_and_never_shrunk(
    tokens: int, grown: bool, taken: bool, also: int
) -> None:
    model = bert(30)
    base = Base.model_validate(
        {
            "fingerprint": "verified",
            "architecture": "BertModel",
            "vocabulary_size": 30,
            "structure_digest": fingerprint.structure_digest(model),
        }
    )
    check_shape(bert(tokens), base, (), "the base at hand", grown=grown)
    if not grown or also < 30:
        with pytest.raises(WrongBase, match=f"a vocabulary of {also} tokens; .* with 30"):
            check_shape(bert(also), base, (), "the base at hand", grown=grown)


def test_of_a_grown_table_the_rows_that_were_there_are_read() -> None:
    model = bert(30)
    grown = bert(34)
    grown.load_state_dict(
        {**model.state_dict(), "embeddings.word_embeddings.weight": grown.get_input_embeddings().weight}
    )
    with torch.no_grad():
        grown.get_input_embeddings().weight[:30] = model.get_input_embeddings().weight
    assert (
        fingerprint.weight_probe(grown, rows=30)
        == fingerprint.weight_probe(model, rows=30)
        == fingerprint.weight_probe(model)
    )
    assert fingerprint.weight_probe(grown)["values"] != fingerprint.weight_probe(model)["values"]


def test_what_an_adapter_added_is_no_part_of_the_base() -> None:
    """Whatever holds its adapter name: a parameter, or a module."""
    plain, adapted = bert(30), bert(30)
    adapted.encoder.extra = torch.nn.ParameterDict({"ahf_0123abcd": torch.nn.Parameter(torch.ones(3))})
    adapted.pooler.more = torch.nn.ModuleDict({"ahf_0123abcd": torch.nn.Linear(2, 2)})
    assert fingerprint.structure_digest(adapted) == fingerprint.structure_digest(plain)
    assert fingerprint.weight_probe(adapted) == fingerprint.weight_probe(plain)
    adapted.pooler.other = torch.nn.Linear(2, 2)
    assert fingerprint.structure_digest(adapted) != fingerprint.structure_digest(plain), (
        "anything else is a layer of another model"
    )


def test_a_base_is_recorded_in_its_coarsest_type() -> None:
    model = bert(30)
    assert fingerprint.weight_probe(model)["dtype"] == "float32"
    model.pooler.dense.bias.data = model.pooler.dense.bias.data.to(torch.float16)
    assert fingerprint.weight_probe(model)["dtype"] == "float16"
    model.embeddings.LayerNorm.bias.data = model.embeddings.LayerNorm.bias.data.to(torch.bfloat16)
    assert fingerprint.weight_probe(model)["dtype"] == "bfloat16"
    assert fingerprint.weight_probe(model.double())["dtype"] == "float64"
