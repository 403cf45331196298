"""Let a head compute on backbone outputs that were computed for a whole batch, adapters mixed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import Signature, signature
from typing import Any

from torch import Tensor, nn

# What may be passed beside tensors without changing what a backbone gives.
HARMLESS = frozenset(["use_cache", "return_dict", "past_key_values", "cache_position"])


@dataclass(frozen=True, slots=True)
class Replay:
    """Hold the backbone's outputs for one adapter's rows, and the inputs that they belong to."""

    inputs: Mapping[str, Tensor]
    outputs: Any


_replay: ContextVar[Replay | None] = ContextVar("replay", default=None)


@contextmanager
def replaying(replay: Replay | None) -> Iterator[None]:
    """Give a replay to the heads of this block."""
    token = _replay.set(replay)
    try:
        yield
    finally:
        _replay.reset(token)


class NotReplayed(Exception):
    """Report a head that asks its backbone for something else than was computed."""


class BackboneDoor(nn.Module):
    """Stand for the backbone in one adapter's head: it returns what was computed, or computes.

    Each head has a door of its own, since some heads hang hooks on their backbone while they compute.
    """

    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.__dict__["core"] = core  # not a submodule: a head's copy and its parameters leave the base out
        self.__dict__["called"] = signature(core.forward)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["core"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the backbone's outputs for the head's rows. Raises NotReplayed for inputs of another call."""
        core: nn.Module = self.__dict__["core"]
        replay = _replay.get()
        if replay is None:
            return core(*args, **kwargs)
        if not _same_call(replay, self.__dict__["called"], args, kwargs):
            raise NotReplayed
        return replay.outputs


def _same_call(replay: Replay, called: Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Return whether a head asks for what was computed: the same tensors, and no other kind of output."""
    bound = called.bind(*args, **kwargs).arguments
    given = {name: value for name, value in bound.items() if name not in ("kwargs", "args")}
    given |= bound.get("kwargs", {})
    tensors = {name for name, value in given.items() if isinstance(value, Tensor)}
    others = [name for name, value in given.items() if name not in (*tensors, *HARMLESS) and value]
    same = all(given[name] is replay.inputs.get(name) for name in tensors)
    return same and not others and tensors == set(replay.inputs)


def rows_of(outputs: Any, rows: int, own: slice) -> Any:
    """Return the part of a model's outputs that belongs to some rows, as views; `rows` counts all rows of the batch."""
    if isinstance(outputs, Tensor):
        return outputs[own] if outputs.ndim and len(outputs) == rows else outputs
    if isinstance(outputs, Mapping):
        return type(outputs)(**{name: rows_of(value, rows, own) for name, value in outputs.items()})
    if isinstance(outputs, tuple):
        return tuple(rows_of(value, rows, own) for value in outputs)
    return None  # a cache of keys and values, which no head reads
