"""Comparing what versions and their bare base write: the same questions, answered examples in the base's prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from transformers import AutoModelForCausalLM, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.comparing.written import with_examples
from adapterhub_fin.engine.evaluation.questions import Asked, Question
from adapterhub_fin.errors import BadCorpus, BadRecipe, UnknownName
from adapterhub_fin.stats.paired import PairedTest
from adapterhub_fin.testing import tiny_corpus

QUICK: dict[str, Any] = {"resamples": 100, "rounds": 100, "generate": True, "max_new_tokens": 6}


def talks() -> list[dict[str, Any]]:
    turns = [
        [
            {"role": "user", "content": f"Up {number}?"},
            {"role": "assistant", "content": f"${number}m"},
        ]
        for number in range(1, 31)
    ]
    return [{"messages": each} for each in turns]


@pytest.fixture(scope="module")
def home(decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("writers")
    (root / "talks.jsonl").write_text("\n".join(map(json.dumps, talks())), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(root / "cache"))
        for rate in (0.05, 1e-6):
            ahf.train(
                name="acme/writer",
                base={"id": "acme/tiny", "path": str(decoder)},
                method={"name": "lora", "rank": 4},
                head="causal-lm",
                corpus={"name": tiny_corpus()},
                training={"epochs": 2, "batch_size": 8, "max_length": 96, "learning_rate": rate},
                registry=ahf.Registry(root / "home"),
            )
        yield root / "home"


@pytest.fixture(autouse=True)
def in_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AHF_HOME", str(home))
    monkeypatch.setenv("AHF_CACHE", str(home.parent / "cache"))


def corpus(home: Path) -> dict[str, Any]:
    return {"name": "instructions", "path": str(home.parent / "talks.jsonl"), "splitter": {"by": "random"}}


def scores(answers: list[str], truth: list[str]) -> list[float]:
    scorer = RougeScorer(["rougeL"])
    return [scorer.score(t, a)["rougeL"].fmeasure for t, a in zip(truth, answers, strict=True)]


def test_the_bare_base_is_asked_the_same_questions(home: Path, decoder: Path) -> None:
    evidence = ahf.compare("acme/writer@1", "acme/writer@2", "base", "base:2", corpus=corpus(home), **QUICK)
    assert [side.name for side in evidence.sides] == ["acme/writer@1", "acme/writer@2", "base", "base:2"]
    assert evidence.metric == "rouge_l" and len(evidence.verdicts) == 6 and evidence.rows == 6
    first = ahf.load("acme/writer@1")
    measured = ahf.evaluate("acme/writer@1", corpus(home), generate=True, max_new_tokens=6, record=False)
    table = measured.outcomes.to_pydict()  # type: ignore[union-attr]
    assert evidence.sides[0].metrics == pytest.approx(dict(measured.metrics))
    questions = [each["messages"] for each in talks() if each["messages"][-1]["content"] in table["truth"]]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(decoder).eval(), AutoTokenizer.from_pretrained(decoder)
    answers = []
    for turns in questions:
        text = first.head.prompt(turns[:-1], first.tokenizer)  # type: ignore[union-attr]
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=first.tokenizer.chat_template is None)
        written = model.generate(**ids, max_new_tokens=6, do_sample=False)[0, ids["input_ids"].shape[1] :]
        answers.append(tokenizer.decode(written, skip_special_tokens=True))
    expected = np.mean(scores(answers, [turns[-1]["content"] for turns in questions]))
    assert evidence.sides[2].metrics["rouge_l"] == pytest.approx(expected, abs=1e-9)
    tests = [each.test for each in evidence.differences if each.metric == "rouge_l"]
    assert all(isinstance(test, PairedTest) and test.name == "permutation" for test in tests)
    assert "2 answered rows" in evidence.sides[3].described
    assert any("base and base:2" in caveat for caveat in evidence.caveats)


def test_answers_that_are_labels_are_decided_by_their_accuracy(home: Path) -> None:
    evidence = ahf.compare(
        "acme/writer@1", "base", corpus=tiny_corpus(), split="all", drop_seen=True, units="row", **QUICK
    )
    assert evidence.metric == "label_accuracy"
    [accuracy] = [each for each in evidence.differences if each.metric == "label_accuracy"]
    assert accuracy.test.name == "McNemar"  # type: ignore[union-attr]
    chosen = ahf.compare(
        "acme/writer@1", "base", corpus=tiny_corpus(), split="all", drop_seen=True, metric="unparsable", **QUICK
    )
    assert chosen.metric == "unparsable" and "in unparsable" in chosen.verdicts[0]


def test_examples_stand_before_a_question_and_are_the_same_for_all() -> None:
    system, ask = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "q0"}
    examples = [Question([system, {"role": "user", "content": f"e{n}"}], f"a{n}") for n in range(5)]
    asked = Asked("here", [Question([system, ask], "t0"), Question([ask], "t1")], None, None)
    one, other = with_examples(asked, Asked("train", examples, None, None), 2, 3).questions
    contents: list[Any] = [turn["content"] for turn in one.prompt]  # type: ignore[index]
    assert contents[0] == "Be brief." and contents[-1] == "q0" and contents[2] == contents[1].replace("e", "a")
    assert [turn["role"] for turn in one.prompt][1:5] == ["user", "assistant"] * 2  # type: ignore[index]
    assert list(one.prompt)[1:] == list(other.prompt) and (one.truth, other.truth) == ("t0", "t1")
    texts = Asked("here", [Question("q0", "t0")], None, None)
    of_text = Asked("train", [Question("e0", "a0"), Question("e1", "a1")], None, None)
    [question] = with_examples(texts, of_text, 2, 0).questions
    assert question.prompt in ("e0\na0\n\ne1\na1\n\nq0\n", "e1\na1\n\ne0\na0\n\nq0\n")
    with pytest.raises(BadRecipe, match="base:3 needs 3 training rows, and there are 2"):
        with_examples(texts, of_text, 3, 0)


@pytest.mark.parametrize(
    ("contenders", "options", "error", "says"),
    [
        (("acme/writer@1", "base:2"), {"generate": False}, BadRecipe, "with generate, base:4 is the bare base"),
        (("acme/writer@1", "base:x"), {}, BadRecipe, "base:x: with generate"),
        (("acme/writer@1", "bag-of-words"), {}, BadRecipe, "bag-of-words writes nothing"),
        (("acme/writer@1", "base"), {"generate": False}, BadRecipe, "set generate"),
        (("acme/writer@1", "base"), {"metric": "rogue"}, UnknownName, "rogue"),
        (("acme/writer@1", "base:99"), {}, BadRecipe, "base:99 needs 99 training rows, and there are 21"),
        (("acme/writer@1", "base"), {"labels": ["yes", "no"]}, BadCorpus, "is none of yes, no"),
    ],
)
def test_what_can_t_be_written_is_refused(home: Path, contenders: Any, options: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        ahf.compare(*contenders, corpus=corpus(home), **{**QUICK, **options})
