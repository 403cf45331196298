"""Run `ahf pretrain`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import yaml

import adapterhub_fin as ahf
from adapterhub_fin.testing.tiny_base import base_recipe, dated_rows

Ahf = Callable[..., tuple[int, str, str]]


def test_the_command_trains_previews_and_shows_a_series(run_ahf: Ahf, tmp_path: Path) -> None:
    recipe = tmp_path / "base.yaml"
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in dated_rows()))
    corpus = {"name": "table", "path": str(tmp_path / "rows.jsonl"), "available_at": "available_at"}
    recipe.write_text(yaml.safe_dump(base_recipe(corpus=corpus, training={"max_steps": 1})))

    def run(*arguments: str) -> str:
        code, out, err = run_ahf("pretrain", str(recipe), *arguments)
        assert code == 0, err
        return out

    document = json.loads(run("--dry-run", "--json"))
    assert (document["rows"], document["steps"], document["vocabulary"]) == ({"train": 163, "validation": 18}, 1, 300)
    assert "blocks" in run("--dry-run") and "2010-06-30T12:00:00Z" in run("--dry-run")
    assert not ahf.Registry().names(), "a dry run stores nothing"
    schedule = ["schedule.windows=monthly", "schedule.start=2010-06-01", "schedule.end=2010-07-01", "until="]
    arguments = [part for key in schedule for part in ("--set", key)] + ["--name", "acme/monthly"]
    table = run(*arguments, "--dry-run")
    assert "2 of 2" in table and "2010-07-01" in table
    made = json.loads(run(*arguments, "--json"))
    assert [each["reference"] for each in made] == ["acme/monthly@1", "acme/monthly@2"]
    assert "unchanged" in run(*arguments)
    assert json.loads(run("--json"))["knowledge_end"] == "2010-06-30T12:00:00Z"
    code, out, err = run_ahf("search", "kind = 'base' AND name = 'acme/monthly'", "--json")
    assert code == 0, err
    ends = {f"{each['name']}@{each['version']}": each["knowledge_end"] for each in json.loads(out)["rows"]}
    assert ends == {"acme/monthly@1": "2010-05-31T12:00:00Z", "acme/monthly@2": "2010-06-30T12:00:00Z"}
    code, _, err = run_ahf("pretrain", str(recipe), "--resume")
    assert code == 1 and "no interrupted run" in err
