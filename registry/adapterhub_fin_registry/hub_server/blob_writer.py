"""Write a file that is being received."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


class BlobWriter:
    """Write a file that is being received, and hash it on the way.

    `take` is called with the number of bytes before they are written, and refuses them by raising.
    """

    def __init__(self, work_folder: Path, take: Callable[[int], object] = lambda size: None) -> None:
        self._take = take
        self.path = work_folder / uuid.uuid4().hex
        self.size = 0
        self._digest = hashlib.sha256()
        self._file: BinaryIO = self.path.open("xb")

    def write(self, data: bytes) -> None:
        """Append bytes. Raises what `take` raises, and OSError for the disk."""
        self._take(len(data))
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def finish(self) -> str:
        """Sync and close the file, and return its SHA-256 in hexadecimal digits. A second call only returns that."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file, complete or not."""
        self._file.close()
