"""Batches are of like length, come in random order, and hold every row once."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.engine.sampling import LengthGroupedBatches, LongestFirst


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=300), st.integers(1, 32), st.integers(0, 9))
def test_every_row_comes_once_and_a_seed_decides_the_order(lengths: list[int], batch: int, seed: int) -> None:
    torch.manual_seed(seed)
    order = list(LengthGroupedBatches(lengths, batch))
    torch.manual_seed(seed)
    assert sorted(order) == list(range(len(lengths))) and order == list(LengthGroupedBatches(lengths, batch))


def batches(size: int) -> list[list[int]]:
    torch.manual_seed(0)
    lengths = torch.randint(5, 100, (1000,)).tolist()
    order = list(LengthGroupedBatches(lengths, size))
    return [[lengths[row] for row in order[start : start + size]] for start in range(0, len(order), size)]


def test_rows_of_a_batch_are_of_like_length() -> None:
    padding = sum(max(batch) * len(batch) - sum(batch) for batch in batches(16))
    assert padding < 0.1 * sum(sum(batch) for batch in batches(16))


def test_an_epoch_does_not_end_on_the_shortest_rows() -> None:
    """Neighbours in time are unlike in length: Transformers' own order is a descent, with a correlation near one."""
    means = torch.tensor([sum(batch) / len(batch) for batch in batches(16)])
    correlation = torch.corrcoef(torch.stack([means[:-1], means[1:]]))[0, 1]
    assert abs(correlation) < 0.4
    last = means[-10:].mean()
    assert abs(last - means.mean()) < 15


def test_evaluation_goes_from_the_longest_row_to_the_shortest() -> None:
    order = LongestFirst([3, 9, 3, 7])
    assert list(order) == [1, 3, 0, 2] and len(order) == 4
