"""What is particular about a corpus is said: labels by part, slips, copies, classes that a part lacks. (G 15)"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapterhub_fin as ahf
from adapterhub_fin.engine.data.labels import FEW, label_warnings, missing_labels, one_answer
from adapterhub_fin_registry.model.model_card import card


def counts(**rows: int) -> dict[str, dict[str, int]]:
    return {label: {"train": number, "validation": 0, "test": 0} for label, number in rows.items()}


MISSING = ["N/A", "nan", "NULL", "None", "-", "", "na", "<NA>", "#N/A", " ", "NaT"]


@pytest.mark.parametrize("label", MISSING)
def test_a_missing_value_that_became_a_class_is_told(label: str) -> None:
    (said,) = label_warnings({**counts(good=20, bad=20), **counts(**{label: 20})})
    assert repr(label) in said and "missing value" in said and "drop its rows" in said


@given(
    st.sampled_from(["neutral", "très bon", "Straße"]),
    st.sampled_from([str.upper, str.title, lambda text: f" {text} ", lambda text: text.replace(" ", "\u00a0 ")]),
)
def test_labels_that_differ_in_case_or_blanks_are_told(label: str, form: Callable[[str], str]) -> None:
    other = form(label)
    said = label_warnings(counts(**{label: 20, "other": 20, **({other: 20} if other != label else {})}))
    assert (len(said) == 1 and repr(other) in said[0] and "write each in one way" in said[0]) or other == label


@pytest.mark.parametrize(("rows", "told"), [(FEW - 1, True), (FEW, False), (1, True)])
def test_a_class_of_few_rows_is_told(rows: int, told: bool) -> None:
    said = label_warnings(counts(good=20, bad=rows))
    assert bool(said) == told and all("'bad'" in line and "fewer than 5 rows" in line for line in said)


def test_four_hundred_of_them_are_one_line() -> None:
    (said,) = label_warnings(counts(**{f"class {i:03}": 2 for i in range(402)}))
    assert "'class 004' and 397 more" in said and "\n" not in said and len(said) < 300
    assert label_warnings(counts(good=20, bad=20)) == []


def test_the_classes_that_a_part_lacks_are_notes() -> None:
    found = {"a": {"train": 3, "validation": 0, "test": 1}, "b": {"train": 3, "validation": 0, "test": 0}}
    assert missing_labels(found) == {"classes not in validation: a, b": 2, "classes not in test: b": 1}


class Head:
    labels = ("down", "up")


@pytest.mark.parametrize(
    ("truth", "answers", "told"),
    [
        ([0, 1, 1], [1, 1, 1], True),
        ([0, 1, 1], [1, 0, 1], False),
        ([1, 1, 1], [1, 1, 1], False),
        ([0, 1], [0, 0], True),
    ],
)
def test_one_answer_to_rows_of_several_labels_is_told(truth: list[int], answers: list[int], told: bool) -> None:
    head: Any = Head()
    said = one_answer(head, np.array(truth), np.array(answers), "test")
    assert (said is not None) == told
    assert said is None or said.startswith(f"the model answers {Head.labels[answers[0]]!r} to all {len(answers)} rows")
    head.labels = None
    assert one_answer(head, np.array(truth), np.array(answers), "test") is None


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Sixty texts, ten of them twice, one with two labels; and the slips of many a table."""
    tones = ["positive", "negative", "neutral"]
    rows = [f"Firm {i} rose.,{tones[i % 3]}" for i in range(60)]
    rows += [f"FIRM {i}  rose.,{tones[i % 3]}" for i in range(9)] + ["Firm 59 rose.,Positive"]
    rows += [f"Firm {i} met.,N/A" for i in range(6)]
    (tmp_path / "news.csv").write_text("text,tone\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path / "news.csv"


def recipe(table: Path, encoder: Path, **more: Any) -> list[str]:
    keys = {
        "name": "acme/tone",
        "corpus": {"name": "table", "path": str(table), "label": "tone"},
        "base": {"id": "acme/tiny", "path": str(encoder)},
        "training": {"epochs": 1, "learning_rate": 1e-9, "max_length": 24, **more},
    }
    return [
        word
        for key, value in keys.items()
        for word in ("--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}")
    ]


def test_a_dry_run_and_a_run_say_what_is_particular(
    table: Path, encoder: Path, run_ahf: Callable[..., tuple[int, str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        code, out, err = run_ahf("train", "--dry-run", *recipe(table, encoder))
    assert code == 0, err
    facts = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in out.splitlines()}
    assert facts["label N/A"] == "6 (train 4, validation 1, test 1)" and facts["label negative"].startswith("23 (")
    assert facts["rows that are copies of another"] == "10"
    assert facts["rows with contradictory labels"] == "2"
    assert next(name for name in facts if name.startswith("classes not in")).endswith("Positive")
    told = [record.getMessage() for record in caplog.records]
    for slip in ("'N/A' stands for a missing value", "differ only in case or blanks", "fewer than 5 rows"):
        assert sum(slip in line for line in told) == 1, told

    code, out, err = run_ahf("train", "--dry-run", "--json", *recipe(table, encoder))
    document = json.loads(out)
    assert set(document["labels"]) == {"positive", "negative", "neutral", "Positive", "N/A"}
    assert sum(parts["train"] for parts in document["labels"].values()) == document["rows"]["train"]
    assert len(document["warnings"]) == 3 and document["notes"]["that are copies of another"] == 10

    with caplog.at_level(logging.WARNING):
        code, out, err = run_ahf("train", "--json", *recipe(table, encoder))
    assert code == 0, err
    run = json.loads(out)
    assert run["labels"] == document["labels"] and run["notes"] == document["notes"]
    assert len(run["warnings"]) == 4 and run["warnings"][:3] == document["warnings"]
    assert "the model answers" in run["warnings"][3] and run["warnings"][3] in caplog.text
    manifest = ahf.Registry().resolve("acme/tone").manifest
    assert manifest.corpus is not None and manifest.corpus.notes == run["notes"]
    text = card(manifest, "acme/tone")
    assert "10 that are copies of another" in text and "2 with contradictory labels" in text

    caplog.clear()
    with caplog.at_level(logging.WARNING):
        code, out, err = run_ahf("evaluate", "acme/tone", "--from-recipe", "--no-record", "--set", f"path={table}")
    assert code == 0, err
    assert "the model answers" in caplog.text
