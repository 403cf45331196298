"""Signals of dated texts: the version of each text, the windows of decisions, and nothing of the future in either."""

from __future__ import annotations

import dataclasses
import os
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import adapterhub_fin as ahf
from adapterhub_fin.errors import BadCorpus, BadRecipe, LookAhead
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.timing import TICK
from adapterhub_fin_markets.signals import answering
from adapterhub_fin_markets.signals.cache import AnswerCache
from adapterhub_fin_markets.signals.decisions import close_decisions
from adapterhub_fin_markets.signals.making import signals
from adapterhub_fin_markets.signals.table import Signals, read_signals, write_signals

CASES = int(os.environ.get("AHF_CASES", "25"))
FIRMS = ("Arlo", "Brent", "Corvo", "Dunel")
WORDS = ("profit rose", "profit fell", "meets in May")
Row = dict[str, Any]


def rows_of(count: int = 40, start: str = "2018-03-01T00:00:00Z", hours: int = 7) -> list[Row]:
    first = datetime.fromisoformat(start)
    return [
        {
            "text": f"{FIRMS[row % 4]}: {WORDS[row % 3]} by {row % 5} %.",
            "at": first + timedelta(hours=hours * row),
            "symbol": ("AAA", "BBB")[row % 2],
            "tone": ("positive", "negative", "neutral")[row % 3],
        }
        for row in range(count)
    ]


def corpus(rows: list[Row], **options: Any) -> dict[str, Any]:
    return {"name": "table", "data": rows, "text": "text", "available_at": "at", "group": "symbol", **options}


def same(made: Signals, other: Signals, *, exact: bool = False) -> None:
    assert list(made.at) == list(other.at) and made.tickers == other.tickers
    assert list(made.ticker) == list(other.ticker)
    assert list(made.texts) == list(other.texts) and list(made.adapters) == list(other.adapters)
    assert np.array_equal(made.signal, other.signal) and np.array_equal(made.known_at, other.known_at)
    assert np.allclose(made.score, other.score, atol=0 if exact else 1e-6, equal_nan=True)


def test_each_text_is_answered_by_the_version_of_its_own_time(dated_tone: Any, encoder: Any) -> None:
    rows = [
        *rows_of(12, "2016-05-01T01:00:00Z"),
        *rows_of(12, "2018-05-01T00:00:00Z"),
        *rows_of(12, "2021-05-01T00:00:00Z"),
    ]
    made = signals("acme/tone", corpus(rows), aggregate="mean")
    versions = {number: dated_tone.resolve(f"acme/tone@{number}") for number in (1, 2, 3)}
    assert made.facts["versions"] == {
        version.digest: {"reference": f"acme/tone@{number}", "knowledge_end": f"{2013 + 2 * number}-12-31T00:00:00Z"}
        for number, version in versions.items()
    }
    for row, digests in enumerate(made.adapters):
        if digests:
            year = int(str(made.text_at[row])[:4])
            assert digests == (versions[{2016: 1, 2018: 2, 2021: 3}[year]].digest,)
    assert (made.known_at < made.at).all()
    # One window by hand: the first day's texts of AAA, answered by version 1 alone.
    own = [row["text"] for row in rows[:12] if row["symbol"] == "AAA" and row["at"].day == 1]
    scores = [answer.scores for answer in ahf.load("acme/tone@1").predict(own)]
    expected = np.mean([[each[label] for label in ("negative", "neutral", "positive")] for each in scores], 0)
    assert made.at[0] == np.datetime64("2016-05-02T00:00:00.000001") and made.tickers[made.ticker[0]] == "AAA"
    assert np.allclose(made.probabilities[0], expected, atol=1e-6)
    assert np.isclose(made.score[0], expected[2] - expected[0], atol=1e-6)


def test_a_decision_reads_what_was_available_strictly_before_it(dated_tone: Any) -> None:
    close = datetime(2018, 3, 2, tzinfo=UTC)
    tick = timedelta(microseconds=1)
    moments = [close - timedelta(days=1) + tick, close, close + tick]
    rows = [{"text": f"Arlo: profit rose {n}.", "at": at, "symbol": "AAA"} for n, at in enumerate(moments)]
    made = signals("acme/tone", corpus(rows), window="1d")
    assert [str(at) for at in made.at] == ["2018-03-02T00:00:00.000001", "2018-03-03T00:00:00.000001"]
    # The window of a day is [start, decision): a text at the decision's own instant is of the next one.
    assert [len(texts) for texts in made.texts] == [2, 1]
    assert list(made.text_at) == [np.datetime64("2018-03-02"), np.datetime64("2018-03-02T00:00:00.000001")]


def test_a_window_without_a_text_is_hold_with_no_confidence(dated_tone: Any) -> None:
    rows = rows_of(2, hours=24 * 4)
    made = signals("acme/tone", corpus(rows))
    empty = np.array([not texts for texts in made.texts])
    assert empty.sum() == 8 and len(made) == 10
    assert (made.signal[empty] == 0).all() and (made.confidence[empty] == 0).all() and not made.actionable[empty].any()
    assert (made.known_at[empty] == made.at[empty] - TICK).all() and np.isnat(made.text_at[empty]).all()


def test_sessions_of_an_exchange_and_given_instants(dated_tone: Any) -> None:
    rows = rows_of(30, "2018-03-02T10:00:00Z", hours=8)
    made = signals("acme/tone", corpus(rows), calendar="XNYS", window="session")
    days = [str(at) for at in np.unique(made.at)]
    assert days[0] == "2018-03-02T21:00:00.000001" and days[1] == "2018-03-05T21:00:00.000001"  # over a weekend
    assert days[5:8] == ["2018-03-09T21:00:00.000001", "2018-03-12T20:00:00.000001"]  # clocks changed
    assert sum(map(len, made.texts)) == 30 and made.facts["unread"] == 0
    narrow = signals("acme/tone", corpus(rows), calendar="XNYS", window="1d")
    assert narrow.facts["unread"] == 30 - sum(map(len, narrow.texts)) > 0
    at = np.array(["2018-03-05T12:00", "2018-03-03T12:00"], "datetime64[us]")
    chosen = signals("acme/tone", corpus(rows), decisions=at, window="2h")
    assert list(chosen.at) == [at[1], at[1], at[0], at[0]]
    with pytest.raises(BadRecipe, match="array of datetime64"):
        signals("acme/tone", corpus(rows), decisions=["2018-03-05"])


def test_decisions_at_the_closes_of_shorter_bars(dated_tone: Any) -> None:
    rows = rows_of(30, "2018-03-02T15:00:00Z", hours=1)
    made = signals("acme/tone", corpus(rows), calendar="XNYS", interval="1h")
    closes = [str(at)[5:16] for at in np.unique(made.at)]
    friday = ["03-02T15:30", "03-02T16:30", "03-02T17:30", "03-02T18:30", "03-02T19:30", "03-02T20:30", "03-02T21:00"]
    assert closes == [*friday, "03-05T15:30"], "the last bar of a session is half an hour"
    assert sum(map(len, made.texts)) == 30 and (made.known_at < made.at).all() and made.facts["interval"] == "1h"
    minutes = signals("acme/tone", corpus(rows_of(2, "2018-03-01T00:10:00Z", hours=1)), interval="15min")
    assert [str(at)[11:16] for at in np.unique(minutes.at)] == ["00:15", "00:30", "00:45", "01:00", "01:15"]
    with pytest.raises(BadPrices, match="2d"):
        signals("acme/tone", corpus(rows), interval="2d")
    half_day = np.datetime64("2018-11-23T15:00", "us")
    taken = close_decisions("XNYS", half_day, half_day + np.timedelta64(5, "h"), "1h")
    assert [str(at)[5:16] for at in taken] == [
        *(f"11-23T{at}" for at in ("15:30", "16:30", "17:30", "18:00")),
        "11-26T15:30",
    ]


def test_texts_without_a_ticker_count_for_those_given(dated_tone: Any) -> None:
    rows = [{"text": row["text"], "at": row["at"]} for row in rows_of(6)]
    given = {"name": "table", "data": rows, "text": "text", "available_at": "at"}
    with pytest.raises(BadCorpus, match="has no group: name the column of the ticker, or give ticker"):
        signals("acme/tone", given)
    made = signals("acme/tone", given, ticker=("SPY", "GLD"))
    assert made.tickers == ("GLD", "SPY")
    spy, gld = made.ticker == 1, made.ticker == 0
    assert np.array_equal(made.score[spy], made.score[gld])
    assert {*np.concatenate([made.texts[row] for row in np.flatnonzero(spy)])}.isdisjoint(
        np.concatenate([made.texts[row] for row in np.flatnonzero(gld)])
    )


def test_a_repeated_text_counts_once(dated_tone: Any) -> None:
    rows = rows_of(8)
    made, doubled = signals("acme/tone", corpus(rows)), signals("acme/tone", corpus([*rows, *rows[::-1]]))
    same(made, doubled)
    assert doubled.facts["duplicates"] == 8 and doubled.facts["corpus"]["digest"] == made.facts["corpus"]["digest"]


def test_a_second_run_answers_nothing_anew(dated_tone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(20)
    first = signals("acme/tone", corpus(rows))
    with monkeypatch.context() as patch:
        patch.setattr(answering.ahf, "load_versions", None)  # it would be called to answer a text
        again = signals("acme/tone", corpus(rows), aggregate="majority", window="3d")
        same(first, signals("acme/tone", corpus(rows)), exact=True)
    assert len(again) > 0
    with pytest.raises(ahf.Corrupted, match="delete the file, and answer anew"):
        damage(AnswerCache())
        signals("acme/tone", corpus(rows))


def damage(cache: AnswerCache) -> None:
    import sqlite3

    with sqlite3.connect(cache.path) as database:
        database.execute("UPDATE answers SET scores = zeroblob(24) WHERE rowid = 3")


def test_threads_share_the_cache(dated_tone: Any) -> None:
    rows, results = rows_of(16), []
    expected = signals("acme/tone", corpus(rows))

    def work() -> None:
        results.append(signals("acme/tone", corpus(rows[::-1])))

    AnswerCache().path.unlink()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for made in results:
        same(expected, made)


def test_a_table_of_signals_is_written_and_read(dated_tone: Any, tmp_path: Any) -> None:
    made = signals("acme/tone", corpus(rows_of(20)))
    write_signals(made, tmp_path / "signals.parquet")
    read = read_signals(tmp_path / "signals.parquet")
    same(made, read, exact=True)
    assert read.facts == made.facts and read.facts["corpus"]["name"] == "table"


@pytest.fixture(scope="module")
def answered() -> dict[str, Any]:
    """Answers by text, of a version that stands for a real one in properties of many cases."""
    return {}


changes = st.lists(
    st.tuples(st.integers(0, 24 * 12), st.sampled_from(WORDS), st.sampled_from(["AAA", "BBB", "CCC"])), max_size=6
)


@settings(max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=changes.filter(bool), later=changes, cut=st.integers(1, 12), window=st.sampled_from(["1d", "3d", "session"])
)
def test_later_texts_change_no_earlier_signal(
    dated_tone: Any, texts: list[Any], later: list[Any], cut: int, window: str
) -> None:
    start = datetime(2018, 3, 1, tzinfo=UTC)

    def rows(listed: list[Any]) -> list[Row]:
        return [
            {"text": f"Arlo: {words}.", "at": start + timedelta(hours=hour), "symbol": ticker}
            for hour, words, ticker in listed
        ]

    decisions = np.datetime64("2018-03-02", "us") + np.arange(12) * np.timedelta64(1, "D") + TICK
    at = np.datetime64("2018-03-01", "us") + cut * np.timedelta64(1, "D") + TICK
    # Each table has the three tickers, and a time that is no midnight: a column of midnights is read as days.
    anchor = [(0.5, WORDS[0], ticker) for ticker in ("AAA", "BBB", "CCC")]
    past = [each for each in texts if each[0] <= cut * 24]
    future = [each for each in later if each[0] > cut * 24]
    before = signals("acme/tone", corpus(rows([*anchor, *past])), decisions=decisions, window=window)
    after = signals("acme/tone", corpus(rows([*anchor, *past, *future])), decisions=decisions, window=window)
    for name in ("signal", "score", "confidence", "known_at", "text_at", "actionable"):
        early, late = (getattr(made, name)[made.at <= at] for made in (before, after))
        assert np.array_equal(early, late, equal_nan=name in ("score", "confidence", "known_at", "text_at")), name
    count = int((before.at <= at).sum())
    assert before.texts[:count] == after.texts[:count]


def test_what_is_no_direction_is_refused(dated_tone: Any, trained: Any, encoder: Any) -> None:
    with pytest.raises(BadRecipe, match="has no label 'bad': it has negative, neutral, positive"):
        signals("acme/tone", corpus(rows_of(4)), directions={"bad": "sell"})
    flipped = signals("acme/tone", corpus(rows_of(9)), directions={"positive": "sell", "negative": "buy"})
    usual = signals("acme/tone", corpus(rows_of(9)))
    assert np.array_equal(flipped.signal, -usual.signal) and usual.signal.any()
    with pytest.raises(BadRecipe, match="bound is for estimates"):
        signals("acme/tone", corpus(rows_of(4)), bound=0.1)
    with pytest.raises(BadRecipe, match=r"signals: window"):
        signals("acme/tone", corpus(rows_of(4)), window="a day")


def test_a_threshold_says_what_is_actionable(dated_tone: Any) -> None:
    acted = signals("acme/tone", corpus(rows_of(30)), aggregate="mean")
    least = float(np.median(acted.confidence[acted.signal != 0]))
    loose, strict = (
        signals("acme/tone", corpus(rows_of(30)), aggregate="mean", threshold=share) for share in (0.0, least)
    )
    assert np.array_equal(loose.signal, strict.signal)
    assert np.array_equal(loose.actionable, loose.signal != 0)
    assert np.array_equal(strict.actionable, (strict.signal != 0) & (strict.confidence >= least))
    assert 0 < strict.actionable.sum() < loose.actionable.sum()
    fewer = signals("acme/tone", corpus(rows_of(30)), min_confidence=0.999)
    assert (fewer.signal == 0).all() and list(fewer.texts) == list(loose.texts), "what is left out was read"


def test_texts_that_no_version_may_answer_are_refused_and_counted(dated_tone: Any) -> None:
    early, late = rows_of(10, "2015-06-01T00:00:00Z"), rows_of(10, "2016-06-01T00:00:00Z")
    at = np.datetime64("2015-06-01T00:00:00.000001", "us") + np.arange(372) * np.timedelta64(1, "D")
    made = signals("acme/tone", corpus([*early, *late]), decisions=at)
    none = "no version of acme/tone had ended its knowledge by then"
    assert made.facts["refused"][none] == 10
    assert made.facts["refused"]["all texts of the window are refused"] == 7
    assert not any(texts and "2015" in str(at) for texts, at in zip(made.texts, made.at, strict=True))
    with pytest.raises(LookAhead, match=rf"none of 10 texts may be answered: {none} \(10\)"):
        signals("acme/tone", corpus(early))


def test_an_adapter_trained_in_the_test_span_is_refused(dated_tone: Any) -> None:
    rows = [*rows_of(10, "2017-06-01T00:00:00Z"), *rows_of(10, "2018-06-01T00:00:00Z")]
    made = signals("acme/tone@2", corpus(rows))
    assert made.facts["refused"]["acme/tone@2 knows until 2017-12-31T00:00:00Z"] == 10
    with pytest.raises(LookAhead, match="acme/tone@2 knows until 2017-12-31T00:00:00Z"):
        signals("acme/tone@2", corpus(rows[:10]), as_of=None)
    with pytest.raises(LookAhead, match="as of 2015-06-01 nothing answers"):
        signals("acme/tone", corpus(rows), as_of="2015-06-01")
    marked = signals("acme/tone@2", corpus(rows), allow_lookahead=True)
    assert marked.facts["allow_lookahead"] and "10 texts were answered" in marked.facts["marks"][0]
    assert marked.facts["refused"] == {} and (marked.known_at >= marked.at).sum() == 7
    assert np.array_equal(made.score, marked.score[-len(made) :])


def test_an_alias_moved_later_is_refused(dated_tone: Any) -> None:
    dated_tone.set_alias("champion", 1, "2018-03-03T00:00:00Z")
    dated_tone.set_alias("champion", 2, "2018-03-06T00:00:00Z")
    rows = rows_of(28, "2018-03-01T00:00:00Z", hours=6)
    made = signals("acme/tone@champion", corpus(rows))
    assert made.facts["refused"]["the alias acme/tone@champion named no version then"] == 9
    by_version = {
        made.facts["versions"][digests[0]]["reference"]: str(at)
        for digests, at in zip(made.adapters, made.at, strict=True)
        if digests
    }
    assert list(by_version) == ["acme/tone@1", "acme/tone@2"]
    assert by_version["acme/tone@1"] <= "2018-03-06T00:00:00.000001"
    now = signals("acme/tone@champion", corpus(rows), as_of=None)
    assert now.facts["refused"]["acme/tone@champion didn't name acme/tone@2 then, as it does now"] == 21
    assert [each["reference"] for each in now.facts["versions"].values()] == ["acme/tone@2"]


def test_what_the_base_knew_is_left_out_by_name_alone(dated_tone: Any, trained: Any) -> None:
    late = trained.version  # its base was bounded by its training, now
    folder = late.files
    dated_tone.add(folder, late.manifest, name="acme/late")
    rows = rows_of(10, "2021-05-01T00:00:00Z")
    with pytest.raises(LookAhead):
        signals("acme/late", corpus(rows))
    made = signals("acme/late", corpus(rows), include_base=False)
    assert made.facts["marks"] == ["what the base knew is left out (include_base=False)"]
    assert not made.facts["include_base"] and (made.known_at < made.at).all()


def test_forged_instants_are_refused(dated_tone: Any) -> None:
    made = signals("acme/tone", corpus(rows_of(10)))
    with pytest.raises(LookAhead):
        dataclasses.replace(made, known_at=made.at)
