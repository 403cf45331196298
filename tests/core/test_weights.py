"""Training rows count as their weights say, and those of a mixture as often as `repeat` says; other parts never do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

import adapterhub_fin as ahf
from adapterhub_fin.engine.data.sampling import LengthGroupedBatches, drawn
from adapterhub_fin.engine.data.weights import repeated, row_weights
from adapterhub_fin.plugin import corpus_options, load_corpus
from adapterhub_fin.recipe.sampling import Sampling

weights_of_rows = st.lists(st.floats(0, 100), min_size=1, max_size=60).filter(lambda w: sum(w) > 1e-6)


@given(weights_of_rows, st.integers(0, 1000))
def test_each_row_is_drawn_within_one_of_its_share(weights: list[float], seed: int) -> None:
    rows = drawn(torch.tensor(weights, dtype=torch.float64), torch.Generator().manual_seed(seed))
    counts, total = Counter(rows), sum(weights)
    assert len(rows) == len(weights)
    for row, weight in enumerate(weights):
        share = weight * len(weights) / total
        assert np.floor(share - 1e-6) <= counts[row] <= np.ceil(share + 1e-6)
        assert weight or not counts[row]


def test_over_epochs_each_row_gets_its_share() -> None:
    sampler = LengthGroupedBatches([3, 5, 4, 9], 2, seed=1, weights=[0.5, 1.0, 2.5, 0.0])
    counts: Counter[int] = Counter()
    for epoch in range(400):
        sampler.set_epoch(epoch)
        counts.update(sampler)
    assert len(sampler) == 4 and counts[3] == 0
    assert np.allclose([counts[row] / 400 for row in range(3)], [0.5, 1.0, 2.5], atol=0.1)
    assert [*sampler] == [*sampler], "an epoch's order depends on seed and epoch alone"


def test_without_weights_the_order_is_as_ever() -> None:
    plain = LengthGroupedBatches([3, 5, 4, 9, 1], 2, seed=3)
    assert sorted(plain) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({"by": "label"}, [2 / 3] * 3 + [2.0]),  # each label half of all draws
        ({"by": "label", "power": 0.5}, [0.8453, 0.8453, 0.8453, 1.4641]),
        ({"by": "label", "cap": 1.5}, [0.7619] * 3 + [1.7143]),
    ],
)
def test_rare_labels_are_drawn_more_often(sampling: dict[str, Any], expected: list[float]) -> None:
    rows = Dataset.from_dict({"label": ["a", "a", "a", "b"]})
    weights = row_weights(rows, Sampling(**sampling))
    assert weights is not None and np.allclose(weights, expected, atol=1e-3) and np.isclose(np.mean(weights), 1)


def test_targets_of_zero_are_a_bucket_of_their_own() -> None:
    rows = Dataset.from_dict({"target": [0.0] * 8 + [0.01, 0.02, 1.0, -1.0]})
    weights = row_weights(rows, Sampling(by="bucket", buckets=2, cap=100))
    assert weights is not None
    by_kind = [sum(weights[:8]), sum(weights[8:11]), weights[11]]  # zero; 0 to 1; -1 to 0
    assert np.allclose(by_kind, [4, 4, 4])


def test_the_column_weight_multiplies() -> None:
    rows = Dataset.from_dict({"label": ["a", "a", "b", "b"], "weight": [1.0, 3.0, 0.0, 2.0]})
    assert row_weights(rows, None) == pytest.approx([2 / 3, 2, 0, 4 / 3])
    assert row_weights(rows.remove_columns("weight"), None) is None
    with pytest.raises(ahf.BadRecipe, match="every training row has the weight 0"):
        row_weights(Dataset.from_dict({"weight": [0.0, 0.0]}), None)
    with pytest.raises(ahf.BadRecipe, match="looks at the column 'target', which the corpus lacks"):
        row_weights(rows, Sampling(by="bucket"))


def test_rows_are_repeated_in_place() -> None:
    assert list(repeated(Dataset.from_dict({"text": ["a", "b"], "repeat": [2, 1]}))["text"]) == ["a", "a", "b"]


def rows_of(who: str, count: int, rare: int) -> list[dict[str, str]]:
    ups = [bool(i % rare) for i in range(count)]
    return [
        {"text": f"{who} {i} {'rose' if up else 'fell'} on day {i}.", "label": "up" if up else "down"}
        for i, up in enumerate(ups)
    ]


ROWS, OTHERS = rows_of("Firm", 80, 4), rows_of("Desk", 40, 2)


def recipe(encoder: Path, **keys: Any) -> dict[str, Any]:
    base = {"id": "acme/tiny", "path": str(encoder)}
    plain = {"name": "acme/weighed", "base": base, "method": {"name": "lora", "rank": 2}}
    return {**plain, "training": {"epochs": 1, "max_length": 32}, **keys}


def test_a_mixture_within_a_mixture_repeats_as_often_as_both_say() -> None:
    rows = {"name": "headlines", "rows": 400}
    inner = {"name": "mixture", "corpora": [rows, {**rows, "repeat": 2}], "repeat": 3}
    table = load_corpus(*corpus_options({"name": "mixture", "corpora": [inner, rows]})).table
    assert Counter(table["repeat"]) == {3: 400, 6: 400, 1: 400}


def test_a_mixture_dates_rows_by_what_their_corpus_states(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("text,at\nRates rose.,2013-05-01T18:00:00Z\n")
    (tmp_path / "old.csv").write_text("text\nCorn is dear.\nWool is cheap.\n")
    new = {"name": "table", "path": tmp_path / "new.csv", "available_at": "at"}
    old = {"name": "table", "path": tmp_path / "old.csv", "knowledge_end": "1776-12-31T00:00:00Z", "evidence": "title"}
    rows = load_corpus(*corpus_options({"name": "mixture", "corpora": [new, old]}))
    assert [at.year for at in rows.table["available_at"]] == [2013, 1776, 1776]
    assert rows.notes["dated by their stated end"] == 2
    undated = {key: value for key, value in old.items() if key not in ("knowledge_end", "evidence")}
    with pytest.raises(ahf.BadCorpus, match="available_at"):
        load_corpus(*corpus_options({"name": "mixture", "corpora": [new, undated]}))


def test_a_mixture_is_divided_as_one_and_repeats_training_rows_alone(encoder: Path) -> None:
    twice = [*ROWS[:10], *OTHERS]  # ten texts are in both
    corpora = [{"data": ROWS, "label": "label"}, {"data": twice, "label": "label", "repeat": 2}]
    plan = ahf.preview(recipe(encoder, corpora=corpora))
    splits = plan.corpora.splits
    assert sum(map(len, splits.values())) == 130
    texts = {split: set(table["text"]) for split, table in splits.items()}
    assert not texts["train"] & (texts["test"] | texts["validation"]), "copies stay in one part"
    repeats = sum(splits["train"]["repeat"])
    assert len(plan.examples["train"]) == repeats > len(splits["train"])
    assert len(plan.examples["test"]) == len(splits["test"])
    assert plan.corpora.record["rows"]["train"] == len(splits["train"]), "the record is of the rows, each once"
    options = plan.corpora.record["options"]["corpora"]
    assert [part["name"] for part in options] == ["table", "table"] and options[1]["repeat"] == 2
    run = ahf.train(recipe(encoder, corpora=corpora))
    assert run.version.manifest.corpus.name == "mixture"  # type: ignore[union-attr]


def test_a_run_draws_by_weight_and_alike_each_time(encoder: Path) -> None:
    """The same recipe gives the same weights of the adapter, other sampling gives others."""
    sampling = {"epochs": 2, "max_length": 32, "sampling": {"by": "label"}}
    one = ahf.train(recipe(encoder, corpus={"data": ROWS, "label": "label"}, training=sampling))
    same = ahf.train(recipe(encoder, corpus={"data": ROWS, "label": "label"}, training=sampling))
    plain = ahf.train(recipe(encoder, corpus={"data": ROWS, "label": "label"}, name="acme/plain"))
    files = [{file.path: file.sha256 for file in run.version.manifest.files} for run in (one, same, plain)]
    assert files[0] == files[1] != files[2]
    assert one.version.manifest.corpus.digest == plain.version.manifest.corpus.digest  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"corpora": [{"data": ROWS, "label": "label"}]}, "at least 2"),
        ({"corpora": ["headlines", {"name": "headlines", "repeat": 0}]}, "1 to 1000, and not 0"),
        ({"corpora": ["headlines", "headlins"]}, "headlins"),
        ({"corpora": ["headlines", {"name": "headlines", "rowz": 5}]}, "rowz"),
        ({"corpora": ["headlines", {"name": "headlines", "splitter": {"by": "random"}}]}, "has the splitter"),
        ({"corpora": ["headlines"], "corpus": "headlines"}, "give one of them"),
        ({"corpora": 5}, "corpora"),
        ({"corpus": "headlines", "training": {"sampling": {"by": "size"}}}, "sampling"),
        ({"corpus": "headlines", "training": {"sampling": {"by": "label", "power": 2}}}, "power"),
    ],
)
def test_what_can_not_be_mixed_or_drawn_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ahf.AdapterHubError, match=message):
        ahf.Recipe.read({"name": "acme/weighed", **keys}).check()


def test_corpora_with_other_columns_are_refused(encoder: Path) -> None:
    corpora = [{"data": ROWS, "label": "label"}, {"data": OTHERS}]
    with pytest.raises(ahf.BadCorpus, match="table has no column 'label', which table has"):
        ahf.preview(recipe(encoder, corpora=corpora))
