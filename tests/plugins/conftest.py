"""Heads that corpora are read for: what a corpus must bring is all that is asked of them here."""

from __future__ import annotations

import pytest

import adapterhub_fin as ahf


@pytest.fixture(autouse=True, scope="session")
def heads_to_read_for() -> None:
    for name, consumes in (("wants-a-target", ("target",)), ("wants-text-alone", ())):
        ahf.register(
            ahf.Head(
                name=name,
                summary="What a corpus is read for.",
                target="adapterhub_fin_plugins.heads.classify:Classify",
                consumes=consumes,
            )
        )
