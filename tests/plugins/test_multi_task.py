"""One backbone, two losses: a language model's and a classifier's or a regression's, weighted and exact in parts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.base.padding import padding
from adapterhub_fin.errors import BadCorpus, BadRecipe
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.plugin.examples import IGNORED
from adapterhub_fin.testing import HeadContract
from adapterhub_fin.testing.bench import TEXTS, Bench

REGRESS = {"losses": {"causal-lm": 0.3, "regress": 2.0}}
CLASSIFY = {"losses": {"causal-lm": 0.3, "classify": 2.0}}
ROWS = Dataset.from_list(
    [
        {"text": "Arlo: profit rose by a tenth.", "label": "positive", "target": 1.5},
        {"text": "Brent fell.", "label": "negative", "target": -1.0},
        {"text": "Corvo meets in May, and a longer text follows.", "label": "neutral", "target": 0.25},
    ]
)


def head(**options: Any) -> Any:
    built = build_plugin(Head, "multi-task", options)
    built.fit_labels(ROWS)
    return built


def bench(folder: Path, method: Any = None, **options: Any) -> Bench:
    return Bench(folder, "decoder", method or {"name": "lora", "rank": 4}, {"name": "multi-task", **options})


class TestMultiTask(HeadContract):
    name = "multi-task"
    bases = ("decoder",)


class TestMultiTaskThatEstimates(HeadContract):
    name = "multi-task"
    bases = ("decoder",)
    options = REGRESS


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("options", [CLASSIFY, REGRESS], ids=["classify", "regress"])
def test_the_loss_is_the_weighted_sum_of_both(options: dict[str, Any], side: str, decoder: Path) -> None:
    """Transformers' own language model and sequence classifier, with the same weights, give the two losses."""
    built, tokenizer = head(**options), padding(AutoTokenizer.from_pretrained(decoder))
    tokenizer.padding_side = side
    model, _ = built.load_model(str(decoder))
    model.eval()
    batch = built.collator(tokenizer)(list(built.encode(ROWS, tokenizer, 64)))
    labels = batch.pop("labels")
    losses = built.loss(model(**batch), labels)
    language = AutoModelForCausalLM.from_pretrained(decoder).eval()(**batch, labels=labels["tokens"]).loss

    count = int(built.answer.model_fields()["num_labels"])
    kind = {"problem_type": "regression"} if "regress" in options["losses"] else {}
    other = AutoModelForSequenceClassification.from_pretrained(decoder, num_labels=count, **kind).eval()
    other.score.load_state_dict(model.score.state_dict())
    other.config.pad_token_id = tokenizer.pad_token_id
    texts = tokenizer(list(ROWS["text"]), padding=True, return_tensors="pt")
    truth = labels["answer"].float() if kind else labels["answer"]
    answer = other(input_ids=texts["input_ids"], attention_mask=texts["attention_mask"], labels=truth).loss
    assert float((losses[0] - 0.3 * language).abs().detach()) < 1e-5
    assert float((losses[1] - 2.0 * answer).abs().detach()) < 1e-5
    assert float(losses.detach().min()) > 0.01


def test_parts_of_any_size_make_one_step(tmp_path: Path) -> None:
    """A part's tokens weigh in one loss and its rows in the other."""
    method = {"name": "lora", "dropout": 0.0}
    trained = bench(tmp_path, method, **CLASSIFY)
    whole, parts = (trained.train(f"parts-{n}", epochs=2, accumulate=n, learning_rate=1e-3) for n in (1, 4))
    assert whole.losses[0] != whole.losses[1]
    assert whole.losses == pytest.approx(parts.losses, abs=1e-5)


def test_both_are_measured_and_an_evaluation_finds_the_same(tmp_path: Path) -> None:
    trained = bench(tmp_path)
    run = trained.train("both")
    assert set(run.metrics) == {"accuracy", "macro_f1", "mcc", "loss", "perplexity"}
    assert run.metrics["perplexity"] == pytest.approx(math.exp(run.metrics["loss"]))
    again = ahf.evaluate(run.reference, registry=trained.registry, base=trained.base(), resamples=20)
    assert again.metrics == run.metrics
    assert again.intervals["loss"] is not None and again.intervals["loss"][0] <= run.metrics["loss"]
    assert run.version.manifest.head is not None and run.version.manifest.head.modules_to_save == ("score",)
    assert run.labels["positive"]["train"] > 0


def test_it_answers_and_writes(tmp_path: Path) -> None:
    run = bench(tmp_path).train("both", epochs=1)
    answers = run.adapter.predict(list(TEXTS))
    assert isinstance(answers[0], ahf.Prediction) and set(answers[0].scores) == {"negative", "neutral", "positive"}
    assert isinstance(run.adapter.generate(["Arlo: "], max_new_tokens=3)[0], str)
    talk = [{"role": "user", "content": "Firm 3?"}, {"role": "assistant", "content": "It rose."}]
    assert run.adapter.predict([{"messages": talk}])[0].label in answers[0].scores
    number = bench(tmp_path, **REGRESS).train("number", epochs=1)
    assert isinstance(number.adapter.predict(list(TEXTS))[0], ahf.Estimate)
    stored = number.version.manifest.head
    assert stored is not None and set(stored.options["regress"]) == {"centre", "scale"}


def test_training_and_prediction_read_the_same_token(decoder: Path) -> None:
    """The last of the text as the tokenizer writes it: the end of text that is predicted after it is not read."""
    built, tokenizer = head(), padding(AutoTokenizer.from_pretrained(decoder))
    model, _ = built.load_model(str(decoder))
    model.eval()
    batch = built.collator(tokenizer)(list(built.encode(ROWS, tokenizer, 64)))
    labels = batch.pop("labels")
    assert (labels["tokens"] == tokenizer.eos_token_id).any()
    texts = dict(tokenizer(list(ROWS["text"]), padding=True, return_tensors="pt"))
    texts = {name: texts[name] for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        trained = built.answers(built.raw_outputs(model(**batch)), {"labels": labels})
        asked = built.answers(built.raw_outputs(model(**texts)), texts)
    assert float((trained[:, :-2] - asked[:, :-2]).abs().max()) < 1e-5
    assert (labels["tokens"] != IGNORED).sum(1).tolist() == trained[:, -1].int().tolist()


def test_plain_peft_reads_the_language_model(tmp_path: Path) -> None:
    from peft import PeftModel

    trained = bench(tmp_path)
    run = trained.train("both", epochs=1)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(trained.base()), run.version.files).eval()
    batch = run.adapter.tokenizer(TEXTS[0], return_tensors="pt")
    with torch.inference_mode(), run.adapter.answering():
        assert torch.equal(plain(**batch).logits, run.adapter.model(**batch).logits)


def test_two_regressions_merge_in_their_units(tmp_path: Path) -> None:
    first, second = bench(tmp_path, **REGRESS), bench(tmp_path, **REGRESS, regress={"centre": 0.5, "scale": 2.0})
    runs = [each.train(name, epochs=1) for each, name in ((first, "one"), (second, "two"))]
    merged = ahf.merge([run.reference for run in runs], using="linear", into="acme/both", registry=first.registry)
    assert merged.version is not None and merged.version.manifest.head is not None
    scales = [run.version.manifest.head.options["regress"] for run in runs if run.version.manifest.head is not None]
    mean = sum(each["centre"] for each in scales) / 2
    assert merged.version.manifest.head.options["regress"]["centre"] == pytest.approx(mean)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"losses": {"causal-lm": 1.0}}, "losses needs a weight for causal-lm, and one for classify or regress"),
        ({"losses": {"classify": 1.0, "regress": 1.0}}, "losses needs a weight for causal-lm"),
        ({"losses": {"causal-lm": 1.0, "classify": 0}}, "losses"),
        ({"losses": {"causal-lm": 1.0, "rank": 1}}, "losses"),
        ({"regress": {"loss": "huber"}}, "regress has options and no weight in losses"),
        ({"classify": {"pooling": "mean"}}, "here the last token is read"),
        ({**REGRESS, "regress": {"network": "mlp"}}, "the answer is one linear layer here"),
        ({"classify": {"labels": ["positive"]}}, "labels"),
        ({"classify": {"focus": 2}}, "focus"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_in_one_sentence(options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match=reason):
        bench(tmp_path, **options).train("both")


def test_a_corpus_without_the_answer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("text\n" + "\n".join(f"text {n}" for n in range(30)), encoding="utf-8")
    corpus = {"name": "table", "path": str(tmp_path / "texts.csv")}
    wrong = Bench(tmp_path, "decoder", {"name": "lora"}, {"name": "multi-task"}, corpus)
    with pytest.raises(BadCorpus, match="no column 'label', which multi-task needs for classify"):
        wrong.train("both")


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="multi-task predicts the next token, and a bert base is an encoder"):
        Bench(tmp_path, "encoder", {"name": "lora"}, {"name": "multi-task"}).train("both")


def test_an_answer_is_read_where_the_text_ends() -> None:
    from adapterhub_fin_plugins.heads.multi_task import _last

    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]])
    assert _last(mask).tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]
