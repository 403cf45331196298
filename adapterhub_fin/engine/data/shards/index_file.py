"""Write and read the index of token shards, which is written last: a folder with its index is complete."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from adapterhub_fin.engine.data.shards.shard_files import ShardRecord, file_digest, record_path, stem, write_whole
from adapterhub_fin.errors import BadCorpus, Corrupted, NotFound
from adapterhub_fin_registry.io.canonical_json import canonical, digest_of
from adapterhub_fin_registry.model.knowledge import parse_instant

FORMAT: Final = 2
INDEX: Final = "index.json"
UNFINISHED: Final = "unfinished"  # the folder of what a pass needs until it is complete


@dataclass(frozen=True)
class FinishedShard:
    """Hold what a pass and its index need of a finished shard, without what is recorded of each document."""

    next_row: int
    left_out: Mapping[str, int]
    first_available_at: str
    last_available_at: str
    characters: int
    listed: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path, record: ShardRecord) -> Self:
        """Return the summary of a shard in a folder. Raises OSError."""
        dates = (record.first_available_at, record.last_available_at)
        return cls(record.next_row, record.left_out, *dates, record.characters, listed(folder, record))


def write_index(
    folder: Path, begun: Mapping[str, Any], rows: int, shards: Sequence[FinishedShard], rest: Mapping[str, int]
) -> None:
    """Write the index of all shards of a source of so many rows; `rest` counts rows after the last shard.

    Raises BadCorpus where no row was taken.
    """
    left_out = Counter(rest)
    for shard in shards:
        left_out.update(shard.left_out)
    counts = dict(sorted(left_out.items()))
    if not shards:
        raise nothing_left(rows, counts)
    listed_shards = [dict(shard.listed) for shard in shards]
    index: dict[str, Any] = {
        "format": FORMAT,
        **begun,
        "rows": rows,
        "left_out": counts,
        **{key: sum(shard[key] for shard in listed_shards) for key in ("documents", "tokens")},
        "characters": sum(shard.characters for shard in shards),
        "first_available_at": min((shard.first_available_at for shard in shards), key=parse_instant),
        "knowledge_end": max((shard.last_available_at for shard in shards), key=parse_instant),
        "shards": listed_shards,
    }
    index["digest"] = digest_of(canonical(index_contents(index)))
    index["index_digest"] = digest_of(canonical(index))
    write_whole(folder / INDEX, json.dumps(index, indent=1, sort_keys=True).encode())


def nothing_left(rows: int, counts: Mapping[str, int]) -> BadCorpus:
    """Return the error that none of so many rows is taken, with why, and how many."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items()))
    return BadCorpus(f"tokenize: none of {rows:,} rows is left: {reasons}; change the cut or the filters")


def listed(folder: Path, record: ShardRecord) -> dict[str, Any]:
    """Return what an index says of a shard."""
    return {
        "name": stem(record.number),
        "documents": record.documents,
        "tokens": record.tokens,
        "ids": record.ids,
        "record": file_digest(record_path(folder, record.number)),
        "contents": record.contents(),
    }


def index_contents(index: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an index whose digest is that of the shards: no source, and nothing of what was left out."""
    contents = [shard["contents"] for shard in index["shards"]]
    return {"format": FORMAT, "recipe": index["recipe"], "knowledge_end": index["knowledge_end"], "shards": contents}


def read_index(folder: Path) -> dict[str, Any]:
    """Return the index of a complete folder.

    Raises NotFound where there is none, and Corrupted where it can't be read.
    """
    path = folder / INDEX
    try:
        index: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        begun = any(folder.glob("shard-*")) or (folder / UNFINISHED).exists()
        advice = "its `ahf tokenize` has not finished: run it again" if begun else "write them with `ahf tokenize`"
        raise NotFound(f"{folder} holds no token shards: {advice}") from error
    except (OSError, ValueError) as error:
        raise Corrupted(f"{path} can't be read ({error}): tokenize again with restart") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise Corrupted(f"{path} is not of format {FORMAT}: tokenize again, or use the release that wrote it")
    if missing := {"recipe", "digest", "index_digest", "knowledge_end", "shards"} - index.keys():
        raise Corrupted(f"{path} lacks {', '.join(sorted(missing))}: tokenize again with restart")
    try:
        everything = {key: value for key, value in index.items() if key != "index_digest"}
        is_own = (digest_of(canonical(index_contents(index))), digest_of(canonical(everything))) == (
            index["digest"],
            index["index_digest"],
        )
    except (TypeError, KeyError, ValueError):
        is_own = False
    if not is_own:
        raise Corrupted(f"{path} has another digest than it says: copy it again, or tokenize again with restart")
    return index


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a file of a pass holds, None where it isn't there. Raises Corrupted where it can't be read."""
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Corrupted(f"{path} can't be read ({error}): run again with restart") from error
    return value


def difference(begun: Mapping[str, Any], earlier: Mapping[str, Any]) -> str | None:
    """Return what differs between this pass and an earlier one, None where they are one."""
    if begun["recipe"] != earlier.get("recipe"):
        recipe = earlier.get("recipe") or {}
        keys = [key for key, value in begun["recipe"].items() if recipe.get(key) != value]
        return f"another {', '.join(keys) or 'recipe'}"
    return None if begun["source"] == earlier.get("source") else "other files or rows"
