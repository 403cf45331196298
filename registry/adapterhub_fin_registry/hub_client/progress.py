"""Show progress bars for uploads and downloads; the client itself does so only for files that it is given by path."""

from __future__ import annotations

import io
from typing import Any, Final

_LONG: Final = 8 * 2**20  # bytes; a smaller file gets no bar


def bar(title: str, size: int, done: int = 0) -> Any:
    """Return a progress bar over `size` bytes, `done` of them so far.

    It shows nothing for less than 8 MiB, or where there is no terminal.
    """
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    hidden = None if size >= _LONG else True
    settings = {"total": size, "initial": done, "desc": title, "unit": "B", "unit_scale": True, "leave": False}
    return tqdm(**settings, disable=hidden)  # type: ignore[no-untyped-call]


class Counted(io.BufferedReader):
    """Read bytes to upload, and move a progress bar as they are read."""

    def __init__(self, source: io.FileIO | io.BytesIO) -> None:
        super().__init__(source)  # which a BytesIO satisfies, too
        self._bar: Any = None

    def show(self, title: str, size: int) -> None:
        """Begin to show a bar over `size` bytes."""
        self._bar = bar(title, size)

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes, and move the bar."""
        data = super().read(size)
        if self._bar is not None:
            self._bar.update(self.tell() - self._bar.n)  # negative where the file is sent again
        return data

    def close(self) -> None:
        """Close the bar and the source."""
        if getattr(self, "_bar", None) is not None:
            self._bar.close()
        super().close()
