"""How much each adapter counts in a merge, by default and where a pattern says otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.engine.merging.weights import Weights
from adapterhub_fin.errors import BadMerge

TWO = ("acme/one@1", "acme/two@1")
DENSE = "encoder.layer.0.output.dense"


def test_by_default_all_count_alike() -> None:
    assert Weights.of(TWO).usual == (0.5, 0.5)
    assert Weights.of(("a", "b", "c", "d")).usual == (0.25,) * 4
    assert Weights.of(TWO, default=1.0).usual == (1.0, 1.0), "a merger may sum where others average"
    assert Weights.of(TWO, (2, -0.5), default=1.0).usual == (2.0, -0.5), "what was given counts, of any sign and sum"


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        (DENSE, True),
        ("output.dense", True),
        ("dense", True),
        ("layer.0.*", True),
        ("layer.*.dense", True),
        ("*", True),
        ("utput.dense", False),
        ("layer.1.*", False),
        ("encoder", False),
        ("layer.0", False),
        ("OUTPUT.dense", False),
        ("dense.*", False),
    ],
)
def test_a_pattern_fits_the_end_of_a_module_s_name(pattern: str, fits: bool) -> None:
    weights = Weights.of(TWO, (1.0, 0.0), {pattern: (0.0, 1.0)})
    assert weights.of_module(DENSE) == ((0.0, 1.0) if fits else (1.0, 0.0))
    if fits:
        weights.check_used(["pooler.other", DENSE])
    else:
        with pytest.raises(BadMerge, match="fits none of the 2 modules"):
            weights.check_used(["pooler.other", DENSE])


def test_of_the_patterns_that_fit_the_first_counts() -> None:
    weights = Weights.of(TWO, None, {"layer.0.*": (1, 2), "dense": (3, 4), "*": (5, 6)})
    assert weights.of_module(DENSE) == (1.0, 2.0)
    assert weights.of_module("encoder.layer.1.output.dense") == (3.0, 4.0)
    assert weights.of_module("pooler") == (5.0, 6.0)
    with pytest.raises(BadMerge, match="'pooler' fits none"):
        Weights.of(TWO, None, {"dense": (1, 2), "pooler": (1, 2)}).check_used([DENSE])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), st.integers(-1, 1))
def test_there_is_one_finite_weight_an_adapter(given: list[float], more: int) -> None:
    called = [f"a/{place}" for place in range(len(given) + more)]
    if not called:
        return
    if more:
        with pytest.raises(BadMerge, match="give one weight an adapter"):
            Weights.of(called, given)
        with pytest.raises(BadMerge, match="weights for dense"):
            Weights.of(called, None, {"dense": given})
    else:
        assert Weights.of(called, given).usual == tuple(given)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (float("nan"), "a weight is a finite number"),
        (float("inf"), "a weight is a finite number"),
        (True, "a weight is a finite number"),
        ("1", "a weight is a finite number"),
        (None, "a weight is a finite number"),
        (1.7e308, "too large to be summed"),
    ],
)
def test_what_is_no_weight_is_refused(wrong: Any, said: str) -> None:
    for place in (0, 1):
        weights = [1.7e308, 1.7e308]
        weights[place] = wrong
        with pytest.raises(BadMerge, match=said):
            Weights.of(TWO, weights)
        with pytest.raises(BadMerge, match=said):
            Weights.of(TWO, None, {"dense": weights})
