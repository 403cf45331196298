"""Encode the splits of a corpus as the head's examples, with how often training draws each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterhub_fin.engine.data.weights import repeated, row_weights
from adapterhub_fin.errors import BadCorpus, BadRecipe

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from adapterhub_fin.engine.data.corpus import Corpora
    from adapterhub_fin.plugin.heads import HeadImplementation
    from adapterhub_fin.recipe.choices import CorpusChoice
    from adapterhub_fin.recipe.recipe import Recipe

Examples = Mapping[str, Sequence[dict[str, Any]]]


def encoded_splits(
    recipe: Recipe,
    corpus: CorpusChoice,
    corpora: Corpora,
    splits: Sequence[str],
    head: HeadImplementation,
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[Examples, Sequence[float] | None]:
    """Return the examples of some splits, and how often each of the training part is drawn beside the others.

    Raises BadCorpus for rows that give none, and BadRecipe for weights of rows that are not one example each.
    """
    train = repeated(corpora.splits["train"])
    weights = row_weights(train, recipe.training.sampling)
    examples = _encoded(
        recipe, corpus, {split: corpora.splits[split] for split in splits} | {"train": train}, head, tokenizer
    )
    if weights is not None and len(examples["train"]) != len(train):
        raise BadRecipe(
            f"the head {recipe.head.name} makes {len(examples['train']):,} examples of {len(train):,} training rows, "
            "and weights are of rows: leave out the column weight and training.sampling, or make one example a row"
        )
    return examples, weights


def _encoded(
    recipe: Recipe,
    corpus: CorpusChoice,
    tables: Mapping[str, Dataset],
    head: HeadImplementation,
    tokenizer: PreTrainedTokenizerBase,
) -> Examples:
    examples = {}
    for split, table in tables.items():
        try:
            examples[split] = head.encode(table, tokenizer, recipe.training.max_length)
        except BadCorpus as error:
            raise BadCorpus(f"corpus {corpus.name}, {split} part: {error}") from error
        if not examples[split]:
            raise BadCorpus(f"corpus {corpus.name}: the {split} part gives no example: give it more rows")
    return examples
