"""The head that reads numbers beside text: trained, stored and loaded, with each alone to compare with."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

import adapterhub_fin as ahf
from adapterhub_fin.engine.data.corpus import read_corpus
from adapterhub_fin.errors import BadMerge, BadText, TrainingFailed
from adapterhub_fin.plugin import BadCorpus, KnownAt, Rows
from adapterhub_fin.plugin import manager as extensions
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.testing import Bench, HeadContract
from adapterhub_fin.testing.bench import TEXTS, one_thread
from adapterhub_fin.testing.fresh import fresh_logits
from adapterhub_fin_markets.heads.fusion import Fusion
from adapterhub_fin_markets.heads.options import FusionOptions
from adapterhub_fin_markets.heads.standardize import fit_mean_and_sd, standardized

NAN = math.nan
ROWS = [
    {"text": text, "features": numbers}
    for text, numbers in zip(TEXTS, ([1.0, 200.0], [-1.0, 100.0], [None, 150.0], [0.0, None]), strict=True)
]
CORPUS = {"name": "number-rows", "splitter": {"by": "random"}}
LORA = {"name": "lora", "rank": 4, "alpha": 8}


class NumberRows:
    """Rows whose target is their first number, which some lack, and whose text says nothing."""

    def __init__(self, options: Any) -> None: ...

    def load(self) -> Rows:
        rng, rows = np.random.default_rng(0), []
        for row in range(60):
            first, second = rng.normal(), 150 + 30 * rng.normal()
            target = 0.0 if row % 10 == 0 else first + 0.01 * rng.normal()
            numbers = [first if row % 7 else None, second]
            rows.append({"text": f"Day {row}.", "target": target, "features": numbers})
        return Rows(Dataset.from_list(rows), KnownAt(datetime(2024, 1, 1, tzinfo=UTC), "asserted", "invented"))


@pytest.fixture(scope="module", autouse=True)
def corpus() -> Iterator[None]:
    """Register the rows for this module, and take them back: a worker may come to it twice."""
    before = list(extensions._registered)
    module = ModuleType("test_fusion_rows")
    vars(module)["NumberRows"] = NumberRows
    sys.modules[module.__name__] = module
    target = f"{module.__name__}:NumberRows"
    ahf.register(ahf.Corpus(name="number-rows", summary="Invented.", target=target, license="CC0-1.0", source="none"))
    yield
    extensions._registered[:], extensions._current = before, None


class TestDirection(HeadContract):
    name = "fusion"
    rows = ROWS
    corpus = CORPUS


class TestNumber(HeadContract):
    name = "fusion"
    options = {"answer": "number"}  # noqa: RUF012
    rows = ROWS
    corpus = CORPUS
    bases = ("encoder",)


class TestTextAlone(HeadContract):
    name = "fusion"
    options = {"reads": "text"}  # noqa: RUF012
    corpus = CORPUS
    bases = ("decoder",)


class TestNumbersAlone(HeadContract):
    name = "fusion"
    options = {"reads": "numbers", "answer": "number"}  # noqa: RUF012
    rows = ROWS
    corpus = CORPUS
    bases = ("decoder",)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), "encoder", LORA, {"name": "fusion", "dropout": 0.5}, CORPUS)


@pytest.fixture(scope="module")
def run(bench: Bench) -> Any:
    with one_thread():
        return bench.train("fusion")


def test_numbers_and_text_both_count(run: Any) -> None:

    def answer(text: str, numbers: list[float | None]) -> list[float]:
        return run.adapter.logits([{"text": text, "features": numbers}])[0].tolist()

    base = answer(TEXTS[0], [1.0, 200.0])
    assert answer(TEXTS[0], [1.0, 200.0]) == base
    assert answer(TEXTS[0], [1.1, 200.0]) != base and answer(TEXTS[1], [1.0, 200.0]) != base
    mean = run.version.manifest.head.options["mean"]
    assert answer(TEXTS[0], [mean[0], 200.0]) != answer(TEXTS[0], [None, 200.0]), "the bit says that it is missing"
    assert answer(TEXTS[0], [NAN, 200.0]) == answer(TEXTS[0], [None, 200.0])


def test_a_version_holds_what_was_fitted_to_the_training_rows(run: Any, bench: Bench) -> None:
    options = run.version.manifest.head.options
    assert len(options["mean"]) == len(options["sd"]) == 2 and 120 < options["mean"][1] < 180
    train = read_corpus(CorpusChoice.model_validate(CORPUS), "fusion").splits["train"]
    assert (tuple(options["mean"]), tuple(options["sd"])) == fit_mean_and_sd(train["features"])
    assert list(run.version.manifest.head.labels) == ["down", "flat", "up"]
    there = fresh_logits(bench.registry.root, run.reference, bench.base(), ROWS)
    assert (there == run.adapter.logits(ROWS)).all(), "bit for bit, in another process with another seed"


@pytest.mark.parametrize("method", ["adalora", "prompt-tuning"])
def test_other_methods_read_numbers_too(method: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path, "encoder", {"name": method}, {"name": "fusion"}, CORPUS)
    with one_thread():
        run = bench.train("fusion")
        again = ahf.load(run.reference, base=bench.base(), registry=bench.registry)
        assert (again.logits(ROWS) == run.adapter.logits(ROWS)).all()
        moved = again.logits([{**ROWS[0], "features": [5.0, 200.0]}])
    assert not np.allclose(moved, run.adapter.logits(ROWS)[:1])


def test_prefix_tuning_is_refused_with_what_to_choose(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "encoder", {"name": "prefix-tuning"}, {"name": "fusion"}, CORPUS)
    with one_thread(), pytest.raises(TrainingFailed, match="as prefix-tuning does on"):
        bench.train("fusion")


def test_two_versions_have_no_average_but_one_s_head_may_be_taken(run: Any, bench: Bench) -> None:
    both = [run.reference, run.reference]
    with pytest.raises(BadMerge, match="the average of two heads fusion is none, since their layers are not linear"):
        ahf.merge(both, into="acme/both", registry=bench.registry)
    made = ahf.merge(both, into="acme/both", head_from=run.reference, registry=bench.registry).version
    assert made.manifest.head is not None and made.manifest.head.name == "fusion"


def test_rows_without_their_numbers_are_refused(run: Any) -> None:
    with pytest.raises(BadText, match="row 0 has no features: give 2 numbers"):
        run.adapter.predict(["A text."])
    with pytest.raises(BadText, match="row 1 has 3 features, and the head was trained on 2"):
        run.adapter.predict([ROWS[0], {"text": "A text.", "features": [1, 2, 3]}])
    with pytest.raises(BadText, match="infinite"):
        run.adapter.predict([{"text": "A text.", "features": [math.inf, 2]}])
    with pytest.raises(BadText, match="no list of numbers"):
        run.adapter.predict([{"text": "A text.", "features": ["high", 2]}])


def test_threads_that_share_a_model_keep_their_numbers_apart(run: Any) -> None:
    rows = [{"text": "A text.", "features": [number, 150.0]} for number in np.linspace(-2, 2, 8).tolist()]
    expected = [run.adapter.logits([row]).tolist() for row in rows]
    found: dict[int, list[Any]] = {}

    def answer(number: int) -> None:
        found[number] = [run.adapter.logits([rows[number]]).tolist() for _ in range(5)]

    threads = [Thread(target=answer, args=(number,)) for number in range(len(rows))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [answer] * 5 for number, answer in enumerate(expected)}


def head(**options: Any) -> Fusion:
    return Fusion(FusionOptions(**options))


def rows_of(targets: list[float], features: list[Any] | None = None) -> Any:
    return Dataset.from_dict({"target": targets, "features": features or [[float(row)] for row in range(len(targets))]})


def test_flat_is_a_share_of_the_targets_that_are_not_zero() -> None:
    fitted = head()
    fitted.fit_labels(rows_of([0.0] * 50 + [-3.0, -2.0, -1.0, 1.0, 2.0, 3.0]))
    assert fitted.fitted_options()["flat_below"] == pytest.approx(np.quantile([1, 1, 2, 2, 3, 3], 0.33))
    assert [fitted.target({"target": value}) for value in (-3.0, -1.0, 0.0, 1.0, 2.5)] == [0, 1, 1, 1, 2]


def test_what_the_options_state_is_not_fitted() -> None:
    fitted = head(flat_below=0.5, mean=(1.0,), sd=(2.0,))
    fitted.fit_labels(rows_of([1.0, -1.0, 2.0]))
    assert fitted.fitted_options() == {"flat_below": 0.5, "mean": (1.0,), "sd": (2.0,)}


def test_numbers_that_training_never_had_or_never_varied_are_read_as_missing() -> None:
    mean, sd = fit_mean_and_sd([[1.0, None, 0.1], [3.0, NAN, 0.1], [None, None, 0.1]])
    assert mean == pytest.approx((2.0, 0.0, 0.1)) and sd == (1.0, 0.0, 0.0)
    for row in ([3.0, NAN, 0.1], [3.0, 5e8, -5e8]):
        assert standardized(row, mean, sd) == pytest.approx([1.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    with pytest.raises(BadCorpus, match="no number differs"):
        fit_mean_and_sd([[None, 7.0], [None, 7.0]])


def test_training_rows_that_can_t_be_read_are_named() -> None:
    with pytest.raises(BadCorpus, match="row 1 has 2 features"):
        head().fit_labels(rows_of([1.0, 2.0], [[1.0], [1.0, 2.0]]))
    with pytest.raises(BadCorpus, match="all 1.0"):
        head().fit_labels(rows_of([1.0, 1.0]))
    with pytest.raises(BadCorpus, match="no column features"):
        head().fit_labels(rows_of([1.0, 2.0]).remove_columns("features"))
    with pytest.raises(BadCorpus, match="not finite"):
        head().fit_labels(rows_of([1.0, NAN]))
    with pytest.raises(ahf.BadRecipe, match="go together"):
        from adapterhub_fin.plugin.options import checked

        checked(FusionOptions, {"mean": [1.0]}, "fusion")
