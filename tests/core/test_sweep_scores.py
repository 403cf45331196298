"""The table of a sweep: means and intervals over seeds, the best of them, and pictures that show what the table has."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from scipy import stats

from adapterhub_fin.engine.sweeping.combinations import Combination, Job
from adapterhub_fin.engine.sweeping.progress_bar import SweepBar
from adapterhub_fin.engine.sweeping.scores import Row, Scores, best, mean_interval, table, tried
from adapterhub_fin.errors import TrainingFailed
from adapterhub_fin.reporting.option_figures import Point, scores_by_option

ONE: Combination = (("method.rank", "4"),)
TWO: Combination = (("method.rank", "8"),)


def complete(score: float) -> dict[str, Any]:
    return {"state": "complete", "score": score, "steps": 3, "base": "one"}


def rows_of(results: dict[Job, Any], seeds: tuple[int, ...] = (0, 1, 2), folds: int | None = None) -> list[Row]:
    return table([ONE, TWO], seeds, folds, results.get)


def test_a_mean_with_its_interval_is_student_s() -> None:
    scores = [0.81, 0.84, 0.79, 0.86, 0.83]
    low, high = stats.t.interval(0.95, 4, loc=sum(scores) / 5, scale=stats.sem(scores))
    assert mean_interval(scores) == pytest.approx((low, high), abs=1e-12)
    assert mean_interval([0.5]) is None and mean_interval([0.5, 0.5]) == (0.5, 0.5)


def test_a_combination_has_a_mean_once_every_seed_is_complete() -> None:
    results = {Job(ONE, seed, None): complete(0.1 * seed + 0.5) for seed in (0, 1, 2)}
    results |= {Job(TWO, 0, None): complete(0.9), Job(TWO, 1, None): {"state": "failed", "reason": "the loss is nan"}}
    one, two = rows_of(results)
    assert one.score == pytest.approx(0.6) and one.scores == {0: 0.5, 1: 0.6, 2: 0.7} and one.state == "complete"
    assert (two.score, two.interval, two.state) == (None, None, "failed") and two.scores == {0: 0.9}
    assert two.reason == "seed 1: the loss is nan"
    results[Job(TWO, 1, None)] = {"state": "pruned", "score": 0.2, "after": 3}
    assert rows_of(results)[1].reason == "seed 1: pruned after evaluation 3"
    del results[Job(TWO, 1, None)]
    assert rows_of(results)[1].state == "unfinished"
    assert tried([ONE, TWO], (0, 1, 2), None, results.get) == [(ONE, 0), (ONE, 1), (ONE, 2), (TWO, 0)]
    assert [Row.read(json.loads(json.dumps(row.document()))) for row in rows_of(results)] == rows_of(results)


def test_a_score_is_the_mean_over_folds_and_counts_as_one() -> None:
    results = {Job(ONE, seed, fold): complete(0.1 * seed + 0.2 * fold) for seed, fold in product((0, 1), (0, 1))}
    one, _ = rows_of(results, (0, 1), 2)
    assert one.scores == {0: 0.1, 1: pytest.approx(0.2)} and one.score == pytest.approx(0.15)
    assert tried([ONE, TWO], (0, 1), 2, results.get) == [(ONE, 0), (ONE, 1)]
    del results[Job(ONE, 1, 1)]
    assert rows_of(results, (0, 1), 2)[0].scores == {0: 0.1}


def test_the_best_is_complete_and_of_equals_the_first() -> None:
    rows = [
        Row({"a": "1"}, {0: 0.9}, None, None, "failed", "seed 1: it broke"),
        Row({"a": "2"}, {0: 0.5, 1: 0.7}, 0.6, None, "complete"),
        Row({"a": "3"}, {0: 0.6, 1: 0.6}, 0.6, None, "complete"),
        Row({"a": "4"}, {0: 0.1, 1: 0.2}, 0.15, None, "complete"),
    ]
    assert best(rows, greater_is_better=True) == 1 and best(rows, greater_is_better=False) == 3
    more, less = Scores(rows, "accuracy", True), Scores(rows, "mse", False)
    assert (more.winner.options, more.seed) == ({"a": "2"}, 1) and (less.winner.options, less.seed) == ({"a": "4"}, 0)
    assert [row.options["a"] for row in more.ranked()] == ["2", "3", "4", "1"]
    assert [row.options["a"] for row in less.ranked()] == ["4", "2", "3", "1"]
    assert [cells[-1] for cells in more.table()] == ["winner", "", "", "seed 1: it broke"]
    assert [row.options["a"] for row in more.failed] == ["1"]
    with pytest.raises(TrainingFailed, match=r"(?s)no combination of the sweep was completed:.*a=1: seed 1: it broke"):
        best(rows[:1], greater_is_better=True)


def test_the_line_shows_the_runs_and_the_best_so_far(capsys: pytest.CaptureFixture[str]) -> None:
    with SweepBar(2) as bar:
        bar.ended(1)
        bar.best("best accuracy 0.8000: method.rank=8")
        bar.ended(2)
        bar.ended(2)
    assert capsys.readouterr().err == "sweep: run 2 of 2, best accuracy 0.8000: method.rank=8\n"


def points() -> list[Point]:
    return [
        Point(
            rank, f"rate={rate}", 0.5 + int(rank) / 100, (0.4, 0.7), (0.45, 0.6), is_winner=(rank, rate) == ("8", "b")
        )
        for rate, rank in product("ab", ("2", "4", "8"))
    ]


def test_a_picture_joins_what_differs_in_one_option_alone() -> None:
    figure = scores_by_option("method.rank", points(), "accuracy", scale=None)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2", "4", "8"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("method.rank", "validation accuracy")
    assert sorted(axes.get_legend_handles_labels()[1]) == ["rate=a", "rate=b", "winner"]
    joined = [line.get_ydata().tolist() for line in axes.lines if line.get_linestyle() != "None"]  # type: ignore[union-attr]
    assert joined == [pytest.approx([0.52, 0.54, 0.58])] * 2
    winner = next(line for line in axes.lines if line.get_label() == "winner")
    assert winner.get_ydata() == [0.58] and winner.get_xdata()[0] == pytest.approx(2.06)  # type: ignore[index]


def test_a_range_is_drawn_on_its_scale() -> None:
    figure = scores_by_option("training.learning_rate", points(), "accuracy", scale="log")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log" and not [line for line in axes.lines if line.get_linestyle() in ("-", "--")]
