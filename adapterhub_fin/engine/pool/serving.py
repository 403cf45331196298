"""Answer many async callers from one pool: their rows are computed together, with deadlines and a bounded queue."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from adapterhub_fin.engine.pool.answers import PoolAnswer, PoolText, PoolVector
from adapterhub_fin.engine.pool.latency import Histogram
from adapterhub_fin.engine.pool.queueing import Answering, Job, Kind, Lane
from adapterhub_fin.engine.pool.requests import Ask
from adapterhub_fin.engine.pool.serving_settings import ServingSettings, ServingStats
from adapterhub_fin.engine.pool.streams import ServedStream
from adapterhub_fin.errors import DeadlineExceeded, Overloaded, Refused

RESOLVERS: Final = 4  # threads that look references up, which may wait for a Hub
_LONGEST: Final = 60  # seconds after which to retry, at most
Result = TypeVar("Result")


class Serving:
    """Collect the rows of many callers into batches, computed in threads over one pool; use it in `async with`.

    Every call may raise Overloaded (retry after its `retry_after` seconds), DeadlineExceeded once `timeout` seconds
    are over, and what the pool raises for the row; a row that fails leaves the others of its batch unharmed.
    """

    def __init__(self, pool: Answering, settings: ServingSettings) -> None:
        self._pool, self.settings = pool, settings
        self.queue_time, self.compute_time = Histogram(), Histogram()
        self._counts = dict.fromkeys(("answered", "failed", "overloaded", "expired", "cancelled", "batches"), 0)
        self._waiting, self._streaming, self._busy = 0, 0, 0.0
        self._streams: set[ServedStream] = set()
        self._open = False

    async def __aenter__(self) -> Self:
        its = self.settings
        threads = its.workers + its.writers + its.max_streams + RESOLVERS
        self._threads = ThreadPoolExecutor(threads, "ahf-serving")
        self._running: set[asyncio.Future[Any]] = set()
        self._resolving, self._idle = asyncio.Semaphore(RESOLVERS), asyncio.Event()
        self._rows, self._texts = Lane(), Lane()
        rows = [self._dispatch(self._rows, its.max_batch) for _ in range(its.workers)]
        texts = [self._dispatch(self._texts, its.write_batch) for _ in range(its.writers)]
        self._dispatchers = [asyncio.create_task(each) for each in (*rows, *texts)]
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Answer what was accepted, or refuse it where the block failed; no thread is left."""
        self._open = False
        try:
            if error is not None:
                self._refuse_all()
            while self._waiting:
                self._idle.clear()
                await self._idle.wait()
        finally:
            self._refuse_all()
            for lane in (self._rows, self._texts):
                lane.close()
            await asyncio.gather(*self._dispatchers)
            while self._running:
                await asyncio.wait(self._running)
            self._threads.shutdown()

    async def predict(self, row: Any, reference: Any, *, timeout: float | None = None, **when: Any) -> PoolAnswer:
        """Return the typed answer of one row; `as_of` and `include_base` choose the version as `Pool.predict` does."""
        [answer] = await self.predict_rows([row], reference, timeout=timeout, **when)
        assert answer is not None, "one row is never skipped"
        return answer

    async def embed(
        self,
        row: Any,
        reference: Any,
        *,
        as_of: Any = None,
        include_base: bool = True,
        timeout: float | None = None,
        **options: Any,
    ) -> PoolVector:
        """Return the vector of one row, (hidden,) float32; options are those of `Pool.embed`."""
        when = {"as_of": as_of, "include_base": include_base}
        [answer] = await self.embed_rows([row], reference, timeout=timeout, **when, **options)
        assert answer is not None, "one row is never skipped"
        return answer

    async def generate(
        self,
        prompt: Any,
        reference: Any,
        *,
        as_of: Any = None,
        include_base: bool = True,
        timeout: float | None = None,
        **options: Any,
    ) -> PoolText:
        """Return what is written after one prompt, a text or a conversation; options are those of `Pool.generate`."""
        when = {"as_of": as_of, "include_base": include_base, "skip_refused": False}
        [answer] = await self._answers(Kind.of("generate", options), [prompt], reference, timeout, when)
        assert isinstance(answer, PoolText)
        return answer

    async def predict_rows(
        self,
        rows: Sequence[Any],
        reference: Any = None,
        *,
        as_of: Any = None,
        include_base: bool = True,
        skip_refused: bool = False,
        timeout: float | None = None,
    ) -> list[PoolAnswer | None]:
        """Return the answer of each row, as `Pool.predict` does; all are accepted, or none."""
        when = {"as_of": as_of, "include_base": include_base, "skip_refused": skip_refused}
        return await self._answers(Kind.of("predict", {}), rows, reference, timeout, when)

    async def embed_rows(
        self,
        rows: Sequence[Any],
        reference: Any = None,
        *,
        as_of: Any = None,
        include_base: bool = True,
        skip_refused: bool = False,
        timeout: float | None = None,
        **options: Any,
    ) -> list[PoolVector | None]:
        """Return the vector of each row, (hidden,) float32, as `Pool.embed` does; all are accepted, or none."""
        when = {"as_of": as_of, "include_base": include_base, "skip_refused": skip_refused}
        return await self._answers(Kind.of("embed", options), rows, reference, timeout, when)

    @asynccontextmanager
    async def stream(
        self,
        prompt: Any,
        reference: Any,
        *,
        as_of: Any = None,
        include_base: bool = True,
        timeout: float | None = None,
        **options: Any,
    ) -> AsyncIterator[ServedStream]:
        """Yield a stream of what is written after one prompt; leaving the block stops it. Options as in `generate`."""
        kind, when = Kind.of("generate", options), {"as_of": as_of, "include_base": include_base}
        if self._streaming >= self.settings.max_streams:
            self._refuse(f"{self._streaming} texts are streamed already", 1)
        self._admit(1)
        self._streaming += 1
        pieces = None
        try:
            deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
            try:
                async with asyncio.timeout_at(deadline) as scope:
                    [ask] = await self._read(kind, [prompt], reference, when)
            except TimeoutError as error:
                if not scope.expired():
                    raise
                raise _too_late(timeout) from error
            pieces = ServedStream(self._pool, ask, deadline, options)
            self._streams.add(pieces)
            self._start(pieces.write)
            yield pieces
        finally:
            self._streaming -= 1
            if pieces is not None:
                pieces.leave()
                self._streams.discard(pieces)
            self._counts["answered" if pieces is not None and pieces.answer is not None else "failed"] += 1
            self._leave(1)

    def stats(self) -> ServingStats:
        """Return the counts so far, and the percentiles of the two times."""
        return ServingStats(
            waiting=self._waiting, **self._counts, queue=self.queue_time.read(), compute=self.compute_time.read()
        )

    async def _answers(
        self, kind: Kind, rows: Sequence[Any], reference: Any, timeout: float | None, when: Mapping[str, Any]
    ) -> list[Any]:
        """Return the answer of each row, None for a skipped one; what the first failed row raised."""
        loop = asyncio.get_running_loop()
        lane = self._texts if kind.call == "generate" else self._rows
        arrived = loop.time()
        deadline = math.inf if timeout is None else arrived + timeout
        self._admit(len(rows))
        jobs: dict[int, Job] = {}
        outcome = "failed"
        try:
            async with asyncio.timeout_at(None if timeout is None else deadline) as scope:
                for ask in await self._read(kind, rows, reference, when):
                    if ask.version is not None:
                        jobs[ask.number] = Job(ask, kind, arrived, loop.time(), deadline, loop.create_future())
                lane.add(jobs.values())
                answers = dict(zip(jobs, await asyncio.gather(*(job.answer for job in jobs.values())), strict=True))
            outcome = "answered"
            return [answers.get(number) for number in range(len(rows))]
        except TimeoutError as error:
            if not scope.expired():
                raise
            outcome = "expired"
            raise _too_late(timeout) from error
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            lane.remove(jobs.values())
            self._counts[outcome] += len(rows)
            self._leave(len(rows))

    async def _read(self, kind: Kind, rows: Sequence[Any], reference: Any, when: Mapping[str, Any]) -> list[Ask]:
        """Return the rows with their versions, each row checked, in a thread: looking up may read a disk or a Hub."""

        def read() -> list[Ask]:
            asks = self._pool.asks(rows, reference, **when)
            for ask in asks:
                if ask.version is not None:
                    kind.check(ask)
            return asks

        async with self._resolving:
            return await asyncio.shield(self._start(read))

    def _start(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        """Start work in a thread, for whose end `__aexit__` waits."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        self._running.add(future)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, future: asyncio.Future[Any]) -> None:
        self._running.discard(future)
        if not future.cancelled():
            future.exception()  # its caller may have left, and nobody else looks

    async def _dispatch(self, lane: Lane, size: int) -> None:
        """Compute the batches of a lane, one after the other, until it is closed and empty."""
        loop = asyncio.get_running_loop()
        while jobs := await lane.take(size, self.settings.max_wait):
            jobs.sort(key=lambda job: job.ask.version.digest if job.ask.version else "")
            kind, asks, began = jobs[0].kind, [job.ask for job in jobs], loop.time()
            for job in jobs:
                self.queue_time.add(began - job.arrived)
            results = await self._start(partial(kind.answers, self._pool, asks, size))
            self._busy += loop.time() - began
            self._counts["batches"] += 1
            self.compute_time.add(loop.time() - began, len(jobs))
            for job, result in zip(jobs, results, strict=True):
                job.settle(result)

    def _admit(self, rows: int) -> None:
        """Count rows as accepted. Raises Overloaded where there are too many, and Refused where serving has ended."""
        if not self._open:
            raise Refused("serving has ended or not begun: use it in `async with pool.serving()`")
        if rows > self.settings.max_queue:
            raise Refused(f"{rows} rows at once, and {self.settings.max_queue} may wait at most: send fewer at a time")
        if self._waiting + rows > self.settings.max_queue:
            self._refuse(f"{self._waiting} rows wait for their answers already", rows)
        self._waiting += rows

    def _refuse(self, why: str, rows: int) -> None:
        self._counts["overloaded"] += rows
        computed = self.compute_time.read().count
        seconds = self._waiting * self._busy / computed if computed else 1.0
        retry_after = min(max(1, math.ceil(seconds)), _LONGEST)
        raise Overloaded(f"{why}: try again in {retry_after} seconds", retry_after)

    def _leave(self, rows: int) -> None:
        self._waiting -= rows
        self._idle.set()

    def _refuse_all(self) -> None:
        """Refuse the rows that wait for a batch, and end the streams."""
        for stream in self._streams:
            stream.leave()
        for lane in (self._rows, self._texts):
            for job in lane.clear():
                job.settle(Refused("serving has ended: send the row again where it goes on"))


def _too_late(timeout: float | None) -> DeadlineExceeded:
    return DeadlineExceeded(f"no answer within {timeout or 0:g} seconds: give it more time, or try later")
