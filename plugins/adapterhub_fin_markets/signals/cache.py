"""Keep answers by the digests of text and version, so that no text is answered twice."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from adapterhub_fin.plugin import AdapterHubError, Corrupted, caches

FORMAT: Final = 1  # raised when the same text and version would be stored otherwise
PART: Final = 500  # keys that one query asks for
_TABLE: Final = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, scores BLOB NOT NULL, sha256 TEXT NOT NULL)"


class CacheFailed(AdapterHubError):
    """Report that the cache of answers can't be read or written."""


class AnswerCache:
    """Store the scores of texts, (labels,) float64 each, in one SQLite file that threads and processes may share."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or caches() / "markets" / "answers" / f"answers-{FORMAT}.sqlite"

    def recall(self, version: str, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the scores that are stored of texts, by their digest, as the version of a digest answered.

        Raises Corrupted for an entry that isn't what was stored, and CacheFailed where the file can't be read.
        """
        keys = {_key(version, text): text for text in texts}
        stored: dict[str, np.ndarray] = {}
        if not self.path.exists():
            return stored
        with self._opened() as database:
            listed = list(keys)
            for start in range(0, len(listed), PART):
                part = listed[start : start + PART]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, scores, sha256 FROM answers WHERE key IN ({marks})"
                for key, scores, sha256 in database.execute(query, part):
                    if _sha256(key, scores) != sha256:
                        raise Corrupted(f"{self.path} holds a damaged answer: delete the file, and answer anew")
                    stored[keys[key]] = np.frombuffer(scores, np.float64)
        return stored

    def store(self, version: str, texts: Sequence[str], scores: np.ndarray) -> None:
        """Store the scores (texts, labels) of texts by their digests. Raises CacheFailed where it can't be written."""
        rows = []
        for text, row in zip(texts, np.ascontiguousarray(scores, np.float64), strict=True):
            key, data = _key(version, text), row.tobytes()
            rows.append((key, data, _sha256(key, data)))
        with self._opened() as database, database:
            database.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", rows)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=60)) as database:
                database.execute(_TABLE)
                yield database
        except sqlite3.OperationalError as error:
            raise CacheFailed(
                f"the cache {self.path} can't be used ({error}): make room there, or set AHF_CACHE to another folder"
            ) from error
        except sqlite3.DatabaseError as error:
            raise Corrupted(f"{self.path} is damaged ({error}): delete the file, and answer anew") from error
        except OSError as error:
            raise CacheFailed(
                f"the cache {self.path} can't be written ({error.strerror}): set AHF_CACHE to another folder"
            ) from error


def _key(version: str, text: str) -> str:
    return hashlib.sha256(f"{FORMAT}\n{version}\n{text}".encode()).hexdigest()


def _sha256(key: str, scores: bytes) -> str:
    return hashlib.sha256(key.encode() + b"\0" + scores).hexdigest()
