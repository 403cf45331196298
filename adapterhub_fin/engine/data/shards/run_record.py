"""Record all that token shards depend on but their source, as JSON: whether two passes are one is told by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterhub_fin.engine.data.dated_rows import latest_known
from adapterhub_fin.engine.data.shards.documents import Documents
from adapterhub_fin.engine.data.shards.seen_texts import near_version
from adapterhub_fin.engine.data.shards.text_tokenizer import TextTokenizer
from adapterhub_fin.engine.data.shards.tokenizer_sample import EVIDENCE, TrainedTokenizer
from adapterhub_fin.plugin.interfaces import KnownAt
from adapterhub_fin.recipe.tokenize_recipe import TokenizeRecipe
from adapterhub_fin_registry.model.knowledge import format_instant


def recorded(recipe: TokenizeRecipe, source: Documents, tokenizer: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Return the record of a recipe without paths, with what its source states and the record of its tokenizer."""
    keys = TokenizeRecipe.model_fields
    of_tokenizer = {key for key in keys if key.startswith("tokenizer") or key.endswith("_token")}
    until = recipe.instant("until")
    return {
        **recipe.model_dump(mode="json", exclude={"files", "corpus", *of_tokenizer}),
        "license": source.license,
        "stated": [_dated(each) for each in source.stated if each.at <= until],  # later ones are of rows not taken
        "tokenizer": dict(tokenizer),
        "dtype": dtype,
        "datasketch": near_version() if recipe.filters.duplicates == "near" else None,
    }


def tokenizer_record(
    recipe: TokenizeRecipe, source: Documents, tokenizer: TextTokenizer, trained: TrainedTokenizer | None
) -> dict[str, Any]:
    """Return what is recorded of a tokenizer: its files, when it was known, and how it was trained."""
    known: dict[str, Any] | None = None
    if trained is not None:
        known = _dated(latest_known(trained.last, source.stated, EVIDENCE))
    elif recipe.tokenizer_known is not None:
        known = {"at": recipe.tokenizer_known, "kind": "asserted", "evidence": recipe.tokenizer_evidence}
    return {**tokenizer.record(), "known": known, "trained": None if trained is None else trained.record}


def _dated(known: KnownAt) -> dict[str, Any]:
    return {"at": format_instant(known.at), "kind": known.kind, "evidence": known.evidence}
