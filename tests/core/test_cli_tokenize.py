"""`ahf tokenize`: options and a recipe's keys, what it prints, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import adapterhub_fin as ahf

Ahf = Callable[..., tuple[int, str, str]]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    texts = ["Margins rose.", "Rates fell.", "margins  ROSE.", "Loans grew."]
    lines = [{"body": text, "day": f"201{number + 1}-06-30"} for number, text in enumerate(texts)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_options_and_a_recipe_give_the_same_shards(run_ahf: Ahf, rows: Path, decoder: Path, tmp_path: Path) -> None:
    columns = ["--set", "text=body", "--set", "available_at=day", "--set", "timezone=America/New_York"]
    cut = ["--until", "2013-12-31", "--tokenizer", str(decoder)]
    status, out, _ = run_ahf("tokenize", str(tmp_path / "one"), "--files", str(rows), *cut, *columns)
    assert status == 0
    for line in (
        "documents                    2 of 4 rows",
        "  available after until      1",
        "  copies of an earlier text  1",
        "knowledge end                2012-07-01T03:59:59.999999Z, cut at 2013-12-31T23:59:59.999999Z",
    ):
        assert line in out.splitlines()
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"files: {rows}\ntext: body\navailable_at: day\ntimezone: America/New_York\n"
        f"until: 2012-12-31\ntokenizer: {decoder}\nshard_tokens: 1\n"
    )
    arguments = ["tokenize", str(tmp_path / "two"), str(recipe), "--until", "2013-12-31", "--json"]
    status, out, _ = run_ahf(*arguments)
    assert status == 0 and len(json.loads(out)["shards"]) == 2
    one, two = ahf.TokenShards(tmp_path / "one"), ahf.TokenShards(tmp_path / "two")
    assert [ids.tolist() for ids in one] == [ids.tolist() for ids in two]
    status, _, err = run_ahf(*arguments, "--set", "filters.duplicates=none")
    assert status == 1 and "was begun with another filters" in err and err.count("\n") == 1
    assert run_ahf(*arguments, "--set", "filters.duplicates=none", "--restart")[0] == 0
    assert len(ahf.TokenShards(tmp_path / "two")) == 3


def test_verify_names_the_changed_shard(run_ahf: Ahf, rows: Path, decoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    given = ["--files", str(rows), "--until", "2030-01-01", "--tokenizer", str(decoder), "--set", "text=body"]
    assert run_ahf("tokenize", str(folder), *given, "--set", "available_at=day", "--set", "timezone=UTC")[0] == 0
    status, out, _ = run_ahf("tokenize", str(folder), "--verify", "--json")
    assert status == 0 and json.loads(out)["documents"] == 3
    ids = folder / "shard-00000.bin"
    ids.write_bytes(ids.read_bytes()[:-1] + b"\x01")
    status, _, err = run_ahf("tokenize", str(folder), "--verify")
    assert status == 1 and "shard-00000.bin is not what the index says" in err and err.count("\n") == 1
    status, _, err = run_ahf("tokenize", str(folder), "--verify", "--restart")
    assert status == 2 and "--verify reads the folder alone" in err
