"""A run that forgets more than its recipe allows gives no version; it is kept, and goes on under another limit."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.evaluation import forgetting
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.testing import tiny_corpus
from adapterhub_fin.testing.forked import run_forked
from adapterhub_fin.testing.tiny import TinyTone

NOTES = [{"text": f"{name} said: profit rose again, and rose."} for name in "abcdefghijklmnop"]
GENERAL = [f"{name}##{number}%%&&{name}$$" for number, name in enumerate(("ZQ", "XK", "WJVZ", "QQXXKK", "JJ"))]
KNOWN = datetime(2020, 5, 4, 9, tzinfo=UTC)


def general(**more: Any) -> dict[str, Any]:
    rows = [{"text": text, "available_at": KNOWN.isoformat()} for text in GENERAL]
    return {"corpus": {"data": rows, "available_at": "available_at"}, "split": "all", "at_most": 0.02, **more}


def recipe(base: Path, **training: Any) -> dict[str, Any]:
    return {
        "name": "acme/notes",
        "base": {"path": str(base)},
        "method": {"name": "lora", "rank": 4},
        "head": "causal-lm",
        "corpus": {"data": NOTES},
        "training": {"epochs": 2, "batch_size": 4, "max_length": 64, "learning_rate": 2e-2, **training},
    }


def perplexity_by_hand(model: Any, tokenizer: Any, texts: list[str]) -> float:
    """Return exp of the mean loss of all tokens but the first of each text, by Transformers alone."""
    total, count = 0.0, 0
    with torch.inference_mode():
        for text in texts:
            ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False).input_ids]])
            ids = torch.cat([ids, torch.tensor([[tokenizer.eos_token_id]])], 1)
            total += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
            count += ids.shape[1] - 1
    return math.exp(total / count)


def test_a_run_that_forgets_too_much_is_kept_and_goes_on_without_training(
    decoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ahf.ForgetsTooMuch) as refused:
        ahf.train(recipe(decoder, forgetting=general()))
    registry = ahf.Registry()
    assert list(registry.names()) == [], "no version"
    (folder,) = (registry.root / "runs").iterdir()
    message = str(refused.value)
    assert str(folder) in message and "--resume" in message and "at most 0.02 is allowed" in message
    assert "relative rise +" in message and "95 % interval" in message
    with pytest.raises(ahf.BadRecipe, match="was interrupted after step"):
        ahf.train(recipe(decoder, forgetting=general(at_most=100.0)))
    with pytest.raises(ahf.ForgetsTooMuch):
        ahf.train(recipe(decoder, forgetting=general()), resume=True)

    def no_step(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("it trains again")

    from adapterhub_fin.engine.training.trainer import AdapterTrainer

    with monkeypatch.context() as patch:
        patch.setattr(AdapterTrainer, "training_step", no_step)
        run = ahf.train(recipe(decoder, forgetting=general(at_most=100.0)), resume=True)
    assert run.reference == "acme/notes@1" and not list((registry.root / "runs").iterdir())
    (measured,) = run.forgetting
    assert f"{measured.before:.4f} and is {measured.after:.4f}" in message, "the same figures as before"
    free = ahf.train({**recipe(decoder), "name": "acme/free"})
    files = [registry.path(one.version) / "adapter_model.safetensors" for one in (run, free)]
    assert files[0].read_bytes() == files[1].read_bytes(), "no weight depends on a limit"


def test_it_is_measured_on_the_bare_base_and_on_the_picked_checkpoint_and_recorded(decoder: Path) -> None:
    run = ahf.train(recipe(decoder, forgetting=[general(at_most=100.0), general(at_most=50.0, metric="loss")]))
    perplexity, loss = run.forgetting
    tokenizer, base = AutoTokenizer.from_pretrained(decoder), AutoModelForCausalLM.from_pretrained(decoder).eval()
    before = perplexity_by_hand(base, tokenizer, GENERAL)
    after = perplexity_by_hand(run.adapter.model, tokenizer, GENERAL)
    assert after > before * 1.02
    assert (perplexity.before, perplexity.after) == pytest.approx((before, after), rel=1e-4)
    assert perplexity.change_kind == "relative rise" and perplexity.change == pytest.approx(
        after / before - 1, rel=1e-3
    )
    assert loss.change_kind == "absolute fall" and loss.change == pytest.approx(math.log(after / before), rel=1e-3)
    low, high = perplexity.change_interval or (0, 0)
    assert low < perplexity.change < high and perplexity.bootstrap["units"] == 5
    events = [event for event in run.version.events if event["kind"] == "forgetting"]
    assert [event["metric"] for event in events] == ["perplexity", "loss"]
    assert events[0]["change"] == perplexity.change and events[0]["at_most"] == 100.0
    known = {entry.input: entry for entry in run.version.manifest.knowledge.inputs}
    assert known["forgetting:table"].at == "2020-05-04T09:00:00Z" and known["forgetting:table"].kind == "observed"
    assert perplexity.sentence() in run._repr_html_().replace("&#x27;", "'")


def test_the_limit_is_what_may_just_be_reached() -> None:
    rows: dict[str, Any] = dict.fromkeys(forgetting.Forgetting.__dataclass_fields__)
    for change, at_most, too_much in (
        (0.02, 0.02, False),
        (0.0201, 0.02, True),
        (-0.5, 0.0, False),
        (0.1, None, False),
    ):
        assert forgetting.Forgetting(**{**rows, "change": change, "at_most": at_most}).is_too_much is too_much


@pytest.mark.parametrize(("metric", "greater", "worse"), [("accuracy", True, 0.1), ("mse", False, -0.1)])
def test_a_score_falls_where_it_gets_worse(metric: str, greater: bool, worse: float) -> None:
    from adapterhub_fin.plugin.descriptions import Metric
    from adapterhub_fin.plugin.manager import extensions

    description = extensions().get(Metric, metric)
    assert description.greater_is_better is greater
    assert forgetting._change(description, 0.5, 0.4) == pytest.approx(worse)
    assert forgetting._change(extensions().get(Metric, "perplexity"), 2.0, 3.0) == pytest.approx(0.5)


def classified(base: Path, **more: Any) -> Run:
    training = {"epochs": 3, "batch_size": 8, "max_length": 32, "learning_rate": 1e-2, **more.pop("training", {})}
    given = {"name": "acme/tone", "corpus": {"name": tiny_corpus(), "splitter": {"by": "stratified"}}, **more}
    return ahf.train(base={"path": str(base)}, method={"name": "lora", "rank": 4}, training=training, **given)


def turned() -> dict[str, Any]:
    """Return the tiny rows with labels changed round, so that learning them is forgetting the others."""
    other = {"positive": "negative", "negative": "neutral", "neutral": "positive"}
    rows = [{"text": f"Now {row['text']}", "label": other[row["label"]]} for row in TinyTone(None).load().table]
    return {"data": rows, "label": "label", "splitter": {"by": "stratified"}}


def test_a_head_is_measured_against_the_version_that_the_run_starts_from(encoder: Path) -> None:
    start = classified(encoder)
    limit = {"corpus": {"name": tiny_corpus()}, "split": "all", "at_most": 0.1, "metric": "accuracy"}
    more: dict[str, Any] = {"start": "acme/tone@1", "corpus": turned(), "name": "acme/turned"}
    with pytest.raises(ahf.ForgetsTooMuch, match="accuracy on contract-tone .* absolute fall"):
        classified(encoder, **more, training={"forgetting": limit})
    run = classified(encoder, **more, training={"epochs": 1, "learning_rate": 1e-7, "forgetting": limit})
    (measured,) = run.forgetting
    score = ahf.evaluate(start.reference, tiny_corpus(), split="all", resamples=5, record=False).metrics["accuracy"]
    assert measured.against == "acme/tone@1" and measured.before == pytest.approx(score) and score > 0.5
    assert measured.change == pytest.approx(0, abs=0.03)


def test_what_can_t_be_measured_is_refused_before_a_weight_is_read(encoder: Path, decoder: Path) -> None:
    limit = {"corpus": {"name": tiny_corpus()}, "at_most": 0.1}
    with pytest.raises(ahf.BadRecipe, match="the head classify is new, so that the model has no score before training"):
        classified(encoder, training={"forgetting": limit})
    for slip, error, message in (
        ({"at_most": -1}, ahf.BadRecipe, "at_most"),
        ({"corpus": "headlnes"}, ahf.UnknownName, "headlines"),
        ({"corpus": {"name": "table", "path": "/nowhere.csv"}}, ahf.BadCorpus, "does not exist"),
        ({"metric": "accuracy"}, ahf.UnknownName, "perplexity"),
        ({"spilt": "all"}, ahf.BadRecipe, "spilt"),
    ):
        with pytest.raises(error, match=message):
            ahf.preview(recipe(decoder, forgetting=general(**slip)))
    assert not (ahf.Registry().root / "runs").exists()


def test_rows_that_the_run_trains_on_are_warned_of(decoder: Path) -> None:
    same = {"corpus": {"data": NOTES}, "split": "all", "at_most": 1.0}
    prepared = ahf.preview(recipe(decoder, forgetting=same))
    (warning,) = prepared.warnings
    seen = len(prepared.corpora.splits["train"]) + len(prepared.corpora.splits["validation"])
    assert f"trains on the text of {seen} of the 16 rows" in warning
    assert ("forgetting", "perplexity on table (all, 16 rows) beside the base, at most 1 worse") in prepared.facts()


def test_a_long_document_is_one_unit(decoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*GENERAL, "A very long story begins here. " * 8]
    limit = general(corpus={"data": [{"text": text} for text in texts]}, at_most=100.0)
    run = ahf.train(recipe(decoder, forgetting=limit, epochs=1))
    assert run.forgetting[0].bootstrap["units"] == len(texts) and run.forgetting[0].rows == len(texts)


def test_a_limit_is_set_and_raised_on_the_command_line(decoder: Path) -> None:
    read = ahf.Recipe.read(recipe(decoder, forgetting=general()), ["training.forgetting.at_most=0.5"])
    assert [limit.at_most for limit in read.training.limits] == [0.5]
    several = ahf.Recipe.read(recipe(decoder, forgetting=[general(), general(at_most=0.3)]))
    assert [limit.at_most for limit in several.training.limits] == [0.02, 0.3]
    assert "forgetting" not in ahf.Recipe.read(recipe(decoder)).document()["training"]
    assert ahf.Recipe.read(several.document()) == several


def test_a_stored_version_is_measured_as_its_run_was(decoder: Path, encoder: Path) -> None:
    run = ahf.train(recipe(decoder, forgetting=general(at_most=100.0)))
    (measured,) = run.forgetting
    stored = ahf.forgetting(run.reference, general()["corpus"], split="all", record=True)
    assert (stored.before, stored.after) == pytest.approx((measured.before, measured.after), rel=1e-4)
    assert stored.change_interval == pytest.approx(measured.change_interval, rel=1e-3)
    assert stored.version == run.version and stored.at_most is None and stored.rows_seen == 0
    events = [event for event in ahf.Registry().events(run.reference) if event["kind"] == "forgetting"]
    assert len(events) == 2 and events[1]["after"] == stored.after
    start = classified(encoder)
    with pytest.raises(ahf.BadRecipe, match="the head of acme/tone@1 was new"):
        ahf.forgetting(start.reference, tiny_corpus())
    next_one = classified(encoder, start="acme/tone@1", corpus=turned(), name="acme/turned")
    fell = ahf.forgetting(next_one.reference, tiny_corpus(), metric="accuracy", split="all")
    scores = [
        ahf.evaluate(one.reference, tiny_corpus(), split="all", resamples=5, record=False).metrics["accuracy"]
        for one in (start, next_one)
    ]
    assert fell.against == "acme/tone@1" and [fell.before, fell.after] == pytest.approx(scores)
    assert (
        fell.change_kind == "absolute fall" and fell.change == pytest.approx(scores[0] - scores[1]) and fell.change > 0
    )


def series(base: Path, limit: dict[str, Any]) -> dict[str, Any]:
    start = datetime(2020, 1, 1, 15, tzinfo=UTC)
    rows = [
        {"text": f"Note {day}: profit rose again.", "at": (start + timedelta(days=3 * day)).isoformat()}
        for day in range(120)
    ]
    corpus = {"data": rows, "available_at": "at", "splitter": {"validation": 0.2}}
    schedule = {"windows": "quarterly", "start": "2020-07-01", "calendar": "weekdays", "embargo": "1B"}
    training = {"epochs": 1, "batch_size": 8, "max_length": 48, "forgetting": limit}
    return {**recipe(base), "name": "acme/walk", "corpus": corpus, "training": training, "schedule": schedule}


def test_each_window_of_a_series_is_held_to_it_and_none_looks_ahead(decoder: Path) -> None:
    walk = ahf.train_series(series(decoder, general(at_most=100.0)))
    assert [step.trained for step in walk.steps] == [True, True]
    for step in walk.steps:
        (event,) = [event for event in step.version.events if event["kind"] == "forgetting"]
        assert event["at_most"] == 100.0
        known = {entry.input: entry.at for entry in step.version.manifest.knowledge.inputs}
        assert known["forgetting:table"] == "2020-05-04T09:00:00Z"
    again = ahf.train_series(series(decoder, general(at_most=99.0)))
    assert [step.trained for step in again.steps] == [False, False], "no weight depends on a limit"
    undated = {"corpus": {"data": [{"text": text} for text in GENERAL]}, "split": "all", "at_most": 1.0}
    late = [{"text": text, "since": "2020-09-01T09:00:00+00:00"} for text in GENERAL]
    for limit, message in (
        (undated, "have no dates and so count as known at"),
        ({**undated, "corpus": {"data": late, "available_at": "since"}}, "are known until 2020-09-01T09:00:00Z"),
    ):
        with pytest.raises(ahf.LookAhead, match=message):
            ahf.train_series({**series(decoder, limit), "name": "acme/late"})
    assert list(ahf.Registry().names()) == ["acme/walk"]


def test_a_head_that_compares_with_the_base_is_measured_by_perplexity() -> None:
    from adapterhub_fin.engine.base.build_plugin import build_plugin
    from adapterhub_fin.plugin.descriptions import Head

    head = build_plugin(Head, "preference", {})
    name, writer, metric = forgetting._measuring_head("preference", head, None)
    assert (name, metric.name) == ("causal-lm", "perplexity") and type(writer) is not type(head)
    with pytest.raises(ahf.BadRecipe, match="compares its answers with those of the base"):
        forgetting._measuring_head("preference", head, "reward_accuracy")
    classify = build_plugin(Head, "classify", {})
    assert forgetting._measuring_head("classify", classify, None)[2].name == classify.selects_on


def test_a_run_on_rows_from_memory_goes_on_in_another_process(decoder: Path) -> None:
    with pytest.raises(ahf.ForgetsTooMuch):
        ahf.train(recipe(decoder, forgetting=general()))
    (folder,) = (ahf.Registry().root / "runs").iterdir()
    asked = ["train", str(folder / "recipe.yaml"), "--resume", "--set", "training.forgetting.at_most=100", "--json"]
    done = run_forked("-m", "adapterhub_fin.cli", *asked)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["reference"] == "acme/notes@1" and document["forgetting"][0]["at_most"] == 100


def test_a_sweep_goes_on_under_another_limit_without_a_trial(
    forked_trials: None, decoder: Path, tmp_path: Path
) -> None:
    for name, texts in (("notes", [row["text"] for row in NOTES]), ("general", GENERAL)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    limit = {"corpus": {"name": "table", "path": str(tmp_path / "general.jsonl")}, "split": "all", "at_most": 0.02}
    plan = {**recipe(decoder, forgetting=limit), "corpus": {"name": "table", "path": str(tmp_path / "notes.jsonl")}}
    over = {"method.rank": [2, 4]}
    with pytest.raises(ahf.ForgetsTooMuch):
        ahf.sweep(plan, over=over, seeds=1)
    plan["training"]["forgetting"] = {**limit, "at_most": 100.0}
    written = {path: path.read_bytes() for path in (ahf.Registry().root / "runs").rglob("result.json")}
    assert len(written) == 2 and list(ahf.Registry().names()) == []
    swept = ahf.sweep(plan, over=over, seeds=1)
    assert {path: path.read_bytes() for path in (ahf.Registry().root / "runs").rglob("result.json")} == written
    (event,) = [event for event in ahf.Registry().events("acme/notes@1") if event["kind"] == "forgetting"]
    assert event["at_most"] == 100.0 and "acme/notes@1" in repr(swept)
