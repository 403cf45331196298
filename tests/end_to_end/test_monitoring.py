"""Monitoring a version: new tables against what it was tested on, by signal, exit status and page."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

import adapterhub_fin as ahf
from adapterhub_fin.cli import group
from adapterhub_fin.engine.monitoring.observed import Observed, _answered, from_outcomes
from adapterhub_fin.engine.monitoring.signals import Thresholds, compare
from adapterhub_fin.errors import BadCorpus, BadRecipe, BadText, NotFound
from adapterhub_fin.plugin.answers import LabelSet
from adapterhub_fin.testing import tiny_corpus

WORDS = {"negative": ("fell", "loss", "weak"), "neutral": ("meets", "board", "office"), "positive": ("rose", "profit")}
FAST: dict[str, Any] = {"sample": 120}


def rows_of(count: int, seed: int, labels: tuple[str, ...] = tuple(WORDS), words: int = 8) -> list[dict[str, str]]:
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        label = str(rng.choice(labels))
        size = int(rng.integers(words // 2, words))
        text = " ".join([*(str(word) for word in rng.choice(WORDS[label], size)), f"{number:03}"])  # no copies
        rows.append({"text": text, "label": label})
    return rows


def table(folder: Path, rows: list[dict[str, str]], name: str = "new.csv") -> Path:
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def watched(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ahf.Registry]:
    """acme/watched@1, tested on 150 rows, and an evaluation of it with outcomes."""
    root = tmp_path_factory.mktemp("watched")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(root / "cache"))
        registry = ahf.Registry(root / "home")
        ahf.train(
            name="acme/watched",
            base={"id": "acme/tiny", "path": str(encoder)},
            method={"name": "lora", "rank": 4},
            corpus={
                "name": "table",
                "path": str(table(root, rows_of(300, 0), "rows.csv")),
                "text": "text",
                "label": "label",
                "splitter": {"by": "stratified", "test": 0.5},
            },
            training={"epochs": 2, "batch_size": 16, "max_length": 32, "learning_rate": 5e-3},
            registry=registry,
        )
        ahf.evaluate("acme/watched", base=encoder, registry=registry, resamples=5)
        yield registry


@pytest.fixture
def monitor(watched: ahf.Registry, encoder: Path) -> Callable[..., Any]:
    return lambda path, **options: ahf.monitor(
        "acme/watched", path, base=encoder, registry=watched, **{**FAST, **options}
    )


def verdicts(found: Any) -> dict[str, str]:
    return {signal.name: signal.verdict for signal in found.signals}


def test_rows_of_the_same_kind_show_no_drift(monitor: Callable[..., Any], tmp_path: Path) -> None:
    found = monitor(table(tmp_path, rows_of(150, 1)), label="label")
    assert set(verdicts(found)) == {
        *("tokens", "unknown share", "embeddings", "class shares", "confidence", "accuracy", "calibration")
    }
    assert not found.drifted and found.sentence == "no drift was shown" and found.rows == 150
    assert found.reference == {"corpus": "table", "split": "test", "rows": 150}
    again = monitor(table(tmp_path, rows_of(150, 1)), label="label")
    assert again.body() == found.body()


def test_longer_texts_of_one_label_are_drift_in_all_that_moved(monitor: Callable[..., Any], tmp_path: Path) -> None:
    found = monitor(table(tmp_path, rows_of(150, 2, ("positive",), 20)))
    said = verdicts(found)
    assert found.drifted and said["tokens"] == said["embeddings"] == said["class shares"] == "drift"
    assert found.sentence.startswith("drift: tokens")
    tokens = next(signal for signal in found.signals if signal.name == "tokens")
    assert tokens.psi > 0.25 > tokens.expected_psi and tokens.corrected_p >= tokens.p > 0


def test_wrong_labels_are_seen_where_the_truth_is_known(monitor: Callable[..., Any], tmp_path: Path) -> None:
    rows = [{**row, "label": "neutral"} for row in rows_of(150, 3, ("positive", "negative"))]
    before = monitor(table(tmp_path, rows_of(150, 1)), label="label")
    accuracy = next(signal for signal in before.signals if signal.name == "accuracy")
    assert float(accuracy.before.split("%")[0]) > 90, "the version has learnt something to be wrong about"
    assert verdicts(monitor(table(tmp_path, rows), label="label"))["accuracy"] == "drift"
    assert "accuracy" not in verdicts(monitor(table(tmp_path, rows)))


def test_few_rows_are_told_from_drift(monitor: Callable[..., Any], tmp_path: Path) -> None:
    found = monitor(table(tmp_path, rows_of(20, 2, ("positive",), 20)))
    assert not found.drifted and set(verdicts(found).values()) == {"too few rows to tell"}
    assert found.sentence == ("too few rows to tell: 150 rows before and 20 now, and it takes 50 on each side")
    assert monitor(table(tmp_path, rows_of(20, 2, ("positive",), 20)), min_rows=10).drifted


def test_the_outcomes_of_an_evaluation_stand_for_its_rows(
    monitor: Callable[..., Any], watched: ahf.Registry, tmp_path: Path
) -> None:
    event = watched.events("acme/watched")[-1]["number"]
    of_corpus = monitor(table(tmp_path, rows_of(150, 1)), label="label")
    found = monitor(table(tmp_path, rows_of(150, 1)), label="label", evaluation=event)
    assert found.reference == {"evaluation": event, "rows": 150}
    assert set(verdicts(found)) == {"class shares", "confidence", "accuracy", "calibration"}
    for name in ("class shares", "accuracy"):
        one, other = (next(s for s in each.signals if s.name == name) for each in (found, of_corpus))
        assert (one.before, one.now, one.p) == (other.before, other.now, other.p)
    with pytest.raises(NotFound, match="event 99 of acme/watched@1 is no evaluation"):
        monitor(table(tmp_path, rows_of(60, 1)), evaluation=99)


def test_the_command_ends_with_three_for_drift(
    watched: ahf.Registry, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AHF_HOME", str(watched.root))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(group, [*arguments, "--base", str(encoder), "--sample", "120"])

    fine = run("monitor", "acme/watched", "--table", str(table(tmp_path, rows_of(150, 1))))
    assert fine.exit_code == 0 and "no drift was shown" in fine.stdout
    path = str(table(tmp_path, rows_of(150, 2, ("positive",), 20)))
    drifted = run("monitor", "acme/watched", "--table", path, "--json", "--report", str(tmp_path / "page"))
    assert drifted.exit_code == 3
    body = json.loads(drifted.stdout)
    assert body["drifted"] and body["thresholds"] == {"alpha": 0.01, "min_psi": 0.1, "min_rows": 50}
    page = (tmp_path / "page" / "monitor.html").read_text(encoding="utf-8")
    assert body["verdict"] in page and page.count("<img") == 5 and "class shares" in page
    assert {path.name for path in (tmp_path / "page").glob("*.png")} == {
        *("monitor-tokens.png", "monitor-unknown.png", "monitor-embeddings.png", "monitor-labels.png"),
        "monitor-confidence.png",
    }


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        ([{"text": "a"}, {"text": ""}], {}, BadText, "new.csv, line 3: text is empty"),
        ([{"text": "rose", "label": "up"}], {"label": "label"}, BadCorpus, "line 2: label is 'up', none of negative"),
        ([{"text": "rose"}], {"label": "tone"}, BadRecipe, "no column 'tone'; it has text"),
        ([{"text": "rose"}], {"alpha": 1.5}, BadRecipe, "alpha is 1.5"),
        ([{"text": "rose"}], {"evaluation": 2, "split": "all"}, BadRecipe, "an evaluation has its own rows"),
        ([{"text": "rose"}], {"min_rows": 0}, BadRecipe, "min_rows"),
    ],
)
def test_bad_input_is_one_error(
    monitor: Callable[..., Any], tmp_path: Path, rows: Any, options: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        monitor(table(tmp_path, rows), **options)


def _drawn(rng: np.random.Generator, rows: int) -> Observed:
    labels = rng.choice(["a", "b", "c"], rows, p=[0.6, 0.3, 0.1]).tolist()
    sure = rng.uniform(0.5, 1.0, rows)
    return Observed(
        rows,
        tokens=rng.poisson(20, rows).astype(float),
        vectors=rng.normal(size=(40, 4)),
        labels=labels,
        numbers={"confidence": sure},
        right=(rng.random(rows) < sure).astype(float),
    )


@pytest.mark.parametrize(("alpha", "most"), [(0.05, 18), (0.2, 53)])
def test_without_drift_a_table_alarms_at_most_as_often_as_alpha_says(alpha: float, most: int) -> None:
    """Over all signals together; `most` is the upper end of a binomial's 99 % interval of 200 tables."""
    rng, alarms = np.random.default_rng(11), 0
    for _ in range(200):
        both = _drawn(rng, 120), _drawn(rng, 80)
        found = compare(*both, Thresholds(alpha, 0.0, 10), seed=int(rng.integers(2**31)))
        alarms += any(signal.verdict in ("drift", "small shift") for signal in found)
    assert 1 <= alarms <= most


@pytest.mark.parametrize(("head", "signals"), [("causal-lm", {"loss"}), ("regress", {"value", "error"})])
def test_other_heads_have_signals_of_their_own(
    head: str, signals: set[str], encoder: Path, decoder: Path, tmp_path: Path
) -> None:
    base = encoder if head == "regress" else decoder
    ahf.train(
        name="acme/other",
        base={"path": str(base)},
        method={"name": "lora", "rank": 2},
        head=head,
        corpus={"name": tiny_corpus()},
        training={"epochs": 1, "batch_size": 16, "max_length": 32},
    )
    rows = [{"text": row["text"], "target": str(number - 10)} for number, row in enumerate(rows_of(30, 4))]
    label = "target" if head == "regress" else None
    found = ahf.monitor("acme/other", table(tmp_path, rows), base=base, split="all", min_rows=10, label=label)
    assert signals <= set(verdicts(found)) <= {*signals, "tokens", "unknown share", "embeddings"}
    event = ahf.evaluate("acme/other", base=base, split="all", resamples=5).event
    options: dict[str, Any] = {"base": base, "min_rows": 10, "label": label, "evaluation": event}
    if head == "causal-lm":  # its losses are of blocks, ends of text among them
        with pytest.raises(BadRecipe, match=f"event {event} of acme/other@1 stored no labels or numbers"):
            ahf.monitor("acme/other", table(tmp_path, rows), **options)
        turns = [{"role": "user", "content": "rose " * 40}, {"role": "assistant", "content": "Yes."}]
        long = tmp_path / "long.jsonl"
        long.write_text(json.dumps({"messages": turns}), encoding="utf-8")
        with pytest.raises(BadText, match="long.jsonl, line 1: no answer of the assistant lies within"):
            ahf.monitor("acme/other", long, base=base)
        return
    of_outcomes = ahf.monitor("acme/other", table(tmp_path, rows), **options)
    assert set(verdicts(of_outcomes)) == signals
    for name in signals:
        one, other = (next(s for s in each.signals if s.name == name) for each in (found, of_outcomes))
        assert one.statistic == pytest.approx(other.statistic, abs=0.02), name


def test_label_sets_have_a_signal_for_each_label(tmp_path: Path) -> None:
    answers = [LabelSet(("a",) if row % 2 else ("a", "b"), {"a": 0.9, "b": 0.5}) for row in range(60)]
    observed = Observed(60, **_answered(answers, None))
    stored = pyarrow.table({"truth": [["a"]] * 60, "answer": [["a"]] * 60, "scores": [None] * 60, "loss": [0.1] * 60})
    parquet.write_table(stored, tmp_path / "outcomes.parquet")
    before = from_outcomes(tmp_path / "outcomes.parquet")
    found = compare(before, Observed(60, applied={**observed.applied}), Thresholds(), seed=0)
    assert [(signal.name, signal.verdict) for signal in found] == [("label a", "no drift shown")]
    assert observed.applied["b"].sum() == 30
