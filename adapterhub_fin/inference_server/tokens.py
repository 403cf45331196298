"""Check bearer tokens against a file, which is read again when it changes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from adapterhub_fin.errors import BadConfiguration

SHORTEST: Final = 16  # characters of a token
_FORM: Final = "each line is a name, blanks, and a token of at least 16 characters; # begins a comment"


class TokenFile:
    """Hold the names of tokens by the SHA-256 of their secrets. A change of the file takes effect at the next request.

    The secrets are compared by their hashes, so that the time that a look-up takes tells nothing of them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state: tuple[int, int, int] | None = None
        self._names: dict[bytes, str] = {}
        self.find("")

    def find(self, secret: str) -> str | None:
        """Return the name of a token, None for an unknown one. Raises BadConfiguration if the file can't be read."""
        try:
            status = self._path.stat()
            state = (status.st_mtime_ns, status.st_size, status.st_ino)
            if state != self._state:
                self._names, self._state = self._read(self._path.read_text(encoding="utf-8")), state
        except (OSError, UnicodeError) as error:
            raise BadConfiguration(f"the token file {self._path} can't be read ({error}): {_FORM}") from error
        return self._names.get(_digest(secret))

    def _read(self, text: str) -> dict[bytes, str]:
        names: dict[bytes, str] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            if len(words) != 2 or len(words[1]) < SHORTEST or not words[1].isascii():
                raise BadConfiguration(f"line {number} of the token file {self._path} isn't a token: {_FORM}")
            names[_digest(words[1])] = words[0]
        if not names:
            raise BadConfiguration(f"the token file {self._path} holds no token: {_FORM}")
        return names


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()
