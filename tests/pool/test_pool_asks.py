"""Rows that were read before, versions under two names, and dates in the columns of other libraries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adapterhub_fin as ahf
from adapterhub_fin.errors import BadInstant, BadRecipe, LookAhead
from adapterhub_fin_registry import Version

TEXTS = ["Arlo: profit rose.", "Nyx meets in May.", "Gant: profit fell, and more."]
CUTS = ["2013-06-01", "2016-06-01", "2011-06-01"]
Save = Callable[..., Version]


@pytest.fixture(scope="module")
def registry(encoder: Path, save_adapter: Save, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A registry with two versions of one name, and a copy of the first under another."""
    store = ahf.Registry(tmp_path_factory.mktemp("asks"))
    for year in ("2012", "2014"):
        save_adapter("t/tone", encoder, store, until=f"{year}-01-01")
    first = store.resolve("t/tone@1")
    store.add(first.files, first.manifest, name="t/copy")
    return store


@pytest.fixture(scope="module")
def pool(registry: Any, encoder: Path) -> Any:
    return ahf.pool(encoder, registry=registry)


@given(data=st.data())
@settings(deadline=None)
def test_rows_read_before_are_answered_in_the_order_given(pool: Any, data: st.DataObject) -> None:
    asks = [*pool.asks(TEXTS, "t/tone@1"), *pool.asks(TEXTS, "t/tone@2")]
    chosen = data.draw(st.lists(st.sampled_from(asks), min_size=1, max_size=9))
    rows = [(ask.row, ask.version) for ask in chosen]
    assert [each.reference for each in pool.predict(chosen)] == [each.version.reference for each in chosen]
    for made, expected in zip(pool.logits(chosen), pool.logits(rows), strict=True):
        assert np.allclose(made, expected, atol=1e-5)
    assert np.allclose(pool.embed(chosen), pool.embed(rows), atol=1e-5)


def test_rows_read_before_keep_their_versions(pool: Any) -> None:
    asks = pool.asks(TEXTS, "t/tone@1")
    for other in ({"reference": "t/tone@2"}, {"as_of": "2020-01-01"}):
        with pytest.raises(BadRecipe, match="have their versions"):
            pool.predict(asks, **other)
    [skipped] = pool.asks(TEXTS[:1], "t/tone", as_of="2011-01-01", skip_refused=True)
    assert pool.predict([skipped]) == [None]
    with pytest.raises(LookAhead, match="no version may write"):
        next(pool.stream(skipped))


def test_one_content_under_two_names_answers_by_the_name_that_was_asked(pool: Any) -> None:
    names = ["t/tone@1", "t/copy@1", "t/tone@1"]
    rows = list(zip(TEXTS, names, strict=True))
    assert [each.reference for each in pool.predict(rows)] == names == list(pool.embed(rows).references)


INSTANTS = pd.to_datetime(pd.Series(CUTS, index=[5, 7, 9]))
COLUMNS = {
    "numpy": np.array(CUTS, "M8[ns]"),
    "numpy days": np.array(CUTS, "M8[D]"),
    "numpy scalars": [np.datetime64(cut) for cut in CUTS],
    "pandas": INSTANTS,
    "pandas aware": INSTANTS.dt.tz_localize("America/New_York"),
    "pandas index": pd.DatetimeIndex(INSTANTS),
    "pandas texts": pd.Series(CUTS, index=[5, 7, 9]),
    "pandas dates": INSTANTS.dt.date,
    "polars": pl.Series([datetime.fromisoformat(cut) for cut in CUTS]),
    "polars aware": pl.Series([datetime.fromisoformat(cut).replace(tzinfo=UTC) for cut in CUTS]),
    "pyarrow": pa.array(INSTANTS.to_numpy()),
    "pyarrow chunks": pa.chunked_array([pa.array(CUTS)]),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_dates_of_any_library_are_taken_by_position(kind: str, pool: Any) -> None:
    made = pool.predict(TEXTS, "t/tone", as_of=COLUMNS[kind], skip_refused=True)
    assert [each and each.reference for each in made] == ["t/tone@1", "t/tone@2", None]
    with pytest.raises(LookAhead, match=r"row 2 \(2011-06-01.*: no version"):
        pool.predict(TEXTS, "t/tone", as_of=COLUMNS[kind])


@pytest.mark.parametrize("one", [np.datetime64("2013-06-01"), np.array("2013-06-01", "M8[s]")])
def test_a_datetime64_is_one_instant_for_all_rows(one: Any, pool: Any) -> None:
    assert {each.reference for each in pool.predict(TEXTS, "t/tone", as_of=one)} == {"t/tone@1"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.datetime64("NaT"), "instant 0 is missing"),
        (pd.NaT, "instant 0 is missing"),
        (np.array(["2013-06-01", "NaT", "2013-06-01"], "M8[s]"), "instant 1 is missing"),
        (pd.Series(pd.to_datetime(["2013-06-01", "2013-06-01", None])), "instant 2 is missing"),
        (["2013-06-01", None, "2013-06-01"], "instant 1 is missing"),
        (pa.array([None, *CUTS[1:]]), "instant 0 is missing"),
        ([2013, 2014, 2015], "instant 0 is 2013: give a date"),
    ],
)
def test_what_is_no_instant_is_refused_by_its_number(wrong: Any, message: str, pool: Any) -> None:
    with pytest.raises(BadInstant, match=message):
        pool.predict(TEXTS, "t/tone", as_of=wrong, skip_refused=True)


@pytest.mark.parametrize("wrong", [pd.NaT, 2013, np.datetime64("2013-06-01"), 1.5])
def test_one_version_is_not_chosen_by_what_is_no_instant(wrong: Any, registry: Any) -> None:
    with pytest.raises(BadInstant, match="is no instant: give a date"):
        registry.resolve("t/tone", as_of=wrong)
