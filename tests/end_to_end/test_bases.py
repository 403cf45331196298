"""Bases by a short name: what is known of them is recorded, and their weights may lie anywhere on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import ModernBertConfig, ModernBertModel

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.find import find_base, known_of, repository_of
from adapterhub_fin.plugin import Base
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.recipe.choices import BaseChoice
from adapterhub_fin.testing import tiny_corpus
from adapterhub_fin.testing.tiny import tiny_tokenizer
from adapterhub_fin_registry.model.knowledge import format_instant


@pytest.mark.parametrize("year", [1999, 2013, 2024])
def test_each_vintage_of_chronobert_knows_its_year_and_nothing_later(year: int) -> None:
    for name in (f"chronobert-{year}", f"manelalab/chrono-bert-v1-{year}1231"):
        choice = BaseChoice.read(name)
        known = known_of(choice)
        assert known is not None and known.kind == "asserted" and "2502.21206" in known.evidence
        assert format_instant(known.at) == f"{year + 1}-01-01T11:59:59.999999Z", "the year's end in the last time zone"
        assert repository_of(choice) == f"manelalab/chrono-bert-v1-{year}1231"
        with pytest.raises(ahf.BaseNotFound, match=f"chrono-bert-v1-{year}1231.*--download"):
            find_base(choice)


def test_there_are_twenty_six_vintages() -> None:
    names = [name for name in extensions().all(Base) if name.startswith("chronobert-")]
    assert names == [f"chronobert-{year}" for year in range(1999, 2025)]


def test_a_vintage_that_lies_in_a_folder_dates_what_is_trained_on_it(tmp_path: Path) -> None:
    """A tiny ModernBERT stands in for the weights, which are on the Hub alone."""
    tokenizer = tiny_tokenizer("[CLS] $A [SEP]")
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    ModernBertModel(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    run = ahf.train(
        name="acme/dated",
        base={"id": "chronobert-2013", "path": str(tmp_path / "base")},
        method={"name": "lora", "rank": 2},
        corpus={"name": tiny_corpus()},
        training={"epochs": 1, "max_length": 32},
    )
    manifest = run.version.manifest
    assert manifest.base.repository == "manelalab/chrono-bert-v1-20131231"
    (base,) = (each for each in manifest.knowledge.inputs if each.input == "base")
    assert (base.kind, base.at) == ("asserted", "2014-01-01T11:59:59.999999Z")
    assert ahf.load("acme/dated@1", base=tmp_path / "base").predict(["Profit rose."])


def test_a_plugin_brings_a_base_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    globals()["folder_of_test_base"] = lambda: tmp_path
    target = f"{__name__}:folder_of_test_base"

    class House:
        @ahf.hookimpl
        def ahf_bases(self) -> list[Base]:
            return [Base(name="house-base", summary="A base of the house.", target=target, repository="house/base")]

    ahf.register(House())
    source = find_base(BaseChoice.read("house-base"))
    assert (source.folder, source.repository, source.known) == (tmp_path, "house/base", None)
