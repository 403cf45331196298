"""A run continues from a version: its weights, its lineage, what it knew, and none of what it saw is held out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.adapter_names import new_adapter_name
from adapterhub_fin.engine.inference.find import is_same_head
from adapterhub_fin.engine.training.prepare import load_run, prepare
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.engine.training.start import fill_from_start
from adapterhub_fin.testing import tiny_encoder
from adapterhub_fin_registry.model.knowledge import format_instant
from adapterhub_fin_registry.model.manifest import Knowledge, KnowledgeInput


def rows_of(who: str, count: int) -> list[dict[str, Any]]:
    ups = [bool(i % 3) for i in range(count)]
    return [
        {"text": f"{who} {i} {'rose' if up else 'fell'} on day {i}.", "label": "up" if up else "down", "target": i / 7}
        for i, up in enumerate(ups)
    ]


FIRMS, BANKS = rows_of("Firm", 90), rows_of("Bank", 90)


def recipe(encoder: Path, name: str, rows: Any, **keys: Any) -> dict[str, Any]:
    plain = {
        "name": name,
        "base": {"id": "acme/tiny", "path": str(encoder)},
        "method": {"name": "lora", "rank": 2},
        "corpus": {"data": rows, "label": "label"},
        "training": {"epochs": 1, "max_length": 32},
    }
    return {**plain, **keys}


@pytest.fixture
def general(encoder: Path) -> Run:
    return ahf.train(recipe(encoder, "acme/general", FIRMS))


@pytest.mark.parametrize("method", [{"name": "lora", "rank": 2}, {"name": "prefix-tuning"}, {"name": "peft:oft"}])
def test_a_run_begins_where_the_start_ended(encoder: Path, method: dict[str, Any]) -> None:
    general = ahf.train(recipe(encoder, "acme/general", FIRMS, method=method))
    child = recipe(encoder, "acme/sector", BANKS, method=method, start="acme/general@1")
    loaded = load_run(prepare(ahf.Recipe.read(child)), new_adapter_name())
    assert loaded.start is not None
    model = loaded.method.attach(loaded.model, loaded.context)
    same = is_same_head(loaded.start, "classify", loaded.head)
    fill_from_start(loaded.start, model, loaded.context, loaded.method, keep_head=same)
    tensors = loaded.method.tensors(model, loaded.context.adapter_name)
    stored = load_file(general.version.files / "adapter_model.safetensors")
    assert tensors.keys() == stored.keys() and all(torch.equal(tensors[name].cpu(), stored[name]) for name in stored)


def test_the_version_says_where_it_comes_from_and_what_it_knows(encoder: Path, general: Run) -> None:
    run = ahf.train(recipe(encoder, "acme/sector", [*FIRMS[:40], *BANKS], start="acme/general@1"))
    manifest = run.version.manifest
    [parent] = manifest.parents
    assert (parent.digest, parent.name, parent.role) == (general.version.digest, "acme/general", "start")
    inputs = {entry.input for entry in manifest.knowledge.inputs}
    assert inputs == {"base", "corpus:table", "labels:table", "start:corpus:table", "start:labels:table"}
    assert manifest.knowledge.end >= general.version.manifest.knowledge.end
    assert manifest.recipe["start"] == "acme/general@1"  # type: ignore[index]
    [ancestor] = ahf.Registry().lineage("acme/sector@1").ancestors
    assert ancestor.digest == general.version.digest


def test_what_the_start_was_trained_on_is_not_held_out(encoder: Path, general: Run) -> None:
    seen = {
        row["text"] for split in ("train", "validation") for row in _splits(recipe(encoder, "acme/x", FIRMS))[split]
    }
    plain = _splits(recipe(encoder, "acme/sector", [*FIRMS, *BANKS]))
    assert seen & {row["text"] for row in plain["test"]}, "without a start, rows of it are in the test part"
    child = recipe(encoder, "acme/sector", [*FIRMS, *BANKS], start="acme/general@1")
    plan = ahf.preview(child)
    for split in ("validation", "test"):
        kept = {row["text"] for row in plan.corpora.splits[split]}
        assert not seen & kept and plan.corpora.record["rows"][split] == len(kept)
        dropped = plan.corpora.notes[f"of {split} dropped, seen by start"]
        assert dropped == len(plain[split]) - len(plan.corpora.splits[split]) > 0
    assert len(plan.corpora.splits["train"]) == len(plain["train"])
    run = ahf.train(child)
    assert ahf.evaluate(run.reference, child["corpus"], base=encoder, resamples=10).rows_seen is not None


def _splits(document: dict[str, Any]) -> Any:
    return ahf.preview(document).corpora.splits


def test_another_task_begins_with_a_new_head(encoder: Path, general: Run) -> None:
    rows = [{**row, "label": "good" if row["label"] == "up" else "bad"} for row in BANKS]
    child = recipe(encoder, "acme/sector", rows, start="acme/general@1")
    loaded = load_run(prepare(ahf.Recipe.read(child)), new_adapter_name())
    assert loaded.start is not None
    model = loaded.method.attach(loaded.model, loaded.context)
    same = is_same_head(loaded.start, "classify", loaded.head)
    fill_from_start(loaded.start, model, loaded.context, loaded.method, keep_head=same)
    tensors = loaded.method.tensors(model, loaded.context.adapter_name)
    stored = load_file(general.version.files / "adapter_model.safetensors")
    heads = [name for name in stored if "classifier" in name]
    assert heads and not any(torch.equal(tensors[name], stored[name]) for name in heads if name.endswith("weight"))
    assert all(torch.equal(tensors[name], stored[name]) for name in stored if name not in heads)
    target = recipe(
        encoder, "acme/number", None, start="acme/general@1", head="regress", corpus={"data": BANKS, "target": "target"}
    )
    assert ahf.train(target).version.manifest.head.name == "regress"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ({"start": "acme/none"}, ahf.NotFound, "acme/none"),
        ({"method": {"name": "lora", "rank": 4}}, ahf.BadRecipe, "method.rank 2, and the recipe 4"),
        ({"method": {"name": "prefix-tuning"}}, ahf.BadRecipe, "set method.name=lora"),
        ({"corpus": {"data": FIRMS, "label": "label", "splitter": {"seed": 5}}}, ahf.BadCorpus, "hold other rows out"),
    ],
)
def test_what_can_not_be_continued_is_refused(
    encoder: Path, general: Run, keys: dict[str, Any], error: type[Exception], message: str
) -> None:
    if error is ahf.BadCorpus:  # a start that saw every row
        texts = [row["text"].casefold() for row in FIRMS]
        folder = general.version.files
        manifest = general.version.manifest.model_copy(update={"description": "all of it"})
        ahf.Registry().add(folder, manifest, name="acme/all", training_texts=texts)
        keys = {**keys, "start": "acme/all@1"}
    with pytest.raises(error, match=message):
        ahf.preview(recipe(encoder, "acme/sector", BANKS, **{"start": "acme/general@1", **keys}))


def test_another_base_is_refused(encoder: Path, general: Run, tmp_path: Path) -> None:
    other = tiny_encoder(tmp_path / "other", seed=5)
    with pytest.raises(ahf.WrongBase):
        ahf.train(recipe(other, "acme/sector", BANKS, start="acme/general@1"))
    assert ahf.Registry().names() == ["acme/general"]


def test_a_run_of_no_epochs_worth_answers_as_its_start(encoder: Path, general: Run) -> None:
    training = {"epochs": 1, "max_length": 32, "learning_rate": 1e-12}
    run = ahf.train(recipe(encoder, "acme/sector", BANKS, start="acme/general@1", training=training))
    texts = [row["text"] for row in BANKS]
    assert np.abs((run.adapter.logits(texts) - general.adapter.logits(texts)).numpy()).max() < 1e-5


def test_what_is_stored_in_another_form_is_refused(encoder: Path) -> None:
    method = {"name": "prefix-tuning", "projection": True}
    ahf.train(recipe(encoder, "acme/general", FIRMS, method=method))
    with pytest.raises(ahf.Unsupported, match="does not store all"):
        ahf.train(recipe(encoder, "acme/sector", BANKS, method=method, start="acme/general@1"))
    assert ahf.Registry().names() == ["acme/general"]


def test_preferences_are_measured_against_the_start(decoder: Path) -> None:
    """The reference of DPO is the model before training: in training and in an evaluation that is the start."""
    pairs = [{"prompt": f"Firm {i}:", "chosen": f" rose by {i}.", "rejected": " fell."} for i in range(40)]
    columns = ["prompt", "chosen", "rejected"]
    plain = {
        "base": {"id": "acme/decoder", "path": str(decoder)},
        "head": "preference",
        "method": {"name": "lora", "rank": 2},
        "training": {"epochs": 1, "max_length": 32, "learning_rate": 0.01},
    }
    ahf.train(name="acme/general", corpus={"data": pairs, "columns": columns}, **plain)
    more = [{**pair, "prompt": pair["prompt"].replace("Firm", "Bank")} for pair in pairs]
    corpus = {"data": more, "columns": columns}
    run = ahf.train(name="acme/sector", start="acme/general@1", corpus=corpus, **plain)
    measured = ahf.evaluate(run.reference, corpus, base=decoder, resamples=5)
    assert measured.metrics == pytest.approx(run.metrics, abs=1e-4)
    alone = ahf.train(name="acme/alone", corpus=corpus, **plain)
    assert alone.metrics["reward_margin"] != pytest.approx(run.metrics["reward_margin"], abs=1e-4)


def test_what_nobody_knows_of_a_start_is_said(encoder: Path, general: Run, caplog: Any) -> None:
    """A version from elsewhere has no hashes of what it saw; one that knows the test part's time looks ahead."""
    folder, manifest = general.version.files, general.version.manifest.model_copy(update={"description": "pulled"})
    ahf.Registry().add(folder, manifest, name="acme/pulled")
    plan = ahf.preview(recipe(encoder, "acme/sector", BANKS, start="acme/pulled@1"))
    assert any("not all that it was trained on is known here" in warning for warning in plan.warnings)
    dated = [{**row, "at": "2021-06-30"} for row in BANKS]
    corpus = {"data": dated, "label": "label", "available_at": "at", "timezone": "UTC", "label_horizon": "0d"}
    plan = ahf.preview(recipe(encoder, "acme/sector", None, corpus=corpus, start="acme/general@1"))
    late = [warning for warning in plan.warnings if "metrics on it look ahead" in warning]
    assert ["validation" in late[0], "test" in late[1]] == [True, True] and "look ahead" in caplog.text
    for split in ("validation", "test"):
        assert plan.corpora.record["notes"][f"of {split} that start may know of"] == len(plan.corpora.splits[split])


DATED = [{**row, "at": f"2021-01-01T00:00:{i // 2:02}Z"} for i, row in enumerate(BANKS)]  # two rows a second
NOON, SECOND, TICK = datetime(2021, 1, 1, tzinfo=UTC), timedelta(seconds=1), timedelta(microseconds=1)


def dated(**splitter: Any) -> dict[str, Any]:
    return {"data": DATED, "label": "label", "available_at": "at", "label_horizon": "0d", "splitter": splitter}


def known_until(general: Run, end: datetime, kind: str = "observed") -> str:
    """Return the reference of a start whose corpus was known at an instant, and whose base knows later than all."""
    entries = (("base", NOON.replace(year=2022), "asserted"), ("corpus:table", end, kind))
    knowledge = Knowledge.of(KnowledgeInput(input=i, at=format_instant(at), kind=k) for i, at, k in entries)  # type: ignore[arg-type]
    changed = {"knowledge": knowledge, "description": f"{end} {kind}"}
    manifest = general.version.manifest.model_copy(update=changed)
    return ahf.Registry().add(general.version.files, manifest, name="acme/dated", training_texts=[]).reference


@pytest.mark.parametrize(
    ("splitter", "allowed"),  # the last instant that a start may know
    [
        ({"by": "time"}, NOON + 36 * SECOND - TICK),  # test begins with row 72 of 90
        ({"by": "time", "embargo": "0d"}, NOON + 36 * SECOND - TICK),
        ({"by": "walk-forward", "folds": 4, "fold": 4}, NOON + 36 * SECOND - TICK),
        ({"by": "window", "since": "2020-12-01", "cutoff": "2021-01-01", "until": "2021-01-02"}, NOON - TICK),
        (
            {"by": "window", "cutoff": "2021-01-01", "until": "2021-01-02", "embargo": "2d"},
            NOON - 2 * 86400 * SECOND - TICK,
        ),
    ],
)
def test_a_splitter_by_time_takes_no_start_that_knows_its_test_part(
    encoder: Path, general: Run, splitter: dict[str, Any], allowed: datetime
) -> None:
    corpus = dated(**splitter)
    if splitter["by"] == "window":
        old = [{**row, "text": f"Old: {row['text']}", "at": f"2020-12-{10 + i // 9}"} for i, row in enumerate(BANKS)]
        corpus = {**corpus, "data": [*old, *DATED], "timezone": "UTC"}
    child = recipe(encoder, "acme/sector", None, corpus=corpus)
    with pytest.raises(ahf.LookAhead, match=f"knows until .*, and under the splitter {splitter['by']} .* finds one"):
        ahf.preview({**child, "start": known_until(general, allowed + TICK)})
    assert len(ahf.preview({**child, "start": known_until(general, allowed)}).corpora.splits["test"])
    child["corpus"] = {**corpus, "splitter": {"by": "random"}}  # which promises nothing of the kind
    plan = ahf.preview({**child, "start": known_until(general, NOON + 60 * SECOND)})
    assert plan.corpora.record["notes"]["of test that start may know of"] == len(plan.corpora.splits["test"])


def test_a_start_without_dates_is_one_that_knows_until_it_was_trained(encoder: Path, general: Run) -> None:
    child = recipe(encoder, "acme/sector", None, corpus=dated(by="time"))
    with pytest.raises(
        ahf.LookAhead, match="start acme/general@1 does not date its (corpus|labels):table, which count"
    ):
        ahf.preview({**child, "start": "acme/general@1"})
    early = known_until(general, NOON, "bounded")
    assert ahf.preview({**child, "start": early}).start is not None, "a bound before the test part is enough"


def test_a_start_that_was_moved_is_not_resumed(encoder: Path, general: Run, monkeypatch: Any) -> None:
    ahf.train(recipe(encoder, "acme/general", FIRMS, training={"epochs": 1, "max_length": 32, "seed": 5}))
    registry = ahf.Registry()
    registry.set_alias("acme/general", "best", 1)
    child = recipe(encoder, "acme/sector", BANKS, start="acme/general@best", training={"epochs": 2, "max_length": 32})
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr("adapterhub_fin.engine.training.train._store", lambda *given: 1 / 0)
        ahf.train(child)
    registry.set_alias("acme/general", "best", 2)
    with pytest.raises(ahf.BadRecipe, match="had another start"):
        ahf.train(child, resume=True)


def test_numbers_in_other_units_get_a_new_head(encoder: Path) -> None:
    def numbers(scale: float) -> dict[str, Any]:
        return {"data": [{**row, "target": scale * row["target"]} for row in FIRMS], "target": "target"}

    ahf.train(recipe(encoder, "acme/general", None, head="regress", corpus=numbers(1.0)))
    for scale, same in ((1.0, True), (50.0, False)):
        child = recipe(encoder, "acme/more", None, head="regress", corpus=numbers(scale), start="acme/general@1")
        child["corpus"]["data"] = [{**row, "text": f"More: {row['text']}"} for row in child["corpus"]["data"]]
        prepared = prepare(ahf.Recipe.read(child))
        assert prepared.start is not None and is_same_head(prepared.start, "regress", prepared.head) is same


def test_a_schedule_has_no_start() -> None:
    schedule = {"windows": "yearly", "start": "2020-01-01"}
    with pytest.raises(ahf.BadRecipe, match="leave one of them out"):
        ahf.Recipe.read({"name": "acme/x", "corpus": "headlines", "start": "acme/general@1", "schedule": schedule})


def test_a_start_from_before_an_option_existed_has_its_default(encoder: Path, general: Run) -> None:
    manifest = general.version.manifest
    options = {key: value for key, value in manifest.method.options.items() if key != "init"}
    older = manifest.model_copy(update={"method": manifest.method.model_copy(update={"options": options})})
    ahf.Registry().add(general.version.files, older, name="acme/older", training_texts=[])
    child = recipe(encoder, "acme/sector", BANKS, start="acme/older@1")
    assert ahf.preview(child).start is not None
    with pytest.raises(ahf.BadRecipe, match="method.init 'default', and the recipe 'orthogonal'"):
        ahf.preview({**child, "method": {"name": "lora", "rank": 2, "init": "orthogonal"}})


def test_a_start_is_found_in_another_configured_registry(
    encoder: Path, general: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes to the writable registry; what it starts from is read where it is."""
    (tmp_path / "config.toml").write_text(
        f"[[registries]]\nname = 'mine'\npath = '{tmp_path / 'mine'}'\n"
        f"[[registries]]\nname = 'team'\npath = '{tmp_path / 'home'}'\nread_only = true\n"
    )
    monkeypatch.setenv("AHF_CONFIG", str(tmp_path / "config.toml"))
    child = recipe(encoder, "acme/sector", [*FIRMS[:40], *BANKS], start="acme/general@1")
    run = ahf.train(child)
    mine, team = ahf.Registry(tmp_path / "mine"), ahf.Registry(tmp_path / "home")
    assert (mine.names(), team.names()) == (["acme/sector"], ["acme/general"])
    assert run.version.manifest.parents[0].digest == general.version.digest
    assert run.notes["of test dropped, seen by start"] > 0, "its training texts are known there"
    given = ahf.train({**child, "name": "acme/given"}, registry=mine)
    assert given.version.manifest.parents[0].digest == general.version.digest
    with pytest.raises(ahf.NotFound, match="acme/nothing"):
        ahf.train({**child, "start": "acme/nothing@1"}, registry=mine)
