"""Measuring a stored version: the figures of training again, on any corpus, recorded beside the version."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.stats import spearmanr
from sklearn.metrics import f1_score, mean_absolute_error, mean_squared_error, r2_score

import adapterhub_fin as ahf
from adapterhub_fin.engine.data.corpus import read_corpus
from adapterhub_fin.engine.evaluation.seen import rows_seen, training_texts
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.plugin.interfaces import CorpusImplementation
from adapterhub_fin.recipe.choices import CorpusChoice
from adapterhub_fin.stats.bootstrap import percentile, resampled_means
from adapterhub_fin.testing import tiny_corpus
from adapterhub_fin_registry import Version
from adapterhub_fin_registry.io.disk import Disk
from adapterhub_fin_registry.model.manifest import Parent
from adapterhub_fin_registry.registry_chain import LocatedVersion

KINDS = {"classify": "encoder", "regress": "encoder", "causal-lm": "decoder"}
ROWS = 200  # resamples, where their number is not what is tested


class Told(CorpusImplementation):
    """Rows as a test gives them, in the order of their number."""

    rows: list[dict[str, Any]]

    def __init__(self, options: Any) -> None: ...

    def load(self) -> ahf.Rows:
        return ahf.Rows(Dataset.from_list(self.rows))


def corpus_of(name: str, rows: list[dict[str, Any]]) -> str:
    """The name of a corpus of these rows, which this process knows from now on."""
    globals()[name] = type(name, (Told,), {"rows": rows})
    ahf.register(ahf.Corpus(name=name.lower(), summary="Rows of a test.", target=f"{__name__}:{name}"))
    return name.lower()


@pytest.fixture(scope="module", params=KINDS)
def run(
    request: pytest.FixtureRequest, encoder: Path, decoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    root = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AHF_CACHE", str(root / "cache"))
        yield ahf.train(
            name="acme/measured",
            base={"id": "acme/tiny", "path": str(encoder if KINDS[request.param] == "encoder" else decoder)},
            method={"name": "lora", "rank": 4},
            head=request.param,
            corpus={"name": tiny_corpus(), "splitter": {"by": "stratified", "seed": 3}},
            training={"epochs": 2, "batch_size": 8, "max_length": 16},  # shorter than the texts: documents give blocks
            registry=ahf.Registry(root / "home"),
        )


@pytest.fixture
def base(run: Run, encoder: Path, decoder: Path) -> Path:
    return encoder if KINDS[str(run.version.manifest.head.name)] == "encoder" else decoder  # type: ignore[union-attr]


@pytest.fixture
def registry(run: Run, home: Path) -> ahf.Registry:
    """The version in a registry of this test's own."""
    shutil.copytree(run.version.folder.parents[4], home)
    return ahf.Registry()


def test_the_recorded_metrics_are_those_of_its_own_test_part(run: Run, registry: ahf.Registry, base: Path) -> None:
    """To the last bit where batches are those of training, twice its size; the rest is rounding."""
    same = ahf.evaluate("acme/measured", batch_size=16, base=base, record=False, resamples=1)
    assert dict(same.metrics) == dict(run.metrics) == dict(run.version.manifest.metrics)
    other = ahf.evaluate("acme/measured", batch_size=3, base=base, record=False, resamples=1)
    assert other.metrics == pytest.approx(dict(run.metrics), rel=1e-5)
    assert same.rows == run.version.manifest.measured_on.rows  # type: ignore[union-attr]
    assert same.corpus_digest == run.version.manifest.corpus.digest  # type: ignore[union-attr]


def test_the_event_holds_all_of_it(run: Run, registry: ahf.Registry, base: Path) -> None:
    found = ahf.evaluate("acme/measured@1", base=base, resamples=ROWS, seed=7)
    _, event = registry.events("acme/measured@1")
    assert (event["kind"], event["number"], found.event) == ("evaluation", 2, 2) and event["at"] and event["by"]
    assert {key: event[key] for key in found.body()} == json.loads(json.dumps(found.body()))
    assert (event["corpus"], event["split"], event["seen_in_training"]) == (tiny_corpus(), "test", False)
    assert event["splitter"] == {"by": "stratified", "seed": 3, "test": 0.2, "validation": 0.1}
    distinct = set(found.outcomes.column("unit").to_pylist())  # type: ignore[union-attr]
    assert event["bootstrap"] == {"level": 0.95, "resamples": ROWS, "seed": 7, "units": len(distinct)}
    assert event["environment"]["peft"] and event["environment"]["device"]
    for name, value in found.metrics.items():
        low, high = event["intervals"][name]
        assert low <= value <= high and (low < high or value in (0, 1))
    again = ahf.evaluate("acme/measured@1", base=base, resamples=ROWS, seed=7)
    assert again.intervals == found.intervals and again.event == 3
    assert registry.verify("acme/measured@1").digest == run.version.digest


def test_rows_that_are_named_have_a_search_field_of_their_own(run: Run, registry: ahf.Registry, base: Path) -> None:
    metric = next(iter(run.metrics))
    for name, part in (("desk-2024", "validation"), ("desk-2025", "test"), (None, "all")):
        ahf.evaluate("acme/measured", name=name, split=part, base=base, resamples=5)  # type: ignore[arg-type]
    by_name = {path: value for path, value in registry.rows("acme/measured")[0]["eval"].items() if metric in path}
    assert set(by_name) == {
        f"desk-2024.validation.{metric}",
        f"desk-2025.test.{metric}",
        f"{tiny_corpus()}.all.{metric}",
    }
    assert len(registry.search(f"eval.desk-2024.validation.{metric} > -1000").rows) == 1
    before = len(registry.events("acme/measured"))
    with pytest.raises(ahf.AdapterHubError, match="rows can't be called 'desk 2024': give letters"):
        ahf.evaluate("acme/measured", name="desk 2024", base=base / "which is not looked for")
    assert len(registry.events("acme/measured")) == before


@pytest.mark.parametrize(("part", "seen"), [("train", "rows"), ("validation", "rows"), ("test", 0), ("all", "trained")])
def test_rows_that_training_saw_are_said_to_be(
    run: Run, registry: ahf.Registry, base: Path, part: Any, seen: str | int
) -> None:
    found = ahf.evaluate("acme/measured", split=part, base=base, resamples=5)
    counts = run.version.manifest.corpus.rows  # type: ignore[union-attr]
    wanted = {"rows": found.rows, "trained": counts["train"] + counts["validation"], 0: 0}[seen]
    assert (found.rows_seen, found.seen_in_training) == (wanted, bool(wanted))
    assert registry.events("acme/measured")[-1]["seen_in_training"] is bool(wanted)
    assert found.rows == (sum(counts.values()) if part == "all" else counts[part])
    assert (found.splitter is None) == (part == "all")


def test_a_test_part_under_another_split_holds_rows_that_training_saw(
    run: Run, registry: ahf.Registry, base: Path
) -> None:
    found = ahf.evaluate("acme/measured", overrides=["splitter.seed=4"], base=base, record=False, resamples=5)
    assert found.seen_in_training and 0 < found.rows_seen <= found.rows


def test_nothing_is_recorded_where_that_is_asked(run: Run, registry: ahf.Registry, base: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in registry.root.rglob("*")}
    assert ahf.evaluate("acme/measured", base=base, record=False, resamples=5).event is None
    assert {path: path.stat().st_mtime_ns for path in registry.root.rglob("*")} == before


def test_a_registry_that_cannot_be_written_is_told_before_the_work(
    run: Run, registry: ahf.Registry, base: Path, tmp_path: Path
) -> None:
    class Frozen(Disk):
        def make(self, folder: Path) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))

    frozen = ahf.Registry(disk=Frozen())
    with pytest.raises(ahf.ReadOnly, match="can't be written"):
        ahf.evaluate("acme/measured", base=tmp_path / "no base was looked for", registry=frozen)
    assert ahf.evaluate("acme/measured", base=base, registry=frozen, record=False, resamples=5).metrics


@pytest.mark.parametrize("run", ["classify"], indirect=True)
def test_rows_of_one_group_or_one_text_are_drawn_together(run: Run, registry: ahf.Registry, base: Path) -> None:
    """Draw the units anew here: eight firms, one of which shares a text with another."""
    firms = [f"firm {number // 5}" for number in range(40)]
    texts = [("Profit rose" if number % 3 else "No") + f" in case {number}." for number in range(40)]
    texts[39] = texts[0].upper()
    rows = [
        {"text": text, "label": ("positive", "neutral", "negative")[number % 3], "group": firm}
        for number, (text, firm) in enumerate(zip(texts, firms, strict=True))
    ]
    name = corpus_of("Firms", rows)
    drawn = {"split": "all", "base": base, "record": False, "resamples": ROWS}
    together, alone = (ahf.evaluate("acme/measured", name, units=units, **drawn) for units in (None, "row"))  # type: ignore[arg-type]
    assert (together.bootstrap["units"], alone.bootstrap["units"]) == (7, 40)
    right = np.array([one["truth"] == one["answer"] for one in together.outcomes.to_pylist()], dtype=float)  # type: ignore[union-attr]
    units = np.array([number // 5 % 7 for number in range(40)])
    for found, by in ((together, units), (alone, np.arange(40))):
        means = resampled_means(right[:, None], np.ones((40, 1)), by, resamples=ROWS, seed=0)
        assert found.intervals["accuracy"] == pytest.approx(percentile(means[:, 0], 0.95))
    assert together.intervals["accuracy"] != alone.intervals["accuracy"]


@pytest.mark.parametrize("run", ["causal-lm"], indirect=True)
def test_blocks_of_one_document_are_drawn_together(run: Run, registry: ahf.Registry, base: Path) -> None:
    rows = [{"text": f"Firm {i}. " + ("Profit rose. " if i % 2 else "No. ") * (1 + i % 4)} for i in range(20)]
    name = corpus_of("Documents", rows)
    found = ahf.evaluate("acme/measured", name, split="all", base=base, record=False, resamples=ROWS)
    adapter = ahf.load("acme/measured", base=base)
    assert adapter.head is not None
    blocks = adapter.head.encode(Dataset.from_list(rows), adapter.tokenizer, adapter.max_length)
    assert found.bootstrap["units"] == found.rows == 20 < len(blocks)
    assert found.seen_in_training is False


@pytest.mark.parametrize("run", ["causal-lm"], indirect=True)
def test_the_intervals_of_blocks_are_those_of_their_documents(run: Run, registry: ahf.Registry, base: Path) -> None:
    """G 39: drawn anew here, a document at a time, though answers were computed from the longest block on."""
    rows = [{"text": f"Firm {i}. " + ("Profit rose. ", "No. ", "%$#!&*")[i % 3] * (1 + i % 4)} for i in range(15)]
    options: dict[str, Any] = {"base": base, "record": False, "resamples": ROWS, "seed": 3}
    found = ahf.evaluate("acme/measured", corpus_of("Written", rows), split="all", **options)
    adapter = ahf.load("acme/measured", base=base)
    head: Any = adapter.head
    collate, documents = head.collator(adapter.tokenizer), []
    for row in rows:
        blocks = head.encode(Dataset.from_list([row]), adapter.tokenizer, adapter.max_length)
        batches = [collate([block]) for block in blocks]
        with torch.inference_mode(), adapter.answering():
            told = [head.answers(adapter.model(**batch).logits, batch) for batch in batches]
        documents.append(torch.cat(told).double().numpy())
    assert len({len(blocks) for blocks in documents}) > 1
    rng, drawn = np.random.default_rng(3), []
    for _ in range(ROWS):
        told = np.concatenate([documents[place] for place in rng.integers(15, size=15)])
        drawn.append((told[:, 0] * told[:, 1]).sum() / told[:, 1].sum())
    wanted = np.quantile(drawn, [0.025, 0.975])
    assert found.intervals["loss"] == pytest.approx(tuple(wanted), rel=1e-5)
    assert found.intervals["perplexity"] == pytest.approx(tuple(np.exp(wanted)), rel=1e-4)
    whole = np.concatenate(documents)
    assert found.metrics["loss"] == pytest.approx((whole[:, 0] * whole[:, 1]).sum() / whole[:, 1].sum(), rel=1e-5)


@pytest.mark.parametrize("run", ["regress"], indirect=True)
def test_the_intervals_of_rows_are_theirs(run: Run, registry: ahf.Registry, base: Path) -> None:
    """G 39: each row a unit, in the order in which it was computed."""
    rows = [{"text": f"Firm {i} rose{' again' * (i % 5)}.", "target": (i * 7 % 11) / 4} for i in range(20)]
    options: dict[str, Any] = {"base": base, "record": False, "resamples": ROWS, "seed": 3}
    found = ahf.evaluate("acme/measured", corpus_of("Figures", rows), split="all", **options)
    adapter = ahf.load("acme/measured", base=base)
    said = np.array([answer.value for answer in adapter.predict([str(row["text"]) for row in rows])])
    off = np.abs(said - np.array([row["target"] for row in rows]))
    rng = np.random.default_rng(3)
    drawn = [off[rng.integers(20, size=20)].mean() for _ in range(ROWS)]
    assert found.intervals["mae"] == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), rel=1e-5)


def seen_rows(run: Run, form: Callable[[str], str] = str) -> list[dict[str, Any]]:
    """The rows of the tiny corpus, each with whether training saw it, under the columns of every head."""
    corpus = CorpusChoice.model_validate({"name": tiny_corpus(), "splitter": {"by": "stratified", "seed": 3}})
    parts = read_corpus(corpus, "classify").splits
    return [
        {"text": form(row["text"]), "label": row["label"], "target": row["target"], "seen": part != "test"}
        for part, table in parts.items()
        for row in table
    ]


FORMS: list[Callable[[str], str]] = [
    str,
    str.upper,
    lambda text: f" {text.replace(' ', '  ')}",
    lambda text: text + "\u200b",
]


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_known_by_their_text_under_a_corpus_of_any_name(
    run: Run, registry: ahf.Registry, base: Path, form: Callable[[str], str]
) -> None:
    """G 4: before, `seen in training: no` was said of 200 rows of 578 that it was trained on."""
    rows = seen_rows(run, form)
    rows += rows[:3]  # each counts, though its text stands twice
    options: dict[str, Any] = {"split": "all", "base": base, "record": False, "resamples": 5}
    found = ahf.evaluate("acme/measured", corpus_of("Renamed", rows), **options)
    assert found.seen_in_training is True and found.rows_seen == sum(row["seen"] for row in rows) < len(rows)
    unseen = [row for row in rows if not row["seen"]]
    found = ahf.evaluate("acme/measured", corpus_of("Unseen", unseen), **options)
    assert (found.seen_in_training, found.rows_seen) == (False, 0)


def test_elsewhere_nobody_can_tell(run: Run, registry: ahf.Registry, base: Path, tmp_path: Path) -> None:
    """G 4: what came without hashes, or with those of another registry's key, is unknown and not unseen."""
    version = registry.resolve("acme/measured")
    there = ahf.Registry(tmp_path / "there")
    there.add(version.files, version.manifest, name="acme/measured")
    options: dict[str, Any] = {"base": base, "record": False, "resamples": 5, "registry": there}
    for _ in range(2):
        found = ahf.evaluate("acme/measured", **options)
        assert (found.seen_in_training, found.rows_seen) == (None, None)
        shutil.copy(version.folder / "training-hashes", there.resolve("acme/measured").folder / "training-hashes")


def test_a_merge_saw_what_its_parents_saw(
    run: Run, registry: ahf.Registry, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G 4: known where all parents are known, the merge of a merge as well."""
    rows, (version,) = seen_rows(run), registry.versions("acme/measured")
    texts = [row["text"].casefold() for row in rows if not row["seen"]]
    two = registry.add(
        version.files,
        version.manifest.model_copy(update={"description": "two"}),
        name="acme/two",
        training_texts=texts[:2],
    )
    unknown = registry.add(
        version.files, version.manifest.model_copy(update={"description": "unknown"}), name="acme/unknown"
    )
    table = Dataset.from_list(rows)

    def merged(*parents: Version, role: str = "merge") -> int | None:
        listed = tuple(Parent(digest=each.digest, name=each.name, role=role) for each in parents)
        manifest = version.manifest.model_copy(update={"parents": listed, "corpus": None})
        child = registry.add(version.files, manifest, name="acme/merged")
        return rows_seen(LocatedVersion(registry, child), table)

    trained = sum(row["seen"] for row in rows)
    assert merged(version) == trained and merged(version, two) == trained + 2
    assert merged(registry.resolve("acme/merged"), two) == trained + 2
    assert merged(version, unknown) == trained, "of these it is sure"
    assert rows_seen(LocatedVersion(registry, registry.resolve("acme/merged")), table.select([len(rows) - 1])) is None
    assert merged(unknown) is None and merged(two, role="import") == 2
    assert rows_seen(LocatedVersion(registry, registry.resolve("acme/merged")), table.select([0])) is None
    registry.delete(two.reference)
    assert rows_seen(LocatedVersion(registry, registry.resolve("acme/merged@2")), table.select([0])) == 1


def test_rows_of_the_corpus_it_was_trained_on_are_known_under_other_options(encoder: Path) -> None:
    """G 4: before, nobody could tell of other rows of the same corpus."""
    ahf.train(
        name="acme/small",
        base={"path": str(encoder)},
        corpus={"name": "headlines", "rows": 120},
        training={"epochs": 1, "max_length": 32},
    )
    found = ahf.evaluate("acme/small", overrides=["rows=90"], resamples=5)
    assert found.rows_seen is not None and found.seen_in_training == (found.rows_seen > 0)
    assert ahf.Registry().events("acme/small")[-1]["seen_in_training"] == found.seen_in_training
    assert ahf.evaluate("acme/small", resamples=5).seen_in_training is False


def test_what_the_parents_of_a_version_saw_is_not_taken_for_unseen(trained: Run, encoder: Path) -> None:
    parent = Parent(digest=trained.version.digest, name="acme/tone", role="continued")
    child = trained.version.manifest.model_copy(update={"files": (), "tensors": (), "parents": (parent,)})
    parts = read_corpus(
        CorpusChoice.model_validate({"name": tiny_corpus(), "splitter": {"by": "stratified"}}), "classify"
    )
    learnt = training_texts([parts.splits])  # G 4: what it saw is known by these, and no more by the corpus's digest
    ahf.Registry().add(trained.version.files, child, name="acme/child", training_texts=learnt)
    own = ahf.evaluate("acme/child", split="train", base=encoder, resamples=5)
    rest = ahf.evaluate("acme/child", split="test", base=encoder, resamples=5)
    assert (own.seen_in_training, rest.seen_in_training) == (True, None)


def test_labels_that_the_head_does_not_know_are_named(trained: Run, encoder: Path) -> None:
    names = ("up", "positive", "down")
    name = corpus_of("Strange", [{"text": f"Firm {i} rose.", "label": names[i % 3]} for i in range(30)])
    registry = ahf.Registry(trained.version.folder.parents[4])
    with pytest.raises(ahf.BadCorpus, match="does not know the labels down, up, and answers negative, neutral"):
        ahf.evaluate("acme/tone", name, split="all", base=encoder, registry=registry, record=False)


def test_a_label_without_a_row_counts_in_the_metrics_and_their_intervals(trained: Run, encoder: Path) -> None:
    """G 6: the head answers three labels, of which these rows hold two, one of them once."""
    registry = ahf.Registry(trained.version.folder.parents[4])
    texts = [f"Firm {i} rose." for i in range(40)]
    said = [answer.label for answer in ahf.load("acme/tone", base=encoder, registry=registry).predict(texts)]
    common = max(set(said), key=said.count)
    other = next(label for label in ("negative", "neutral", "positive") if label != common)
    labels = [*said[:-1], other]
    name = corpus_of("Rare", [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)])
    found = ahf.evaluate("acme/tone", name, split="all", base=encoder, registry=registry, record=False, resamples=ROWS)
    every = ["negative", "neutral", "positive"]
    assert found.metrics["macro_f1"] == pytest.approx(
        f1_score(labels, said, labels=every, average="macro", zero_division=0)
    )
    low, high = found.intervals["macro_f1"] or (0.0, 0.0)
    assert low <= found.metrics["macro_f1"] <= high < 0.7, "two labels of three are never answered right"


@pytest.mark.parametrize("target", [1.0, -0.7, 0.1, 1e-3])
@pytest.mark.parametrize("run", ["regress"], indirect=True)
def test_a_metric_that_is_no_number_is_refused(run: Run, registry: ahf.Registry, base: Path, target: float) -> None:
    """G 36: whether the mean of the targets is exact or not, and before anything is computed."""
    name = corpus_of("Flat", [{"text": f"Firm {i} rose.", "target": target} for i in range(10)])
    with pytest.raises(
        ahf.BadCorpus, match=f"corpus flat, all part: r2 is undefined where all 10 targets are {target}"
    ):
        ahf.evaluate("acme/measured", name, split="all", base=base)
    assert [event["kind"] for event in registry.events("acme/measured")] == ["history"]


@pytest.mark.parametrize("run", ["regress"], indirect=True)
def test_metrics_are_those_of_scikit_learn_on_the_answers(run: Run, registry: ahf.Registry, base: Path) -> None:
    """In the units of the rows, each answer beside its own target, whatever order they were computed in."""
    rows = [{"text": f"Firm {i} rose{' again' * (i % 5)}.", "target": 30 + (i * 7 % 11) / 4} for i in range(30)]
    found = ahf.evaluate("acme/measured", corpus_of("Others", rows), split="all", base=base, record=False, resamples=2)
    said = [answer.value for answer in ahf.load("acme/measured", base=base).predict([row["text"] for row in rows])]
    truth = [row["target"] for row in rows]
    assert found.metrics["mse"] == pytest.approx(mean_squared_error(truth, said), rel=1e-5)
    assert found.metrics["mae"] == pytest.approx(mean_absolute_error(truth, said), rel=1e-5)
    assert found.metrics["r2"] == pytest.approx(r2_score(truth, said), rel=1e-5)
    assert found.metrics["spearman"] == pytest.approx(spearmanr(truth, said).statistic, abs=1e-6)


def test_answers_that_are_no_numbers_are_refused(run: Run, registry: ahf.Registry, base: Path) -> None:
    """G 36: NaN has a place among the ranks, and a largest logit."""
    from adapterhub_fin.engine.evaluation import evaluate as evaluating

    def spoil(*args: Any, **kwargs: Any) -> Any:
        adapter = ahf.load(*args, **kwargs)
        with torch.no_grad():
            next(p for name, p in adapter.model.named_parameters() if "lora_B" in name).fill_(float("nan"))
        return adapter

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluating, "load", spoil)
        with pytest.raises(ahf.BadCorpus, match=r"test part: \d+ of \d+ predictions are NaN or infinite"):
            ahf.evaluate("acme/measured", base=base)
    assert [event["kind"] for event in registry.events("acme/measured")] == ["history"]


def test_what_cannot_be_measured_is_one_sentence(trained: Run, encoder: Path) -> None:
    taken = ahf.import_folder(trained.version.files, "acme/mine", labels=["negative", "neutral", "positive"])
    with pytest.raises(ahf.BadRecipe, match="has no recipe that names a corpus"):
        ahf.evaluate("acme/mine", base=encoder)
    found = ahf.evaluate("acme/mine", tiny_corpus(), split="all", base=encoder, resamples=5)
    assert found.version == taken.version and found.seen_in_training is None, "nobody knows what an import saw"
    with pytest.raises(ahf.BadRecipe, match="there is no split 'dev'"):
        ahf.evaluate("acme/mine", tiny_corpus(), split="dev", base=encoder)  # type: ignore[arg-type]
    with pytest.raises(ahf.BadRecipe, match="split"):
        ahf.evaluate("acme/mine", tiny_corpus(), overrides=["splitter.bye=time"], base=encoder)
    with pytest.raises(ahf.UnknownName, match="headlines"):
        ahf.evaluate("acme/mine", "headline", base=encoder)


@pytest.mark.parametrize("resamples", [0, -1])
def test_an_interval_needs_a_resample(registry: ahf.Registry, run: Run, resamples: int) -> None:
    with pytest.raises(ahf.BadRecipe, match="at least 1"):
        ahf.evaluate(run.reference, resamples=resamples, registry=registry)
