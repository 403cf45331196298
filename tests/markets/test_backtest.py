"""Backtests: a strict run says what a ledger by hand says, and each planted look-ahead is refused with its reason."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import yaml

from adapterhub_fin import cli
from adapterhub_fin.errors import BadCorpus, BadRecipe, LookAhead, NotFound
from adapterhub_fin_markets.backtest.admission import examine, find_sources
from adapterhub_fin_markets.backtest.ledger import run_ledger
from adapterhub_fin_markets.backtest.recipe import BacktestRecipe
from adapterhub_fin_markets.backtest.run import backtest, run_admitted
from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.signals.table import Signals
from adapterhub_fin_registry.model.manifest import Knowledge, KnowledgeInput


def test_a_strict_run_is_the_ledger_of_its_orders(pair: Any) -> None:
    result = backtest(pair.recipe())
    assert result.strict and not result.refusals
    sentences = [mark.sentence for mark in result.marks]
    assert sentences[-1] == "the universe was chosen in hindsight" and not any(mark.red for mark in result.marks)
    assert [sentence.split(":")[0] for sentence in sentences[:-1]] == ["dies by one bar"], "of random prices"
    assert (result.signals.known_at < result.signals.at).all()
    ledger = run_ledger(result.prices, result.orders, result.recipe.rules)
    assert ledger.equity.tolist() == result.ledger.equity.tolist()
    assert result.ledger.equity[0] == result.recipe.rules.capital
    assert result.prices.closes_at[0] < result.signals.at[0], "row 0 is the bar before the first decision"
    assert result.measures.total_return == pytest.approx(ledger.equity[-1] / ledger.equity[0] - 1, abs=1e-12)
    assert result.at[0] > result.signals.at[0] and result.measures.periods == len(result.at)
    assert [item.what for item in result.known_by][2:] == ["adapter acme/tone@3", "prices, the last close"]


def test_a_table_of_signals_gives_what_its_making_gave(pair: Any) -> None:
    made = backtest(pair.recipe())
    again = backtest(pair.table_recipe(made.signals))
    assert again.ledger.equity.tolist() == made.ledger.equity.tolist()
    assert again.signals.digest == made.signals.digest


@pytest.mark.parametrize(("cut", "size"), [(18, "equal"), (27, "inverse_volatility"), (35, "confidence")])
def test_no_later_bar_or_text_changes_what_came_before(pair: Any, cut: int, size: str) -> None:
    rules = {"positions": "long-short", "size": size, "hold": "flat", "volatility_bars": 5}
    parts = {"rules": rules, "test": {"regimes": {"window": "5d", "bull": 0.02, "bear": -0.02}}}
    before = backtest(pair.recipe(**parts))
    rng, last = random.Random(cut), str(pair.days[cut])
    for name in ("prices.csv", "news.csv"):
        with (pair.folder / name).open() as file:
            header, *rows = csv.reader(file)
        for row in rows:
            if row[0][:10] > last and name == "prices.csv":
                row[2:6] = [str(float(price) * factor) for factor in [rng.uniform(0.5, 2)] for price in row[2:6]]
            elif row[0][:10] > last:
                row[2] = f"Other: {rng.choice(pair.phrases)}"
        with (pair.folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
    after = backtest(pair.recipe(**parts))
    limit = np.datetime64(pair.days[cut] + timedelta(days=1), "us")  # the close of the last bar that stayed
    early = before.ledger.at <= limit
    assert early.sum() > 5 and before.ledger.equity[early].tolist() == after.ledger.equity[early].tolist()
    assert before.ledger.shares[early].tolist() == after.ledger.shares[early].tolist()
    decided = before.signals.at <= limit + np.timedelta64(1, "us")
    assert before.signals.score[decided].tolist() == after.signals.score[decided].tolist()
    assert not np.array_equal(before.prices.close, after.prices.close)
    assert before.signals.texts != after.signals.texts
    known = before.judgement.labels, after.judgement.labels
    assert known[0] is not None and known[0][early[1:]].tolist() == known[1][early[1:]].tolist()


def test_the_span_bounds_decisions(pair: Any) -> None:
    whole = backtest(pair.recipe())
    part = backtest(pair.recipe(test={"from": "2020-01-20", "until": "2020-02-01"}))
    assert part.signals.at[0] == np.datetime64("2020-01-20T00:00:00.000001")
    assert part.signals.at[-1] == np.datetime64("2020-01-31T00:00:00.000001")
    inside = (whole.signals.at >= part.signals.at[0]) & (whole.signals.at <= part.signals.at[-1])
    assert whole.signals.score[inside].tolist() == part.signals.score.tolist()
    assert part.prices.closes_at[-1] < np.datetime64("2020-02-03")
    with pytest.raises(BadRecipe, match="no signal lies in the span"):
        backtest(pair.table_recipe(whole.signals, test={"from": "2021-01-01"}))


def refused(document: Mapping[str, Any], *names: str) -> str:
    """Return the sentence of the refusal, after --allow-lookahead has used the same rows and marked them red."""
    with pytest.raises(LookAhead) as error:
        backtest(document)
    result = backtest(document, allow_lookahead=True)
    assert not result.strict and {refusal.reason for refusal in result.refusals} == set(names)
    assert any(mark.red for mark in result.marks)
    return str(error.value)


def test_a_forged_column_is_refused(pair: Any) -> None:
    signals = backtest(pair.recipe()).signals
    forged = replace(signals, known_at=signals.known_at - np.timedelta64(9 * 3600, "s"))
    said = refused(pair.table_recipe(forged), "forged")
    assert "row 21" in said and "the table dates the signal earlier" in said


def test_news_of_a_day_before_its_end_is_refused(pair: Any) -> None:
    early = backtest(pair.recipe()).signals
    pair.write_texts(str)  # a day alone: known at its end, and the table said half past nine
    document = pair.table_recipe(early)
    document["signals"]["texts"]["timezone"] = "UTC"
    assert "not in the corpus" in refused(document, "unknown-text")


def test_a_text_at_the_decision_is_refused(pair: Any) -> None:
    signals = backtest(pair.recipe()).signals
    late = np.roll(np.arange(len(signals)), -2)  # each decision has the next one's texts
    texts = tuple(signals.texts[row] for row in late)
    planted = replace(signals, texts=texts, text_at=signals.text_at)
    assert "could be read only at the decision or later" in refused(pair.table_recipe(planted), "text", "sourceless")


def test_an_adapter_trained_in_the_span_is_refused(pair: Any, dated_tone: Any) -> None:
    for name in ("news.csv", "prices.csv"):  # a year earlier, which version 3 learnt from
        rows = (pair.folder / name).read_text().replace("2020-02-29", "2020-03-01").replace("2020-", "2019-")
        (pair.folder / name).write_text(rows)
    with pytest.raises(LookAhead, match="none of 80 texts may be answered"):
        backtest(pair.recipe({"adapter": "acme/tone@3"}))
    strict = backtest(pair.recipe())
    assert "adapter acme/tone@2" in [item.what for item in strict.known_by]
    planted = replace(strict.signals, adapters=((dated_tone.resolve("acme/tone@3").digest,),) * len(strict.signals))
    said = refused(pair.table_recipe(planted), "adapter")
    assert "knows until 2019-12-31T00:00:00" in said


def of_text(text: str, close: np.datetime64) -> Signals:
    """Return one signal, decided at a close, that one text made and no adapter."""
    at = np.array([close + np.timedelta64(1, "us")], "M8[us]")
    return Signals(
        at=at,
        ticker=np.zeros(1, np.int32),
        tickers=("AAA",),
        signal=np.ones(1, np.int8),
        score=np.ones(1),
        confidence=np.ones(1),
        actionable=np.ones(1, bool),
        probabilities=np.array([[0.0, 0.0, 1.0]]),
        texts=((text,),),
        text_at=at - np.timedelta64(1, "us"),
        known_at=at - np.timedelta64(1, "us"),
        adapters=((),),
        facts={"adapter": "acme/tone"},
    )


def test_an_adapter_that_knows_its_text_s_day_is_refused(dated_tone: Any) -> None:
    """Version 3 knows until the end of 2019-12-30: before the decision at that close, and not before the text."""
    at = np.array(["2019-12-31T00:00:00.000001"], "M8[us]")
    text_at = np.array(["2019-12-30T09:30"], "M8[us]")
    signals = replace(
        of_text("text", at[0] - np.timedelta64(1, "us")),
        text_at=text_at,
        adapters=((dated_tone.resolve("acme/tone@3").digest,),),
    )
    [refusal] = examine(signals, find_sources(signals, {"text": text_at[0]}))
    assert refusal.reason == "adapter" and "knows until 2019-12-31T00:00:00" in refusal.sentence
    day = np.timedelta64(1, "D")
    later = replace(signals, at=at + day, known_at=text_at + day)
    assert not examine(later, find_sources(later, {"text": text_at[0] + day}))
    earlier = replace(signals, adapters=((dated_tone.resolve("acme/tone@2").digest,),))
    assert not examine(earlier, find_sources(earlier, {"text": text_at[0]}))


def test_a_fit_that_ends_at_the_very_decision_is_refused(dated_tone: Any) -> None:
    close = np.datetime64("2020-03-02T21:00", "us")
    at, tick = close + np.timedelta64(1, "us"), np.timedelta64(1, "us")
    version = ((dated_tone.resolve("acme/tone@3").digest,),)
    for until, reasons in ((at, ["fitted"]), (at - tick, [])):
        fitted = {"adapter": "acme/tone", "fitted": [{"what": "threshold", "until": f"{until}Z"}]}
        signals = replace(of_text("text", close), adapters=version, facts=fitted)
        refusals = examine(signals, find_sources(signals, {"text": np.datetime64("2020-03-01", "us")}))
        assert [refusal.reason for refusal in refusals] == reasons


@pytest.mark.parametrize(
    ("answered", "moved", "reasons"),
    [
        ((2, 3), True, []),
        ((3,), True, ["alias"]),
        ((2,), True, ["alias"]),
        ((2, 3), False, ["alias"]),
        ((2,), False, []),
    ],
)
def test_each_text_of_an_alias_needs_the_version_that_it_named(
    dated_tone: Any, answered: tuple[int, ...], moved: bool, reasons: list[str]
) -> None:
    """Of two texts, the alias moved between them, or did not: a window may mix versions no more than the alias did."""
    dated_tone.set_alias("champion", 2, "2020-01-05T00:00:00Z")
    if moved:
        dated_tone.set_alias("champion", 3, "2020-01-10T12:00:00Z")
    texts = {"first": np.datetime64("2020-01-10T09:30", "us"), "second": np.datetime64("2020-01-11T09:30", "us")}
    signals = replace(
        of_text("text", np.datetime64("2020-01-12", "us")),
        texts=(tuple(texts),),
        adapters=(tuple(dated_tone.resolve(f"acme/tone@{number}").digest for number in answered),),
        facts={"adapter": "acme/tone@champion"},
    )
    assert [refusal.reason for refusal in examine(signals, find_sources(signals, texts))] == reasons


def test_a_base_counts_unless_it_is_left_out(dated_tone: Any) -> None:
    version = dated_tone.resolve("acme/tone@3")
    inputs = [
        KnowledgeInput(input="base", at="2021-12-31T00:00:00Z", kind="asserted", evidence="invented"),
        *(each for each in version.manifest.knowledge.inputs if each.input != "base"),
    ]
    manifest = version.manifest.model_copy(update={"knowledge": Knowledge.of(inputs), "files": (), "tensors": ()})
    late = dated_tone.add(version.files, manifest, name="acme/late")
    close, read = np.datetime64("2020-03-02T21:00", "us"), {"text": np.datetime64("2020-03-01", "us")}
    signals = replace(of_text("text", close), adapters=((late.digest,),), facts={"adapter": "acme/late"})
    [refusal] = examine(signals, find_sources(signals, read))
    assert refusal.reason == "adapter" and "knows until 2021-12-31" in refusal.sentence
    assert not examine(signals, find_sources(signals, read, include_base=False))


def test_the_next_bar_s_feature_is_refused(dated_tone: Any) -> None:
    """Refuse a row of features that is known at the next close."""
    closes = np.array(["2020-03-02T21:00", "2020-03-03T21:00"], "M8[us]")
    features = {"this": closes[0], "next": closes[1]}
    version = ((dated_tone.resolve("acme/tone@3").digest,),)
    allowed = replace(of_text("this", closes[0]), adapters=version)
    planted = replace(of_text("next", closes[0]), adapters=version)
    [refusal] = examine(planted, find_sources(planted, features))
    assert (
        not examine(allowed, find_sources(allowed, features))
        and refusal.reason == "text"
        and "2020-03-03T21:00:00" in refusal.sentence
    )


def test_an_opinion_of_nothing_is_refused(pair: Any) -> None:
    signals = backtest(pair.recipe()).signals
    early = signals.at < np.datetime64("2020-01-30")
    bare = [() if first else row for first, row in zip(early, signals.texts, strict=True)]
    alone = [() if first else row for first, row in zip(early, signals.adapters, strict=True)]
    acting = {"signal": np.where(early, 1, signals.signal).astype(np.int8), "actionable": early | signals.actionable}
    nothing = replace(signals, texts=tuple(bare), adapters=tuple(alone), **acting)
    assert "names no text, or no version" in refused(pair.table_recipe(nothing), "sourceless")
    without_version = replace(signals, adapters=tuple(alone))
    assert "nothing says what made it" in refused(pair.table_recipe(without_version), "sourceless")
    with pytest.raises(BadRecipe, match="no decision reads a text"):
        backtest(pair.table_recipe(replace(signals, texts=((),) * len(signals))))


def test_an_opinion_that_no_version_gave_is_refused(pair: Any) -> None:
    signals = backtest(pair.recipe()).signals
    read = np.array([len(texts) > 0 for texts in signals.texts])
    turned = replace(signals, signal=np.where(read, -1, 0).astype(np.int8), actionable=read)
    assert "answer its texts otherwise" in refused(pair.table_recipe(turned), "opinion")
    surer = replace(signals, confidence=np.where(read, 0.9, 0.0))
    refused(pair.table_recipe(surer), "opinion")
    with pytest.raises(BadRecipe, match="is of acme/tone, and the recipe of acme/tone@2"):
        document = pair.table_recipe(signals)
        document["signals"]["adapter"] = "acme/tone@2"
        backtest(document)


def test_an_unknown_adapter_is_refused(pair: Any) -> None:
    signals = backtest(pair.recipe()).signals
    planted = replace(signals, adapters=(("sha256:" + "0" * 64,),) * len(signals))
    assert "no registry has" in refused(pair.table_recipe(planted), "unknown-adapter")


def test_an_alias_moved_later_is_refused(pair: Any, dated_tone: Any) -> None:
    dated_tone.set_alias("champion", 2, "2020-01-05T00:00:00Z")
    strict = backtest(pair.recipe({"adapter": "acme/tone@champion"}))
    assert "adapter acme/tone@2" in [item.what for item in strict.known_by]
    dated_tone.set_alias("champion", 3, "2020-02-01T00:00:00Z")
    digest = dated_tone.resolve("acme/tone@3").digest
    before = [(digest,) if row else row for row in strict.signals.adapters]
    said = refused(pair.table_recipe(replace(strict.signals, adapters=tuple(before))), "alias", "opinion")
    assert "acme/tone@champion did not name what answered it" in said
    dated_tone.set_alias("late", 1, "2021-01-01T00:00:00Z")
    with pytest.raises(LookAhead, match="acme/tone@late named no version then"):
        backtest(pair.recipe({"adapter": "acme/tone@late"}))


def test_what_was_fitted_to_the_span_is_refused(pair: Any) -> None:
    signals = backtest(pair.recipe()).signals
    fitted = [{"what": "threshold", "until": "2020-01-25T00:00:00Z"}]
    planted = replace(signals, facts={**signals.facts, "fitted": fitted})
    assert "threshold was fitted to what was known until 2020-01-25" in refused(
        pair.table_recipe(planted), "fitted", "forged", "unverified"
    )


def test_an_embargo_covers_what_labels_reached(pair: Any) -> None:
    assert backtest(pair.recipe(test={"embargo": "9d"})).strict, "the knowledge ends with 2019"
    assert "the embargo is" in refused(pair.recipe(test={"embargo": "15d"}), "embargo")


def test_today_s_universe_is_refused(pair: Any) -> None:
    (pair.folder / "members.csv").write_text("ticker,start_date,end_date\nAAA,2019-01-01,\nBBB,2020-02-01,\n")
    document = pair.table_recipe(backtest(pair.recipe()).signals)
    document["prices"]["members"] = str(pair.folder / "members.csv")
    assert "BBB" in refused(document, "universe")
    document = pair.recipe()
    document["prices"]["members"] = str(pair.folder / "members.csv")
    made = backtest(document)
    assert made.strict and made.refused["text: the ticker was not in the universe then"] > 0
    early = made.signals.at < np.datetime64("2020-02-01")
    assert set(made.signals.ticker[early]) == {0}, "AAA alone"
    document["test"] = {"from": "2020-02-03"}
    assert "the universe is that of each day, by dated membership" in [
        mark.sentence for mark in backtest(document).marks
    ]


def test_interpolated_bars_are_refused(pair: Any) -> None:
    lines = (pair.folder / "prices.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines]
    rows = [number for number, line in enumerate(cells) if line[1] == "AAA"]
    first, last = float(cells[rows[20]][5]), float(cells[rows[30]][5])
    for step, number in enumerate(rows[21:30], 1):
        levels = [first + (last - first) * (step - back) / 10 for back in (1, 0)]
        cells[number][2:] = [str(level) for level in (levels[0], max(levels), min(levels), levels[1], 0)]
    (pair.folder / "prices.csv").write_text("\n".join(",".join(line) for line in cells) + "\n")
    with pytest.raises(BadPrices, match="straight line"):
        backtest(pair.recipe())
    document = pair.recipe()
    document["prices"]["allow"] = ["interpolated"]
    assert "know the next one" in refused(document)
    lines = (pair.folder / "news.csv").read_text().splitlines()
    (pair.folder / "news.csv").write_text("\n".join(line for line in lines if ",AAA," not in line) + "\n")
    assert backtest(document).strict, "no text is of the ticker whose bars they are"


def test_a_base_that_is_ignored_marks_the_result(pair: Any) -> None:
    result = backtest(pair.recipe({"include_base": False}))
    assert not result.strict and [mark.sentence for mark in result.marks if mark.red]


def test_the_same_bar_fills_only_by_name(pair: Any) -> None:
    with pytest.raises(BadRecipe, match="rules.fill"):
        backtest(pair.recipe(rules={"fill": "same_bar"}))
    result = backtest(pair.recipe(rules={"fill": "same_instant", "hold": "flat"}))
    assert not result.strict
    later = backtest(pair.recipe(rules={"hold": "flat"}))
    assert result.ledger.equity.tolist() != later.ledger.equity.tolist()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"signals": {"adapter": None}}, BadRecipe, "give an adapter, or the path"),
        ({"signals": {"path": "x.parquet"}}, BadCorpus, "x.parquet"),
        ({"signals": {"adapter": "acme/tone", "calendar": "XNYS"}}, BadRecipe, "leave out calendar"),
        ({"signals": {"adapter": "acme/none"}}, NotFound, "acme/none"),
        ({"test": {"from": "2020-02-01", "until": "2020-01-01"}}, BadRecipe, "must be after"),
        ({"rules": {"capital": 0}}, BadRecipe, "capital"),
        ({"prices": {"path": "nowhere.csv"}}, BadPrices, "nowhere.csv"),
        ({"signals": {"texts": {"path": "nowhere.csv"}}}, BadCorpus, "nowhere.csv"),
    ],
)
def test_a_bad_recipe_gets_one_sentence(
    pair: Any, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    document = pair.recipe()
    for part, keys in change.items():
        texts = keys.pop("texts", None)
        document[part] = {**document.get(part, {}), **keys}
        if texts:
            document["signals"]["texts"].update(texts)
    with pytest.raises(error, match=message) as raised:
        backtest(document)
    assert "\n" not in str(raised.value)


def test_the_digest_is_of_what_decides_the_equity(pair: Any) -> None:
    read = BacktestRecipe.read
    first = read(pair.recipe()).digest()
    assert read(pair.recipe(report={"seed": 1})).digest() == first
    assert read({**pair.recipe(), "name": "other"}).digest() == first
    assert read(pair.recipe(rules={"costs_bp": 5})).digest() != first


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as leave:
        cli.main(list(arguments))
    shown = capsys.readouterr()
    return int(leave.value.code or 0), shown.out, shown.err


def test_the_command_prints_what_was_refused_and_what_is_marked(pair: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = pair.folder / "pair.yaml"
    path.write_text(yaml.safe_dump(pair.recipe()))
    assert "strict: no row is marked" in run(capsys, "backtest", str(path))[1]
    code, out, err = run(capsys, "backtest", str(path), "--set", "test.embargo=15d")
    assert code == 1 and not out and "signals knew what their decisions could not" in err
    _, out, _ = run(capsys, "backtest", str(path), "--set", "test.embargo=15d", "--allow-lookahead", "--json")
    record = json.loads(out)
    assert record["strict"] is False and record["refused"]["embargo"] > 0
    assert record["trials"] == 1, "it earns the same, and the refused run gave no result"


def test_a_position_that_never_changes_has_no_placebo(pair: Any) -> None:
    """Shift no bar from before its first fill: it would tell only which days were missed."""
    signals = backtest(pair.recipe()).signals
    rows = len(signals)
    always = replace(signals, signal=np.ones(rows, np.int8), actionable=np.ones(rows, bool))
    read = BacktestRecipe.read(pair.recipe())
    result = run_admitted(read, read.prices.read(), always, find_sources(always, {}))
    assert result.judgement.placebo is None and "never change" in result.judgement.reasons["placebo"]


def test_a_threshold_that_votes_of_one_text_always_pass_is_noted(pair: Any) -> None:
    noted = backtest(pair.recipe({"threshold": 0.9}))
    acting = int(noted.signals.actionable.sum())
    sentence = f"the threshold of 0.9 holds back nothing for {acting} signals that read one text"
    assert any(mark.sentence.startswith(sentence) for mark in noted.marks)
    for other in ({"threshold": 0.4, "aggregate": "mean"}, {"threshold": 0.0}):
        assert not any("holds back nothing" in mark.sentence for mark in backtest(pair.recipe(other)).marks)
    assert noted.record()["trials_counted"].endswith("of whatever instruments")


def test_an_adapter_that_knew_one_text_s_day_is_refused_beside_an_older_one(dated_tone: Any) -> None:
    """Of a window's two versions, the later knows until the end of its texts' day, and before the decision."""
    close = np.datetime64("2019-12-31", "us")
    texts = {"one": close - np.timedelta64(14, "h"), "two": close - np.timedelta64(4, "h")}
    both = tuple(dated_tone.resolve(f"acme/tone@{number}").digest for number in (2, 3))
    mixed = replace(of_text("one", close), texts=(tuple(texts),), adapters=(both,))
    [refusal] = examine(mixed, find_sources(mixed, texts))
    assert refusal.reason == "adapter" and "knows until 2019-12-31T00:00:00" in refusal.sentence


def test_texts_that_no_decision_reads_are_noted(pair: Any) -> None:
    pair.write_texts(lambda day: f"{day}T{'09' if day.day % 2 else '13'}:30:00Z")
    noted = [mark.sentence for mark in backtest(pair.recipe({"window": "12h"})).marks]
    assert "42 texts of the span were read by no decision: see signals.window" in noted
    assert not any("read by no decision" in mark.sentence for mark in backtest(pair.recipe()).marks)
