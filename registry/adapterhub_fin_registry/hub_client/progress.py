"""What is sent and fetched, shown on a terminal: the client shows it of what it moves by path alone."""

from __future__ import annotations

import io
from typing import Any, Final

_LONG: Final = 8 * 2**20  # bytes, below which nobody waits


def bar(title: str, size: int, done: int = 0) -> Any:
    """A bar where there is a terminal and something to wait for, else one that shows nothing."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    hidden = None if size >= _LONG else True
    shown = {"total": size, "initial": done, "desc": title, "unit": "B", "unit_scale": True, "leave": False}
    return tqdm(**shown, disable=hidden)  # type: ignore[no-untyped-call]


class Counted(io.BufferedReader):
    """Bytes to be sent, whose reading moves a bar on from when it is shown."""

    def __init__(self, source: io.FileIO | io.BytesIO) -> None:
        super().__init__(source)  # a BytesIO does all that it needs of a raw file
        self._bar: Any = None

    def show(self, title: str, size: int) -> None:
        """Show it from now on."""
        self._bar = bar(title, size)

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if self._bar is not None:
            self._bar.update(self.tell() - self._bar.n)  # backwards too, where it is sent again
        return data

    def close(self) -> None:
        if getattr(self, "_bar", None) is not None:
            self._bar.close()
        super().close()
