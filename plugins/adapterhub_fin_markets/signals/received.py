"""Record texts as they are received, so that a restart finds each with the instant of its first receipt."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset

from adapterhub_fin.plugin import Corrupted, Rows, format_instant
from adapterhub_fin_markets.signals.texts import DatedTexts, dated_texts

_SCHEMA = pa.schema([("text", pa.string()), ("available_at", pa.timestamp("us", "UTC")), ("group", pa.string())])


@dataclass(frozen=True)
class ReceivedText:
    """Hold one text, with when it could be read: the latest of its own time and its receipt."""

    text: str
    published: str | None  # the time that its table gives it, None where it has none
    group: str  # its ticker
    available_at: datetime

    @property
    def key(self) -> str:
        """Return the digest of what the text is, whenever it is received."""
        return hashlib.sha256(json.dumps([self.text, self.published, self.group]).encode()).hexdigest()

    def record(self) -> dict[str, Any]:
        """Return the text as a line of the journal."""
        return {
            "text": self.text,
            "published": self.published,
            "group": self.group,
            "available_at": format_instant(self.available_at),
        }


@dataclass
class Journal:
    """Keep received texts in a file of JSON lines, those of one file at a time: all of them, or none.

    A file's lines end with one that has their digest. What a killed process left behind it is cut off.
    """

    path: Path
    texts: dict[str, ReceivedText] = field(default_factory=dict)  # by key, in the order of their receipt
    files: set[str] = field(default_factory=set)  # digests of the files that were read
    last: datetime | None = None  # the latest receipt

    @classmethod
    def opened(cls, path: Path) -> Journal:
        """Return the journal of a path, a new one where there is none. Raises Corrupted for an altered one."""
        journal = cls(path)
        if not path.exists():
            return journal
        data, pending, complete = path.read_bytes(), list[bytes](), 0
        for line in data.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
                if "file" not in entry:
                    pending.append(line)
                    continue
                if entry["sha256"] != _sha256(pending):
                    raise ValueError("a text was altered")
                journal._take([_text(json.loads(each)) for each in pending], entry["file"], _at(entry["received"]))
            except (ValueError, KeyError, TypeError) as error:
                raise Corrupted(
                    f"{path} isn't what was received ({error}): restore it from a copy, or watch into another file"
                ) from error
            complete += sum(map(len, pending)) + len(line)
            pending = []
        if complete < len(data):
            with path.open("r+b") as file:
                file.truncate(complete)
                os.fsync(file.fileno())
        return journal

    def add(self, file: str, name: str, texts: Sequence[ReceivedText], received: datetime) -> int:
        """Record the texts of a file by its digest, and return how many are new; what was received before stays so."""
        fresh = {text.key: text for text in texts if text.key not in self.texts}
        lines = [_line(text.record()) for text in fresh.values()]
        # The empty cells make the journal a table, which the corpus `news` reads with drop_missing.
        end = {**dict.fromkeys(("text", "published", "group", "available_at")), "file": file, "name": name}
        end |= {"received": format_instant(received), "sha256": _sha256(lines)}
        with self.path.open("ab") as journal:
            journal.write(b"".join([*lines, _line(end)]))
            journal.flush()
            os.fsync(journal.fileno())
        self._take(list(fresh.values()), file, received)
        return len(fresh)

    def since(self, start: datetime | None, universe: Sequence[str], source: Mapping[str, Any]) -> DatedTexts | None:
        """Return the texts that are available from an instant on, as `signals` reads them; None where there is none.

        Their tickers are all that were named so far, and those of `universe`.
        """
        chosen = [text for text in self.texts.values() if start is None or text.available_at >= start]
        if not chosen:
            return None
        rows = [{"text": each.text, "available_at": each.available_at, "group": each.group} for each in chosen]
        table = pa.Table.from_pylist(rows, _SCHEMA)
        tickers = {each.group for each in self.texts.values()}
        return dated_texts(Rows(Dataset(table)), (), "received", source, {*universe, *tickers})

    @property
    def first(self) -> datetime | None:
        """Return when the first text could be read."""
        return min((text.available_at for text in self.texts.values()), default=None)

    def _take(self, texts: Sequence[ReceivedText], file: str, received: datetime) -> None:
        for text in texts:
            self.texts.setdefault(text.key, text)
        self.files.add(file)
        self.last = received if self.last is None else max(self.last, received)


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=True, sort_keys=True).encode() + b"\n"


def _text(record: Mapping[str, Any]) -> ReceivedText:
    return ReceivedText(record["text"], record["published"], record["group"], _at(record["available_at"]))


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _sha256(lines: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(lines)).hexdigest()
