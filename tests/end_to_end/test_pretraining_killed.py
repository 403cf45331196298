"""A pretraining run that is killed at any moment ends, run again, as one version with the weights it would have had."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import adapterhub_fin as ahf
from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.testing.killed import count_moments, train_and_be_killed_at
from adapterhub_fin.testing.tiny_base import base_recipe, stored_weights

EXHAUSTIVE = bool(os.environ.get("AHF_EVERY_RESUME"))  # all moments: `make resumes`
PARTS = 12 if EXHAUSTIVE else 1
SHARE = 10_000
# Two passes, an evaluation and a checkpoint after each, a checkpoint between.
PLAN = base_recipe(
    until="2010-01-12", training={"max_steps": None, "epochs": 2, "checkpoint_steps": 2, "batch_size": 4, "block": 64}
)


@cache
def uninterrupted(folder: Path) -> tuple[ahf.Pretrained, int]:
    """Return a run that nobody kills, and the number of its moments."""
    registry = ahf.Registry(folder / "whole")
    return ahf.pretrain(PLAN, registry=registry), count_moments(PLAN, folder / "counted")


def run_again(registry: ahf.Registry) -> ahf.Version:
    """Do what its user does after a run was killed: resume it, or start it where there was no checkpoint yet."""
    try:
        return ahf.pretrain(PLAN, registry=registry, resume=True).version
    except BadRecipe as error:
        assert "no interrupted run" in str(error)
    return registry.resolve("acme/fin@1") if registry.names() else ahf.pretrain(PLAN, registry=registry).version


def check_killed_at(moment: int, folder: Path, whole: ahf.Pretrained) -> None:
    registry = ahf.Registry(folder / f"killed-{moment}")
    train_and_be_killed_at(PLAN, registry.root, moment)
    version = run_again(registry)
    wanted, found = stored_weights(whole.folder), stored_weights(version.files)
    assert [name for name in wanted if not torch.equal(wanted[name], found[name])] == [], moment
    assert version.digest == whole.version.digest and len(list(registry.versions("acme/fin"))) == 1, moment
    registry.verify(version.reference)
    assert dict(registry.history(version) or {}) == dict(whole.history), moment
    runs = registry.root / "runs"
    left = [path.name for path in runs.iterdir() if (path / "run.json").exists()] if runs.is_dir() else []
    assert left == [], moment


@pytest.mark.skipif(EXHAUSTIVE, reason="all moments are tried")
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.integers(0, SHARE - 1))
def test_killed_at_a_moment_it_ends_as_if_it_had_not_been(share: int, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.getbasetemp() / "killed-at-moments"
    whole, moments = uninterrupted(folder)
    assert moments > 60, "steps, evaluations, checkpoints and the version"
    check_killed_at(1 + share * moments // SHARE, tmp_path_factory.mktemp("registry"), whole)


@pytest.mark.skipif(not EXHAUSTIVE, reason="make resumes")
@pytest.mark.parametrize("part", range(PARTS))
def test_killed_at_each_moment_it_ends_as_if_it_had_not_been(part: int, tmp_path_factory: Any) -> None:
    whole, moments = uninterrupted(tmp_path_factory.getbasetemp() / "killed-at-moments")
    for moment in range(1 + part, moments + 1, PARTS):
        check_killed_at(moment, tmp_path_factory.mktemp("registry"), whole)
