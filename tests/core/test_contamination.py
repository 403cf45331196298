"""Probes read from files, simulated bases judged at the nominal rates, and forecasts beside what a base recalls."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterhub_fin.engine.contamination.interaction import interaction
from adapterhub_fin.engine.contamination.probes import SHIPPED, Probe, read_probes, split_by
from adapterhub_fin.engine.contamination.recall import Recalled, Settings, Side, calibrated, measure_side, softmax
from adapterhub_fin.engine.contamination.result import judge
from adapterhub_fin.errors import AdapterHubError, BadCorpus, BadRecipe
from adapterhub_fin.stats.agreement import Family, permuted, shifted

END = datetime(2013, 12, 31, tzinfo=UTC)
QUICK = Settings(resamples=50)  # what isn't about intervals needs none
ROW = {"text": "It was ___.", "options": ["up", "down"], "answer": "up", "available_at": "2012-01-05"}


def written(folder: Path, *rows: dict[str, Any], name: str = "facts.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps({**ROW, **row}) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_shipped_probes_are_read() -> None:
    file = read_probes(SHIPPED)
    assert len(file.probes) == 236 and {probe.family for probe in file.probes} == {"chair", "decision"}
    by_day = {(str(probe.last.date()), probe.family): probe.options[probe.answer] for probe in file.probes}
    # A day ends in the last time zone, which is the next day in UTC.
    assert by_day["2008-12-17", "decision"] == "lowered" and by_day["2015-12-17", "decision"] == "raised"
    assert by_day["2014-03-20", "decision"] == "kept" and by_day["2014-07-02", "chair"] == "Janet Yellen"
    sides = split_by(file.probes, END)
    assert [len(each) for each in sides.values()] == [136, 100]


@pytest.mark.parametrize("name", ["facts.csv", "facts.tsv", "facts.parquet", "facts.json"])
def test_probes_of_every_kind_of_file_are_the_same(tmp_path: Path, name: str) -> None:
    import pandas

    rows = [{**ROW, "family": "a"}, {**ROW, "answer": "down", "available_at": "2014-06-01T10:00:00Z", "family": "a"}]
    first = read_probes(written(tmp_path, *rows)).probes
    path = tmp_path / name
    table = pandas.DataFrame(rows)
    if name.endswith("parquet"):
        table.to_parquet(path)
    elif name.endswith("json"):
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        table["options"] = table["options"].map(" | ".join)
        table.to_csv(path, index=False, sep="\t" if name.endswith("tsv") else ",")
    plain = [(each.text, each.options, each.answer, each.first, each.last, each.family) for each in first]
    again = read_probes(path).probes
    assert [(each.text, each.options, each.answer, each.first, each.last, each.family) for each in again] == plain


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "No blank."}, "line 1: text has 0 blanks: write one, as ___"),
        ({"text": "___ and ___."}, "text has 2 blanks"),
        ({"text": "It was ____."}, "text has a blank of 4 underscores: write one, as ___"),
        ({"text": "It was ___ and ______."}, "text has 2 blanks"),
        ({"text": None}, "text is None, a missing value"),
        ({"options": ["up"]}, "list two texts or more"),
        ({"options": None}, "list two texts or more"),
        ({"options": 7}, "list two texts or more"),
        ({"options": ["up", ""]}, "list two texts or more"),
        ({"options": ["up", "up"]}, "one of them twice"),
        ({"answer": "sideways"}, "answer is 'sideways', none of the options up, down"),
        ({"forecast": "sideways"}, "forecast is 'sideways', none of the options"),
        ({"available_at": None}, "available_at is missing: say when the fact became known"),
        ({"available_at": "last year"}, "isn't a date"),
        ({"available_at": "2012-01-05T14:00:00"}, "has no time zone"),
    ],
)
def test_a_row_that_is_no_probe_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(BadCorpus, match="facts.jsonl, line 1") as refused:
        read_probes(written(tmp_path, row, {}))
    assert message in str(refused.value)


def test_probes_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    def refusal(*rows: dict[str, Any]) -> str:
        with pytest.raises(AdapterHubError) as refused:
            split_by(read_probes(written(tmp_path, *rows)).probes, END)
        return str(refused.value)

    early, late = {"available_at": "2010-01-05"}, {"available_at": "2015-01-05"}
    assert "1 and 2 are of the family 'a' and have other options" in refusal(
        {"family": "a"}, {"family": "a", "options": ["up", "flat"]}
    )
    assert "of one family and one event (2012-01-05), and have other answers" in refusal({}, {"answer": "down"})
    assert "no probe is from before the base's knowledge end" in refusal(late, late)
    assert "no probe is from after the base's knowledge end" in refusal(early)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("", encoding="utf-8")
    with pytest.raises(BadCorpus, match="has no probe"):
        read_probes(empty)
    with pytest.raises(AdapterHubError, match="Mars"):
        read_probes(written(tmp_path, {}), "Mars/Olympus")


def test_a_day_is_on_a_side_only_where_it_is_so_in_every_time_zone(tmp_path: Path) -> None:
    days = ["2013-12-30", "2013-12-31", "2014-01-01", "2014-01-01T00:00:01Z", "2013-12-31T00:00:00Z", "2014-01-02"]
    days += ["2013-12-31T12:00:00Z", "2013-12-31T12:00:00.000001Z"]
    probes = read_probes(written(tmp_path, *({"available_at": day, "family": day} for day in days))).probes
    at = datetime(2013, 12, 31, 12, tzinfo=UTC)
    assert {probe.family: probe.side(at) for probe in probes} == {
        "2013-12-30": "before",  # it ends at noon UTC of the next day, less a microsecond
        "2013-12-31": None,
        "2014-01-01": None,  # it begins at 10:00 UTC of the day before
        "2013-12-31T12:00:00Z": "before",  # the end's own instant may be known of
        "2013-12-31T12:00:00.000001Z": "after",
        "2014-01-01T00:00:01Z": "after",
        "2013-12-31T00:00:00Z": "before",
        "2014-01-02": "after",
    }
    later, earlier = {"available_at": "2014-01-02"}, {"available_at": "2012-01-05"}
    by_time = read_probes(written(tmp_path, later, earlier)).probes
    assert [probe.number for probe in by_time] == [2, 1], "whatever the order of the file"
    assert by_time[1].side(datetime(2014, 1, 1, 10, tzinfo=UTC)) is None, "it begins with the end's own instant"
    assert read_probes(written(tmp_path, {"available_at": "2012-01-05T14:00:00"}), "America/New_York").probes[
        0
    ].last == datetime(2012, 1, 5, 19, tzinfo=UTC)


def test_a_fact_has_the_day_that_is_given(tmp_path: Path) -> None:
    # A day and an instant of that day are one event, and the last day of a year is none of the next.
    rows = [
        {"available_at": "2012-12-31"},
        {"available_at": "2012-12-31T20:00:00Z", "text": "That day it was ___."},
        {"available_at": "2012-12-31T23:30:00-05:00", "answer": "down"},
        {"available_at": "2013-01-01T00:00:00Z", "answer": "down", "text": "It was ___ then."},
    ]
    probes = read_probes(written(tmp_path, *rows)).probes
    assert sorted((str(probe.day), probe.event) for probe in probes) == [
        *[("2012-12-31", "2012-12-31")] * 2,
        *[("2013-01-01", "2013-01-01")] * 2,  # an instant has the day of UTC
    ]
    side = measure_side("before", probes, {probe.number: np.array([1.0, 0.0]) for probe in probes}, QUICK)
    assert [(fact.day, fact.probes) for fact in side.facts] == [("2012-12-31", 2), ("2013-01-01", 2)]
    shipped = {str(probe.day) for probe in read_probes(SHIPPED).probes if probe.family == "decision"}
    assert {"2008-12-16", "2015-12-16", "2014-03-19"} <= shipped and "2008-12-17" not in shipped


# A base that recalls a share of the facts, and otherwise prefers some options, as a function of the probe's number.
def simulated(
    seed: int, *, before: float, after: float, events: int = 60, options: int = 3, size: float = 3.0, wordings: int = 1
) -> tuple[Side, Side]:
    rng = np.random.default_rng(seed)
    names = tuple("abcdef"[:options])
    preferred = rng.normal(size=options)
    frequencies = rng.dirichlet(np.full(options, 3.0))
    sides = []
    for side, share in (("before", before), ("after", after)):
        probes, likelihoods = [], {}
        for event in range(events):
            day = END + timedelta(days=event + 1 if side == "after" else event - events)
            answer = int(rng.choice(options, p=frequencies))
            values = preferred + rng.normal(size=options) + size * (rng.random() < share) * np.eye(options)[answer]
            for wording in range(wordings):
                number = len(probes)
                probes.append(Probe(number, f"{wording} ___", names, answer, day, day, "f", str(event)))
                likelihoods[number] = values + rng.normal(scale=0.1, size=options)
        sides.append(measure_side(side, probes, likelihoods, QUICK))  # type: ignore[arg-type]
    return sides[0], sides[1]


def verdicts(count: int, **options: Any) -> dict[str, int]:
    found: dict[str, int] = {"knows of what came after its end": 0, "no sign": 0, "no power": 0}
    for seed in range(count):
        found[judge(*simulated(seed, **options), 0.05)[0]] += 1
    return found


def test_a_strict_base_is_accused_at_the_level_and_a_leaky_one_is_seen() -> None:
    strict = verdicts(60, before=0.7, after=0.0)
    assert strict["knows of what came after its end"] <= 8  # more would have a chance of 1 in 250 at 0.05
    assert strict["no sign"] >= 48
    leaky = verdicts(30, before=0.7, after=0.7)
    assert leaky["knows of what came after its end"] >= 28


def test_a_base_that_recalls_nothing_has_no_power_and_is_accused_at_the_level() -> None:
    blank = verdicts(60, before=0.0, after=0.0)
    assert blank["knows of what came after its end"] <= 8 and blank["no sign"] <= 8


def test_too_few_events_after_the_end_have_no_power() -> None:
    found = [simulated(seed, before=0.9, after=0.9, events=15) for seed in range(5)]
    assert {judge(before, after, 0.05)[0] for before, after in found} == {"no power"}
    assert "p can't fall below 0.067 with so few events, and must be at most 0.05" in found[0][1].reason
    before, _ = simulated(0, before=0.9, after=0.0, events=60)
    verdict, why = judge(before, found[0][1], 0.05)
    assert verdict == "no power" and "the 15 events after the end could show nothing" in why


def test_answers_that_alternate_have_no_power() -> None:
    """Half of all shifts leave them as they are, so that no p is below 0.5 whatever the base knows."""
    before, _ = simulated(0, before=0.9, after=0.0)
    probes = [Probe(n, "___", ("a", "b"), n % 2, END, END + timedelta(n), "f", str(n)) for n in range(60)]
    rng = np.random.default_rng(0)
    knowing = {n: rng.normal(scale=0.1, size=2) + 5.0 * np.eye(2)[n % 2] for n in range(60)}
    after = measure_side("after", probes, knowing, QUICK)
    assert after.p is not None and after.p >= 0.5 and after.smallest is None
    verdict, why = judge(before, after, 0.05)
    assert verdict == "no power" and "p can't fall below 0.5 with such answers" in why


def test_the_smallest_excess_is_what_is_seen_four_times_of_five() -> None:
    """Plant about as much recall as the test says that it would see."""
    seen, excesses, smallest = 0, [], []
    for seed in range(100):
        _, after = simulated(seed, before=0.5, after=0.22, events=60)
        assert after.p is not None and after.excess is not None and after.smallest is not None
        seen += after.p <= 0.05
        excesses.append(after.excess)
        smallest.append(after.smallest)
    assert np.mean(excesses) == pytest.approx(np.mean(smallest), rel=0.15), "the planted recall is about the smallest"
    assert 70 <= seen <= 92


def test_wordings_of_one_event_count_once() -> None:
    for seed in range(5):
        once, thrice = (simulated(seed, before=0.5, after=0.5, wordings=count)[1] for count in (1, 3))
        assert (once.events, len(once.facts), once.probes) == (60, 60, 60)
        assert (thrice.events, len(thrice.facts), thrice.probes) == (60, 60, 180)
        assert once.smallest is not None and thrice.smallest is not None
        assert thrice.smallest > 0.7 * once.smallest  # three times the probes would be 0.58


def test_wordings_are_each_normalised_and_their_mean_taken() -> None:
    # A long wording is unlikely as a whole, and a second one says nothing new: of both the mean counts.
    values = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 0.5], [1.0, 0.0]])

    def side(wordings: int, shift: float) -> Side:
        probes, likelihoods = [], {}
        for event, row in enumerate(values):
            for wording in range(wordings):
                number = len(probes)
                probes.append(Probe(number, "___", ("a", "b"), event % 2, END, END + timedelta(event), "f", str(event)))
                likelihoods[number] = row - shift * wording * (event + 1)
        return measure_side("after", probes, likelihoods, Settings(independent=True, resamples=50))

    once, thrice = side(1, 0.0), side(3, 40.0)
    for one, other in zip(once.facts, thrice.facts, strict=True):
        assert other.propensities == pytest.approx(one.propensities)
    # A difference of log-likelihoods less its mean over the events: 2 - 0.375 for the first of them.
    assert once.facts[0].propensities[0] == pytest.approx(1 / (1 + np.exp(-1.625)))


def test_a_trend_is_taken_out_of_events_that_depend_on_time_alone() -> None:
    probes = [Probe(n, "___", ("a", "b"), n % 2, END, END + timedelta(n), "f", str(n)) for n in range(8)]
    drift = {n: np.array([float(n), 0.0]) for n in range(8)}
    in_time = measure_side("after", probes, drift, Settings(resamples=50))
    free = measure_side("after", probes, drift, Settings(independent=True, resamples=50))
    assert [fact.propensities[0] for fact in in_time.facts] == pytest.approx([0.5] * 8)
    assert free.facts[-1].propensities[0] == pytest.approx(1 / (1 + np.exp(-3.5)))


def asked_of(*families: str, events: int = 40, streak: int = 1, apart: bool = False, **options: Any) -> Side:
    # A side of families with one propensity and one answer an event, and events of their own where they are apart.
    rng = np.random.default_rng(5)
    answers = np.repeat(rng.integers(2, size=events), streak)[:events]
    recall = np.repeat(rng.normal(size=events), streak)[:events]
    probes, likelihoods = [], {}
    for event in range(events):
        for family in families:
            number, label = len(probes), f"{family if apart else ''}{event}"
            day = END + timedelta(days=event + 1)
            probes.append(Probe(number, "___", ("a", "b"), int(answers[event]), day, day, family, label))
            likelihoods[number] = recall[event] * np.eye(2)[answers[event]] + rng.normal(scale=1e-3, size=2)
    return measure_side("after", probes, likelihoods, Settings(**options))


def families_of(side: Side) -> list[Family]:
    events = {event: number for number, event in enumerate(dict.fromkeys(fact.event for fact in side.facts))}
    grouped: dict[str, list[Recalled]] = {}
    for fact in side.facts:
        grouped.setdefault(fact.family, []).append(fact)
    return [
        Family(
            np.array([fact.propensities for fact in facts]),
            np.array([fact.answer for fact in facts]),
            np.array([events[fact.event] for fact in facts]),
        )
        for facts in grouped.values()
    ]


def test_the_smallest_excess_is_by_the_formula() -> None:
    side = asked_of("f", alpha=0.05, power=0.9)
    assert side.smallest == pytest.approx((1.644854 + 1.281552) * shifted(families_of(side)).error, rel=1e-5)


def test_families_of_other_events_are_not_permuted_together() -> None:
    for apart in (False, True):
        side = asked_of("a", "b", apart=apart, independent=True)
        expected = permuted(families_of(side))
        assert (side.p, side.events) == (expected.p, 80 if apart else 40)
        assert side.smallest == pytest.approx(2.486475 * expected.error, rel=1e-5)
    together, alone = (asked_of("a", "b", apart=apart, independent=True).smallest for apart in (False, True))
    assert together is not None and alone is not None and together > 1.2 * alone


def width(side: Side) -> float:
    assert side.interval is not None
    return float(side.interval[1] - side.interval[0])


def test_an_interval_is_over_events_and_their_streaks() -> None:
    assert width(asked_of("a", "b", "c")) == pytest.approx(width(asked_of("a")), rel=0.02)  # not by a root of three
    streaks = [width(asked_of("a", events=100, streak=10, independent=independent)) for independent in (False, True)]
    assert streaks[0] > 1.3 * streaks[1]


def test_p_of_exactly_the_level_counts() -> None:
    before, after = simulated(0, before=0.7, after=0.0)
    assert judge(before, replace(after, p=0.05), 0.05)[0] == "knows of what came after its end"
    assert judge(before, replace(after, p=0.051), 0.05)[0] == "no sign"
    assert judge(replace(before, p=0.05), after, 0.05)[0] == "no sign"
    assert judge(replace(before, p=0.051), after, 0.05)[0] == "no power"
    assert before.excess is not None
    for smallest, verdict in ((before.excess, "no sign"), (before.excess * 1.001, "no power"), (None, "no power")):
        assert judge(before, replace(after, smallest=smallest), 0.05)[0] == verdict
    assert judge(replace(before, smallest=None), after, 0.05)[0] == "no sign"


def test_the_frequencies_alone_are_no_knowledge() -> None:
    """A base that always answers the commonest option is right often, and its excess is zero."""
    rng = np.random.default_rng(3)
    answers = (rng.random(80) < 0.15).astype(int)
    probes = [Probe(n, "___", ("a", "b"), int(a), END, END + timedelta(n), "f", str(n)) for n, a in enumerate(answers)]
    side = measure_side("after", probes, {n: np.array([4.0, 0.0]) for n in range(80)}, Settings())
    assert side.excess == pytest.approx(0, abs=1e-12) and side.p == 1.0 and side.smallest is None
    assert "do not vary" in side.reason and side.interval is None and side.right == 0.5


def test_equal_options_share_what_is_right() -> None:
    probes = [Probe(n, "___", ("a", "b"), n % 2, END, END + timedelta(n), "f", str(n)) for n in range(4)]
    side = measure_side("after", probes, {n: np.zeros(2) for n in range(4)}, Settings())
    assert side.right == 0.5 and side.propensity == pytest.approx(0.5)


def test_families_with_one_event_are_left_out_and_said() -> None:
    probes = [Probe(n, "___", ("a", "b"), 0, END, END, f"family {n}", str(n)) for n in range(3)]
    side = measure_side("after", probes, {n: np.array([1.0, 0.0]) for n in range(3)}, Settings())
    more = [Probe(3 + n, "___", ("a", "b"), n, END, END + timedelta(n), "several", f"of {n}") for n in range(2)]
    several = measure_side("after", [*probes, *more], {n: np.array([1.0, 0.0]) for n in range(5)}, Settings())
    assert (several.left_out, len(several.facts), several.probes, several.events) == (3, 2, 5, 5)
    assert side.left_out == 3 and not side.facts and side.p is None
    assert judge(side, side, 0.05)[0] == "no power" and "no two events have the same options" in side.reason


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), events=st.integers(4, 30), options=st.integers(2, 5))
def test_long_options_and_drifts_are_taken_out(seed: int, events: int, options: int) -> None:
    rng = np.random.default_rng(seed)
    plain = rng.normal(size=(events, options))
    lengths, drifts = rng.normal(scale=50, size=options), rng.normal(scale=5, size=options)
    biased = plain + lengths + np.linspace(0, 1, events)[:, None] * drifts
    assert softmax(calibrated(biased, trend=True)) == pytest.approx(softmax(calibrated(plain, trend=True)), abs=1e-8)
    assert calibrated(plain + lengths, trend=False) == pytest.approx(calibrated(plain, trend=False), abs=1e-8)
    assert softmax(plain).sum(axis=1) == pytest.approx(np.ones(events))


def forecasts(seed: int, hits: Callable[[np.random.Generator, bool, int], bool]) -> Side:
    """A side of 120 facts, of which a base recalls half; a forecast hits by whether it does, and by the answer."""
    rng = np.random.default_rng(seed)
    probes, likelihoods = [], {}
    for number in range(120):
        answer, recalled = int(rng.random() < 0.3), bool(rng.random() < 0.5)
        forecast = answer if hits(rng, recalled, answer) else 1 - answer
        day = END + timedelta(days=number + 1)
        probes.append(Probe(number, "___", ("up", "down"), answer, day, day, "f", str(number), forecast))
        likelihoods[number] = rng.normal(size=2) + 3.0 * recalled * np.eye(2)[answer]
    return measure_side("after", probes, likelihoods, QUICK)


def test_forecasts_that_hit_where_the_base_recalls_are_seen() -> None:
    for seed in range(5):
        found = interaction(
            forecasts(seed, lambda rng, recalled, _: rng.random() < (0.95 if recalled else 0.5)), Settings()
        )
        assert found is not None and found.p is not None and found.p <= 0.05 and found.slope is not None
        assert found.slope > 0.2 and found.interval is not None and found.interval[0] > 0 and found.facts == 120


def test_forecasts_that_only_prefer_what_the_base_prefers_are_not() -> None:
    alarms = 0
    for seed in range(60):
        found = interaction(forecasts(seed, lambda rng, _, answer: (answer == 0) == (rng.random() < 0.9)), QUICK)
        assert found is not None and found.p is not None
        alarms += found.p <= 0.05
    assert alarms <= 8
    constant = interaction(forecasts(0, lambda _rng, _, answer: answer == 0), Settings())
    assert constant is not None and constant.p is None and "do not vary" in constant.reason


def test_without_forecasts_there_is_no_interaction() -> None:
    before, _ = simulated(0, before=0.5, after=0.0)
    assert interaction(before, Settings()) is None


def test_levels_that_mean_nothing_are_refused() -> None:
    import adapterhub_fin as ahf

    for options, message in (
        ({"alpha": 0.7}, "alpha is 0.7"),
        ({"power": 0.2}, "power is 0.2"),
        ({"batch_size": 0}, "batch_size"),
        ({"end": "soon"}, "knowledge_end 'soon' is no date"),
        (
            {"end": datetime(2013, 12, 31, 12)},
            "'2013-12-31T12:00:00' is no date: write 2021-06-30 or",
        ),
    ):
        with pytest.raises(BadRecipe, match=message):
            ahf.contamination(Path(__file__).parent, **{"end": "2013-12-31", **options})  # type: ignore[arg-type]


def test_a_base_that_is_nowhere_is_one_sentence(run_ahf: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = run_ahf("contamination", "acme/nowhere", "--end", "2013-12-31")
    assert code == 1 and "acme/nowhere" in err and err.count("\n") == 1
