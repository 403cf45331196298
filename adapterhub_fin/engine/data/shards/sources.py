"""Open the source of a tokenize recipe: files, or an installed corpus."""

from __future__ import annotations

from adapterhub_fin.engine.data.corpus import corpus_digest, license_of, read_texts
from adapterhub_fin.engine.data.shards.documents import Documents, FileDocuments, TableDocuments
from adapterhub_fin.recipe.tokenize_recipe import TokenizeRecipe


def documents_of(recipe: TokenizeRecipe) -> Documents:
    """Return the recipe's rows. Raises BadCorpus for a corpus that can't be read, or whose rows have no dates."""
    choice = recipe.corpus
    if choice is None:
        return FileDocuments(recipe)
    rows = read_texts(choice)
    stated = [] if rows.known is None or rows.known.kind == "bounded" else [rows.known]
    license = recipe.license or license_of(choice)
    return TableDocuments(rows.table, choice.name, stated, corpus_digest(rows.table), license)
