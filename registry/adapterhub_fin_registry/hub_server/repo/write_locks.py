"""Changes, one after another in each repository, and never in the way of who reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import cached_property, partial
from typing import Final, ParamSpec, TypeVar
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread

CHANGES: Final = 16  # at once, of as many repositories
Given = ParamSpec("Given")
Result = TypeVar("Result")


class Turns:
    """Whose turn it is to change a repository.

    A change of gigabytes takes long, and others may wait for it: they wait without a thread, and changes have threads
    of their own, apart from those of reading, logging in and `/health`.
    """

    def __init__(self, check: Callable[[], object]) -> None:
        """`check` is asked before each change, once its turn has come, and may refuse it."""
        self._check = check
        # A lock is there as long as somebody holds it or waits for it: clients name repositories without end.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def take(
        self, names: set[str], change: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> Result:
        """Make a change in a thread, while there is no other change of some repositories."""
        async with AsyncExitStack() as held:
            for name in sorted(names):  # in one order, or two who want the same two would wait for ever
                await held.enter_async_context(self._locks.setdefault(name, asyncio.Lock()))
            return await anyio.to_thread.run_sync(
                self._changed, partial(change, *args, **kwargs), limiter=self._threads
            )

    def _changed(self, change: Callable[[], Result]) -> Result:
        self._check()
        return change()

    @cached_property
    def _threads(self) -> anyio.CapacityLimiter:
        return anyio.CapacityLimiter(CHANGES)
