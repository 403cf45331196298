"""The one rule of time: strictly before the decision is used, strictly after it is filled."""

from __future__ import annotations

import numpy as np

from adapterhub_fin_markets.prices.timing import TICK, count_usable, decided_after, first_fill, usable

CLOSES = np.array(["2024-01-02T21:00", "2024-01-03T21:00", "2024-01-04T21:00"], "M8[us]")


def test_a_decision_at_the_close_sees_that_bar_and_no_later_one() -> None:
    decided = decided_after(CLOSES)
    assert (decided == CLOSES + TICK).all()
    assert count_usable(CLOSES, decided).tolist() == [1, 2, 3]
    assert count_usable(CLOSES, CLOSES).tolist() == [0, 1, 2], "what is known at the very instant is not used"
    assert usable(CLOSES, decided).all() and not usable(CLOSES, CLOSES).any()
    assert not usable(np.array(["NaT"], "M8[us]"), CLOSES[:1]).any()


def test_a_fill_is_strictly_later() -> None:
    opens = np.append(CLOSES, CLOSES[-1] + np.timedelta64(1, "D"))  # as on 24/7: each opens at the close before
    assert first_fill(opens, CLOSES).tolist() == [1, 2, 3], "an open at the decision is not later"
    assert first_fill(opens, decided_after(CLOSES)).tolist() == [1, 2, 3]
    assert first_fill(opens, decided_after(CLOSES), same_instant=True).tolist() == [0, 1, 2]
    assert first_fill(opens, opens[-1]).tolist() == 4, "none is left"
