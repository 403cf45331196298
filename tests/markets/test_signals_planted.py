"""Look-ahead that was planted, each refused with its reason: dates, releases, what was fitted; and other heads."""

from __future__ import annotations

import multiprocessing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adapterhub_fin as ahf
from adapterhub_fin.errors import BadCorpus, BadRecipe, LookAhead
from adapterhub_fin.testing import tiny_corpus
from adapterhub_fin_markets.signals.cache import AnswerCache
from adapterhub_fin_markets.signals.calibration import fit_calibration
from adapterhub_fin_markets.signals.making import signals

TONES = ("positive", "negative", "neutral")
WORDS = ("profit rose", "profit fell", "meets in May")


def labelled(count: int, start: str, hours: int = 6) -> list[dict[str, Any]]:
    first = datetime.fromisoformat(start)
    return [
        {
            "text": f"Firm {row}: {WORDS[row % 3]}.",
            "at": (first + timedelta(hours=hours * row)).isoformat(),
            "symbol": "AAA",
            "tone": TONES[(row + (row % 4 == 0)) % 3],  # every fourth label is another one's
        }
        for row in range(count)
    ]


def table(rows: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    return {"name": "table", "data": rows, "text": "text", "available_at": "at", "group": "symbol", **options}


def test_news_of_a_day_is_known_at_its_end(dated_tone: Any, tmp_path: Path) -> None:
    path = tmp_path / "news.csv"
    path.write_text("day,text\n2018-03-01,Arlo: profit rose.\n2018-03-02,Arlo: profit fell.\n")
    news = {"name": "news", "path": str(path), "published": "day", "timezone": "America/New_York"}
    made = signals("acme/tone", news, ticker="SPY", calendar="XNYS", window="1d")
    # Neither decision at 21:00 UTC may read the news of its own day, which ends at 05:00 of the next.
    days = {
        str(at)[:10]: (len(texts), str(read)[:19])
        for at, texts, read in zip(made.at, made.texts, made.text_at, strict=True)
    }
    assert days == {"2018-03-02": (1, "2018-03-02T04:59:59"), "2018-03-05": (0, "NaT")}
    assert made.facts["unread"] == 1, "a day before the close of the 5th nothing was new"
    whole = signals("acme/tone", news, ticker="SPY", calendar="XNYS")
    assert list(map(len, whole.texts)) == [1, 1], "by default each reads since the decision before"


def test_minutes_are_read_from_their_release_on(dated_tone: Any, tmp_path: Path) -> None:
    (tmp_path / "minutes").mkdir()
    (tmp_path / "minutes" / "20180131.txt").write_text("Arlo: profit rose.")
    (tmp_path / "releases.csv").write_text("StartDate,EndDate,ReleaseDate\n2018-01-30,2018-01-31,2018-02-21\n")
    minutes = {"name": "fomc", "path": str(tmp_path / "minutes"), "releases": str(tmp_path / "releases.csv")}
    closes = np.array(["2018-01-31T21:00:00.000001", "2018-02-21T21:00:00.000001", "2018-02-22T21:00:00.000001"])
    made = signals(
        "acme/tone",
        minutes,
        ticker=("SPY", "TLT"),
        calendar="XNYS",
        decisions=closes.astype("datetime64[us]"),
        window="3d",
    )
    assert [len(texts) for texts in made.texts] == [0, 0, 0, 0, 1, 1], "not at the meeting, nor before the day's end"
    at_two = signals(
        "acme/tone",
        {**minutes, "release_time": "14:00"},
        ticker="SPY",
        decisions=closes.astype("datetime64[us]"),
        window="3d",
    )
    assert [len(texts) for texts in at_two.texts] == [0, 1, 1]


@pytest.mark.parametrize("kind", ["calibration", "threshold"])
def test_what_was_fitted_on_the_test_span_refuses_it(dated_tone: Any, kind: str) -> None:
    rows = table(labelled(120, "2018-03-01T00:30:00+00:00"), label="tone", label_horizon="0d")
    option: dict[str, Any] = {"fit_before": "2018-03-15"}
    if kind == "threshold":
        option["precision"] = 0.3
    made = signals("acme/tone", rows, **{kind: option})
    until = made.facts["fitted"][0]["until"]
    assert made.facts["fitted"] == [{"what": kind, "until": "2018-03-14T18:30:00Z"}]
    reason = f"the {kind} was fitted until {until}, and the decision isn't later"
    assert made.facts["refused"] == {reason: 13}
    assert made.at[0] == np.datetime64("2018-03-15T00:00:00.000001")
    assert (made.known_at >= np.datetime64("2018-03-14T18:30")).all() and (made.known_at < made.at).all()
    with pytest.raises(LookAhead, match=f"no decision is left: the {kind} was fitted until"):
        at = np.datetime64("2018-03-02T00:00:00.000001", "us") + np.arange(5) * np.timedelta64(1, "D")
        signals("acme/tone", rows, decisions=at, **{kind: option})
    marked = signals("acme/tone", rows, allow_lookahead=True, **{kind: option})
    assert len(marked) == len(made) + 13 and marked.facts["marks"]


@pytest.mark.parametrize(("horizon", "first"), [("0d", "2018-03-15"), ("2d", "2018-03-13")])
def test_a_later_label_changes_nothing_that_was_fitted_before(dated_tone: Any, horizon: str, first: str) -> None:
    rows = labelled(120, "2018-03-01T00:30:00+00:00")
    other = [{**row, "tone": "negative"} if row["at"] >= first else row for row in rows]
    one, two = (
        signals(
            "acme/tone",
            table(each, label="tone", label_horizon=horizon),
            calibration={"fit_before": "2018-03-15"},
            threshold={"fit_before": "2018-03-15", "precision": 0.3},
        )
        for each in (rows, other)
    )
    assert np.array_equal(one.probabilities, two.probabilities, equal_nan=True)
    assert one.facts["calibration"] == two.facts["calibration"] and one.facts["threshold"] == two.facts["threshold"]


def test_a_calibration_is_that_of_the_answers_before_the_date(dated_tone: Any) -> None:
    rows = labelled(80, "2018-03-01T00:30:00+00:00")
    early = [row for row in rows if row["at"] < "2018-03-15"]
    answers = ahf.load("acme/tone@2").predict([row["text"] for row in early])
    probabilities = np.array([[a.scores[name] for name in ("negative", "neutral", "positive")] for a in answers])
    truth = np.array([("negative", "neutral", "positive").index(row["tone"]) for row in early])
    expected = fit_calibration("temperature", probabilities, truth).facts
    made = signals(
        "acme/tone",
        table(rows, label="tone", label_horizon="0d"),
        calibration={"fit_before": "2018-03-15"},
        aggregate="mean",
    )
    assert np.isclose(made.facts["calibration"]["temperature"], expected["temperature"], rtol=1e-4)
    plain = signals("acme/tone", table(rows), aggregate="mean")
    assert not np.allclose(plain.confidence[-len(made) :], made.confidence)


def test_what_can_not_be_fitted_is_said(dated_tone: Any) -> None:
    rows = labelled(60, "2018-03-01T00:30:00+00:00")
    fit = {"fit_before": "2018-03-15"}
    with pytest.raises(BadCorpus, match="needs labels, and the corpus has none"):
        signals("acme/tone", table(rows), calibration=fit)
    with pytest.raises(BadRecipe, match="4 labelled texts may be answered before 2018-03-02, and fitting needs 20"):
        early = {"fit_before": "2018-03-02"}
        signals("acme/tone", table(rows, label="tone", label_horizon="0d"), calibration=early)
    with pytest.raises(BadRecipe, match="no threshold makes 0.990 of BUY and SELL right"):
        held = table([{**row, "tone": "neutral"} for row in rows], label="tone", label_horizon="0d")
        signals("acme/tone", held, threshold={**fit, "precision": 0.99})
    own = {"name": "table", "data": [{k: v for k, v in r.items() if k != "symbol"} for r in rows], "text": "text"}
    own |= {"available_at": "at", "label": "tone", "label_horizon": "0d"}
    made = signals("acme/tone", table(labelled(9, "2018-05-01T00:30:00+00:00")), calibration={**fit, "corpus": own})
    assert made.facts["refused"] == {} and made.facts["fitted"][0]["until"] == "2018-03-14T18:30:00Z"
    at = np.array(["2018-03-20T00:00"], "datetime64[us]")
    before = table(labelled(9, "2018-03-01T00:30:00+00:00"))  # texts from before the calibration, decided after it
    made = signals("acme/tone", before, decisions=at, window="30d", calibration={**fit, "corpus": own})
    assert made.text_at[0] < made.known_at[0] == np.datetime64("2018-03-14T18:30")


def trained_with(encoder: Path, head: Any, name: str) -> ahf.Registry:
    base = {"id": "acme/tiny", "path": str(encoder), "knowledge_end": "2014-12-31", "evidence": "invented"}
    ahf.train(
        name=name,
        base=base,
        method={"name": "lora", "rank": 2},
        head=head,
        corpus={"name": tiny_corpus(), "splitter": {"by": "random"}},
        training={"epochs": 1, "batch_size": 8, "max_length": 32},
    )
    return ahf.Registry()


def test_a_regression_says_by_its_sign(encoder: Path) -> None:
    trained_with(encoder, "regress", "acme/number")
    rows = table(labelled(20, "2020-03-01T00:30:00+00:00"))
    made = signals("acme/number", rows)
    values = np.array([each.value for each in ahf.load("acme/number").predict([r["text"] for r in rows["data"][:4]])])
    assert np.isclose(made.score[0], values.mean(), atol=1e-6) and made.facts["aggregate"] == {"name": "mean"}
    assert np.isnan(made.confidence).all() and np.isnan(made.probabilities).all()
    assert np.array_equal(made.signal, np.sign(made.score)) and np.array_equal(made.actionable, made.signal != 0)
    bound = float(np.sort(np.abs(made.score))[1:3].mean())
    bounded = signals("acme/number", rows, bound=bound, aggregate={"name": "decay", "half_life": 1e9})
    assert np.array_equal(bounded.signal, np.where(np.abs(made.score) > bound, np.sign(made.score), 0))
    for wrong, message in (
        ({"threshold": 0.5}, "a regression has no confidence"),
        ({"aggregate": "majority"}, "the aggregate majority takes no estimates"),
        ({"directions": {"up": "buy"}}, "the head estimates a number: give bound instead"),
    ):
        with pytest.raises(BadRecipe, match=message):
            signals("acme/number", rows, **wrong)


def test_a_head_that_says_no_direction_is_refused_before_the_base_is_read(
    decoder: Path, dated_tone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_with(decoder, "causal-lm", "acme/writer")
    rows = table(labelled(4, "2020-03-01T00:30:00+00:00"))
    monkeypatch.setattr(ahf.engine.inference.dated_versions, "load", None)
    with pytest.raises(
        BadRecipe, match="acme/writer@1 has the head causal-lm, whose answer is neither one class nor an"
    ):
        signals("acme/writer", rows)
    bare = dated_tone.resolve("acme/tone@1")
    manifest = bare.manifest.model_copy(update={"head": None, "files": (), "tensors": ()})
    dated_tone.add(bare.files, manifest, name="acme/bare")
    with pytest.raises(BadRecipe, match="acme/bare@1 has no head: signals need one that classifies or estimates"):
        signals("acme/bare", rows)


def test_merges_are_versions(dated_tone: Any) -> None:
    ahf.merge(["acme/tone@1", "acme/tone@2"], weights=[0.5, 0.5], using="linear", into="acme/both")
    rows = table([*labelled(8, "2017-06-01T00:30:00+00:00"), *labelled(8, "2018-03-01T00:30:00+00:00")])
    made = signals("acme/both", rows)
    assert made.facts["refused"]["no version of acme/both had ended its knowledge by then"] == 8
    assert [each["knowledge_end"] for each in made.facts["versions"].values()] == ["2017-12-31T00:00:00Z"]


def _store(first: int) -> None:
    cache, texts = AnswerCache(), [f"text {first + row}" for row in range(200)]
    for start in range(0, 200, 20):
        part = texts[start : start + 20]
        cache.store("sha256:version", part, np.array([[float(text.split()[1]), 0.5] for text in part]))
        assert len(cache.recall("sha256:version", texts[: start + 20])) == start + 20


def test_processes_share_the_cache() -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_store, args=(100 * number,)) for number in range(3)]
    for each in processes:
        each.start()
    for each in processes:
        each.join(60)
        assert each.exitcode == 0
    stored = AnswerCache().recall("sha256:version", [f"text {row}" for row in range(500)])
    assert {text: scores[0] for text, scores in stored.items()} == {f"text {row}": row for row in range(400)}
    assert not AnswerCache().recall("sha256:other", ["text 1"])
    AnswerCache().path.write_bytes(b"no database at all, but quite long" * 40)
    with pytest.raises(ahf.Corrupted, match="delete the file, and answer anew"):
        AnswerCache().recall("sha256:version", ["text 1"])
