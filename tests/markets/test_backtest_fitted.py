"""Tables whose confidence or threshold was fitted: it is fitted again, and refused where that can't be."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapterhub_fin.errors import BadRecipe, LookAhead
from adapterhub_fin_markets.backtest.run import backtest
from adapterhub_fin_markets.signals.making import signals
from adapterhub_fin_markets.signals.table import Signals

TONES = ("positive", "negative", "neutral")
WORDS = ("profit rose.", "profit fell.", "meets in May.")
FIT = {"fit_before": "2020-01-20"}


def write_labelled(path: Path, start: str, hours: int) -> dict[str, Any]:
    """Write sixty labelled texts of two tickers, every fourth with another one's label, and return their corpus."""
    first = datetime.fromisoformat(start)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "at", "symbol", "tone"])
        for row in range(60):
            at = (first + timedelta(hours=hours * row)).isoformat()
            tone = TONES[(row + (row % 4 == 0)) % 3]
            table.writerow([f"Firm {row}: {WORDS[row % 3]}", at, ("AAA", "BBB")[row % 2], tone])
    columns = {"text": "text", "available_at": "at", "label": "tone", "label_horizon": "0d"}
    return {"name": "table", "path": str(path), **columns}


@pytest.fixture
def labels(pair: Any) -> dict[str, Any]:
    """Return a corpus of labelled texts from 2 January 2020 on, seven hours apart."""
    return write_labelled(pair.folder / "labels.csv", "2020-01-02T00:30:00+00:00", 7)


def fitted_table(pair: Any, table: Signals, labels: dict[str, Any] | None, **parts: Any) -> dict[str, Any]:
    document: dict[str, Any] = pair.table_recipe(table, **parts)
    if labels is not None:
        document["signals"]["labels"] = labels
    return document


def refusal(document: dict[str, Any], *reasons: str) -> str:
    """Return the sentence of the refusal; what is used all the same is not strict, and says so in red."""
    with pytest.raises(LookAhead) as error:
        backtest(document)
    result = backtest(document, allow_lookahead=True)
    assert not result.strict and {refused.reason for refused in result.refusals} == set(reasons)
    assert any(mark.red for mark in result.marks) and result.record()["strict"] is False
    return str(error.value)


@pytest.mark.parametrize("kind", ["calibration", "threshold"])
def test_what_was_fitted_is_fitted_again(pair: Any, labels: dict[str, Any], kind: str) -> None:
    option: dict[str, Any] = {**FIT, "corpus": labels, **({"precision": 0.3} if kind == "threshold" else {})}
    span = {"test": {"from": "2020-01-21"}}
    made = backtest(pair.recipe({kind: option, "adapter": "acme/tone@2", "aggregate": "mean"}, **span))
    assert made.strict and [fact["what"] for fact in made.signals.facts["fitted"]] == [kind]
    again = backtest(fitted_table(pair, made.signals, labels, **span))
    assert again.strict and again.ledger.equity.tolist() == made.ledger.equity.tolist()

    sentence = refusal(fitted_table(pair, made.signals, None, **span), "unverified")
    assert f"its {kind} can't be fitted again: it was on the corpus table: give that as signals.labels" in sentence
    other = write_labelled(pair.folder / "other.csv", "2020-01-02T00:30:00+00:00", 6)
    assert "and it was on sha256:" in refusal(fitted_table(pair, made.signals, other, **span), "unverified")

    surer = replace(made.signals, confidence=np.minimum(made.signals.confidence * 1.01, 1))
    assert "answer its texts otherwise" in refusal(fitted_table(pair, surer, labels, **span), "opinion")
    unsaid = replace(made.signals, facts={**made.signals.facts, "fitting": {}})
    assert "does not say how" in refusal(fitted_table(pair, unsaid, labels, **span), "unverified")


def test_a_fit_is_dated_by_its_labels_and_not_by_the_table(pair: Any, labels: dict[str, Any]) -> None:
    texts = pair.recipe()["signals"]["texts"]
    made = signals("acme/tone", texts, calibration={**FIT, "corpus": labels}, allow_lookahead=True)
    [fact] = made.facts["fitted"]
    assert fact["until"] == "2020-01-19T05:30:00Z"
    late = made.known_at >= made.at
    assert late.sum() == 16, "decisions from before the labels were known"
    facts = {**made.facts, "fitted": [{**fact, "until": "2020-01-05T00:00:00Z"}], "allow_lookahead": False}
    forged = replace(made, facts=facts, known_at=np.where(late, made.at - np.timedelta64(1, "us"), made.known_at))
    sentence = refusal(fitted_table(pair, forged, labels), "fitted")
    assert "its calibration was fitted to what was known until 2020-01-19T05:30:00" in sentence


def test_labels_of_the_texts_own_corpus_fit_again(pair: Any) -> None:
    texts = write_labelled(pair.folder / "own.csv", "2020-01-02T00:30:00+00:00", 20) | {"group": "symbol"}
    document = pair.recipe({"calibration": {"fit_before": "2020-01-25"}}, test={"from": "2020-01-26"})
    document["signals"]["texts"] = texts
    made = backtest(document)
    table = fitted_table(pair, made.signals, None, test={"from": "2020-01-26"})
    table["signals"]["texts"] = texts
    assert backtest(table).ledger.equity.tolist() == made.ledger.equity.tolist()
    unlabelled = {name: value for name, value in texts.items() if not name.startswith("label")}
    table["signals"]["texts"] = unlabelled
    assert "can't be fitted again: what is fitted needs labels" in refusal(table, "unverified")


def test_labels_are_for_tables(pair: Any, labels: dict[str, Any]) -> None:
    with pytest.raises(BadRecipe, match="labels are for a table: give the corpus in calibration, or in threshold"):
        backtest(pair.recipe({"labels": labels}))
