"""Evaluating what a version writes: its answers to the rows' prompts, against the rows' own answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from pyarrow import parquet
from rouge_score.rouge_scorer import RougeScorer

import adapterhub_fin as ahf
from adapterhub_fin.cli import group
from adapterhub_fin.engine.inference.adapter import Adapter
from adapterhub_fin.errors import BadCorpus, BadRecipe
from adapterhub_fin.plugin.descriptions import Metric
from adapterhub_fin.testing import tiny_corpus

FEW = 50  # resamples, where their number is not what is tested
NEW = {"max_new_tokens": 6}


def talk(question: str, answer: str) -> dict[str, Any]:
    turns = [("system", "You are brief."), ("user", question), ("assistant", answer)]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


TALKS = [talk(f"Arlo had a profit of {number} million?", f"Profit was ${number} million.") for number in range(1, 9)]


@pytest.fixture(scope="module")
def trained_writer(decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ahf.Registry]:
    root = tmp_path_factory.mktemp("writer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(root / "cache"))
        registry = ahf.Registry(root / "home")
        ahf.train(
            name="acme/writer",
            base={"id": "acme/tiny", "path": str(decoder)},
            method={"name": "lora", "rank": 4},
            head="causal-lm",
            corpus={"name": tiny_corpus()},
            training={"epochs": 1, "batch_size": 8, "max_length": 48},
            registry=registry,
        )
        yield registry


def rows_file(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return {"name": "instructions", "path": str(path)}


def evaluated(registry: ahf.Registry, decoder: Path, corpus: Any, **options: Any) -> Any:
    return ahf.evaluate(
        "acme/writer",
        corpus,
        split="all",
        generate=True,
        base=decoder,
        registry=registry,
        **{"resamples": FEW, "record": False, **NEW, **options},
    )


def test_answers_are_those_of_generate_and_the_metrics_those_of_the_package(
    trained_writer: ahf.Registry, decoder: Path, tmp_path: Path
) -> None:
    evaluation = evaluated(trained_writer, decoder, rows_file(tmp_path, TALKS), record=True, batch_size=3)
    adapter = ahf.load("acme/writer", base=decoder, registry=trained_writer)
    answers = adapter.generate([row["messages"][:-1] for row in TALKS], 8, **NEW)
    scorer = RougeScorer(["rouge1"])
    truth = [row["messages"][-1]["content"] for row in TALKS]
    expected = np.mean([scorer.score(*pair)["rouge1"].fmeasure for pair in zip(truth, answers, strict=True)])
    assert evaluation.metrics["rouge1"] == pytest.approx(expected, abs=1e-12)
    assert evaluation.metrics["number_accuracy"] == 0 and evaluation.rows == 8
    event = trained_writer.events("acme/writer")[-1]
    assert event["metrics"] == json.loads(json.dumps(dict(evaluation.metrics)))
    assert event["generation"]["decoding"]["max_new_tokens"] == 6
    assert event["generation"]["decoding"]["temperature"] == 0
    assert set(event["metrics"]) == set(event["intervals"])
    left_out = event["generation"]["left_out"]
    assert "--labels" in left_out["label_accuracy"] and "--similarity-base" in left_out["bertscore_f1"]
    assert not set(left_out) & set(event["metrics"])
    assert all(np.isfinite(value) for value in evaluation.metrics.values())
    assert evaluation.outcomes["answer"].to_pylist() == answers and evaluation.outcomes["truth"].to_pylist() == truth
    kept = parquet.read_table(trained_writer.outcomes("acme/writer"))
    assert not {"truth", "answer"} & {*kept.column_names} and kept["row"].to_pylist() == list(range(8))
    assert np.mean(kept["score.rouge1"].to_numpy()) == pytest.approx(expected, abs=1e-12)


def test_slices_are_of_the_rows(trained_writer: ahf.Registry, decoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Adapter, "generate", lambda self, prompts, *args, **options: ["Positive."] * len(prompts))
    evaluation = ahf.evaluate(
        "acme/writer",
        tiny_corpus(),
        split="all",
        generate=True,
        by=["label", "length"],
        base=decoder,
        registry=trained_writer,
        resamples=FEW,
        record=False,
        **NEW,
    )
    by_label = {each.value: each for each in evaluation.slices["label"]}
    assert {value: each.metrics["label_accuracy"] for value, each in by_label.items()} == {
        label: float(label == "positive") for label in evaluation.generation["labels"]
    }
    assert sum(each.rows for each in evaluation.slices["length"]) == evaluation.rows
    assert evaluation.body()["slices"]["label"][0]["rows"] == evaluation.slices["label"][0].rows


def test_an_evaluation_that_writes_nothing_has_no_such_record(trained_writer: ahf.Registry, decoder: Path) -> None:
    plain = ahf.evaluate("acme/writer", base=decoder, registry=trained_writer, resamples=FEW, record=False)
    assert (
        plain.generation is None and "generation" not in plain.body() and set(plain.metrics) == {"loss", "perplexity"}
    )


def test_sampled_answers_are_those_of_the_seed(trained_writer: ahf.Registry, decoder: Path, tmp_path: Path) -> None:
    corpus = rows_file(tmp_path, TALKS)
    first, again, other = (
        evaluated(trained_writer, decoder, corpus, temperature=1.0, seed=seed).metrics["chrf"] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_texts_with_labels_are_asked_by_a_template(
    trained_writer: ahf.Registry, decoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def answer(self: Adapter, prompts: Any, *args: Any, **options: Any) -> list[str]:
        asked.extend(prompts)
        cycle = ["Positive.", "I cannot say.", "", "negative or neutral"]
        return [cycle[index % 4] for index in range(len(prompts))]

    monkeypatch.setattr(Adapter, "generate", answer)
    evaluation = ahf.evaluate(
        "acme/writer",
        tiny_corpus(),
        split="all",
        generate=True,
        prompt="Is this good? {text}",
        chat=True,
        base=decoder,
        registry=trained_writer,
        resamples=FEW,
        record=False,
        **NEW,
    )
    assert asked[0][0]["role"] == "user" and asked[0][0]["content"].startswith("Is this good? ")
    metrics = evaluation.metrics
    assert metrics["unparsable"] == pytest.approx(0.75) and metrics["refusals"] == pytest.approx(0.25)
    assert metrics["empty_answers"] == pytest.approx(0.25) and metrics["label_accuracy"] <= 0.25
    assert evaluation.generation["prompt"] == {"text": "Is this good? {text}", "chat": True}
    assert len(evaluation.generation["labels"]) >= 2


def test_states_of_a_named_base_compare_texts(
    trained_writer: ahf.Registry, decoder: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [row["messages"][-1]["content"] for row in TALKS]
    monkeypatch.setattr(Adapter, "generate", lambda self, prompts, *args, **options: [*answers[:-1], ""])
    evaluation = evaluated(trained_writer, decoder, rows_file(tmp_path, TALKS), similarity_base=encoder)
    assert evaluation.metrics["bertscore_f1"] == pytest.approx(7 / 8, abs=1e-4)
    assert evaluation.metrics["semantic_similarity"] == pytest.approx(7 / 8, abs=1e-4)
    assert evaluation.generation["similarity"]["architecture"] == "bert"
    own = evaluated(trained_writer, decoder, rows_file(tmp_path, TALKS), similarity_base="own")
    assert own.generation["similarity"]["architecture"] == "llama"


def test_one_row_and_only_refusals_have_defined_values(
    trained_writer: ahf.Registry, decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = rows_file(tmp_path, [talk("Was it good?", "positive")])
    monkeypatch.setattr(Adapter, "generate", lambda self, prompts, *args, **options: ["I can't answer that."])
    evaluation = evaluated(trained_writer, decoder, corpus, labels=["negative", "neutral", "positive"])
    assert evaluation.metrics["refusals"] == evaluation.metrics["unparsable"] == 1
    assert evaluation.metrics["label_accuracy"] == evaluation.metrics["exact_match"] == 0
    assert "undefined" in evaluation.generation["left_out"]["number_accuracy"]
    assert all(np.isfinite(value) for value in evaluation.metrics.values())


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([*TALKS, talk("Why?", "perhaps")], {"labels": ["a", "b"]}, "row 0 .*which is none of a, b"),
        ([talk("word " * 3000, "yes")], {}, "row 0: the prompt and 6 new tokens make .* positions"),
        (TALKS, {"labels": ["a"]}, "two or more"),
        (TALKS, {"labels": ["a", "A"]}, "differ in case at most"),
        (TALKS, {"prompt": "no place"}, r"has no \{text\}"),
        (TALKS, {"generate": False}, "set generate"),
        (TALKS, {"temperature": -1.0}, "temperature"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    trained_writer: ahf.Registry, decoder: Path, tmp_path: Path, rows: Any, options: Any, message: str
) -> None:
    before = len(trained_writer.events("acme/writer"))
    with pytest.raises((BadCorpus, BadRecipe), match=message):
        ahf.evaluate(
            "acme/writer",
            rows_file(tmp_path, rows),
            split="all",
            base=decoder,
            registry=trained_writer,
            **{"generate": True, **NEW, **options},
        )
    assert len(trained_writer.events("acme/writer")) == before


def test_a_version_that_writes_no_text_is_refused(trained: Any) -> None:
    with pytest.raises(BadRecipe, match="acme/tone@1 writes no text: its head is classify"):
        ahf.evaluate(trained.version, registry=ahf.Registry(trained.version.folder.parents[4]), generate=True)


def test_texts_without_an_answer_are_refused(trained_writer: ahf.Registry, decoder: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "Profit rose."}\n{"text": "Profit fell."}', encoding="utf-8")
    with pytest.raises(BadCorpus, match="no answer to compare with"):
        evaluated(trained_writer, decoder, {"name": "table", "path": str(path)})


def test_a_metric_whose_package_is_missing_is_left_out_by_name(
    trained_writer: ahf.Registry, decoder: Path, tmp_path: Path
) -> None:
    ahf.register(
        Metric(
            name="meteor",
            summary="Of a test.",
            target="adapterhub_fin_plugins.written.overlap:token_f1",
            measures="written",
            requires=("a-package-that-is-not-there>=1",),
        )
    )
    evaluation = evaluated(trained_writer, decoder, rows_file(tmp_path, TALKS[:2]))
    assert "pip install 'a-package-that-is-not-there>=1'" in evaluation.generation["left_out"]["meteor"]
    assert "meteor" not in evaluation.metrics


def test_the_command_measures_what_is_written_and_says_what_it_could_not(
    trained_writer: ahf.Registry, decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AHF_HOME", str(trained_writer.root))
    corpus = rows_file(tmp_path, TALKS)
    command = ["evaluate", "acme/writer", "instructions", "--set", f"path={corpus['path']}", "--split", "all"]
    command += ["--base", str(decoder), "--resamples", str(FEW), "--no-record"]
    run = CliRunner().invoke(group, [*command, "--generate", "--max-new-tokens", "6"], catch_exceptions=False)
    assert run.exit_code == 0 and "rouge_l" in run.stdout
    assert "not measured: label_accuracy: it is of answers that are labels: name them with --labels" in run.stdout
    rows = tmp_path / "answers.jsonl"
    again = CliRunner().invoke(group, [*command, "--generate", "--max-new-tokens", "6", "--json", "--out", str(rows)])
    written = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    assert [row["truth"] for row in written] == [row["messages"][-1]["content"] for row in TALKS]
    assert all(isinstance(row["answer"], str) for row in written) and not list(tmp_path.glob(".*"))
    wrong = CliRunner().invoke(group, [*command, "--out", "answers.xlsx"])
    assert "neither a .parquet nor a .jsonl" in f"{wrong.stderr}{wrong.exception}"
    assert json.loads(again.stdout)["generation"]["decoding"]["max_new_tokens"] == 6
    refused = CliRunner().invoke(group, [*command, "--max-new-tokens", "6"])
    assert refused.exit_code == 1 and "set generate" in f"{refused.stderr}{refused.exception}"
