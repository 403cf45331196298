"""Silence Transformers' load report for one block: a new head is expected, and its weights come from the version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Errors only and no progress bar from Transformers, put back afterwards."""
    from transformers.utils import logging as untyped

    logging: Any = untyped

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
