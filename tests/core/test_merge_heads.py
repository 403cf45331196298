"""A merged head answers the average of the answers, whatever the order of the labels and the units of each."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adapterhub_fin.engine.merging.heads import merge_heads
from adapterhub_fin.engine.merging.weights import Weights
from adapterhub_fin.errors import BadMerge
from adapterhub_fin_registry.model.manifest import Head

NAMES = ["down", "flat", "up"]
WEIGHT, BIAS, POOLER = "classifier.weight", "classifier.bias", "pooler.dense.weight"


def parent(called: str, head: dict[str, Any] | None, values: dict[str, Tensor], **config: Any) -> Any:
    """What a merge asks of a parent, without its files."""
    modules = sorted({name.rpartition(".")[0] for name in values})
    shapes = {name: tuple(value.shape) for name, value in values.items()}
    changes = SimpleNamespace(
        full_shapes=shapes, values=values.__getitem__, modules_to_save=tuple(modules), config=config
    )
    stored = None if head is None else Head(**{"modules_to_save": modules, "options": {}, **head})
    return SimpleNamespace(
        called=called, changes=changes, version=SimpleNamespace(manifest=SimpleNamespace(head=stored))
    )


def classifier(called: str, labels: list[str], seed: int, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    generator = torch.Generator().manual_seed(seed)
    values = {
        WEIGHT: torch.randn(len(labels), 4, generator=generator).to(dtype),
        BIAS: torch.randn(len(labels), generator=generator).to(dtype),
        POOLER: torch.randn(4, 4, generator=generator).to(dtype),
    }
    return parent(called, {"name": "classify", "labels": labels, "options": options}, values)


def regression(called: str, centre: float, scale: float, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    values = {WEIGHT: torch.randn(1, 4, generator=generator), BIAS: torch.randn(1, generator=generator)}
    return parent(called, {"name": "regress", "options": {"centre": centre, "scale": scale}}, values)


def weights(*given: float, **patterns: Any) -> Weights:
    named = {key.replace("_", "."): value for key, value in patterns.items()}
    return Weights.of([f"a/{place}" for place in range(len(given))], given, named)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.permutations(NAMES), min_size=2, max_size=4),
    st.lists(st.floats(0.1, 5), min_size=4, max_size=4),
    st.lists(st.floats(-0.02, 5), min_size=4, max_size=4),
)
def test_the_average_of_classifiers_is_by_the_names_of_labels(
    orders: list[list[str]], usual: list[float], other: list[float]
) -> None:
    """In the first one's order; each parameter by the weights of its module over their sum."""
    parents = [classifier(f"a/{place}", order, place) for place, order in enumerate(orders)]
    count = len(parents)
    other[0] = 3.0
    merged = merge_heads(parents, weights(*usual[:count], pooler_dense=other[:count]))
    assert merged.head is not None and merged.head["labels"] == orders[0] and merged.origin is None
    assert merged.modules_to_save == ("classifier", "pooler.dense")
    for name, counted in ((WEIGHT, usual[:count]), (BIAS, usual[:count]), (POOLER, other[:count])):
        wanted = torch.zeros_like(parents[0].changes.values(name), dtype=torch.float64)
        for each, order, weight in zip(parents, orders, counted, strict=True):
            value = each.changes.values(name).double()
            rows = value if name == POOLER else torch.stack([value[order.index(label)] for label in orders[0]])
            wanted += weight / sum(counted) * rows
        assert torch.allclose(merged.values[name].double(), wanted, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-50, 50), st.floats(0.1, 20)), min_size=2, max_size=4),
    st.lists(st.floats(0.1, 5), min_size=4, max_size=4),
)
def test_the_average_of_regressions_is_of_their_answers(units: list[tuple[float, float]], given: list[float]) -> None:
    parents = [regression(f"a/{place}", *each, place) for place, each in enumerate(units)]
    shares = [weight / sum(given[: len(units)]) for weight in given[: len(units)]]
    merged = merge_heads(parents, weights(*given[: len(units)]))
    state = torch.randn(4, generator=torch.Generator().manual_seed(9))

    def answer(values: Any, centre: float, scale: float) -> float:
        return centre + scale * float(values(WEIGHT)[0] @ state + values(BIAS)[0])

    wanted = sum(
        share * answer(each.changes.values, *unit) for share, each, unit in zip(shares, parents, units, strict=True)
    )
    assert merged.head is not None
    own = merged.head["options"]
    assert own["centre"] == pytest.approx(sum(s * c for s, (c, _) in zip(shares, units, strict=True)), abs=1e-9)
    assert own["scale"] == pytest.approx(sum(s * k for s, (_, k) in zip(shares, units, strict=True)))
    assert answer(merged.values.__getitem__, own["centre"], own["scale"]) == pytest.approx(wanted, rel=1e-3, abs=1e-3)


def test_heads_that_are_the_same_keep_their_units() -> None:
    parents = [regression("a/0", 3.0, 2.0, 0), regression("a/1", 3.0, 2.0, 1)]
    merged = merge_heads(parents, weights(1, 1))
    assert merged.head is not None and merged.head["options"] == {"centre": 3.0, "scale": 2.0}
    mean = (parents[0].changes.values(WEIGHT) + parents[1].changes.values(WEIGHT)) / 2
    assert torch.allclose(merged.values[WEIGHT], mean)


def test_the_widest_type_is_stored_and_counters_must_agree() -> None:
    one, other = classifier("a/0", NAMES, 0, torch.float16), classifier("a/1", NAMES, 1, torch.float32)
    assert merge_heads([one, other], weights(1, 1)).values[WEIGHT].dtype == torch.float32
    assert merge_heads([one, one], weights(1, 1)).values[WEIGHT].dtype == torch.float16
    for each, steps in ((one, 3), (other, 3)):
        each.changes.full_shapes["bn.steps"] = ()
        values = each.changes.values
        each.changes.values = lambda name, values=values, steps=steps: (
            torch.tensor(steps) if name == "bn.steps" else values(name)
        )
    assert int(merge_heads([one, other], weights(1, 1)).values["bn.steps"]) == 3
    other.changes.values = lambda name, values=values: torch.tensor(4) if name == "bn.steps" else values(name)
    with pytest.raises(BadMerge, match="different integers in bn.steps"):
        merge_heads([one, other], weights(1, 1))


def test_the_head_that_is_named_is_taken_as_it_is() -> None:
    one, other = classifier("a/0", NAMES, 0), classifier("a/1", ["left", "right"], 1)
    merged = merge_heads([one, other], weights(1, 1), other)
    assert merged.head is not None and merged.head["labels"] == ["left", "right"] and merged.origin == "a/1"
    assert all(merged.values[name].equal(other.changes.values(name)) for name in (WEIGHT, BIAS, POOLER))


def test_what_is_no_average_is_refused() -> None:
    one = classifier("a/0", NAMES, 0)
    for other, said in (
        (classifier("a/1", ["left", "right", "up"], 1), "a/0 answers down, flat, up and a/1 left, right, up"),
        (regression("a/1", 0.0, 1.0, 1), "a/0 has classify and a/1 regress"),
        (parent("a/1", None, {}), "a/0 has classify and a/1 no head"),
    ):
        with pytest.raises(BadMerge, match=re.escape(said)):
            merge_heads([one, other], weights(1, 1))
    smaller = classifier("a/1", NAMES, 1)
    smaller.changes.full_shapes[POOLER] = (4, 5)
    with pytest.raises(
        BadMerge, match=re.escape("pooler.dense.weight of the shape (4, 4) and a/1 of the shape (4, 5)")
    ):
        merge_heads([one, smaller], weights(1, 1))
    del smaller.changes.full_shapes[POOLER]
    with pytest.raises(BadMerge, match=re.escape("pooler.dense.weight of the shape (4, 4) and a/1 not at all")):
        merge_heads([one, smaller], weights(1, 1))
    nameless = [classifier(f"a/{place}", ["LABEL_0", "LABEL_1", "LABEL_2"], place) for place in (0, 1)]
    with pytest.raises(BadMerge, match="neither records what its outputs mean"):
        merge_heads(nameless, weights(1, 1))


@pytest.mark.parametrize("given", [(1.0, -1.0), (0.1, 0.2, -0.3), (-1.0, 0.5), (0.0, 0.0)])
def test_weights_that_sum_to_nothing_give_no_average(given: tuple[float, ...]) -> None:
    parents = [classifier(f"a/{place}", NAMES, place) for place in range(len(given))]
    with pytest.raises(BadMerge, match="heads are averaged by the weights over their sum"):
        merge_heads(parents, weights(*given))


def test_a_scale_that_is_not_positive_is_refused() -> None:
    parents = [regression("a/0", 0.0, 1.0, 0), regression("a/1", 0.0, 9.0, 1)]
    with pytest.raises(BadMerge, match="a scale of -"):
        merge_heads(parents, weights(2, -1))
