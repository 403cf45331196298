"""A real sweep, from the command to the one version that is stored: chosen by validation alone, and tested once."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import adapterhub_fin as ahf
from adapterhub_fin import cli
from adapterhub_fin.engine.evaluation import linear
from adapterhub_fin.engine.sweeping.trial_log import LOG, earlier_trials, log_trials
from adapterhub_fin.engine.training import baseline
from adapterhub_fin.testing.fresh import CALM
from adapterhub_fin.testing.tiny import TinyTone, tiny_encoder

KILLS = range(6 if os.environ.get("AHF_EVERY_KILL") else 0)  # each takes half a minute: `make sweeps`
OVER = {"method.rank": [2, 4]}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tiny base, the tiny corpus as a file that every process can read, and a recipe of both."""
    folder = tmp_path_factory.mktemp("material")
    tiny_encoder(folder / "base")
    rows = TinyTone(None).load().table
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows((row["text"], row["label"]) for row in rows)
    (folder / "recipe.yaml").write_text(json.dumps(recipe(folder)))
    return folder


def recipe(folder: Path, **training: Any) -> dict[str, Any]:
    corpus = {"name": "table", "path": str(folder / "rows.csv"), "label": "label"}
    settings = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2, "max_length": 48, **training}
    return {"name": "acme/tone", "base": {"path": str(folder / "base")}, "corpus": corpus, "training": settings}


def run_ahf(home: Path, *arguments: str) -> str:
    """Return what the command prints, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_HOME", str(home))
        done = CliRunner().invoke(cli.group, list(arguments))
    assert done.exit_code == 0, done.output[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def swept(material: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return the registry of a sweep of two runs, and what the command printed."""
    home = tmp_path_factory.mktemp("swept")
    options = ("--over", "method.rank=2,4", "--seeds", "1", "--processes", "2", "--json")
    return home, json.loads(run_ahf(home, "sweep", str(material / "recipe.yaml"), *options))


def test_the_winner_alone_is_stored_with_how_many_were_tried(swept: tuple[Path, dict[str, Any]]) -> None:
    home, result = swept
    registry = ahf.Registry(home)
    (version,) = registry.versions("acme/tone")
    assert version.digest == result["digest"]
    rows = result["combinations"]
    assert [row["options"] for row in rows] == [{"method.rank": "2"}, {"method.rank": "4"}]
    score = max(row["score"] for row in rows)
    first = next(row for row in rows if row["score"] == score)
    assert result["winner"] == {"options": first["options"], "seed": 0}
    manifest = version.manifest
    assert manifest.selection is not None and manifest.recipe is not None
    assert manifest.selection.model_dump(mode="json") == result["selection"] == {
        "tried": 2, "earlier": 0, "search": "grid", "over": ["method.rank"], "metric": "macro_f1", "score": score,
        "interval": None, "seeds": 1, "folds": None,
    }  # fmt: skip
    assert str(manifest.recipe["method"]["rank"]) == first["options"]["method.rank"]
    assert result["test"] == dict(manifest.metrics)
    history = registry.history(version)
    assert history is not None and max(history["validation"]["macro_f1"]) == score  # of its trial: not trained again
    assert len((home / LOG).read_text().splitlines()) == 2


def test_the_weights_are_those_that_training_alone_gives(swept: tuple[Path, dict[str, Any]], material: Path) -> None:
    home, result = swept
    alone = ahf.train(
        recipe(material),
        overrides=[f"method.rank={result['winner']['options']['method.rank']}"],
        registry=ahf.Registry(),
    )
    stored = ahf.Registry(home).resolve("acme/tone@1")
    file = "adapter_model.safetensors"
    assert (alone.version.files / file).read_bytes() == (stored.files / file).read_bytes()
    assert dict(alone.metrics) == result["test"]


def test_show_and_reports_say_how_the_scores_are_to_be_read(swept: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    home, result = swept
    shown = run_ahf(home, "show", "acme/tone")
    score = result["selection"]["score"]
    assert f"validation macro_f1 {score:.4f} (mean of 1 seed): best of 2, by grid over method.rank" in shown
    assert "10 test rows, tested once, chosen among 2" in shown
    ahf.report("acme/tone", into=tmp_path / "report", registry=ahf.Registry(home))
    page = (tmp_path / "report" / "report.html").read_text()
    assert "best of 2, by grid over method.rank" in page and "tested once, chosen among 2" in page


def test_a_finished_sweep_answers_at_once_and_its_report_has_a_picture_for_each_option(
    swept: tuple[Path, dict[str, Any]], material: Path, tmp_path: Path
) -> None:
    home, result = swept
    before = sorted((path, path.stat().st_mtime_ns) for path in home.rglob("*") if path.is_file())
    again = ahf.sweep(material / "recipe.yaml", over=OVER, seeds=1, registry=ahf.Registry(home))
    assert again.document() == result
    written = again.report(tmp_path / "report")
    assert [path.name for path in written.pictures] == ["method.rank.png"]
    assert written.pictures[0].read_bytes().startswith(b"\x89PNG")
    page = written.page.read_text()
    assert "Sweep of acme/tone: acme/tone@1" in page and "best of 2" in page and "tested once, chosen among 2" in page
    lock = {"lock"}
    after = sorted((path, path.stat().st_mtime_ns) for path in home.rglob("*") if path.is_file())
    assert [each for each in after if each[0].name not in lock] == [each for each in before if each[0].name not in lock]


@pytest.mark.parametrize("number", KILLS)
def test_a_real_sweep_goes_on_to_the_same_table_and_one_version(
    number: int, swept: tuple[Path, dict[str, Any]], material: Path, tmp_path: Path
) -> None:
    result, rng = swept[1], random.Random(number)
    arguments = ["sweep", str(material / "recipe.yaml"), "--over", "method.rank=2,4", "--seeds", "1"]
    arguments += ["--processes", "2", "--json"]
    command = [sys.executable, "-c", "from adapterhub_fin.cli import main; main()", *arguments]
    environment = {**os.environ, **CALM, "AHF_HOME": str(tmp_path / "home")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pattern = rng.choice(["*/trials/*/run/*/checkpoint-5", "*/trials/*/measured.jsonl", "*/trials/*/result.json"])
    while not list((tmp_path / "home" / "runs").glob(pattern)) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 2))
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = json.loads(run_ahf(tmp_path / "home", *arguments))
    for key in ("combinations", "winner", "selection", "test"):
        assert resumed[key] == result[key]
    assert len(list(ahf.Registry(tmp_path / "home").versions("acme/tone"))) == 1


def test_a_version_that_was_stored_before_the_kill_is_not_stored_twice(
    swept: tuple[Path, dict[str, Any]], material: Path, tmp_path: Path
) -> None:
    home = tmp_path / "copy"
    shutil.copytree(swept[0], home)
    (record,) = home.glob("runs/sweep--*/sweep.json")
    document = json.loads(record.read_text())
    del document["done"]  # as if the process had been killed right before it wrote that
    record.write_text(json.dumps(document))
    again = ahf.sweep(material / "recipe.yaml", over=OVER, seeds=1, registry=ahf.Registry(home))
    assert again.version.digest == swept[1]["digest"] and len(list(ahf.Registry(home).versions("acme/tone"))) == 1


def test_a_finished_sweep_whose_version_was_deleted_says_so(
    swept: tuple[Path, dict[str, Any]], material: Path, tmp_path: Path
) -> None:
    home = tmp_path / "copy"
    shutil.copytree(swept[0], home)
    registry = ahf.Registry(home)
    registry.delete("acme/tone@1")
    with pytest.raises(ahf.NotFound, match="its version is gone: sweep again with --restart"):
        ahf.sweep(material / "recipe.yaml", over=OVER, seeds=1, registry=registry)


def test_the_exit_status_is_1_where_a_run_failed(
    swept: tuple[Path, dict[str, Any]], material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "copy"
    shutil.copytree(swept[0], home)
    (record,) = home.glob("runs/sweep--*/sweep.json")
    document = json.loads(record.read_text())
    loser = next(row for row in document["done"]["rows"] if row["options"] != swept[1]["winner"]["options"])
    loser |= {"state": "failed", "score": None, "scores": {}, "reason": "seed 0: the loss is nan"}
    record.write_text(json.dumps(document))
    monkeypatch.setenv("AHF_HOME", str(home))
    arguments = ["sweep", str(material / "recipe.yaml"), "--over", "method.rank=2,4", "--seeds", "1"]
    done = CliRunner().invoke(cli.group, [*arguments, "--report", str(tmp_path / "report")])
    assert done.exit_code == 1 and "seed 0: the loss is nan" in done.stdout and "acme/tone@1" in done.stdout
    assert "tested once, chosen among 2" in done.stdout and (tmp_path / "report" / "sweep.html").is_file()
    assert run_ahf(swept[0], *arguments).splitlines()[0].split()[:2] == ["method.rank", "validation"]


def test_no_trial_computes_anything_on_the_test_part(
    material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every batch that a trial makes, whatever for, is seen: none holds a row of the test part, which no trial has."""
    from adapterhub_fin.engine.sweeping import validating
    from adapterhub_fin.engine.sweeping.validating import validate
    from adapterhub_fin.engine.training.prepare import prepare
    from adapterhub_fin.recipe.recipe import Recipe

    prepared = prepare(Recipe.read(recipe(material, epochs=1)))
    collator, batched = prepared.head.collator(prepared.tokenizer), set[tuple[int, ...]]()

    def watched(examples: Sequence[dict[str, Any]]) -> Any:
        batched.update(tuple(each["input_ids"]) for each in examples)
        return collator(examples)

    prepared.head.collator = lambda tokenizer: watched  # type: ignore[assignment, method-assign]
    whole, given = validating.load_run, list[Any]()
    monkeypatch.setattr(validating, "load_run", lambda run, name: given.append(run) or whole(run, name))
    validated = validate(prepared, tmp_path / "runs", tmp_path / "tensorboard", lambda *score: None)
    rows = {split: {tuple(each["input_ids"]) for each in part} for split, part in prepared.examples.items()}
    assert [sorted(run.examples) for run in given] == [["train", "validation"]]
    assert validated.steps == 5 and batched == rows["train"] | rows["validation"] and not batched & rows["test"]


def test_earlier_sweeps_on_the_same_rows_count_and_the_baseline_is_measured_once(
    forked_trials: None,
    swept: tuple[Path, dict[str, Any]],
    material: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = tmp_path / "copy"
    shutil.copytree(swept[0], home)
    measured: list[None] = []
    whole = baseline.answer_linearly
    monkeypatch.setattr(linear, "PACKAGE", "sklearn")
    monkeypatch.setattr(
        "adapterhub_fin.engine.training.train.answer_linearly", lambda loaded: measured.append(None) or whole(loaded)
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    registry = ahf.Registry(home)
    later = ahf.sweep(recipe(material), over={"method.rank": [4]}, seeds=1, processes=2, registry=registry, folds=2)
    assert later.selection.tried == 1 and later.selection.earlier == 2  # another protocol: the same recipe counts again
    assert later.selection.folds == 2 and later.selection.tested() == "tested once, chosen among 3"
    assert len(measured) == 1 and [event["kind"] for event in registry.events(later.version)].count("baseline") == 1
    assert not [run for run in home.glob("runs/sweep--*/trials/*/run/*") if run.is_dir()]  # nor anybody's weights
    assert "best of 3, 2 of them in earlier sweeps of the same rows" in run_ahf(home, "show", later.version.reference)


def test_rows_from_memory_reach_the_trials_and_a_failed_run_is_told(
    forked_trials: None, material: Path, tmp_path: Path
) -> None:
    rows = [{"text": row["text"], "label": row["label"]} for row in TinyTone(None).load().table]
    broken = shutil.copytree(material / "base", tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")  # which no trial can load
    given = {**recipe(material, epochs=1), "corpus": {"data": rows, "label": "label"}}
    over = {"base.path": [str(broken), str(material / "base")]}
    result = ahf.sweep(given, over=over, seeds=1, processes=2, registry=ahf.Registry())
    failed, winner = result.rows
    assert failed.state == "failed" and failed.reason.startswith("seed 0: ") and result.failed == [failed]
    assert winner is result.winner and winner.score is not None and result.selection.tried == 2
    assert result.table()[-1][-1] == failed.reason


def test_the_log_survives_a_torn_line_and_counts_each_trial_once(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    log_trials(tmp_path, "sha256:rows", ["a", "b"], "one")
    log_trials(tmp_path, "sha256:rows", ["a", "b", "c"], "one")
    log_trials(tmp_path, "sha256:other", ["x"], "one")
    path = tmp_path / LOG
    assert len(path.read_text().splitlines()) == 4
    path.write_bytes(path.read_bytes() + b'{"at": "2026-')  # cut off by a crash
    log_trials(tmp_path, "sha256:rows", ["c", "d"], "two")
    assert [json.loads(line)["trial"] for line in path.read_text().splitlines() if line.endswith("}")] == [
        *("a", "b", "c", "x", "c", "d")
    ]
    assert earlier_trials(tmp_path, "sha256:rows", ["d"]) == 3 and earlier_trials(tmp_path, "sha256:none", []) == 0


def test_a_combination_that_can_t_be_prepared_or_compared_is_refused_before_the_first_run(material: Path) -> None:
    registry = ahf.Registry()
    with pytest.raises(ahf.BadRecipe, match=r"(?s)2 faults.*max_length=300: .*max_length=500: .*128 positions"):
        ahf.sweep(recipe(material), over={"training.max_length": [48, 300, 500]}, seeds=1, registry=registry)
    with pytest.raises(ahf.BadRecipe, match=r"max_length=20: its validation part and test part is another"):
        fewer = recipe(material, over_length="drop")
        ahf.sweep(fewer, over={"training.max_length": [48, 20]}, seeds=1, registry=registry)
    with pytest.raises(ahf.BadCorpus, match="gone.csv can't be read"):
        ahf.sweep(recipe(material), overrides=["corpus.path=gone.csv"], over=OVER, registry=registry)
    with pytest.raises(ahf.BadCorpus, match="50 folds need as many distinct texts"):
        ahf.sweep(recipe(material), over=OVER, seeds=1, folds=50, registry=registry)
    with pytest.raises(ahf.BadRecipe, match="processes is 0"):
        ahf.sweep(recipe(material), over=OVER, processes=0, registry=registry)
    assert not list((registry.root / "runs").glob("sweep--*"))
