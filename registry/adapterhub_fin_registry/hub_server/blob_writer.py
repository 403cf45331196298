"""A file on its way in."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


class BlobWriter:
    """A file that is being received: hashed as it is written. `take` is asked for its bytes first, and may refuse."""

    def __init__(self, workshop: Path, take: Callable[[int], object] = lambda size: None) -> None:
        self._take = take
        self.path = workshop / uuid.uuid4().hex
        self.size = 0
        self._digest = hashlib.sha256()
        self._file: BinaryIO = self.path.open("xb")

    def write(self, data: bytes) -> None:
        """Append some bytes."""
        self._take(len(data))
        self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def finish(self) -> str:
        """Make the file durable and give its sha256; again, it only gives that."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return self._digest.hexdigest()

    def close(self) -> None:
        """Let the file go, whole or not."""
        self._file.close()
