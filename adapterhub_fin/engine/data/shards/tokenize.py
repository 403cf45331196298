"""Tokenize dated text up to a day into shards, in one pass that may be killed at any moment and goes on."""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock, Timeout

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.shards.documents import MISSING, Document, Documents
from adapterhub_fin.engine.data.shards.filters import text_filter
from adapterhub_fin.engine.data.shards.index_file import INDEX, UNFINISHED, difference, read_json, write_index
from adapterhub_fin.engine.data.shards.seen_texts import SeenTexts, near_version
from adapterhub_fin.engine.data.shards.shard_files import (
    DISK,
    ShardRecord,
    ShardWriter,
    file_digest,
    ids_path,
    record_path,
    stem,
    write_whole,
)
from adapterhub_fin.engine.data.shards.sources import documents_of
from adapterhub_fin.engine.data.shards.text_tokenizer import TextTokenizer
from adapterhub_fin.engine.data.shards.token_shards import TOKENIZER, TokenShards
from adapterhub_fin.errors import BadCorpus, Corrupted, LookAhead, Refused, WriteFailed
from adapterhub_fin.plugin.progress_lines import progress as bar
from adapterhub_fin.recipe.tokenize_recipe import TokenizeRecipe
from adapterhub_fin_registry.io.canonical_json import canonical, digest_of

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")

BATCH: Final = 1 << 20  # characters that are tokenized at once
Step = tuple[Document, str | None, "np.ndarray | None"]  # a row, why it is left out, else its ids


def tokenize(
    recipe: str | Path | Mapping[str, Any] | TokenizeRecipe,
    folder: str | Path,
    *,
    overrides: Sequence[str] = (),
    restart: bool = False,
    progress: bool = False,
) -> TokenShards:
    """Write the rows of a recipe up to its cut as token ids into a folder, and return them.

    A pass that was killed goes on from its last finished shard to the same bytes, with the same recipe and source; a
    folder that is complete is verified and returned. `restart` deletes what is there of another pass. Raises BadRecipe
    and BadCorpus for what can't be tokenized, LookAhead for a tokenizer of later text, Refused for a
    folder of another recipe or source or that is being written, and WriteFailed where the disk is full.

    Example:
        >>> ahf.tokenize({"files": "fed/*.jsonl", "until": "2013-12-31", "tokenizer": "tok"}, "shards/fed-2013")
        TokenShards('shards/fed-2013'): 801 documents, 3,301,442 tokens
    """
    given = recipe if isinstance(recipe, TokenizeRecipe) else TokenizeRecipe.read(recipe, overrides)
    target = Path(folder).expanduser()
    _check_tokenizer_date(given)
    source = documents_of(given)
    tokenizer = TextTokenizer(given.tokenizer, given.begin_token, given.end_token)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with FileLock(str(target / ".lock"), timeout=0):
            run = TokenizingRun(given, source, tokenizer, target)
            run.begin(restart)
            return run.complete(progress)
    except Timeout as error:
        raise Refused(f"{target} is being written by another process: wait for it") from error
    except (OSError, sqlite3.OperationalError) as error:  # the database of copies has an error of its own
        reason = getattr(error, "strerror", None) or str(error)
        full = getattr(error, "errno", None) == errno.ENOSPC or "full" in str(error)
        advice = "free some space" if full else "mend it"
        raise WriteFailed(f"{target} can't be written ({reason}): {advice}, and run the same again to go on") from error


def _check_tokenizer_date(recipe: TokenizeRecipe) -> None:
    """Raise LookAhead for a tokenizer that was trained on text from after the cut."""
    if recipe.tokenizer_known is not None and recipe.instant("tokenizer_known") > recipe.instant("until"):
        raise LookAhead(
            f"the tokenizer was trained on text up to {recipe.tokenizer_known}, after until {recipe.until}: its "
            "vocabulary would tell of what came later; give one that was trained on the same cut"
        )


@dataclass
class TokenizingRun:
    """Hold one pass over a source into a folder."""

    recipe: TokenizeRecipe
    source: Documents
    tokenizer: TextTokenizer
    folder: Path

    def begin(self, restart: bool) -> None:
        """Take up what is in the folder, or begin. Raises Refused where it is of another recipe or source."""
        self._identity = self.source.identity()
        self._recorded = self._record()
        self._digest = digest_of(canonical(self._recorded))
        if restart:
            self._clear()
        path = self.folder / UNFINISHED / "begun.json"
        begun = {"recipe": self._recorded, "source": self._identity}
        finished = next(self.folder.glob("shard-*.json"), None) is not None
        earlier = read_json(self.folder / INDEX) or (read_json(path) if finished else None)
        if earlier is None and finished:
            raise Refused(
                f"{self.folder} holds shards of an unknown pass: give another folder, or restart to delete them"
            )
        if earlier is not None and (other := difference(begun, earlier)):
            raise Refused(
                f"{self.folder} was begun with {other}: give another folder, or restart to delete what is there"
            )
        if earlier is None:
            facts = self.source.check()
            self._clear()
            path.parent.mkdir()
            self.tokenizer.copy_to(self.folder / TOKENIZER)
            write_whole(path, canonical({**begun, "facts": facts}))

    def complete(self, progress: bool) -> TokenShards:
        """Write what is missing, and return all shards, verified where all was there.

        Raises BadCorpus where no row was taken, and where the source has changed meanwhile.
        """
        if (self.folder / INDEX).is_file():
            DISK.remove(self.folder / UNFINISHED)
            shards = TokenShards(self.folder)
            shards.verify()
            return shards
        facts = json.loads((self.folder / UNFINISHED / "begun.json").read_bytes())["facts"]
        records = self._finished()
        start = records[-1].next_row if records else 0
        seen = self._seen_texts(start)
        try:
            with bar("tokenizing", facts["rows"], shown=progress) as advance:
                advance(start)
                rest = self._write(facts, records, seen, advance)
        finally:
            if seen is not None:
                seen.close()
        if self.source.identity() != self._identity:
            raise BadCorpus("tokenize: the source has changed while it was read: run again with restart")
        begun = {"recipe": self._recorded, "source": self._identity}
        write_index(self.folder, begun, facts["rows"], records, rest)
        DISK.remove(self.folder / UNFINISHED)
        return TokenShards(self.folder)

    def _record(self) -> dict[str, Any]:
        """Return all that the shards depend on but the source, as JSON without paths."""
        keys = TokenizeRecipe.model_fields
        of_tokenizer = {key for key in keys if key.startswith("tokenizer") or key.endswith("_token")}
        known = None
        if self.recipe.tokenizer_known is not None:
            evidence = self.recipe.tokenizer_evidence
            known = {"at": self.recipe.tokenizer_known, "kind": "asserted", "evidence": evidence}
        near = self.recipe.filters.duplicates == "near"
        return {
            **self.recipe.model_dump(mode="json", exclude={"files", "corpus", *of_tokenizer}),
            "tokenizer": {**self.tokenizer.record(), "known": known},
            "dtype": self.tokenizer.dtype.str,
            "datasketch": near_version() if near else None,
        }

    def _clear(self) -> None:
        for path in (*self.folder.glob("shard-*"), self.folder / TOKENIZER, self.folder / UNFINISHED):
            DISK.remove(path)
        DISK.remove(self.folder / INDEX)

    def _finished(self) -> list[ShardRecord]:
        """Return the finished shards from the first on; what is damaged, and all after it, is written again."""
        records: list[ShardRecord] = []
        while (record := self._shard(len(records))) is not None:
            records.append(record)
        for path in sorted(self.folder.glob("shard-*"), reverse=True):  # a shard's record goes before its ids
            if path.name.partition(".")[0] >= stem(len(records)):
                DISK.remove(path)
        return records

    def _shard(self, number: int) -> ShardRecord | None:
        try:
            record = ShardRecord.read(record_path(self.folder, number))
            is_intact = record.ids == file_digest(ids_path(self.folder, number))
        except (FileNotFoundError, Corrupted):
            return None
        return record if is_intact and (record.recipe, record.number) == (self._digest, number) else None

    def _seen_texts(self, start: int) -> SeenTexts | None:
        """Return the texts of the rows before `start`. Raises Corrupted where they are lost."""
        filters, path = self.recipe.filters, self.folder / UNFINISHED / "texts.sqlite"
        if filters.duplicates == "none":
            return None
        if start and not path.is_file():
            raise Corrupted(f"{path} is gone, by which copies of earlier texts are found: run again with restart")
        seen = SeenTexts(path, filters.duplicates, filters.near)
        seen.forget_from(start)
        return seen

    def _write(
        self, facts: Mapping[str, Any], records: list[ShardRecord], seen: SeenTexts | None, advance: Any
    ) -> Mapping[str, int]:
        """Write the shards that are missing; return why rows after the last shard are left out, and how many."""
        start = records[-1].next_row if records else 0
        writer = ShardWriter(self.folder, len(records), self._digest)
        try:
            for document, reason, ids in self._steps(facts, start, seen):
                advance(1)
                if ids is None:
                    writer.leave_out(str(reason))
                    continue
                writer.add(document, ids)
                if writer.tokens >= self.recipe.shard_tokens:
                    records.append(self._finish(writer, document.row + 1, seen))
                    writer = ShardWriter(self.folder, len(records), self._digest)
            if writer.documents:
                records.append(self._finish(writer, facts["rows"], seen))
                return {}
        finally:
            writer.abandon()
        return writer.left_out

    def _finish(self, writer: ShardWriter, next_row: int, seen: SeenTexts | None) -> ShardRecord:
        if seen is not None:
            seen.commit()  # before the shard is one: what it holds is remembered
        return writer.finish(next_row)

    def _steps(self, facts: Mapping[str, Any], start: int, seen: SeenTexts | None) -> Iterator[Step]:
        """Yield each row with why it is left out, or with its ids; about a million characters are read ahead."""
        reason = self._reasons(seen)
        batch: list[tuple[Document, str | None]] = []
        size = 0
        for document in self.source.read(facts, start):
            batch.append((document, reason(document)))
            size += len(document.text) if batch[-1][1] is None else 0
            if size >= BATCH or len(batch) >= BATCH:
                yield from self._tokenized(batch)
                batch, size = [], 0
        yield from self._tokenized(batch)

    def _reasons(self, seen: SeenTexts | None) -> Any:
        """Return the function from a row to why it is left out, None where it is taken."""
        until = self.recipe.instant("until")
        after = self.recipe.instant("after") if self.recipe.after else None
        filtered = text_filter(self.recipe.filters)

        def reason(document: Document) -> str | None:
            if document.missing:
                return MISSING
            if document.available_at > until:
                return "available after until"
            if after is not None and document.available_at <= after:
                return "available up to after"
            if (short := filtered(document.text)) is not None or seen is None:
                return short
            return seen.copied(document.row, document.text)

        return reason

    def _tokenized(self, batch: Sequence[tuple[Document, str | None]]) -> Iterator[Step]:
        ids = iter(self.tokenizer.encode([document.text for document, reason in batch if reason is None]))
        for document, reason in batch:
            yield document, reason, next(ids) if reason is None else None
