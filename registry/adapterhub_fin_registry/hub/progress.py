"""What is sent, shown on a terminal: the client shows it of files that it is given by path alone."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

_LONG: Final = 8 * 2**20  # bytes, below which nobody waits


class Counted(io.BufferedReader):
    """A file to be sent, whose reading moves a bar on from when it is shown."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._bar: Any = None

    def show(self, title: str, size: int) -> None:
        """Show a bar where there is a terminal, and something to wait for."""
        if size >= _LONG:
            from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

            shown = {"total": size, "desc": title, "unit": "B", "unit_scale": True, "leave": False, "disable": None}
            self._bar = tqdm(**shown)  # type: ignore[no-untyped-call]

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if self._bar is not None:
            self._bar.update(self.tell() - self._bar.n)  # backwards too, where it is sent again
        return data

    def close(self) -> None:
        if getattr(self, "_bar", None) is not None:
            self._bar.close()
        super().close()
