"""Bases go on from one another, each strict; what knows too much is refused; adapters are trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.errors import LookAhead
from adapterhub_fin.testing.killed import train_and_be_killed
from adapterhub_fin.testing.tiny_base import DECODER, base_recipe, dated_rows, stored_weights

SCHEDULE = {"windows": "monthly", "start": "2010-05-01", "end": "2010-07-01"}


def vintages(**changed: Any) -> dict[str, Any]:
    recipe = base_recipe(schedule=SCHEDULE, **changed)
    del recipe["until"]
    return recipe


def test_a_schedule_gives_a_base_a_cut_off_each_going_on_from_the_one_before(tmp_path: Path) -> None:
    registry = ahf.Registry(tmp_path / "registry")
    made = ahf.pretrain_series(vintages(), registry=registry)
    assert [(str(each.cutoff), each.trained) for each in made] == [
        ("2010-05-01", True),
        ("2010-06-01", True),
        ("2010-07-01", True),
    ]
    manifests = [version.manifest for version in made.versions]
    ends = [manifest.knowledge.end for manifest in manifests]
    assert ends == ["2010-04-30T12:00:00Z", "2010-05-31T12:00:00Z", "2010-06-30T12:00:00Z"], "each strict"
    assert [m.corpus and m.corpus.available and m.corpus.available[0] for m in manifests[1:]] == [
        "2010-05-01T12:00:00Z",
        "2010-06-01T12:00:00Z",
    ], "each on the rows after the end of the one before"
    for before, after in zip(made.versions, made.versions[1:], strict=False):
        (parent,) = after.manifest.parents
        assert (parent.digest, parent.role) == (before.digest, "continued")
        known = {entry.input: entry.at for entry in after.manifest.knowledge.inputs}
        assert known["base"] == before.manifest.knowledge.end
    assert [m.measured_on and (m.measured_on.split, m.measured_on.rows) for m in manifests] == [
        ("test", 31),
        ("test", 30),
        ("test", 31),
    ], "on the rows of the next window"
    tokenizers = [(version.files / "tokenizer.json").read_bytes() for version in made.versions]
    assert len(set(tokenizers)) == 1, "a vocabulary stays with its base"

    again = ahf.pretrain_series(vintages(description="the same again"), registry=registry)
    assert not any(each.trained for each in again) and again.versions == made.versions
    later = [*dated_rows(), {"text": "A row of May, found late.", "available_at": "2010-05-09T12:00:00+00:00"}]
    changed = vintages(corpus={"data": later, "available_at": "available_at"})
    trained = [each.trained for each in ahf.pretrain_series(changed, registry=registry)]
    assert trained == [False, True, True], "and what goes on from a changed base is made again"
    shorter = ahf.pretrain_series(vintages(training={"max_steps": 1}), registry=registry)
    assert all(each.trained for each in shorter), "as is what is trained otherwise"


def test_a_series_that_was_killed_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    plan = vintages(training={"max_steps": 3, "checkpoint_steps": 1})
    whole = ahf.pretrain_series(plan, registry=ahf.Registry(tmp_path / "whole"))
    killed = ahf.Registry(tmp_path / "killed")
    train_and_be_killed(plan, killed.root, 2, window=2)
    assert [version.number for version in killed.versions("acme/fin")] == [1]
    resumed = ahf.pretrain_series(plan, registry=killed)
    assert [each.trained for each in resumed] == [False, True, True]
    assert [v.digest for v in resumed.versions] == [v.digest for v in whole.versions]


@pytest.fixture
def base() -> ahf.Pretrained:
    return ahf.pretrain(base_recipe(base={**DECODER, "positions": 128}, training={"max_steps": 2}))


def test_what_knows_of_later_text_is_refused_as_a_base_and_as_a_tokenizer(base: ahf.Pretrained) -> None:
    earlier = base_recipe(until="2010-05-31")
    with pytest.raises(LookAhead, match=r"base acme/fin@1 knows until 2010-06-30T12:00:00Z, and this base may know"):
        ahf.pretrain({**earlier, "base": "acme/fin@1"})
    leak = {**DECODER, "tokenizer": {"version": "acme/fin@1"}}
    with pytest.raises(LookAhead, match=r"base.tokenizer acme/fin@1 knows until .*name an earlier version"):
        ahf.pretrain({**earlier, "base": leak})
    made = ahf.pretrain(base_recipe(base=leak, until="2010-07-31", name="acme/borrowed", training={"max_steps": 1}))
    known = {entry.input: entry.at for entry in made.version.manifest.knowledge.inputs}
    assert known["tokenizer:acme/fin"] == base.version.manifest.knowledge.end
    one, two = (AutoTokenizer.from_pretrained(folder) for folder in (base.folder, made.folder))
    assert one.get_vocab() == two.get_vocab()


def test_a_base_that_goes_on_begins_with_the_weights_of_the_one_before(base: ahf.Pretrained) -> None:
    still = {"max_steps": 1, "learning_rate": 1e-12, "weight_decay": 0.0}
    made = ahf.pretrain(base_recipe(base="acme/fin@1", until="2010-07-31", training=still))
    before, after = stored_weights(base.folder), stored_weights(made.folder)
    assert all(torch.allclose(before[name], after[name], atol=1e-9) for name in before)
    assert made.version.manifest.corpus is not None
    assert sum(made.version.manifest.corpus.rows.values()) == 31, "July alone"
    everything = ahf.preview_pretrain(base_recipe(base="acme/fin@1", until="2010-07-31", since="2010-01-01"))
    assert sum(everything.cut.counts.values()) == 212, "or from the day that since says"


@pytest.mark.parametrize("method", ["lora", "qlora", "adalora", "prefix-tuning"])
def test_adapters_are_trained_on_it_and_answer(method: str, base: ahf.Pretrained) -> None:
    labelled = [{**row, "label": ("up", "down")[index % 2]} for index, row in enumerate(dated_rows(40))]
    run = ahf.train(
        name="acme/tone",
        base="acme/fin@1",
        method=method,
        corpus={"data": labelled, "label": "label", "available_at": "available_at", "label_horizon": "0d"},
        training={"max_steps": 12, "max_length": 48, "batch_size": 8, "baseline": False},
    )
    known = {entry.input: entry.at for entry in run.version.manifest.knowledge.inputs}
    assert known["base"] == base.version.manifest.knowledge.end, "its knowledge goes through the base"
    assert run.version.manifest.base.version is not None
    assert run.version.manifest.base.version.digest == base.version.digest
    assert ahf.load("acme/tone@1").predict(["The committee held its target."])


def test_serving_engines_take_what_was_trained_on_it(base: ahf.Pretrained, tmp_path: Path) -> None:
    ahf.train(
        name="acme/words",
        base="acme/fin@1",
        method={"name": "lora", "rank": 4},
        head="causal-lm",
        corpus={"data": dated_rows(40), "available_at": "available_at"},
        training={"max_steps": 2, "max_length": 32, "batch_size": 8, "baseline": False},
    )
    for engine in ("vllm", "sglang", "transformers"):
        assert ahf.check("acme/words@1", engine).served, engine
    ahf.export("acme/words@1", tmp_path / "vllm", layout="vllm", engine="vllm")
    assert (tmp_path / "vllm" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_adalora_says_that_a_run_is_too_short_to_prune_in(steps: int, base: ahf.Pretrained) -> None:
    labelled = [{**row, "label": ("up", "down")[index % 2]} for index, row in enumerate(dated_rows(40))]
    recipe: dict[str, Any] = {
        "name": "acme/short",
        "base": "acme/fin@1",
        "method": {"name": "adalora", "initial_rank": 2, "target_rank": 1},
        "corpus": {"data": labelled, "label": "label", "available_at": "available_at", "label_horizon": "0d"},
        "training": {"max_steps": steps, "max_length": 32, "batch_size": 8, "baseline": False},
    }
    if steps == 3:  # one step before the settling shows what to prune
        assert ahf.train(recipe).steps == 3
        return
    with pytest.raises(ahf.AdapterHubError, match=f"no steps to prune in: the run has {steps}; train longer"):
        ahf.train(recipe)
