"""Begin every refusal with the corpus that it is of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adapterhub_fin.errors import BadCorpus


@contextmanager
def refusing_as(corpus: str) -> Iterator[None]:
    """Put the corpus's name before the message of any BadCorpus raised inside."""
    try:
        yield
    except BadCorpus as error:
        raise BadCorpus(f"corpus {corpus}: {error}") from error
