"""Open the source of a tokenize recipe: files, or an installed corpus."""

from __future__ import annotations

from adapterhub_fin.engine.data.corpus import corpus_digest, license_of
from adapterhub_fin.engine.data.dated_rows import read_dated
from adapterhub_fin.engine.data.shards.documents import Documents, FileDocuments, TableDocuments
from adapterhub_fin.recipe.tokenize_recipe import TokenizeRecipe


def documents_of(recipe: TokenizeRecipe) -> Documents:
    """Return the recipe's rows. Raises BadCorpus for a corpus that can't be read, or whose rows have no dates."""
    choice = recipe.corpus
    if choice is None:
        return FileDocuments(recipe)
    rows = read_dated(choice)
    stated = [source.declared for source in rows.sources if source.declared is not None]
    license = recipe.license or license_of(choice)
    return TableDocuments(rows.table, choice.name, stated, corpus_digest(rows.table), license)
