"""Comparing versions on the same rows: the figures by hand, the right test, every refusal; outcomes and slices."""

from __future__ import annotations

import dataclasses
import hashlib
import html
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
from datasets import Dataset
from scipy import stats as scipy_stats
from sklearn.metrics import accuracy_score, f1_score

import adapterhub_fin as ahf
from adapterhub_fin.engine.comparing.contenders import in_label_order
from adapterhub_fin.engine.comparing.differences import differ
from adapterhub_fin.engine.comparing.verdict import caveats
from adapterhub_fin.engine.evaluation import linear
from adapterhub_fin.engine.evaluation.outcomes import Outcomes
from adapterhub_fin.errors import BadConfiguration, BadCorpus, BadRecipe, Refused, UnknownName, Unsupported
from adapterhub_fin.stats.corrections import holm
from adapterhub_fin.stats.paired import PairedTest, mcnemar

UP, DOWN = ("gain", "beat", "up"), ("loss", "miss", "down")
QUICK: dict[str, Any] = {"resamples": 200, "rounds": 300}
START = datetime(2021, 1, 1, tzinfo=UTC)


def rows(count: int = 120, first: int = 0) -> list[dict[str, Any]]:
    """Return texts whose words mostly say their label, with a firm, a sector and a day each."""
    draw, table = np.random.default_rng(first + 1), []
    for number in range(first, first + count):
        label = ("up", "down")[int(draw.random() < 0.5)]
        words = [str(draw.choice(UP if (label == "up") == (draw.random() < 0.8) else DOWN)) for _ in range(5)]
        table.append(
            {
                "text": " ".join([*words[: 2 + number % 4], f"n{number}"]),
                "label": label,
                "target": float(sum(word in UP for word in words)),
                "firm": f"firm{number // 4}",
                "sector": ("Energy", "Banks", None)[number % 3],
                "day": (START + timedelta(days=5 * number)).isoformat(),
                "part": ("train", "train", "validation", "test", "test")[number % 5],
            }
        )
    return table


FOLDER: list[Path] = []


def kept(table: list[dict[str, Any]]) -> Path:
    """Return a file of some rows, which every evaluation of a version reads again."""
    lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in table)
    path = FOLDER[0] / f"{hashlib.sha256(lines.encode()).hexdigest()[:9]}.jsonl"
    path.write_text(lines, "utf-8")
    return path


def corpus(table: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    columns = {"label": "label", "split": "part", "splitter": {"by": "given"}, "slices": ["sector"]}
    return {"name": "table", "path": str(kept(table or rows())), **columns, **more}


def trained(base: Path, name: str, registry: ahf.Registry, **more: Any) -> Any:
    recipe: dict[str, Any] = {
        "base": {"id": "acme/tiny", "path": str(base)},
        "method": {"name": "lora", "rank": 2},
        "head": "classify",
        "corpus": corpus(),
        "training": {"epochs": 2, "batch_size": 8, "max_length": 32, "learning_rate": 0.01, "seed": 1},
    }
    return ahf.train(name=name, registry=registry, **{**recipe, **more})


@pytest.fixture(scope="module")
def home(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a registry with acme/long@1, which learnt, acme/short@1, which hardly did, and some that don't fit."""
    root = tmp_path_factory.mktemp("compared")
    FOLDER[:] = [root]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(root / "cache"))
        patch.setenv("AHF_HOME", str(root / "home"))
        patch.setattr(linear, "PACKAGE", "sklearn")
        registry = ahf.Registry(root / "home")
        training = {"batch_size": 8, "max_length": 32, "seed": 1, "baseline": False}
        trained(
            encoder,
            "acme/long",
            registry,
            method={"name": "lora", "rank": 8},
            training={**training, "epochs": 12, "learning_rate": 0.004},
        )
        trained(encoder, "acme/short", registry, training={**training, "epochs": 1, "learning_rate": 1e-5})
        turned = {"name": "classify", "labels": ["up", "down"]}
        trained(
            encoder, "acme/turned", registry, head=turned, training={**training, "epochs": 2, "learning_rate": 0.02}
        )
        numbers = corpus(label=None, target="target")
        trained(encoder, "acme/numbers", registry, head="regress", corpus=numbers, training={**training, "epochs": 1})
        named = corpus(labels={"up": "buy", "down": "sell"})
        trained(encoder, "acme/named", registry, corpus=named, training={**training, "epochs": 1})
        yield root / "home"


@pytest.fixture(autouse=True)
def in_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AHF_HOME", str(home))
    monkeypatch.setenv("AHF_CACHE", str(home.parent / "cache"))
    monkeypatch.setattr(linear, "PACKAGE", "sklearn")


def answers(reference: str, table: list[dict[str, Any]]) -> list[str]:
    return [each.label for each in ahf.load(reference).predict([row["text"] for row in table])]


def of(evidence: Any, metric: str, part: str = "all rows") -> Any:
    [one] = [each for each in evidence.differences if each.metric == metric and each.part == part]
    return one


@pytest.fixture(scope="module")
def evidence(home: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_HOME", str(home))
        patch.setenv("AHF_CACHE", str(home.parent / "cache"))
        return ahf.compare("acme/long@1", "acme/short@1", by=("sector",), **QUICK)


def test_the_figures_are_those_by_hand(evidence: Any) -> None:
    table = [row for row in rows() if row["part"] == "test"]
    truth = [row["label"] for row in table]
    given = {name: answers(f"acme/{name}@1", table) for name in ("long", "short")}
    accuracy, f1 = of(evidence, "accuracy"), of(evidence, "macro_f1")
    assert accuracy.rows == evidence.rows == len(table) == 48 and evidence.units == "row"
    assert (accuracy.value_a, accuracy.value_b) == tuple(accuracy_score(truth, given[name]) for name in given)
    assert f1.difference == pytest.approx(
        f1_score(truth, given["long"], average="macro") - f1_score(truth, given["short"], average="macro")
    )
    right = {name: np.equal(each, truth).astype(float) for name, each in given.items()}
    only = [int(np.sum(right[one] > right[other])) for one, other in (("long", "short"), ("short", "long"))]
    assert accuracy.test.name == "McNemar" and f1.test.name == "permutation"
    assert accuracy.test.p == pytest.approx(scipy_stats.binomtest(min(only), sum(only), 0.5).pvalue)
    assert accuracy.others["paired t"].p == pytest.approx(scipy_stats.ttest_rel(right["long"], right["short"]).pvalue)
    assert isinstance(f1.others["paired t"], str) and f1.effects["d_z"] == "the metric is no mean over rows"
    assert accuracy.interval[0] < accuracy.difference < accuracy.interval[1]


@pytest.mark.parametrize("sector", ["Energy", "Banks", None])
def test_the_p_of_a_slice_counts_every_swap_of_its_rows(sector: str | None, evidence: Any) -> None:
    """Of 16 rows 65,536 swaps, also those of rows that both versions answer alike."""
    table = [row for row in rows() if row["part"] == "test" and row["sector"] == sector]
    truth = np.array([row["label"] == "up" for row in table])
    long, short = (np.equal(answers(f"acme/{name}@1", table), "up") for name in ("long", "short"))
    swapped = ((np.arange(2**16)[:, None] >> np.arange(16)) & 1).astype(bool)

    def f1(given: Any) -> Any:
        of_each = [
            2 * (right & said).sum(1) / np.maximum(right.sum() + said.sum(1), 1)
            for right, said in ((truth, given), (~truth, ~given))
        ]
        return np.mean(of_each, axis=0)

    apart = f1(np.where(swapped, short, long)) - f1(np.where(swapped, long, short))
    found = of(evidence, "macro_f1", f"sector = {sector or '(none)'}")
    assert found.difference == pytest.approx(apart[0]) and 0 < np.sum(long != short) < 16
    assert found.test.p == pytest.approx(np.mean(np.abs(apart) >= abs(apart[0]) * (1 - 1e-10)), abs=1e-12)


def test_every_p_is_corrected_over_metrics_slices_and_pairs(evidence: Any) -> None:
    tested = [each for each in evidence.differences if isinstance(each.test, PairedTest)]
    assert len(tested) == 3 * 4  # metrics, and the whole with three slices
    assert [each.corrected for each in tested] == pytest.approx(list(holm([each.test.p for each in tested])))
    parts = {each.part: each.rows for each in evidence.differences}
    assert parts == {"all rows": 48, "sector = Energy": 16, "sector = Banks": 16, "sector = (none)": 16}


def test_the_verdict_says_which_and_when_it_is_no_one(evidence: Any) -> None:
    [verdict] = evidence.verdicts
    decided = of(evidence, "macro_f1")
    if decided.corrected < 0.05:
        assert verdict.startswith("acme/long@1 is better than acme/short@1 in macro_f1")
    else:
        assert verdict.startswith("No difference could be shown between acme/long@1 and acme/short@1 in macro_f1")
        assert f"{decided.smallest:.4f}" in verdict
    assert f"{decided.difference:+.4f}" in verdict and evidence.caveats == []
    turned = ahf.compare("acme/short@1", "acme/long@1", **QUICK)
    assert of(turned, "macro_f1").difference == pytest.approx(-decided.difference)
    assert of(turned, "macro_f1").better == of(evidence, "macro_f1").better


def test_labels_in_another_order_are_the_same_labels() -> None:
    """acme/turned has its outputs the other way round: by their numbers, its right answers would all be wrong."""
    table = [row for row in rows() if row["part"] == "test"]
    given, truth = answers("acme/turned@1", table), [row["label"] for row in table]
    evidence = ahf.compare("acme/long@1", "acme/turned@1", **QUICK)
    assert of(evidence, "accuracy").value_b == accuracy_score(truth, given)
    assert of(evidence, "macro_f1").value_b == pytest.approx(f1_score(truth, given, average="macro"))


def test_the_bare_base_and_a_bag_of_words_answer_the_same_rows() -> None:
    evidence = ahf.compare("acme/long@1", "base", "bag-of-words", **QUICK)
    assert [side.name for side in evidence.sides] == ["acme/long@1", "base", "bag-of-words"]
    assert len(evidence.verdicts) == 3 and "acme/tiny" in evidence.sides[1].described
    words = evidence.sides[2].metrics["accuracy"]
    assert words > 0.6, "most words say their label"
    assert evidence.caveats == ["It is not known whether base saw some of these rows in training."]
    costs = {side.name: side.efficiency for side in evidence.sides}
    assert costs["acme/long@1"]["parameters"] > costs["base"]["parameters"] > 0
    assert costs["acme/long@1"]["latency"] > 0 and costs["acme/long@1"]["memory"] > costs["base"]["memory"]


def test_rows_of_a_group_are_drawn_and_swapped_together() -> None:
    grouped = corpus(group="firm")
    together = ahf.compare("acme/long@1", "acme/short@1", corpus={"name": "table", **grouped}, **QUICK)
    alone = ahf.compare("acme/long@1", "acme/short@1", corpus={"name": "table", **grouped}, units="row", **QUICK)
    firms = {row["firm"] for row in rows() if row["part"] == "test"}
    assert (together.units, alone.units) == ("group", "row")
    assert of(together, "accuracy").units == len(firms) and of(alone, "accuracy").units == 48
    assert of(together, "accuracy").test.name == "permutation", "McNemar's needs rows that are independent"
    assert of(together, "accuracy").difference == of(alone, "accuracy").difference
    bca = ahf.compare("acme/long@1", "acme/short@1", interval="bca", **QUICK)
    assert of(bca, "macro_f1").interval != of(alone, "macro_f1").interval


@pytest.mark.parametrize(
    ("contenders", "options", "error", "says"),
    [
        (("acme/long@1",), {}, BadRecipe, "two contenders or more"),
        (("acme/long@1", "acme/long@1"), {}, BadRecipe, "acme/long@1 is named twice"),
        (("acme/long", "acme/long@1"), {}, BadRecipe, "acme/long and acme/long@1 are one version"),
        (("base", "bag-of-words"), {}, BadRecipe, "compare them with a version"),
        (("acme/long@1", "acme/numbers@1"), {}, BadRecipe, r"acme/long@1 \(classify\) and acme/numbers@1 \(regress\)"),
        (("acme/long@1", "acme/named@1"), {}, BadRecipe, "acme/long@1 answers down, up and acme/named@1 buy, sell"),
        (("acme/long@1", "acme/short@1"), {"split": "train"}, Refused, r"acme/long@1 saw 48 of these 48 rows"),
        (
            ("acme/long@1", "acme/short@1"),
            {"split": "all"},
            Refused,
            r"saw 72 of these 120 rows .*rows 0, 1, 2, \.\.\.",
        ),
        (
            ("acme/long@1", "acme/short@1"),
            {"by": ("size",)},
            BadRecipe,
            "by size: the corpus has no such column; it has",
        ),
        (("acme/long@1", "acme/short@1"), {"units": "group"}, BadRecipe, "the corpus has no groups"),
        (("acme/long@1", "acme/short@1"), {"interval": "t"}, BadRecipe, "choose percentile or bca"),
        (("acme/long@1", "acme/short@1"), {"metric": "f1"}, UnknownName, "no metric to decide by is named .f1."),
        (("acme/long@1", "acme/short@1"), {"level": 95}, BadRecipe, "level is 95"),
        (("acme/long@1", "acme/short@1"), {"rounds": 3}, BadRecipe, "rounds 3: give at least 100"),
        (("acme/long@1", "base"), {"split": "validation"}, Refused, "saw 24 of these 24 rows"),
    ],
)
def test_what_can_t_be_compared_is_refused(contenders: Any, options: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        ahf.compare(*contenders, **{**QUICK, **options})


def test_seen_rows_can_be_left_out_for_all() -> None:
    evidence = ahf.compare("acme/long@1", "acme/short@1", split="all", drop_seen=True, **QUICK)
    assert evidence.rows == 48
    other = {"name": "table", **corpus([*rows(40, 500), rows()[0]]), "splitter": {"by": "random"}}
    with pytest.raises(Refused, match=r"acme/long@1 saw 1 of these 41 rows in training \(rows 40 of the all part\)"):
        ahf.compare("acme/long@1", "acme/short@1", corpus=other, split="all", **QUICK)
    with pytest.raises(BadCorpus, match="0 rows are left"):
        ahf.compare("acme/long@1", "acme/short@1", split="train", drop_seen=True, **QUICK)


def test_without_scikit_learn_the_base_is_refused_and_versions_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "PACKAGE", "a_package_that_is_not_installed")
    for name in ("base", "bag-of-words"):
        with pytest.raises(BadConfiguration, match=r"adapterhub-fin\[evidence\]"):
            ahf.compare("acme/long@1", name, **QUICK)
    assert ahf.compare("acme/long@1", "acme/short@1", **QUICK).rows == 48


def test_numbers_are_compared_by_their_errors(home: Path, encoder: Path) -> None:
    training = {"batch_size": 8, "max_length": 32, "seed": 2, "epochs": 6, "learning_rate": 0.02, "baseline": False}
    numbers = corpus(label=None, target="target")
    trained(encoder, "acme/numbers2", ahf.Registry(home), head="regress", corpus=numbers, training=training)
    evidence = ahf.compare("acme/numbers2@1", "acme/numbers@1", "base", **QUICK)
    errors, squared = of_pair(evidence, "mae"), of_pair(evidence, "mse")
    assert errors.test.name == squared.test.name == "permutation" and errors.greater_is_better is False
    table = [row for row in rows() if row["part"] == "test"]
    texts, truth = [row["text"] for row in table], np.array([row["target"] for row in table])
    apart = [
        np.abs(np.array([each.value for each in ahf.load(name).predict(texts)]) - truth)
        for name in ("acme/numbers2@1", "acme/numbers@1")
    ]
    assert errors.difference == pytest.approx(apart[0].mean() - apart[1].mean(), abs=1e-5)
    assert errors.effects["d_z"] == pytest.approx(
        np.mean(apart[0] - apart[1]) / np.std(apart[0] - apart[1], ddof=1), abs=1e-3
    )
    assert errors.better == ("acme/numbers2@1" if errors.difference < 0 else "acme/numbers@1")
    with pytest.raises(Unsupported, match="bag of words answers texts with classes or numbers"):
        ahf.compare("acme/numbers@1", "bag-of-words", corpus={"name": "table", **messages()}, **QUICK)


def of_pair(evidence: Any, metric: str) -> Any:
    return next(each for each in evidence.differences if each.metric == metric)


def messages() -> dict[str, Any]:
    table = [
        {"messages": [{"role": "user", "content": row["text"]}], "target": row["target"], "part": row["part"]}
        for row in rows(60, 900)
    ]
    return {
        "path": str(kept(table)),
        "columns": {"messages": "messages"},
        "target": "target",
        "split": "part",
        "splitter": {"by": "given"},
    }


def test_outcomes_are_kept_by_row_without_texts(home: Path) -> None:
    registry = ahf.Registry(home)
    dated = corpus(available_at="day", timezone="UTC")
    evaluation = ahf.evaluate("acme/long@1", dated, resamples=100, by=("sector", "year", "length", "label"))
    path = registry.outcomes("acme/long@1", evaluation.event)
    assert path is not None
    table = parquet.read_table(path).to_pydict()
    tested = [row for row in rows() if row["part"] == "test"]
    assert table["truth"] == [row["label"] for row in tested] and table["row"] == list(range(48))
    assert table["answer"] == answers("acme/long@1", tested) and len(set(table["sha256"])) == 48
    assert not any(row["text"].encode() in path.read_bytes() for row in tested)
    logits = ahf.load("acme/long@1").logits([row["text"] for row in tested])
    labels = list(registry.resolve("acme/long@1").manifest.head.labels)  # type: ignore[union-attr]
    loss = [-float(row.log_softmax(-1)[labels.index(t["label"])]) for row, t in zip(logits, tested, strict=True)]
    assert table["loss"] == pytest.approx(loss, abs=1e-5)
    assert np.array(table["scores"]) == pytest.approx(logits.softmax(-1).numpy(), abs=1e-5)
    right = np.array(table["truth"]) == np.array(table["answer"])
    assert evaluation.metrics["accuracy"] == right.mean()
    sectors = {part.value: part for part in evaluation.slices["sector"]}
    banks = np.array([row["sector"] == "Banks" for row in tested])
    assert sectors["Banks"].rows == banks.sum() == 16 and sectors["Banks"].metrics["accuracy"] == right[banks].mean()
    low, high = sectors["Banks"].intervals["accuracy"]  # type: ignore[misc]
    assert low <= right[banks].mean() <= high
    assert [part.value for part in evaluation.slices["year"]] == ["2021", "2022"]
    assert sum(part.rows for part in evaluation.slices["length"]) == 48
    [event] = [each for each in registry.events("acme/long@1") if each["number"] == evaluation.event]
    assert event["slices"]["sector"][0].keys() == {"value", "rows", "metrics", "intervals"}
    assert json.loads(json.dumps(event["slices"])) == event["slices"] and "outcomes" in event


def test_a_kept_column_changes_no_digest_and_no_split() -> None:
    with_it = ahf.evaluate("acme/long@1", resamples=1, record=False)
    without = ahf.evaluate("acme/long@1", {"name": "table", **corpus(slices=[])}, resamples=1, record=False)
    assert with_it.corpus_digest == without.corpus_digest and with_it.metrics == without.metrics
    assert with_it.slices == {} and "slices" not in with_it.body()


def test_mcnemar_of_the_outcomes_is_that_of_the_comparison(evidence: Any) -> None:
    """Whoever reads the stored outcomes of two evaluations can pair them by the hash of each row."""
    sides = []
    for name in ("acme/long@1", "acme/short@1"):
        table = ahf.evaluate(name, resamples=1, record=False).outcomes
        assert table is not None
        kept = zip(*(table[column].to_pylist() for column in ("sha256", "truth", "answer")), strict=True)
        sides.append({digest: float(truth == answer) for digest, truth, answer in kept})
    assert sides[0].keys() == sides[1].keys()
    paired = [[side[digest] for digest in sorted(side)] for side in sides]
    assert mcnemar(*paired).p == pytest.approx(of(evidence, "accuracy").test.p)


def test_the_page_holds_the_verdict_and_a_picture_of_each_pair(tmp_path: Path) -> None:
    evidence = ahf.compare("acme/long@1", "acme/short@1", "bag-of-words", report=tmp_path / "page", **QUICK)
    assert evidence.page == tmp_path / "page" / "report.html"
    page = evidence.page.read_text("utf-8")
    assert all(html.escape(sentence) in page for sentence in evidence.verdicts)
    assert sorted(path.name for path in (tmp_path / "page").glob("*.png")) == [
        "difference-1.png",
        "difference-2.png",
        "difference-3.png",
        "sides.png",
    ]
    decided = of_pair(evidence, "macro_f1")
    assert f"{decided.difference:+.4f}" in page and f"{decided.corrected:.4f}" in page
    assert json.loads(json.dumps(evidence.body()))["page"] == str(evidence.page)


def test_what_was_chosen_among_many_says_so(evidence: Any) -> None:
    sides = [dataclasses.replace(side, tried=tried) for side, tried in zip(evidence.sides, (40, 1), strict=True)]
    rows = Dataset.from_dict({"text": ["x"]})
    assert caveats(sides, rows, {}) == ["acme/long@1 was chosen by validation among 40 runs that were tried."]
    unknown = [dataclasses.replace(side, unseen=None) for side in sides[1:]]
    assert caveats(unknown, rows, {}) == ["It is not known whether acme/short@1 saw some of these rows in training."]


def test_label_numbers_follow_the_first_head_s_order() -> None:
    """Rows whose answers are swapped must mean the same by the same number, whichever head gave them."""
    own, first = SimpleNamespace(labels=["up", "flat", "down"]), SimpleNamespace(labels=["down", "up", "flat"])
    numbers, sets = np.array([0, 1, 2]), np.array([[True, False, False], [False, True, True]])
    rows = np.arange(3)

    def turned(truth: Any, predicted: Any) -> Any:
        outcomes = Outcomes(truth, predicted, rows, rows, rows, None, None)
        return in_label_order(outcomes, own, first)  # type: ignore[arg-type]

    assert turned(numbers, numbers[::-1]).truth.tolist() == [1, 2, 0]
    assert turned(numbers, numbers[::-1]).predicted.tolist() == [0, 2, 1]
    assert turned(sets, sets).predicted.tolist() == [[False, True, False], [True, False, True]]
    by_kind = turned({"classification": numbers, "likelihood": rows}, {"classification": numbers, "likelihood": rows})
    assert by_kind.truth["classification"].tolist() == [1, 2, 0] and by_kind.truth["likelihood"].tolist() == [0, 1, 2]


def test_rows_differ_in_what_a_metric_needs_and_in_nothing_else() -> None:
    rows, sets = np.arange(4), np.array([[True, False], [True, True], [False, True], [False, False]])

    def outcomes(label: int = 0, kind: int = 0, weight: float = 1.0) -> Outcomes:
        truth = {"labels": sets, "kinds": np.zeros(4)}
        predicted = {"labels": sets ^ [[False, False], [False, label], [False, False], [False, False]]}
        predicted["kinds"] = np.array([0, 0, kind, 0])
        scored = {"loss": np.array([[0.5, 1.0], [0.5, 1.0], [0.5, 1.0], [0.5, weight]])}
        return Outcomes(truth, predicted, rows, rows, rows, np.full(4, weight), None, scored)

    for other, row in ((outcomes(), None), (outcomes(label=1), 1), (outcomes(kind=2), 2), (outcomes(weight=2.0), 3)):
        assert differ(outcomes(), other, "loss").tolist() == [number == row for number in range(4)]
    assert not differ(outcomes(), outcomes(weight=2.0), "accuracy").any()


@pytest.mark.parametrize("by", [("size",), ("year",)])
def test_wrong_slices_and_units_are_refused_before_anything_is_answered(
    by: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(*anything: Any, **options: Any) -> None:
        raise AssertionError("it was answered")

    monkeypatch.setattr("adapterhub_fin.engine.comparing.contenders.load", answer)
    monkeypatch.setattr("adapterhub_fin.engine.evaluation.evaluate.load", answer)
    with pytest.raises(BadRecipe, match=f"by {by[0]}: the corpus has no"):
        ahf.compare("acme/long@1", "acme/short@1", by=by, **QUICK)
    with pytest.raises(BadRecipe, match=f"by {by[0]}: the corpus has no"):
        ahf.evaluate("acme/long@1", by=by, record=False)
    with pytest.raises(BadRecipe, match="the corpus has no groups"):
        ahf.compare("acme/long@1", "acme/short@1", units="group", **QUICK)
