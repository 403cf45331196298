"""Tokenize dated text up to a day into shards, in one pass that may be killed at any moment and goes on."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from adapterhub_fin.engine.data.shards.sources import documents_of
from adapterhub_fin.engine.data.shards.text_encoder import MapBatches
from adapterhub_fin.engine.data.shards.text_tokenizer import TextTokenizer
from adapterhub_fin.engine.data.shards.token_shards import TokenShards
from adapterhub_fin.engine.data.shards.tokenizing_run import TokenizingRun
from adapterhub_fin.errors import Corrupted, LookAhead, Refused, WriteFailed
from adapterhub_fin.recipe.tokenize_recipe import NewTokenizer, TokenizeRecipe


def tokenize(
    recipe: str | Path | Mapping[str, Any] | TokenizeRecipe,
    folder: str | Path,
    *,
    overrides: Sequence[str] = (),
    restart: bool = False,
    progress: bool = False,
    mapped: MapBatches = map,
) -> TokenShards:
    """Write the rows of a recipe up to its cut as token ids into a folder, and return them.

    A pass that was killed goes on from its last finished shard to the same bytes, with the same recipe and source; a
    folder that is complete is verified and returned. `restart` deletes what is there of another pass. `mapped` encodes
    batches of texts as `map` does, in their order: another one may have workers do it (examples/ray_tokenize.py), to
    the same bytes. Raises BadRecipe and BadCorpus for what can't be tokenized, LookAhead for a tokenizer of later text,
    Refused for a folder of another recipe or source or that is being written, Corrupted for one that is damaged, and
    WriteFailed where the disk is full.

    Example:
        >>> ahf.tokenize({"files": "fed/*.jsonl", "until": "2013-12-31", "tokenizer": "tok"}, "shards/fed-2013")
        TokenShards('shards/fed-2013'): 801 documents, 3,301,442 tokens
    """
    given = recipe if isinstance(recipe, TokenizeRecipe) else TokenizeRecipe.read(recipe, overrides)
    target = Path(folder).expanduser()
    _check_tokenizer_date(given)
    source = documents_of(given)
    tokenizer = None
    if not isinstance(given.tokenizer, NewTokenizer):
        tokenizer = TextTokenizer(given.tokenizer, given.begin_token, given.end_token)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with FileLock(str(target / ".lock"), timeout=0):
            run = TokenizingRun(given, source, tokenizer, target, mapped, progress)
            run.begin(restart)
            return run.complete()
    except Timeout as error:
        raise Refused(f"{target} is being written by another process: wait for it") from error
    except (OSError, sqlite3.OperationalError) as error:  # the database of copies has an error of its own
        reason = getattr(error, "strerror", None) or str(error)
        full = getattr(error, "errno", None) == errno.ENOSPC or "full" in str(error)
        advice = "free some space" if full else "mend it"
        raise WriteFailed(f"{target} can't be written ({reason}): {advice}, and run the same again to go on") from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.ProgrammingError):
            raise
        raise Corrupted(f"the texts in {target} can't be read again ({error}): run again with restart") from error


def _check_tokenizer_date(recipe: TokenizeRecipe) -> None:
    """Raise LookAhead for a tokenizer that was trained on text from after the cut."""
    if recipe.tokenizer_known is not None and recipe.instant("tokenizer_known") > recipe.instant("until"):
        raise LookAhead(
            f"the tokenizer was trained on text up to {recipe.tokenizer_known}, after until {recipe.until}: its "
            "vocabulary would tell of what came later; give one that was trained on the same cut"
        )
