"""Versions that were yanked later: a backtest has what stood then, names it, and can leave it out."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapterhub_fin import cli
from adapterhub_fin.errors import LookAhead
from adapterhub_fin_markets.backtest.result import BacktestResult
from adapterhub_fin_markets.backtest.run import backtest
from adapterhub_fin_markets.report.writing import write_report
from adapterhub_fin_markets.signals.together import together

NOTE = "acme/tone@3 was yanked at 2020-02-01T00:00:00Z (trained on the wrong rows): "


@pytest.fixture
def yanked(pair: Any, dated_tone: Any) -> Any:
    """Return the material of backtests, of whose versions the last stood from 20 January 2020 to 1 February."""
    dated_tone.date_record(3, "2020-01-20T00:00:00Z")
    dated_tone.yank(3, "2020-02-01T00:00:00Z", "trained on the wrong rows")
    return pair


def answered(result: BacktestResult) -> dict[str, set[str]]:
    """Return the days whose texts each version answered."""
    names = {digest: facts["reference"] for digest, facts in result.signals.facts["versions"].items()}
    days: dict[str, set[str]] = {name: set() for name in names.values()}
    for adapters, text_at in zip(result.signals.adapters, result.signals.text_at, strict=True):
        for digest in adapters:
            days[names[digest]].add(str(text_at)[:10])
    return days


def test_a_backtest_has_the_versions_that_stood_then(yanked: Any, tmp_path: Path) -> None:
    result = backtest(yanked.recipe())
    days = answered(result)
    assert (min(days["acme/tone@3"]), max(days["acme/tone@3"])) == ("2020-01-20", "2020-01-31")
    assert not days["acme/tone@3"] & days["acme/tone@2"] and len(days["acme/tone@2"]) == 28
    assert result.strict and result.marks[0].sentence == (
        f"{NOTE}it answered 24 signals and it is left out of 18 texts from before, which it would have answered"
    )
    [version] = result.record()["yanked"]
    assert (version["reference"], version["at"], version["reason"]) == (
        "acme/tone@3",
        "2020-02-01T00:00:00Z",
        "trained on the wrong rows",
    )
    assert [item.source.rpartition("; ")[2] for item in result.known_by if item.what == "adapter acme/tone@3"] == [
        "yanked at 2020-02-01T00:00:00Z"
    ]
    page = write_report(result, tmp_path / "report").read_text()
    assert "YANKED VERSIONS" in page and page.index("it answered 24 signals") < page.index("Standing notes") + 400
    assert json.loads((tmp_path / "report" / "result.json").read_text())["yanked"] == [version]


def test_yanked_versions_are_left_out_or_counted_by_name(yanked: Any, capsys: pytest.CaptureFixture[str]) -> None:
    left_out = backtest(yanked.recipe({"yanked": "left_out"}))
    assert list(answered(left_out)) == ["acme/tone@2"] and left_out.marks[0].sentence == (
        f"{NOTE}it is left out of 42 texts from before, which it would have answered"
    )
    before = backtest(yanked.recipe({"yanked": "before_yank"}))
    assert min(answered(before)["acme/tone@3"]) == "2020-01-11" and before.marks[0].sentence == (
        f"{NOTE}it answered 42 signals"
    )
    named = backtest(yanked.recipe({"adapter": "acme/tone@3"}))
    assert named.marks[0].sentence == f"{NOTE}it answered 80 signals, 38 of them from its yank on"
    ledgers = [each.ledger.equity.tolist() for each in (left_out, before, named)]
    assert ledgers[0] != ledgers[1] != ledgers[2]
    news = ["--table", str(yanked.folder / "news.csv"), "--text", "headline", "--time", "published"]
    for choice, sentence in (("as_then", "it answered 24 texts"), ("left_out", "it is left out of 42 texts")):
        out = str(yanked.folder / "made.parquet")
        with pytest.raises(SystemExit) as leave:
            cli.main(["signals", "acme/tone", *news, "--ticker", "ticker", "--yanked", choice, "--out", out])
        assert not leave.value.code and sentence in " ".join(capsys.readouterr().out.split())


def test_an_alias_that_named_a_version_yanked_later_answers(yanked: Any, dated_tone: Any) -> None:
    dated_tone.set_alias("champion", 3, "2020-01-05T00:00:00Z")
    result = backtest(yanked.recipe({"adapter": "acme/tone@champion"}))
    assert result.strict and result.marks[0].sentence == f"{NOTE}it answered 80 signals, 38 of them from its yank on"
    with pytest.raises(LookAhead, match="acme/tone@3, which had ended its knowledge by then, was yanked"):
        backtest(yanked.recipe({"adapter": "acme/tone@champion", "yanked": "left_out"}))


@pytest.mark.parametrize("reference", ["acme/tone", "acme/tone@champion"])
def test_a_table_is_verified_by_what_stood_then(pair: Any, dated_tone: Any, reference: str) -> None:
    dated_tone.set_alias("champion", 3, "2020-01-05T00:00:00Z")
    dated_tone.date_record(3, "2020-01-05T00:00:00Z")
    made = backtest(pair.recipe({"adapter": reference}))
    dated_tone.yank(3, "2020-12-01T00:00:00Z", "trained on the wrong rows")
    again = backtest(pair.table_recipe(made.signals))
    assert again.strict and again.ledger.equity.tolist() == made.ledger.equity.tolist()
    assert "it answered 80 signals" in again.marks[0].sentence


def test_a_table_of_a_version_that_never_stood_says_why_it_is_refused(pair: Any, dated_tone: Any) -> None:
    made = backtest(pair.recipe())
    dated_tone.yank(3, "2026-01-01T00:00:00Z", "leaks")  # it was added later than every text
    with pytest.raises(LookAhead, match="acme/tone@3, which answered its texts, was yanked at 2026-01-01T00:00:00Z"):
        backtest(pair.table_recipe(made.signals))
    counted = backtest(pair.recipe({"yanked": "before_yank"}))
    again = backtest(pair.table_recipe(counted.signals))
    assert again.strict and again.ledger.equity.tolist() == made.ledger.equity.tolist()


def test_tables_put_together_have_what_both_answered(yanked: Any) -> None:
    made = backtest(yanked.recipe()).signals
    later = replace(made, at=made.at + np.timedelta64(100, "D"))
    facts = together(made, later, decided_until=datetime(2021, 1, 1, tzinfo=UTC), texts=160).facts["yanked_versions"]
    assert [(each["answered"], each["left_out"]) for each in facts] == [(48, 36)]
    none = replace(made, facts={**made.facts, "yanked_versions": []})
    for one, other in ((none, later), (made, replace(later, facts=none.facts))):
        both = together(one, other, decided_until=datetime(2021, 1, 1, tzinfo=UTC), texts=160)
        assert both.facts["yanked_versions"] == made.facts["yanked_versions"]
