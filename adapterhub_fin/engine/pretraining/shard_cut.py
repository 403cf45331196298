"""Read a base's documents from token shards, and divide them by time: training, and validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from adapterhub_fin._lazy import Lazy
from adapterhub_fin.engine.data.dated_rows import latest_known
from adapterhub_fin.engine.data.known import bounded_now
from adapterhub_fin.engine.data.shards.token_shards import TokenDocuments, TokenShards
from adapterhub_fin.engine.pretraining.cut import Cut
from adapterhub_fin.errors import BadCorpus, BadRecipe, LookAhead
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin.recipe.pretrain_recipe import PretrainRecipe
from adapterhub_fin_registry.io.canonical_json import canonical, digest_of
from adapterhub_fin_registry.model.knowledge import format_instant

if TYPE_CHECKING:
    import numpy as np
else:
    np = Lazy("numpy")


@dataclass(frozen=True)
class ShardCut(Cut):
    """Hold the documents of a base that are tokens already."""

    shards: TokenShards
    documents: Mapping[str, TokenDocuments]  # train and validation

    @property
    def measured_digest(self) -> str:
        """Return the digest of the validation documents, by their numbers in the shards."""
        return digest_of(canonical([self.shards.digest, self.documents["validation"].numbers.tolist()]))

    def training_texts(self) -> list[str] | None:
        """Return None: shards hold no text."""
        return None


def read_shards(recipe: PretrainRecipe, after: datetime | None) -> ShardCut:
    """Return the documents of a recipe's shards, divided; `after` leaves out what the base that it goes on from knows.

    Raises LookAhead for text from after the cut, BadRecipe for what shards can't do, BadCorpus where no two documents
    are left, and Corrupted for shards that are damaged.
    """
    assert recipe.shards is not None, "the caller has looked"
    if recipe.since is not None or recipe.test_until is not None:
        raise BadRecipe("shards hold one cut of the text: leave since and test_until out, or give corpus")
    if "tokenizer" in recipe.base.model_fields_set:
        raise BadRecipe("the shards' tokens are of their own tokenizer: leave base.tokenizer out")
    shards = TokenShards(recipe.shards)
    shards.verify()
    if shards.knowledge_end >= recipe.cutoff:
        raise LookAhead(
            f"shards {recipe.shards} hold text of up to {format_instant(shards.knowledge_end)}, after until "
            f"{recipe.until}: tokenize again with --until {recipe.until}, or name a later day"
        )
    dates = shards.available_at
    seen = np.arange(len(shards))
    if after is not None:
        seen = seen[dates > np.datetime64(after.astimezone(UTC).replace(tzinfo=None), "us")]
    if len(seen) < 2:
        raise BadCorpus(f"shards {recipe.shards} have {len(seen)} documents to train on, and a base needs two or more")
    return _divided(recipe, shards, seen[np.argsort(dates[seen], kind="stable")])


def _divided(recipe: PretrainRecipe, shards: TokenShards, in_time: np.ndarray) -> ShardCut:
    """Return the cut of some documents' numbers in the order of their dates, (documents,)."""
    held_out = max(1, round(recipe.training.validation * len(in_time)))
    documents = {
        "train": shards.take(np.sort(in_time[:-held_out])),
        "validation": shards.take(np.sort(in_time[-held_out:])),
    }
    first, last = (shards.available_at[in_time[end]].item().replace(tzinfo=UTC) for end in (0, -1))
    record: dict[str, Any] = {
        "name": "shards",
        "options": {key: shards.record["recipe"][key] for key in ("until", "after", "filters")},
        "digest": shards.digest,
        "rows": {split: len(part) for split, part in documents.items()},
        "available": [first, last],
        "license": shards.record["recipe"]["license"],
    }
    return ShardCut(record, latest_known(last, shards.stated), shards, documents)


def known_of_tokenizer(shards: TokenShards) -> KnownAt:
    """Return when the shards' tokenizer was known; one that nobody dates is bounded by this moment."""
    return shards.tokenizer_known or bounded_now("the shards' tokenizer")
