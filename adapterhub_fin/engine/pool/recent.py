"""Keep what was used last, so that nothing grows for as long as a process runs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Map keys to the values that were used last, at most `most` of them; its users lock it against other threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Key, Value] = OrderedDict()  # the least recently used first

    def get(self, key: Key) -> Value | None:
        """Return a value, which counts as used now; None where there is none."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: Key, value: Value) -> Value:
        """Keep a value in place of the one that was used longest ago, and return it."""
        self._values[key] = value
        self._values.move_to_end(key)
        while len(self._values) > self._most:
            self._values.popitem(last=False)
        return value

    def items(self) -> Iterable[tuple[Key, Value]]:
        """Return the keys with their values, the least recently used first."""
        return self._values.items()

    def __len__(self) -> int:
        return len(self._values)
