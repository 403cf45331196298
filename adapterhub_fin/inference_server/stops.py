"""End a text where the request says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from adapterhub_fin.engine.inference.stopping import PieceCutter, first_mark
from adapterhub_fin.inference_server.errors import wrong_field

_MOST: Final = 4  # as OpenAI has it


class Stops:
    """Hold the texts at which an answer ends; none of them is part of it."""

    def __init__(self, marks: tuple[str, ...]) -> None:
        self._marks = marks
        self.found = False

    @classmethod
    def read(cls, given: Any) -> Stops:
        """Return the stops of a request's field. Raises ApiError 400 for what isn't one to four texts."""
        marks = [] if given is None else [given] if isinstance(given, str) else given
        if not isinstance(marks, list) or len(marks) > _MOST or not all(isinstance(m, str) and m for m in marks):
            raise wrong_field("stop", f"stop must be a text, or at most {_MOST} texts")
        return cls(tuple(marks))

    def cut(self, text: str) -> tuple[str, bool]:
        """Return a text up to the first stop, and whether there was one."""
        start = first_mark(text, self._marks)
        return text[:start], start is not None

    async def until(self, pieces: AsyncIterator[str]) -> AsyncIterator[str]:
        """Yield pieces up to the first stop, which may begin in one and end in another."""
        cutter = PieceCutter(self._marks)
        async for piece in pieces:
            if ready := cutter.add(piece):
                yield ready
            if cutter.ended:
                self.found = True
                return
        if cutter.pending:
            yield cutter.pending
