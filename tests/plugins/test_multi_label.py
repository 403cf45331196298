"""A text may have any number of labels: Transformers' loss, scikit-learn's metrics, recorded thresholds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.data.corpus import read_rows
from adapterhub_fin.engine.data.duplicates import Copies
from adapterhub_fin.engine.data.stratify import strata
from adapterhub_fin.errors import BadCorpus, BadMerge, BadRecipe
from adapterhub_fin.plugin.descriptions import Corpus, Head
from adapterhub_fin.plugin.interfaces import CorpusImplementation, Rows
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.testing import HeadContract, MetricContract
from adapterhub_fin.testing.bench import TEXTS, Bench
from adapterhub_fin_plugins import metrics

WORDS = {"profit": "profit rose", "debt": "debt fell", "merger": "merges with a rival"}


class Tagged(CorpusImplementation):
    """Sentences whose labels are the things that they speak of: none, one, or several."""

    def __init__(self, options: Any) -> None: ...

    def load(self) -> Rows:
        rows = []
        for number in range(64):
            labels = [name for bit, name in enumerate(WORDS) if number >> bit & 1]
            text = f"Firm {number}: {', and '.join(WORDS[name] for name in labels) or 'it rains'}."
            moment = datetime(2020, 1, 1 + number % 28, tzinfo=UTC)
            rows.append({"text": text, "label": labels, "available_at": moment, "label_known_at": moment})
        return Rows(Dataset.from_list(rows))


@pytest.fixture(autouse=True)
def corpus(registered: None) -> dict[str, Any]:
    ahf.register(Corpus(name="tagged", summary="Tagged sentences.", target=f"{__name__}:Tagged", license="CC0-1.0"))
    return {"name": "tagged"}


def head(**options: Any) -> Any:
    return build_plugin(Head, "multi-label", options)


def bench(folder: Path, kind: Any = "encoder", **options: Any) -> Bench:
    return Bench(folder, kind, {"name": "lora", "rank": 4}, {"name": "multi-label", **options}, {"name": "tagged"})


class TestMultiLabel(HeadContract):
    name = "multi-label"
    corpus = {"name": "tagged"}  # noqa: RUF012


class TestMicroF1(MetricContract):
    name = "micro_f1"


def test_the_loss_is_that_of_transformers(encoder: Path) -> None:
    built = head(labels=["a", "b", "c"])
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(encoder, **built.model_fields()).eval()
    batch = {"input_ids": torch.randint(4, 200, (5, 9)), "attention_mask": torch.ones(5, 9, dtype=torch.long)}
    rows = [{"label": cell} for cell in ([], ["a"], ["c", "a"], "b", ["a", "b", "c"])]
    labels = torch.tensor([built.target(row) for row in rows])
    assert labels.tolist()[2] == [1.0, 0.0, 1.0]
    theirs = model(**batch, labels=labels).loss
    ours = built.loss(model(**batch), labels)
    assert torch.equal(ours, theirs)
    weighted = head(labels=["a", "b", "c"], weights={"a": 2.0, "b": 1.0, "c": 0.5})
    weighted.fit_labels(Dataset.from_list(rows[1:3] + rows[4:]))
    assert float((weighted.loss(model(**batch), labels) - ours).abs().detach()) > 1e-3


def test_metrics_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score

    rng = np.random.default_rng(0)
    truth, said = rng.random((50, 4)) < 0.3, rng.random((50, 4)) < 0.4
    truth[:, 3] = said[:, 3] = False  # a label that neither has
    arrays: Any = (truth, said)
    assert metrics.macro_f1(*arrays) == pytest.approx(f1_score(truth, said, average="macro", zero_division=0))
    assert metrics.micro_f1(*arrays) == pytest.approx(f1_score(truth, said, average="micro"))
    assert metrics.accuracy(*arrays) == pytest.approx(accuracy_score(truth, said))
    nothing: Any = np.zeros((3, 2), dtype=bool)
    assert metrics.micro_f1(nothing, nothing) == 0.0


def test_it_learns_and_answers_with_label_sets(tmp_path: Path) -> None:
    trained = bench(tmp_path)
    run = trained.train("tags", epochs=8)
    assert run.metrics["micro_f1"] > 0.6 and set(run.metrics) == {"accuracy", "macro_f1", "micro_f1"}
    assert run.version.manifest.head is not None and run.version.manifest.head.labels == ("debt", "merger", "profit")
    assert run.labels["debt"]["train"] + run.labels["debt"]["validation"] + run.labels["debt"]["test"] == 32
    for answer, row in zip(run.adapter.predict(list(TEXTS)), run.adapter.logits(list(TEXTS)), strict=True):
        assert isinstance(answer, ahf.LabelSet)
        assert answer.labels == tuple(name for name, logit in zip(answer.scores, row, strict=True) if logit >= 0)
    again = ahf.evaluate(run.reference, registry=trained.registry, base=trained.base(), resamples=5)
    assert again.metrics == run.metrics


def test_fitted_thresholds_are_recorded_and_used_again(tmp_path: Path) -> None:
    trained = bench(tmp_path, threshold="fit")
    run = trained.train("fit", epochs=3)
    stored = run.version.manifest.head
    assert stored is not None and set(stored.options["threshold"]) == {"debt", "merger", "profit"}
    assert len(set(stored.options["threshold"].values())) > 1
    loaded = ahf.load(run.reference, base=trained.base(), registry=trained.registry)
    assert loaded.predict(list(TEXTS)) == run.adapter.predict(list(TEXTS))
    assert run.version.manifest.recipe is not None and run.version.manifest.recipe["head"]["threshold"] == "fit"


def test_a_fitted_threshold_gives_the_best_f1() -> None:
    built = head(labels=["a", "b"], threshold="fit")
    answers = np.array([[3.0, 1.0], [2.0, 1.0], [1.0, 1.0], [-1.0, 1.0]], dtype=np.float32)
    truth = np.array([[True, False], [True, False], [True, False], [False, False]])
    built.calibrate(answers, truth)
    assert built.decide(answers)[:, 0].tolist() == [True, True, True, False]
    assert built.fitted_options()["threshold"]["b"] == 0.5, "without a positive row nothing is fitted"


def test_heads_merge_by_label_but_not_with_other_thresholds(tmp_path: Path) -> None:
    first, second = bench(tmp_path), bench(tmp_path, labels=["profit", "debt", "merger"])
    runs = [each.train(name, epochs=1) for each, name in ((first, "one"), (second, "two"))]
    merged = ahf.merge([run.reference for run in runs], using="linear", into="acme/both", registry=first.registry)
    assert merged.version is not None and merged.version.manifest.head is not None
    assert merged.version.manifest.head.labels == ("debt", "merger", "profit")
    other = bench(tmp_path, threshold=0.3).train("other", epochs=1)
    with pytest.raises(BadMerge, match="decide by another threshold of their head"):
        ahf.merge([runs[0].reference, other.reference], using="linear", into="acme/no", registry=first.registry)


def test_a_row_is_stratified_by_its_rarest_label() -> None:
    labels = [["a"], ["a", "b"], [], ["a"], ["b", "a"], []]
    classes = strata(labels, Copies(list(range(6)), None), np.random.default_rng(0))
    assert sorted(sorted(row for unit in units for row in unit) for units in classes) == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"threshold": 0}, "threshold"),
        ({"threshold": 1.2}, "threshold"),
        ({"threshold": {"profit": 0.4}}, "head.threshold names profit; the labels are debt, merger, profit"),
        ({"labels": ["a", "a"]}, "labels names one label twice"),
        ({"labels": []}, "labels"),
        ({"labels": ["profit", "debt"]}, "the label 'merger', which head.labels does not list"),
        ({"weights": {"profit": 2.0}}, "head.weights names profit; the labels are debt, merger, profit"),
        ({"weights": "equal"}, "weights"),
        ({"weights": "balanced", "labels": ["profit", "debt", "merger", "tax"]}, "'tax' applies to 0 of"),
        ({"pooling": "max"}, "pooling"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_in_one_sentence(options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises((BadRecipe, BadCorpus), match=reason):
        bench(tmp_path, **options).train("tags")


def test_classify_refuses_lists_of_labels(tmp_path: Path) -> None:
    wrong = Bench(tmp_path, "encoder", {"name": "lora"}, {"name": "classify"}, {"name": "tagged"})
    with pytest.raises(BadCorpus, match="is a list: use the head multi-label"):
        wrong.train("tags")


@pytest.mark.parametrize("form", ["lists", "separated"])
def test_a_table_holds_lists_or_separated_texts(form: str, tmp_path: Path) -> None:
    cells = [["up", "tax"], [], ["tax"]]
    path = tmp_path / ("tags.jsonl" if form == "lists" else "tags.csv")
    if form == "lists":
        lines = [json.dumps({"text": f"t{n}", "tags": cell}) for n, cell in enumerate(cells)]
    else:
        lines = ["text,tags", *(f"t{n},{' ; '.join(cell)}" for n, cell in enumerate(cells))]
    path.write_text("\n".join(lines), encoding="utf-8")
    options = {"label": "tags", **({} if form == "lists" else {"label_separator": ";"})}
    choice = CorpusChoice.model_validate({"name": "table", "path": str(path), **options})
    assert list(read_rows(choice, "multi-label").table["label"]) == cells


def test_a_separator_without_a_label_is_refused() -> None:
    with pytest.raises(BadRecipe, match="label_separator stands between the labels of a column: name it as label"):
        read_rows(CorpusChoice.model_validate({"name": "table", "path": "x.csv", "label_separator": ";"}), "classify")
