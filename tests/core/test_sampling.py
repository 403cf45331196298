"""Batches are of like length, come in an order that seed and epoch decide, and hold every row once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.engine.data.sampling import LengthGroupedBatches, LongestFirst


def order(lengths: list[int], batch: int, seed: int, epoch: int) -> list[int]:
    sampler = LengthGroupedBatches(lengths, batch, seed)
    sampler.set_epoch(epoch)
    return list(sampler)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=200), st.integers(1, 32), st.integers(0, 9), st.integers(0, 9))
def test_every_row_comes_once_and_seed_and_epoch_alone_decide_the_order(
    lengths: list[int], batch: int, seed: int, epoch: int
) -> None:
    """G 39: whatever torch's own generator did meanwhile, and whatever epochs were drawn before."""
    torch.manual_seed(1)
    first = order(lengths, batch, seed, epoch)
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    sampler = LengthGroupedBatches(lengths, batch, seed)
    for each in (epoch + 1, 0, epoch):
        sampler.set_epoch(each)
        again = list(sampler)
    assert again == first == list(sampler) and sorted(first) == list(range(len(lengths))) and len(sampler) == len(first)
    assert torch.random.get_rng_state().equal(before), "a sampler that draws from the process's generator moves others"


@settings(max_examples=50, deadline=None)
@given(st.integers(40, 200), st.integers(1, 4), st.integers(0, 2**31 - 1), st.integers(0, 500))
def test_another_seed_or_epoch_gives_another_order(rows: int, batch: int, seed: int, epoch: int) -> None:
    """G 39: nor are the epochs of one seed those of the next, a step later."""
    lengths = [5 + place % 17 for place in range(rows)]
    drawn = [order(lengths, batch, *each) for each in ((seed, epoch), (seed, epoch + 1), (seed + 1, epoch))]
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]


def test_the_order_is_the_one_that_runs_were_trained_in() -> None:
    """A run that broke off under an earlier release goes on in the same order."""
    lengths = [9, 3, 7, 5, 8, 4, 6, 2, 1]
    assert order(lengths, 2, 0, 0) == ORDERS[0, 0]
    assert order(lengths, 2, 0, 1) == ORDERS[0, 1]
    assert order(lengths, 2, 7, 0) == ORDERS[7, 0]
    assert list(LengthGroupedBatches(lengths, 2)) == ORDERS[0, 0], "by default it is seed 0's first epoch"


ORDERS = {(0, 0): [2, 3, 0, 8, 4, 5, 1, 7, 6], (0, 1): [3, 8, 6, 5, 2, 7, 0, 4, 1], (7, 0): [0, 1, 5, 7, 6, 4, 2, 3, 8]}


@pytest.mark.parametrize("rows", [7, 8, 9, 15, 16, 17, 33])
@pytest.mark.parametrize("size", [1, 4, 8])
def test_a_smaller_batch_is_the_last(rows: int, size: int) -> None:
    """Anywhere else it would shift all that follow, and mix lengths: rows of a batch go from long to short.

    But for the first of a batch: the longest row of all comes first, in the place of another.
    """
    lengths = [100 + place for place in range(rows)]
    for epoch in range(5):
        drawn = order(lengths, size, 0, epoch)
        for start in range(0, rows, size):
            rest = [lengths[row] for row in drawn[start : start + size]][1:]
            assert rest == sorted(rest, reverse=True), (epoch, start)


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
