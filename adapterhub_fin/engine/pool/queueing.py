"""Queue the rows of many callers, and take them in batches of one kind of call."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from adapterhub_fin.engine.inference.embedding import Embedding
from adapterhub_fin.engine.inference.rows import input_rows, text_columns
from adapterhub_fin.engine.pool.answers import PoolAnswer, PoolText, PoolVector, PoolVectors
from adapterhub_fin.engine.pool.requests import Ask
from adapterhub_fin.plugin.options import Options, checked
from adapterhub_fin.plugin.texts import check_prompt
from adapterhub_fin.recipe.decoding import Decoding

if TYPE_CHECKING:
    from adapterhub_fin_registry.model.version import AnyReference


_alone = count()


class Answering(Protocol):
    """Define what serving needs of a pool."""

    def asks(
        self,
        rows: Any,
        reference: AnyReference | None,
        *,
        as_of: Any = ...,
        include_base: bool = ...,
        skip_refused: bool = ...,
    ) -> list[Ask]: ...
    def predict(self, rows: Any, *, batch_size: int = ...) -> Sequence[PoolAnswer | None]: ...
    def embed(self, rows: Any, *, batch_size: int = ..., **options: Any) -> PoolVectors: ...
    def generate(self, prompts: Any, *, batch_size: int = ..., **options: Any) -> Sequence[PoolText | None]: ...
    def stream(self, prompt: Any, **options: Any) -> Any: ...


@dataclass(frozen=True)
class Kind:
    """Say which call of the pool answers a row, and with which options; rows of one kind share batches."""

    call: str  # predict, embed or generate
    options: Mapping[str, Any] = field(compare=False, default_factory=dict)
    key: str = ""

    @classmethod
    def of(cls, call: str, options: Mapping[str, Any]) -> Kind:
        """Return the kind of a call. Raises BadRecipe for options that it doesn't have.

        A text that is sampled has a batch of its own, since what is drawn depends on the batch.
        """
        models: dict[str, type[Options]] = {"embed": Embedding, "generate": Decoding}
        if call not in models:
            return cls(call)
        read = checked(models[call], options, call)
        alone = isinstance(read, Decoding) and read.temperature
        return cls(call, options, f"{read!r} {next(_alone)}" if alone else repr(read))

    def check(self, ask: Ask) -> None:
        """Raise BadText for a row that can't be read, so that it fails before it joins the rows of others."""
        assert ask.version is not None, "a row that was skipped has no version to read it"
        if self.call == "generate":
            check_prompt(ask.row, f"generate: prompt {ask.number}")
        else:
            input_rows([ask.row], self.call, text_columns(ask.version), ask.number)

    def answers(self, pool: Answering, asks: Sequence[Ask], batch_size: int) -> list[PoolAnswer | Exception]:
        """Return the answer of each row, or what it raised by itself: those that fail together are tried apart."""
        numbered = [Ask(number, ask.row, ask.version) for number, ask in enumerate(asks)]
        try:
            return list(self._computed(pool, numbered, batch_size))
        except Exception as error:
            if len(asks) == 1:
                return [error]
        half = len(asks) // 2
        return self.answers(pool, asks[:half], batch_size) + self.answers(pool, asks[half:], batch_size)

    def _computed(self, pool: Answering, asks: list[Ask], batch_size: int) -> Iterable[Any]:
        if self.call == "predict":
            return pool.predict(asks, batch_size=batch_size)
        if self.call == "generate":
            return pool.generate(asks, batch_size=batch_size, **self.options)
        made = pool.embed(asks, batch_size=batch_size, **self.options)
        rows = zip(made.vectors, made.references, made.digests, made.tokens, strict=True)
        return [PoolVector(vector, str(reference), str(digest), tokens) for vector, reference, digest, tokens in rows]


@dataclass(eq=False, slots=True)
class Job:
    """Hold one row that waits for its answer. Times are those of the event loop, in seconds."""

    ask: Ask
    kind: Kind
    arrived: float
    queued: float
    deadline: float
    answer: asyncio.Future[PoolAnswer]

    def settle(self, result: PoolAnswer | Exception) -> None:
        """Give the caller its answer or its error, unless it has left."""
        if self.answer.done():
            return
        if isinstance(result, Exception):
            self.answer.set_exception(result)
        else:
            self.answer.set_result(result)


class Lane:
    """Queue jobs of one event loop in the order in which they came."""

    def __init__(self) -> None:
        self._jobs: dict[Job, None] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, jobs: Iterable[Job]) -> None:
        """Queue jobs."""
        self._jobs.update(dict.fromkeys(jobs))
        self._changed.set()

    def remove(self, jobs: Iterable[Job]) -> None:
        """Remove those of some jobs that nobody has taken."""
        for job in jobs:
            self._jobs.pop(job, None)

    def clear(self) -> list[Job]:
        """Remove all jobs that nobody has taken, and return them."""
        jobs, self._jobs = list(self._jobs), {}
        return jobs

    def close(self) -> None:
        """Let `take` return at once, with nothing once the queue is empty."""
        self._closed = True
        self._changed.set()

    async def take(self, most: int, max_wait: float) -> list[Job]:
        """Return the oldest jobs of one kind, at most `most`, once there are so many or the oldest waited `max_wait`.

        Jobs past their deadline are left out. Returns nothing once the lane is closed and empty.
        """
        loop = asyncio.get_running_loop()
        while True:
            moment = loop.time()
            alive = [job for job in self._jobs if job.deadline > moment]
            jobs = [job for job in alive if job.kind == alive[0].kind][:most]
            wait = jobs[0].queued + max_wait - moment if jobs else math.inf
            if (jobs and (wait <= 0 or len(jobs) == most)) or self._closed:
                self.remove(jobs)
                return jobs
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait if jobs else None):
                    await self._changed.wait()
