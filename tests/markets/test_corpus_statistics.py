"""`ahf market corpus` and the statistics behind it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from datasets import Dataset

from adapterhub_fin.errors import BadCorpus
from adapterhub_fin_markets.cli.market import command
from adapterhub_fin_markets.corpora.statistics import corpus_statistics


def test_lengths_dates_terms_and_slices() -> None:
    table = Dataset.from_dict(
        {
            "text": ["Net income rose.", "Net income of the balance sheet, net income", "one two"],
            "available_at": [datetime(year, 5, 1, tzinfo=UTC) for year in (2023, 2024, 2024)],
            "group": ["a", "b", "a"],
            "slices": [{"form": "10-K"}, {"form": "8-K"}, {"form": "10-K"}],
        }
    )
    found = corpus_statistics(table, 1)
    assert found.words == 13 and found.words_by_row == {
        "shortest": 2,
        "5 %": 2,
        "median": 3,
        "95 %": 8,
        "longest": 8,
    }
    assert found.terms == {"net income": (3, 2)} and found.rows_without_terms == 1
    assert found.term_share == pytest.approx(8 / 13, abs=1e-4) and found.groups == 2
    assert found.available == ("2023-05-01T00:00:00Z", "2024-05-01T00:00:00Z")
    assert found.rows_by_year == {"2023": 1, "2024": 2} and found.slices == {"form": {"10-K": 2, "8-K": 1}}
    with pytest.raises(BadCorpus, match="neither text nor messages; it has x"):
        corpus_statistics(Dataset.from_dict({"x": [1]}))


def test_the_command_describes_a_corpus(tmp_path: Path) -> None:
    for day in ("20240131", "20240320", "20240501"):
        (tmp_path / f"{day}.txt").write_text("The Committee left the federal funds rate unchanged; net income rose 5%.")
    options = ["--set", f"path={tmp_path}", "--set", "kind=statements", "--set", "near_duplicates=1"]
    run = CliRunner().invoke(command, ["corpus", "fomc", *options])
    assert run.exit_code == 0, run.output
    assert "rows by year" in run.output and "2024: 1" in run.output and "dropped, near-duplicates" in run.output
    run = CliRunner().invoke(command, ["corpus", "fomc", *options, "--json", "--terms", "2"])
    answer = json.loads(run.output)
    assert answer["rows"] == 1 and answer["notes"] == {"dropped, near-duplicates": 2} and len(answer["terms"]) <= 2
    nested = [f"corpus.{option}" if option != "--set" else option for option in options[:4]]
    run = CliRunner().invoke(command, ["corpus", "templates", "--set", "corpus.name=fomc", *nested, "--json"])
    assert json.loads(run.output)["rows"] == 3, run.output


@pytest.mark.parametrize("text", ["path", "=x", "path={"])
def test_an_option_that_cannot_be_read_is_refused(text: str) -> None:
    run = CliRunner().invoke(command, ["corpus", "fomc", "--set", text])
    assert run.exit_code == 2 and "--set" in run.output
