"""The log of trials: no line is lost or doubled, whoever writes at once, and only overlapping recipes count."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adapterhub_fin import Corrupted, WriteFailed
from adapterhub_fin.stats.undefined import Undefined
from adapterhub_fin_markets.backtest.trials import (
    LOG,
    Trial,
    Trials,
    instant_text,
    log_trial,
    read_trials,
    trials_beside,
)

YEAR_2023 = Trial("sha256:a", "acme/tone", "2023-01-01T00:00:00.000000Z", "2023-12-31T00:00:00.000000Z", 0.1, 365, 365)

WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from adapterhub_fin_markets.backtest.trials import Trial, log_trial
for number in range(25):
    recipe = f"sha256:{sys.argv[2]}-{number}"
    log_trial(Path(sys.argv[1]), Trial(recipe, "n" * 3000, "2023", "2024", 0.1, 365, 365))
"""


def test_processes_and_threads_lose_no_line(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(number)]) for number in range(4)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: log_trial(tmp_path, replace(YEAR_2023, recipe=f"thread-{n}")), range(100)))
    assert [writer.wait() for writer in writers] == [0] * 4
    logged = read_trials(tmp_path)
    assert len(logged) == 200 and len({trial.recipe for trial in logged}) == 200


def test_what_is_logged_is_read(tmp_path: Path) -> None:
    assert read_trials(tmp_path) == []
    log_trial(tmp_path, YEAR_2023)
    log_trial(tmp_path, replace(YEAR_2023, sharpe=None))
    first, second = read_trials(tmp_path)
    assert replace(first, at="") == YEAR_2023 and second.sharpe is None and first.at <= second.at


@pytest.mark.parametrize("cut", [1, 20, 10_000])
def test_a_line_that_a_crash_cut_off_counts_for_none_and_goes(tmp_path: Path, cut: int) -> None:
    log_trial(tmp_path, YEAR_2023)
    whole = (tmp_path / LOG).read_bytes()
    (tmp_path / LOG).write_bytes(whole + whole[:-1][:cut])  # even all of it but the end: its backtest showed nothing
    assert len(read_trials(tmp_path)) == 1
    log_trial(tmp_path, replace(YEAR_2023, recipe="sha256:b"))
    assert [trial.recipe for trial in read_trials(tmp_path)] == ["sha256:a", "sha256:b"]


def test_a_log_of_one_cut_line_is_empty(tmp_path: Path) -> None:
    (tmp_path / LOG).parent.mkdir()
    (tmp_path / LOG).write_bytes(b'{"recipe"')
    assert read_trials(tmp_path) == []
    log_trial(tmp_path, YEAR_2023)
    assert len(read_trials(tmp_path)) == 1


@pytest.mark.parametrize("line", ["{}", "no json", "", '{"recipe": 1}', "[]"])
def test_another_broken_line_is_an_error_that_says_what_to_do(tmp_path: Path, line: str) -> None:
    log_trial(tmp_path, YEAR_2023)
    with (tmp_path / LOG).open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(Corrupted, match=r"line 2 of .* is no trial .* restore the file from a copy, or delete that"):
        read_trials(tmp_path)


def test_a_value_of_another_type_is_an_error(tmp_path: Path) -> None:
    log_trial(tmp_path, YEAR_2023)
    document = {**json.loads((tmp_path / LOG).read_text()), "sharpe": "high"}
    (tmp_path / LOG).write_text(json.dumps(document) + "\n")
    with pytest.raises(Corrupted, match="sharpe is 'high'"):
        read_trials(tmp_path)


def test_a_log_that_can_not_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "backtests").write_text("in the way")
    with pytest.raises(WriteFailed, match="can't be counted"):
        log_trial(tmp_path, YEAR_2023)


def test_distinct_recipes_on_overlapping_spans_count() -> None:
    later = replace(YEAR_2023, recipe="sha256:b", first=YEAR_2023.last, last="2024-12-31T00:00:00.000000Z", sharpe=0.3)
    after = replace(later, recipe="sha256:c", first="2024-01-01T00:00:00.000000Z")
    again = replace(YEAR_2023, sharpe=0.2)
    of = trials_beside(again, [YEAR_2023, later, after, replace(later, sharpe=0.4), again])
    assert of.count == 2 and sorted(of.ratios) == [0.2, 0.4]
    assert of.variance == pytest.approx(0.02)


def test_a_trial_is_of_itself_even_where_it_is_not_logged() -> None:
    of = trials_beside(YEAR_2023, [])
    assert of.count == 1 and of.variance == 0


def test_ratios_of_other_intervals_are_made_comparable() -> None:
    hourly = replace(YEAR_2023, recipe="sha256:b", sharpe=0.02, a_year=8760)
    of = trials_beside(YEAR_2023, [hourly])
    assert sorted(of.ratios) == pytest.approx([0.02 * 24**0.5, 0.1])


def test_a_trial_without_a_ratio_counts_and_a_variance_needs_two() -> None:
    of = trials_beside(YEAR_2023, [replace(YEAR_2023, recipe="sha256:b", sharpe=None)])
    assert of.count == 2
    with pytest.raises(Undefined, match="of 2 trials, 1 have a Sharpe ratio"):
        _ = of.variance
    assert Trials(3, np.array([0.1, 0.3])).variance == pytest.approx(0.02)


def test_instants_are_texts_in_their_order() -> None:
    assert instant_text(np.datetime64("2023-01-01T00:00", "us")) == "2023-01-01T00:00:00.000000Z"
    assert instant_text(np.datetime64("2023-01-01T00:00:00.000001")) > instant_text(np.datetime64("2023-01-01", "D"))
