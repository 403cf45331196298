"""Run one pass over a source into a folder of token shards: begin it or take it up, and write what is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapterhub_fin.engine.data.shards.documents import Documents
from adapterhub_fin.engine.data.shards.index_file import (
    INDEX,
    UNFINISHED,
    FinishedShard,
    difference,
    read_json,
    write_index,
)
from adapterhub_fin.engine.data.shards.row_steps import reasons, steps
from adapterhub_fin.engine.data.shards.run_record import recorded, tokenizer_record
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
from adapterhub_fin.engine.data.shards.text_encoder import MapBatches, TextEncoder
from adapterhub_fin.engine.data.shards.text_tokenizer import FILE, TextTokenizer
from adapterhub_fin.engine.data.shards.token_shards import TOKENIZER, TokenShards
from adapterhub_fin.engine.data.shards.tokenizer_sample import TrainedTokenizer, train
from adapterhub_fin.errors import BadCorpus, Corrupted, Refused
from adapterhub_fin.plugin.progress_lines import progress as bar
from adapterhub_fin.recipe.tokenize_recipe import NewTokenizer, TokenizeRecipe
from adapterhub_fin_registry.io.canonical_json import canonical, digest_of

DOCUMENTS: Final = 500_000  # of a shard, whose record is in memory while it is written


@dataclass
class TokenizingRun:
    """Hold one pass over a source into a folder; `tokenizer` is None until it is trained."""

    recipe: TokenizeRecipe
    source: Documents
    tokenizer: TextTokenizer | None
    folder: Path
    mapped: MapBatches
    progress: bool

    def begin(self, restart: bool) -> None:
        """Take up what is in the folder, or begin. Raises Refused where it is of another recipe or source."""
        if self.recipe.filters.duplicates == "near":
            near_version()  # refuses without datasketch
        self._identity = self.source.identity()
        earlier = None if restart else self._earlier()
        if earlier is None or not self._takes_up(earlier):
            self._start()
        self._digest = digest_of(canonical(self._recorded))

    def complete(self) -> TokenShards:
        """Write what is missing, and return all shards, verified where all was there.

        Raises BadCorpus where no row was taken, and where the source has changed meanwhile.
        """
        if (self.folder / INDEX).is_file():
            DISK.remove(self.folder / UNFINISHED)
            shards = TokenShards(self.folder)
            shards.verify()
            return shards
        facts = json.loads((self.folder / UNFINISHED / "begun.json").read_bytes())["facts"]
        finished = self._finished()
        start = finished[-1].next_row if finished else 0
        seen = self._seen_texts(start)
        try:
            with bar("tokenizing", facts["rows"], shown=self.progress) as advance:
                advance(start)
                rest = self._write(facts, finished, seen, advance)
        finally:
            if seen is not None:
                seen.close()
        if self.source.identity() != self._identity:
            raise BadCorpus("tokenize: the source has changed while it was read: run again with restart")
        write_index(self.folder, self._begun, facts["rows"], finished, rest)
        DISK.remove(self.folder / UNFINISHED)
        return TokenShards(self.folder)

    @property
    def _begun(self) -> dict[str, Any]:
        return {"recipe": self._recorded, "source": self._identity}

    def _earlier(self) -> dict[str, Any] | None:
        """Return what an earlier pass recorded that this one goes on from; None where it begins anew.

        Raises Refused where the folder holds what no pass that is known here wrote.
        """
        earlier = read_json(self.folder / INDEX) or read_json(self.folder / UNFINISHED / "begun.json")
        if earlier is None and self._has_shards():
            raise Refused(
                f"{self.folder} holds shards of an unknown pass: give another folder, or restart to delete them"
            )
        if earlier is None and (self.folder / TOKENIZER).exists() and not (self.folder / UNFINISHED).exists():
            raise Refused(
                f"{self.folder / TOKENIZER} is of no pass that is known here: give another folder, or restart to "
                "delete it"
            )
        return earlier

    def _has_shards(self) -> bool:
        return next(self.folder.glob("shard-*.json"), None) is not None

    def _takes_up(self, earlier: Mapping[str, Any]) -> bool:
        """Return whether this pass is the earlier one; where that has written anything, raise Refused if it isn't."""
        tokenizer = self._tokenizer_again(earlier)
        if tokenizer is not None:
            self._recorded = self._record(tokenizer)
        other = "another tokenizer" if tokenizer is None else difference(self._begun, earlier)
        if other is not None and (self._has_shards() or (self.folder / INDEX).exists()):
            raise Refused(
                f"{self.folder} was begun with {other}: give another folder, or restart to delete what is there"
            )
        return other is None

    def _start(self) -> None:
        """Check the source, and only then delete what is there, and record what is begun."""
        facts = self.source.check()
        trained = self._train(self.recipe.tokenizer, facts) if isinstance(self.recipe.tokenizer, NewTokenizer) else None
        self._clear()
        begun = self.folder / UNFINISHED / "begun.json"
        begun.parent.mkdir()
        if trained is not None:
            trained.write(self.folder / TOKENIZER)
            self.tokenizer = self._tokenizer_in_folder()
        assert self.tokenizer is not None, "it was given, or is trained"
        self.tokenizer.copy_to(self.folder / TOKENIZER)
        self._recorded = self._record(tokenizer_record(self.recipe, self.source, self.tokenizer, trained))
        write_whole(begun, canonical({**self._begun, "facts": facts}))

    def _train(self, choice: NewTokenizer, facts: Mapping[str, Any]) -> TrainedTokenizer:
        """Train the tokenizer on the rows that are taken, and on near-duplicates, which are found later."""
        path = self.folder / "training.sqlite"
        DISK.remove(path)
        seen = None if self.recipe.filters.duplicates == "none" else SeenTexts(path, "exact", self.recipe.filters.near)
        try:
            return train(choice, self.source.read(facts, 0), reasons(self.recipe, seen), facts["rows"])
        finally:
            if seen is not None:
                seen.close()
            DISK.remove(path)

    def _tokenizer_in_folder(self) -> TextTokenizer:
        return TextTokenizer(self.folder / TOKENIZER, self.recipe.begin_token, self.recipe.end_token)

    def _tokenizer_again(self, earlier: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the record of this pass's tokenizer: of the one that was trained, where the recipe trains one.

        None where the earlier pass has none that was trained in the same way. Raises Corrupted where it is lost.
        """
        if self.tokenizer is not None:
            return tokenizer_record(self.recipe, self.source, self.tokenizer, None)
        assert isinstance(self.recipe.tokenizer, NewTokenizer), "another one was given"
        before = (earlier.get("recipe") or {}).get("tokenizer") or {}
        if (before.get("trained") or {}).get("choice") != self.recipe.tokenizer.model_dump(mode="json"):
            return None
        if not (self.folder / TOKENIZER / FILE).is_file():
            raise Corrupted(f"{self.folder / TOKENIZER / FILE} is missing: run again with restart")
        self.tokenizer = self._tokenizer_in_folder()
        return {**self.tokenizer.record(), "known": before["known"], "trained": before["trained"]}

    def _record(self, tokenizer: Mapping[str, Any]) -> dict[str, Any]:
        assert self.tokenizer is not None, "it was given, or is trained"
        return recorded(self.recipe, self.source, tokenizer, self.tokenizer.dtype.str)

    def _clear(self) -> None:
        """Delete what is there of another pass; its index first, since it says that all is complete."""
        DISK.remove(self.folder / INDEX)
        for path in (*self.folder.glob("shard-*"), self.folder / TOKENIZER, self.folder / UNFINISHED):
            DISK.remove(path)

    def _finished(self) -> list[FinishedShard]:
        """Return the finished shards from the first on; what is damaged, and all after it, is written again."""
        finished: list[FinishedShard] = []
        while (record := self._shard(len(finished))) is not None:
            finished.append(FinishedShard.of(self.folder, record))
        for path in sorted(self.folder.glob("shard-*"), reverse=True):  # a shard's record goes before its ids
            if path.name.partition(".")[0] >= stem(len(finished)):
                DISK.remove(path)
        return finished

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
        self, facts: Mapping[str, Any], finished: list[FinishedShard], seen: SeenTexts | None, advance: Any
    ) -> Mapping[str, int]:
        """Write the shards that are missing; return why rows after the last shard are left out, and how many."""
        assert self.tokenizer is not None, "it was given, or is trained"
        documents = self.source.read(facts, finished[-1].next_row if finished else 0)
        encoder = TextEncoder(self.tokenizer, self.recipe.filters.duplicates == "near")
        writer = ShardWriter(self.folder, len(finished), self._digest)
        try:
            for document, reason, ids in steps(documents, reasons(self.recipe, seen), seen, encoder, self.mapped):
                advance(1)
                if ids is None:
                    writer.leave_out(str(reason))
                    continue
                writer.add(document, ids)
                if writer.tokens >= self.recipe.shard_tokens or writer.documents >= DOCUMENTS:
                    finished.append(self._finish(writer, document.row + 1, seen))
                    writer = ShardWriter(self.folder, len(finished), self._digest)
            if writer.documents:
                finished.append(self._finish(writer, facts["rows"], seen))
                return {}
        finally:
            writer.abandon()
        return writer.left_out

    def _finish(self, writer: ShardWriter, next_row: int, seen: SeenTexts | None) -> FinishedShard:
        if seen is not None:
            seen.commit()  # before the shard is one: what it holds is remembered
        return FinishedShard.of(self.folder, writer.finish(next_row))
