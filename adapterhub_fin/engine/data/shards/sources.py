"""Open the source of a tokenize recipe: files, or an installed corpus."""

from __future__ import annotations

from adapterhub_fin.engine.data.corpus import corpus_digest, read_texts
from adapterhub_fin.engine.data.shards.documents import Documents, FileDocuments, TableDocuments
from adapterhub_fin.recipe.tokenize_recipe import TokenizeRecipe


def documents_of(recipe: TokenizeRecipe) -> Documents:
    """Return the recipe's rows. Raises BadCorpus for a corpus that can't be read, or whose rows have no dates."""
    if recipe.corpus is None:
        return FileDocuments(recipe)
    rows = read_texts(recipe.corpus)
    published = rows.known.at if rows.known is not None and rows.known.kind != "bounded" else None
    return TableDocuments(rows.table, recipe.corpus.name, published, corpus_digest(rows.table))
