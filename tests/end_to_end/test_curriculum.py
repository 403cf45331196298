"""One run trains on several corpora, one after the other: its rates and rows, what it holds out, how it resumes."""

from __future__ import annotations

import gc
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import adapterhub_fin as ahf
from adapterhub_fin import cli
from adapterhub_fin.testing import tiny_encoder
from adapterhub_fin.testing.killed import train_and_be_killed

WEIGHTS = "adapter_model.safetensors"
DROPPED = "of train dropped, held out by another stage"


def rows_of(who: str, count: int, **more: Any) -> list[dict[str, Any]]:
    ups = [bool(i % 3) for i in range(count)]
    return [
        {"text": f"{who} {i} {'rose' if up else 'fell'} on day {i}.", "label": "up" if up else "down", **more}
        for i, up in enumerate(ups)
    ]


FIRMS, BANKS, ARLO = rows_of("Firm", 60), rows_of("Bank", 40), rows_of("Arlo", 70)


def corpus(rows: Any, **keys: Any) -> dict[str, Any]:
    return {"data": rows, "label": "label", **keys}


def recipe(base: Path, name: str, *stages: Any, **keys: Any) -> dict[str, Any]:
    plain = {
        "name": name,
        "base": {"id": "acme/tiny", "path": str(base)},
        "method": {"name": "lora", "rank": 2},
        "training": {"epochs": 2, "max_length": 32},
    }
    return {**plain, **({"curriculum": list(stages)} if stages else {}), **keys}


def weights(run: Any) -> dict[str, Any]:
    return load_file(run.version.files / WEIGHTS)


def same(one: Any, other: Any) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


def test_a_curriculum_of_one_stage_is_the_run_of_its_corpus(encoder: Path) -> None:
    training = {"epochs": 2.5, "max_length": 32, "batch_size": 16, "accumulate": 4, "schedule": "cosine", "warmup": 2}
    alone = ahf.train(recipe(encoder, "acme/alone", corpus=corpus(FIRMS), training=training))
    staged = ahf.train(recipe(encoder, "acme/staged", corpus(FIRMS), training=training))
    assert same(alone, staged) and alone.metrics == staged.metrics and alone.steps == staged.steps
    for table, columns in alone.history.items():
        assert {**staged.history[table], "epoch": []} == {**columns, "epoch": [], "stage": [1] * len(columns["step"])}


def test_the_stages_follow_one_another_each_at_its_rate(encoder: Path, monkeypatch: Any) -> None:
    from adapterhub_fin.engine.training.trainer import AdapterTrainer

    seen: list[tuple[int, int]] = []  # rows, each with the steps before it
    plain = AdapterTrainer.training_step

    def watched(self: Any, model: Any, inputs: Any, *more: Any) -> Any:
        rows = {tuple(example["input_ids"]): index for index, example in enumerate(self.train_dataset)}
        for ids, mask in zip(inputs["input_ids"].tolist(), inputs["attention_mask"].tolist(), strict=True):
            seen.append((rows[tuple(t for t, m in zip(ids, mask, strict=True) if m)], self.state.global_step))
        return plain(self, model, inputs, *more)

    monkeypatch.setattr(AdapterTrainer, "training_step", watched)
    stages = (corpus(FIRMS, epochs=1.5), corpus(BANKS, max_steps=5, learning_rate=1e-4), corpus(ARLO))
    run = ahf.train(recipe(encoder, "acme/arlo", *stages))
    history = run.history["training"]
    assert history["stage"] == [1] * 5 + [2] * 5 + [3] * (run.steps - 10)
    pairs = list(zip(history["learning_rate"], history["stage"], strict=True))
    assert [max(rate or 0 for rate, at in pairs if at == n) for n in (1, 2, 3)] == pytest.approx([1e-3, 1e-4, 1e-3])
    assert run.history["validation"]["stage"] == [1, 1, 2, 2, 2, 3, 3]
    plan = ahf.preview(recipe(encoder, "acme/arlo", *stages))
    assert plan.stages is not None and plan.steps == run.steps == len(history["step"])
    for index, step in seen:
        [number] = [n for n, stage in enumerate(plan.stages.planned, 1) if index in stage.examples]
        assert history["stage"][step] == number, f"step {step + 1} saw a row of stage {number}"
    first = [index for index, step in seen if step < 3]  # one pass: each row of the stage once
    assert sorted(first) == list(plan.stages.planned[0].examples)
    assert run.losses and len(run.losses) == len(plan.stages.passes)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], ahf.Registry, Any]:
    """Return a curriculum of files, the registry where it can be repeated, and what it gave uninterrupted."""
    folder = tmp_path_factory.mktemp("curriculum")
    stages = []
    for name, rows in (("firms", FIRMS), ("banks", BANKS), ("arlo", ARLO)):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        stages.append({"name": "table", "path": str(path), "label": "label", "learning_rate": 1e-2})
    stages[1]["max_steps"] = 5
    training = {"epochs": 2, "max_length": 32, "checkpoint_steps": 2, "patience": 9}
    document = recipe(tiny_encoder(folder / "base"), "acme/arlo", *stages, training=training)
    registry = ahf.Registry(folder / "home")
    return document, registry, ahf.train(document, registry=registry)


@pytest.mark.parametrize("step", [3, 8, 12])  # in each stage: of 6, 5 and 8 steps
def test_killed_in_any_stage_and_resumed_is_uninterrupted(interrupted: Any, step: int) -> None:
    document, registry, whole = interrupted
    assert [whole.history["training"]["stage"].count(n) for n in (1, 2, 3)] == [6, 5, 8]
    train_and_be_killed(document, registry.root, step)
    resumed = ahf.train(document, registry=registry, resume=True)
    assert same(whole, resumed) and resumed.history == whole.history and resumed.metrics == whole.metrics
    assert not list((registry.root / "runs").iterdir())


def test_a_stage_that_changed_is_not_resumed(interrupted: Any) -> None:
    document, registry, _ = interrupted
    train_and_be_killed(document, registry.root, 9)
    path = Path(document["curriculum"][0]["path"])
    before = path.read_text()
    path.write_text(before + json.dumps({"text": "One more rose.", "label": "up"}) + "\n")
    try:
        with pytest.raises(ahf.BadRecipe, match="had another stage 1"):
            ahf.train(document, registry=registry, resume=True)
    finally:
        path.write_text(before)
    ahf.train(document, registry=registry, restart=True)


def test_only_the_last_stage_picks_the_checkpoint_and_stops(encoder: Path) -> None:
    """A first stage that learns nothing is trained to its end, and its checkpoints are never the best."""
    training = {"epochs": 4, "max_length": 32, "patience": 1, "learning_rate": 1e-9}
    run = ahf.train(recipe(encoder, "acme/arlo", corpus(FIRMS), corpus(BANKS), training=training))
    validation = run.history["validation"]
    assert validation["stage"] == [1] * 4 + [2] * 2, "patience counts in the last stage alone"
    assert run.validation["macro_f1"] == validation["macro_f1"][4]


def test_what_a_stage_holds_out_no_other_trains_on(encoder: Path) -> None:
    parts = [{**row, "split": ("train", "train", "train", "validation", "test")[i % 5]} for i, row in enumerate(ARLO)]
    other = [{**row, "text": row["text"].upper(), "split": "train"} for row in ARLO[:30]]
    other += [{**row, "split": ("validation", "test")[i % 2]} for i, row in enumerate(BANKS[:8])]
    mixed = [*parts, *({**row, "split": "train"} for row in BANKS)]
    stages = (
        corpus([*other, *({**row, "split": "train"} for row in FIRMS)], split="split"),
        corpus(mixed, split="split"),
    )
    plan = ahf.preview(recipe(encoder, "acme/arlo", *stages))
    [first] = plan.corpora.stages
    texts = [
        {split: {t.casefold() for t in read.splits[split]["text"]} for split in read.splits}
        for read in (first, plan.corpora)
    ]
    for one, another in (texts, texts[::-1]):
        assert not one["train"] & (another["validation"] | another["test"])
        assert not one["validation"] & another["test"]
    assert first.record["notes"][DROPPED] == plan.corpora.notes[f"of stage 1: {DROPPED}"] == 12
    assert plan.corpora.notes[DROPPED] == 8, "nor does the last stage train on what an earlier one holds out"
    assert len(first.splits["train"]) == first.record["rows"]["train"] == 78
    clones = [{**row, "split": "train"} for row in parts if row["split"] == "test"]
    clones += [{**row, "split": s} for s, row in zip(("validation", "test"), FIRMS, strict=False)]
    with pytest.raises(ahf.BadCorpus, match="stage 1 of the curriculum: every row of its train part is held out"):
        ahf.preview(recipe(encoder, "acme/arlo", corpus(clones, split="split"), stages[1]))


NOON, SECOND, TICK = datetime(2021, 1, 1, tzinfo=UTC), timedelta(seconds=1), timedelta(microseconds=1)
DATED = [
    {**row, "at": (NOON + i * SECOND).isoformat()} for i, row in enumerate(ARLO)
]  # by time, test begins with row 56
TIMES = {"available_at": "at", "label_horizon": "0d"}


@pytest.mark.parametrize(
    ("splitter", "allowed"),
    [
        ({"by": "time"}, NOON + 56 * SECOND - TICK),
        ({"by": "time", "embargo": "0d"}, NOON + 56 * SECOND - TICK),
        ({"by": "walk-forward", "folds": 4, "fold": 4}, NOON + 56 * SECOND - TICK),
    ],
)
def test_no_stage_knows_of_the_time_of_the_test_part(encoder: Path, splitter: Any, allowed: datetime) -> None:
    last = corpus(DATED, **TIMES, splitter=splitter)

    def plan(at: datetime) -> Any:
        return ahf.preview(
            recipe(encoder, "acme/arlo", corpus([{**r, "at": at.isoformat()} for r in FIRMS], **TIMES), last)
        )

    assert plan(allowed).corpora.known["stage1:corpus:table"].at == allowed
    with pytest.raises(
        ahf.LookAhead, match=r"48 rows that stage 1 of the curriculum \(table\) .* window with a cutoff"
    ):
        plan(allowed + TICK)
    with pytest.raises(ahf.LookAhead, match="stage 1 .* has no dates and counts as known at"):
        ahf.preview(recipe(encoder, "acme/arlo", corpus(FIRMS), last))
    assert ahf.preview(recipe(encoder, "acme/arlo", corpus(FIRMS), corpus(DATED, **TIMES))).stages is not None


def test_the_version_records_every_stage(encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = "2020-12-23T10:00:00Z"
    first = corpus([{**row, "at": at} for row in FIRMS], **TIMES, license="CC-BY-4.0")
    run = ahf.train(recipe(encoder, "acme/arlo", first, corpus(DATED, **TIMES, license="MIT"), license="MIT"))
    manifest = run.version.manifest
    assert manifest.corpus is not None and manifest.recipe is not None
    [stage] = manifest.corpus.stages
    assert stage.rows == {"train": 42, "validation": 6, "test": 12} and stage.digest != manifest.corpus.digest
    assert manifest.corpus.licenses == ("CC-BY-4.0", "MIT")
    known = {entry.input: entry.at for entry in manifest.knowledge.inputs}
    assert known["stage1:corpus:table"] == "2020-12-23T10:00:00Z" and "corpus:table" in known
    again = ahf.Recipe.read(manifest.recipe)
    assert again.curriculum is not None and again.curriculum[0].splitter.by == "stratified"
    held = ahf.evaluate(run.reference, first, base=encoder, resamples=5)
    learnt = ahf.evaluate(run.reference, first, base=encoder, split="train", resamples=5)
    assert (held.rows_seen, learnt.rows_seen) == (0, 42)
    with pytest.raises(SystemExit):
        cli.main(["show", run.reference])
    assert "stage 1" in capsys.readouterr().out
    policy = tmp_path / "home" / "policy.toml"
    policy.write_text('allowed_licenses = ["MIT"]\n')
    with pytest.raises(ahf.PolicyViolation, match="CC-BY-4.0"):
        ahf.load(run.reference, base=encoder)
    policy.unlink()
    page = ahf.report(run.reference, into=tmp_path / "report", base=encoder).page.read_text()
    assert "stage 1" in page and "CC-BY-4.0" in page and "Each stage is measured on its own" in page


def test_a_curriculum_continues_a_version(encoder: Path) -> None:
    ahf.train(recipe(encoder, "acme/general", corpus=corpus(FIRMS)))
    run = ahf.train(recipe(encoder, "acme/arlo", corpus(BANKS), corpus([*ARLO, *FIRMS]), start="acme/general@1"))
    assert run.notes["of test dropped, seen by start"] > 0
    inputs = {entry.input for entry in run.version.manifest.knowledge.inputs}
    assert {"start:corpus:table", "stage1:corpus:table", "corpus:table"} <= inputs
    assert [parent.role for parent in run.version.manifest.parents] == ["start"]


def test_rows_in_memory_outlive_an_interrupted_run(encoder: Path, monkeypatch: Any) -> None:
    from adapterhub_fin.plugin import memory

    def document() -> dict[str, Any]:
        return recipe(encoder, "acme/arlo", corpus(rows_of("Nyx", 50)), corpus(rows_of("Gant", 50)))

    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr("adapterhub_fin.engine.training.train._store", lambda *given: 1 / 0)
        ahf.train(document())
    gc.collect()
    memory._held.clear()
    [folder] = (ahf.Registry().root / "runs").iterdir()
    assert len(list(folder.glob("rows-*.jsonl"))) == 2
    assert ahf.train(str(folder / "recipe.yaml"), resume=True).reference == "acme/arlo@1"


def test_documents_then_conversations(decoder: Path) -> None:
    """Stages need not have the same columns: a language model reads documents first, and talks later."""
    talks = [
        {"messages": [{"role": "user", "content": f"Firm {i}?"}, {"role": "assistant", "content": f"It rose {i}."}]}
        for i in range(30)
    ]
    document = recipe(
        decoder,
        "acme/talk",
        {"data": [{"text": f"Sales of firm {i} rose and rose."} for i in range(40)]},
        {"name": "instructions", "data": talks, "epochs": 1},
        head="causal-lm",
        training={"epochs": 1, "max_length": 64, "over_length": "drop"},
    )
    document["head"] = {"name": "causal-lm", "packing": False}
    run = ahf.train(document)
    assert set(run.history["training"]["stage"]) == {1, 2}


@pytest.mark.parametrize(
    ("stages", "keys", "message"),
    [
        (["headlines"], {"corpus": "headlines", "training": {}}, None),
        (["headlines", corpus(ARLO)], {"corpus": "headlines"}, "corpus .* and curriculum both say"),
        ([corpus(ARLO)], {"training": {"max_steps": 9}}, "give max_steps to its stages"),
        ([corpus(ARLO)], {"schedule": {"windows": "yearly", "start": "2020-01-01"}}, "leave one out"),
        ([corpus(ARLO, epochs=1, max_steps=2)], {}, "give one"),
        ([corpus(ARLO, epochs=0)], {}, "curriculum.0.epochs: Input should be greater than 0"),
        ([corpus(ARLO, lable="label")], {}, "no option 'lable'; did you mean label"),
        ([corpus([{**r, "label": "up"} for r in FIRMS]), corpus(ARLO)], {}, "stage 1 of the curriculum: .*one label"),
        (
            [corpus([{**r, "label": ("flat", "up")[i % 2]} for i, r in enumerate(FIRMS)]), corpus(ARLO)],
            {},
            "stage 1 of the curriculum: corpus table: 24 faults",
        ),
        ([{"name": "table", "path": "nowhere.csv"}, corpus(ARLO)], {}, "nowhere.csv"),
    ],
)
def test_misuse_is_one_sentence(encoder: Path, stages: Any, keys: Any, message: str | None) -> None:
    if message is None:
        assert ahf.Recipe.read(recipe(encoder, "acme/x", *stages, **keys)).curriculum is not None
        return
    with pytest.raises(ahf.AdapterHubError, match=message) as caught:
        ahf.preview(recipe(encoder, "acme/x", *stages, **keys))
    assert "\n" not in str(caught.value) or "24 faults" in message


def test_a_dry_run_reports_each_stage(encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = [{"name": "headlines", "rows": 100, "epochs": 1}, {"name": "headlines", "rows": 90, "seed": 3}]
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe(encoder, "acme/arlo", *stages)))  # JSON is YAML
    out = []
    for flags in ([], ["--json"]):
        with pytest.raises(SystemExit) as leave:
            cli.main(["train", str(path), "--dry-run", *flags])
        assert not leave.value.code
        out.append(capsys.readouterr().out)
    assert all(text in out[0] for text in ("stage 1 of 2", "stage 2 of 2", "steps at a rate of 0.001"))
    first, last = json.loads(out[1])["stages"]
    assert first["corpus"] == "headlines" and first["steps"] < last["steps"] and set(first["rows"]) == set(last["rows"])
    assert ahf.plan(str(path)).trained_parameters > 0


@pytest.mark.parametrize(
    "method", [{"name": "adalora", "initial_rank": 3, "target_rank": 2}, {"name": "prefix-tuning"}]
)
def test_other_methods_count_the_steps_of_all_stages(encoder: Path, method: dict[str, Any]) -> None:
    stages = corpus(FIRMS, epochs=3), corpus(ARLO, epochs=3)
    run = ahf.train(recipe(encoder, "acme/arlo", *stages, method=method))
    assert run.history["training"]["stage"] == [1] * 9 + [2] * (run.steps - 9)
    assert ahf.load(run.reference, base=encoder).predict(["Arlo rose."]) == run.adapter.predict(["Arlo rose."])


def test_preferences_have_a_reference_in_every_stage(decoder: Path) -> None:
    """A loss that compares with the model before training does so with that before the first stage."""
    pairs = [
        [{"prompt": f"{who} {i}:", "chosen": f" rose by {i}.", "rejected": " fell."} for i in range(30)]
        for who in ("Firm", "Arlo")
    ]
    stages = [{"data": rows, "columns": ["prompt", "chosen", "rejected"]} for rows in pairs]
    document = recipe(decoder, "acme/arlo", *stages, head="preference")
    document["training"] = {"epochs": 1, "max_length": 32, "learning_rate": 0.01}
    run = ahf.train(document)
    assert run.history["validation"]["preference_loss"][0] not in (None, pytest.approx(0.693, abs=1e-3))
    measured = ahf.evaluate(run.reference, stages[1], base=decoder, resamples=5)
    assert measured.metrics == pytest.approx(run.metrics, abs=1e-4)


def test_stages_are_weighted_and_mixed_each_by_itself(encoder: Path) -> None:
    weighted = corpus([{**row, "w": 0 if i < 12 else 1} for i, row in enumerate(FIRMS)], weight="w")
    parts = [{"name": "table", **corpus(BANKS)}, {"name": "table", **corpus(ARLO[:20]), "repeat": 3}]
    mixed = {"name": "mixture", "corpora": parts, "max_steps": 3}
    plan = ahf.preview(recipe(encoder, "acme/arlo", weighted, mixed, corpus(ARLO[20:])))
    assert plan.stages is not None and plan.weights is not None
    first, second, last = plan.stages.planned
    assert len(second.examples) > len(plan.corpora.stages[1].splits["train"]), "rows of the mixture are repeated"
    assert [stage.weights is None for stage in (first, second, last)] == [False, True, True]
    assert min(plan.weights) == 0 and len(plan.weights) == len(plan.examples["train"]) == last.examples.stop


def test_evaluation_measures_the_last_stage(interrupted: Any) -> None:
    document, registry, run = interrupted
    measured = ahf.evaluate(run.version, registry=registry, base=document["base"]["path"], resamples=5)
    assert measured.metrics == pytest.approx(dict(run.metrics)) and measured.rows_seen == 0
