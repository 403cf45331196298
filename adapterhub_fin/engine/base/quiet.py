"""Silence Transformers while a model is loaded: it warns of a new head, whose weights come from the version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adapterhub_fin.engine.base.locks import building


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Let Transformers log errors only and draw no progress bar, for one block; one thread at a time.

    Raises Refused if this thread is already computing with a model (see `locks.building`).
    """
    from transformers.utils import logging as untyped

    logging: Any = untyped

    with building():
        verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bar:
                logging.enable_progress_bar()
