"""Say which rows of a batch are whose, and add each adapter's changes to its own rows.

The route travels with the call, in a context variable, and nothing on the model is switched: threads that compute with
one base at the same moment can't see each other's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from adapterhub_fin.engine.pool.changes import Change

Changes = Mapping[str, Change]  # by the layer's key in its trunk


class RowsLost(Exception):
    """Report a layer whose inputs don't stand in the order of the batch's rows, as those of a mixture of experts."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Name the adapter of the rows from `start` to before `stop`."""

    start: int
    stop: int
    changes: Changes


def segments_of(parts: Iterable[tuple[int, Changes]]) -> list[Segment]:
    """Return the segments of adapters whose rows stand one after another, of how many rows each has."""
    segments, start = [], 0
    for rows, changes in parts:
        segments.append(Segment(start, start + rows, changes))
        start += rows
    return segments


@dataclass(frozen=True, slots=True)
class Route:
    """Hold the segments of a batch of `rows` rows with `tokens` tokens each, for one trunk."""

    trunk: object
    rows: int
    tokens: int
    segments: Sequence[Segment]


_route: ContextVar[Route | None] = ContextVar("route", default=None)


@contextmanager
def routed(route: Route) -> Iterator[None]:
    """Compute this block along a route; the one before it comes back."""
    token = _route.set(route)
    try:
        yield
    finally:
        _route.reset(token)


def adding(trunk: object, key: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
    """Return a forward hook that adds the changes of the current route to the layer of that key."""

    def add(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        route = _route.get()
        if route is None or route.trunk is not trunk:
            return
        for segment in route.segments:
            change = segment.changes.get(key)
            if change is not None:
                inputs, own = _rows(route, segment, args[0], output, key)
                change.add(layer, inputs, own)

    return add


def _rows(route: Route, segment: Segment, inputs: Tensor, output: Tensor, key: str) -> tuple[Tensor, Tensor]:
    """Return a segment's part of a layer's input and output, as views.

    Raises RowsLost where neither rows nor rows times tokens come first.
    """
    if len(route.segments) == 1:
        return inputs, output  # one adapter has all rows, in whatever order they come
    if len(inputs) == route.rows:
        each = 1
    elif len(inputs) == route.rows * route.tokens and output.ndim == 2:
        each = route.tokens
    else:
        raise RowsLost(key)
    own = slice(segment.start * each, segment.stop * each)
    return inputs[own], output[own]
