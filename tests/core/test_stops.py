"""A text that is streamed ends at the stop at which the whole text ends, however it comes in pieces."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapterhub_fin.inference_server.errors import ApiError
from adapterhub_fin.inference_server.stops import Stops

LETTERS = st.text("ab\n", min_size=1, max_size=4)


async def streamed(stops: Stops, pieces: list[str]) -> str:
    async def source() -> AsyncIterator[str]:
        for piece in pieces:
            yield piece

    return "".join([piece async for piece in stops.until(source())])


@given(st.lists(LETTERS, max_size=12), st.lists(LETTERS, max_size=4))
@example(["\na\n", "a"], ["a", "\na\na"])
@settings(max_examples=int(os.environ.get("AHF_CASES", 200)), deadline=None)
def test_pieces_are_cut_as_the_whole_is(pieces: list[str], marks: list[str]) -> None:
    stops = Stops.read(marks)
    text, found = Stops.read(marks).cut("".join(pieces))
    assert asyncio.run(streamed(stops, pieces)) == text
    assert stops.found == found
    assert all(mark not in text for mark in marks)


@pytest.mark.parametrize("given_", ["", [""], ["a"] * 5, [1], 3, {"a": 1}])
def test_what_is_no_stop_is_refused(given_: object) -> None:
    with pytest.raises(ApiError, match="stop must be"):
        Stops.read(given_)
