"""The JSON Schema of recipes takes every recipe there is, and no misspelt key."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from pydantic import Field

import adapterhub_fin as ahf
from adapterhub_fin import cli
from adapterhub_fin.plugin import corpus_options
from adapterhub_fin.plugin.descriptions import Corpus, Description, Head, Merger, Method
from adapterhub_fin.plugin.manager import extensions
from adapterhub_fin.plugin.options import Options
from adapterhub_fin.recipe.pretrain_recipe import PretrainRecipe

ROOT = Path(__file__).parents[2]
# The page on plugins shows a recipe of plugins that its reader writes.
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if page.stem != "write_a_plugin"]
MINIMAL: dict[str, Any] = {"name": "acme/tone", "corpus": "headlines"}
KEYS = set(ahf.Recipe.model_fields) | {"licence"}
PRETRAIN_KEYS = set(PretrainRecipe.model_fields) | {"licence", "corpora"}
PRETRAIN: dict[str, Any] = {"corpus": "headlines", "until": "2019-12-31"}
MERGE_KEYS = {field.alias or name for name, field in ahf.MergeRecipe.model_fields.items()}


def plain(value: Any) -> Any:
    """A document as an editor reads it: YAML 1.2 has no dates, and 1e-3 is a number."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, str) and re.fullmatch(r"[0-9.]+e-?[0-9]+", value):
        return float(value)
    return value.isoformat() if isinstance(value, date) else str(value) if isinstance(value, Path) else value


def faults(document: Any, of: str = "recipe") -> list[str]:
    schema = ahf.schema(of)  # type: ignore[arg-type]
    return [
        f"{error.json_path}: {error.message[:300]}" for error in Draft7Validator(schema).iter_errors(plain(document))
    ]


def documents() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every recipe and fragment of one in the docs, the README, recipes/ and examples/."""
    for page in PAGES:
        blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        for number, text in enumerate(blocks):
            data = yaml.safe_load(text)
            name = f"{page.stem}-{number}"
            if isinstance(data, dict) and "references" in data:
                yield name, "merge", data
            elif isinstance(data, dict) and is_of_a_base(data):
                assert set(data) <= PRETRAIN_KEYS, name
                given = {"schedule": "until", "corpora": "corpus", "shards": "corpus"}
                left_out = [key for other, key in given.items() if other in data]
                yield name, "pretrain", {key: v for key, v in PRETRAIN.items() if key not in left_out} | data
            elif isinstance(data, dict) and data and set(data) <= KEYS:
                minimal = {"name": MINIMAL["name"]} if "curriculum" in data else MINIMAL
                yield name, "recipe", {**minimal, **data}
    for path in sorted([*(ROOT / "recipes").glob("*.yaml"), *(ROOT / "examples").rglob("*.yaml")]):
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        yield path.name, "pretrain" if is_of_a_base(data) else "recipe", data


def is_of_a_base(data: dict[str, Any]) -> bool:
    return "until" in data or (isinstance(data.get("base"), dict) and "new" in data["base"])


DOCUMENTS = [pytest.param(kind, document, id=name) for name, kind, document in documents()]


def test_there_are_recipes_in_the_docs() -> None:
    assert len(DOCUMENTS) >= 15 and {param.values[0] for param in DOCUMENTS} == {"recipe", "merge", "pretrain"}


@pytest.mark.parametrize("of", ["recipe", "merge", "pretrain"])
def test_it_is_a_schema(of: Any) -> None:
    Draft7Validator.check_schema(ahf.schema(of))


@pytest.mark.parametrize(("kind", "document"), DOCUMENTS)
def test_a_recipe_of_the_docs_is_valid_and_no_key_of_it_may_be_misspelt(kind: str, document: dict[str, Any]) -> None:
    validator = Draft7Validator(ahf.schema(kind))  # type: ignore[arg-type]
    assert [error.message for error in validator.iter_errors(plain(document))] == []
    read(kind, document)
    tried = 0
    for path in paths(document):
        broken = deepcopy(document)
        here = broken
        for key in path[:-1]:
            here = here[key]
        here[f"{path[-1]}x"] = here.pop(path[-1])
        try:
            read(kind, broken)
        except ahf.BadRecipe as error:
            if "there is no option" not in str(error):
                continue
            tried += 1
            assert not validator.is_valid(plain(broken)), f"{'.'.join(path)}x is taken"
    assert tried


def read(kind: str, document: dict[str, Any]) -> None:
    if kind == "recipe":
        ahf.Recipe.read(document).check()
    elif kind == "pretrain":
        PretrainRecipe.read(document).check()
    else:
        ahf.MergeRecipe.read(document)


def paths(value: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield (*above, key)
        yield from paths(inner, (*above, key))


@pytest.mark.parametrize("kind", [Method, Head, Corpus, Merger])
def test_every_option_of_every_plugin_is_there_with_its_description(kind: type[Description]) -> None:
    definitions = ahf.schema("merge" if kind is Merger else "recipe")["$defs"]
    for name, plugin in extensions().all(kind).items():
        stated = definitions[f"{kind.kind}-{name}"]["properties"]
        fields = plugin.load_options().model_fields
        assert set(stated) - {"name", "splitter"} == set(fields)
        for option, field in fields.items():
            assert stated[option]["description"] == field.description
            if isinstance(field.default, int | float | str):
                assert stated[option]["default"] == field.default


def test_the_name_decides_which_options_there_are() -> None:
    method = {"name": "lora", "rank": 8}
    assert faults({**MINIMAL, "method": method}) == [] == faults({**MINIMAL, "method": {"rank": 8}})
    assert faults({**MINIMAL, "method": {**method, "tokens": 8}}) and faults({**MINIMAL, "method": {"tokens": 8}})
    assert faults({**MINIMAL, "method": {"name": "prefix-tuning", "tokens": 8}}) == []
    assert faults({**MINIMAL, "method": {**method, "rank": "many"}}) and faults({**MINIMAL, "method": "loar"})
    assert faults({**MINIMAL, "corpus": {"path": "rows.csv"}}), "a corpus has no default"
    assert faults({**MINIMAL, "corpus": {"name": "headlines", "splitter": {"by": "randm"}}})


HEADLINES = {"name": "headlines", "rows": 400}
MIXED = {"name": "mixture", "corpora": [HEADLINES, {**HEADLINES, "repeat": 2}]}


@pytest.mark.parametrize(
    ("corpus", "valid"),
    [
        ({"name": "mixture", "corpora": [MIXED, {**MIXED, "repeat": 3}]}, True),
        ({"name": "templates", "corpus": {"name": "mixture", "corpora": [MIXED, HEADLINES]}}, True),
        ({"name": "mixture", "corpora": [{"name": "templates", "corpus": MIXED}, MIXED]}, True),
        ({"name": "templates", "corpus": {"name": "templates", "corpus": HEADLINES}}, True),
        ({"name": "mixture", "corpora": [{"name": "mixture", "corpora": [HEADLINES]}, MIXED]}, False),
        ({"name": "mixture", "corpora": [{"name": "templates", "corpus": {**MIXED, "repeat": 2}}, MIXED]}, False),
        ({"name": "mixture", "corpora": [{"name": "templates", "corpus": {**HEADLINES, "rowz": 4}}, MIXED]}, False),
        ({"name": "mixture", "corpora": [{**MIXED, "repeat": 0}, MIXED]}, False),
    ],
)
def test_corpora_within_corpora_are_valid_where_the_code_takes_them(corpus: dict[str, Any], valid: bool) -> None:
    assert (not faults({**MINIMAL, "corpus": corpus})) is valid
    if valid:
        assert corpus_options(corpus)[0] == corpus["name"]
    else:
        with pytest.raises(ahf.BadRecipe):
            corpus_options(corpus)


def test_a_plugin_of_this_process_is_there_and_a_broken_one_is_left_open() -> None:
    class Thrift(Options):
        share: float = Field(0.5, gt=0, description="Share that is kept.")

    globals()["Thrift"] = Thrift
    ahf.register(
        ahf.Method(name="thrift", summary="Keeps a share.", target=f"{__name__}:x", options=f"{__name__}:Thrift")
    )
    ahf.register(ahf.Method(name="torn", summary="Can't be read.", target=f"{__name__}:x", options=f"{__name__}:none"))
    sys.modules.setdefault(__name__, sys.modules[Thrift.__module__])
    assert faults({**MINIMAL, "method": {"name": "thrift", "share": 0.2}}) == []
    assert faults({**MINIMAL, "method": {"name": "thrift", "shear": 0.2}})
    assert faults({**MINIMAL, "method": {"name": "torn", "anything": 1}}) == []
    assert "can't be read here" in ahf.schema()["$defs"]["method-torn"]["description"]


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> Any:
        with pytest.raises(SystemExit) as leave:
            cli.main(list(arguments))
        assert not leave.value.code
        return json.loads(capsys.readouterr().out)

    assert run("schema")["$defs"]["Training"]["properties"]["patience"]["default"] == 5
    assert run("schema", "merge")["properties"]["references"]["minItems"] == 1
