"""Read a text piece by piece in an event loop, while a thread writes it."""

from __future__ import annotations

import asyncio
from threading import Event
from typing import Any

from adapterhub_fin.engine.pool.answers import PoolText
from adapterhub_fin.engine.pool.queueing import Answering
from adapterhub_fin.engine.pool.requests import Ask
from adapterhub_fin.errors import DeadlineExceeded


class ServedStream:
    """Yield the pieces of one text; `answer` holds the whole once they are read, with the version that wrote it."""

    def __init__(self, pool: Answering, ask: Ask, deadline: float | None, options: dict[str, Any]) -> None:
        assert ask.version is not None, "a row without a version has been refused"
        self.reference, self.digest = ask.version.reference, ask.version.digest
        self.answer: PoolText | None = None
        self._pool, self._ask, self._deadline, self._options = pool, ask, deadline, options
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[str | PoolText | Exception] = asyncio.Queue()
        self._left = Event()

    def write(self) -> None:
        """Write the text, in a thread, until its end or until the reader leaves; the reader is never waited for."""
        pieces = self._pool.stream(self._ask, **self._options)
        try:
            while not self._left.is_set():
                self._put(next(pieces))
        except StopIteration as end:
            self._put(end.value)
        except Exception as error:
            self._put(error)
        finally:
            pieces.close()

    def leave(self) -> None:
        """Let the writer stop at its next piece."""
        self._left.set()

    def _put(self, piece: str | PoolText | Exception) -> None:
        self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

    def __aiter__(self) -> ServedStream:
        return self

    async def __anext__(self) -> str:
        if self.answer is not None:
            raise StopAsyncIteration
        try:
            async with asyncio.timeout_at(self._deadline):
                piece = await self._pieces.get()
        except TimeoutError as error:
            self.leave()
            raise DeadlineExceeded("the text was not written within its time: give more, or write less") from error
        if isinstance(piece, Exception):
            raise piece
        if isinstance(piece, PoolText):
            self.answer = piece
            raise StopAsyncIteration
        return piece
