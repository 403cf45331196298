"""Drop the rows that are longer than `training.max_length`, for a recipe that would rather lose than cut them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from adapterhub_fin.engine.data.corpus import check_targets, corpus_digest
from adapterhub_fin.errors import BadCorpus, BadRecipe
from adapterhub_fin.plugin.contributed import build_contribution
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.plugin.examples import lengths

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.engine.data.corpus import Corpora
    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.recipe.recipe import Recipe

WHOLE = 2**31 - 1  # tokens; no row is cut at this length


def drop_long_rows(recipe: Recipe, corpora: Corpora, tokenizer: PreTrainedTokenizerBase, corpus: str) -> Corpora:
    """Return the corpora without rows of more than `training.max_length` tokens, counted in the notes by part.

    `corpus` is the name in errors.

    Raises BadCorpus where a part has no row left, and BadRecipe for a head that makes several rows one example.
    """
    limit, splits, notes = recipe.training.max_length, {}, {}
    # Of its own: the head of the run must learn its labels from the rows that stay.
    head: HeadImplementation = build_contribution(Head, recipe.head.name, recipe.head.options)
    head.fit_labels(corpora.splits["train"])
    check_targets(head, corpora.splits, corpus)
    for split, rows in corpora.splits.items():
        sizes = lengths(head.encode(rows, tokenizer, WHOLE))
        if len(sizes) != len(rows):
            raise BadRecipe(
                f"training.over_length drop needs an example a row, and {recipe.head.name} packs rows: use cut"
            )
        short = [index for index, size in enumerate(sizes) if size <= limit]
        if not short:
            raise BadCorpus(
                f"corpus {corpus}: every row of the {split} part has more than {limit} tokens: raise "
                "training.max_length, or set training.over_length to cut"
            )
        splits[split] = rows.select(short)
        if len(short) < len(rows):
            notes[f"longer than max_length ({split})"] = len(rows) - len(short)
    measured = corpus_digest(splits["test"]) if corpora.splitter.by == "window" else corpora.measured
    return replace(corpora.with_splits(splits, notes), measured=measured)
