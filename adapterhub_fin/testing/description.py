"""Test what holds for every plugin's description."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from adapterhub_fin.errors import BadRecipe
from adapterhub_fin.plugin.descriptions import Description
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.options import checked
from adapterhub_fin.testing.fresh import run_python

HEAVY = ("torch", "transformers", "peft")
IMPORT_OPTIONS = """
import json, sys
from adapterhub_fin.plugin import descriptions
from adapterhub_fin.plugin.manager import extensions
kind, name = json.load(sys.stdin)
extensions().get(getattr(descriptions, kind), name).load_options()
print(json.dumps(sorted(sys.modules)))
"""


class DescriptionContract:
    """Test that a plugin is found by name, describes its options and imports nothing heavy before it is used."""

    kind: ClassVar[type[Description]]
    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}

    @property
    def description(self) -> Description:
        """Return the plugin's description. Raises UnknownName if it isn't installed."""
        return extensions().get(self.kind, self.name)

    def options_for(self, folder: Path) -> Mapping[str, Any]:
        """Return the options; override it if they name a file, which goes into `folder`."""
        return self.options

    @pytest.fixture(autouse=True)
    def _stays_in_its_folder(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("AHF_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def test_summary_is_one_sentence(self) -> None:
        summary = self.description.summary
        assert summary.endswith("."), f"the summary must end in a full stop: {summary!r}"
        assert "\n" not in summary and 10 <= len(summary) <= 120, (
            f"the summary must fit one line of a list: {summary!r}"
        )

    def test_every_option_is_described(self) -> None:
        fields = self.description.load_options().model_fields
        undescribed = [name for name, field in fields.items() if not field.description]
        assert not undescribed, f"give these options a Field(description=...), which is their help: {undescribed}"

    def test_options_import_nothing_heavy(self) -> None:
        printed = run_python("-c", IMPORT_OPTIONS, task=[self.kind.__name__, self.name])
        imported = json.loads(printed.splitlines()[-1])
        heavy = [module for module in HEAVY if module in imported]
        assert not heavy, f"a recipe is checked before these are loaded; the module of the options imports {heavy}"

    def test_unknown_option_is_refused_with_the_near_names(self, tmp_path: Path) -> None:
        model, options = self.description.load_options(), self.options_for(tmp_path)
        for name in model.model_fields:
            misspelt = f"{name}x"
            with pytest.raises(BadRecipe, match=rf"did you mean .*{name}"):
                checked(model, {**options, misspelt: 1}, self.name)
        with pytest.raises(BadRecipe, match="known: "):
            checked(model, {**options, "zzzzzz": 1}, self.name)
