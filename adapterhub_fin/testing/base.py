"""Test that a base has an id on the Hub, a knowledge end with evidence, and a folder that Transformers can read."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterhub_fin.engine.base.find import find_base, known_of, repository_of
from adapterhub_fin.engine.base.load_base import load_config, load_tokenizer
from adapterhub_fin.plugin.descriptions import Base
from adapterhub_fin.recipe.choices import BaseChoice
from adapterhub_fin.testing.description import DescriptionContract
from adapterhub_fin_registry import HubReference, parse_reference
from adapterhub_fin_registry.io.clock import read_clock


class BaseContract(DescriptionContract):
    """Test a base: inherit this and name the base. A model that the package contains is read, but not loaded."""

    kind = Base

    @property
    def description(self) -> Base:
        """Return the base's description. Raises UnknownName if it isn't installed."""
        description = super().description
        assert isinstance(description, Base)
        return description

    def test_repository_is_an_id_on_the_hub(self) -> None:
        reference = parse_reference(f"hf://{self.description.repository}")
        assert isinstance(reference, HubReference) and reference.revision is None, (
            f"the repository is an id alone, without a revision: {self.description.repository!r}"
        )

    def test_knowledge_end_has_evidence(self) -> None:
        known = self.description.known
        if known is None:
            return
        assert known.at.tzinfo is not None, f"the knowledge end needs a time zone: {known.at}"
        assert known.at <= read_clock(), f"a base can't know the future: {known.at}"
        assert len(known.evidence.split()) > 1, f"say where the knowledge end is stated: {known.evidence!r}"

    def test_found_by_its_name_and_by_its_id(self) -> None:
        for text in (self.name, self.description.repository):
            choice = BaseChoice(id=text)
            assert repository_of(choice) == self.description.repository, f"{text} is another base"
            assert known_of(choice) == self.description.known, f"{text} has another knowledge end"

    def test_folder_holds_a_model(self) -> None:
        if not self.description.target:
            return
        folder = self.description.load()()
        if folder is None:
            pytest.skip("the package does not contain the model")
        source = find_base(BaseChoice(id=self.name))
        assert source.folder == Path(folder), "the base is found in the folder that the target returns"
        assert load_config(source.folder).model_type
        tokens = load_tokenizer(source.folder)("Profit rose.")["input_ids"]
        assert tokens, "the tokenizer gives no token"
        weights = [path.name for path in source.folder.iterdir() if path.suffix == ".safetensors"]
        assert weights, "the folder holds no .safetensors file"
