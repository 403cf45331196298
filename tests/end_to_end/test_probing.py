"""A version's layers beside those of its bare base: the states, the probes, what is written, for every kind of head."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from pyarrow import parquet
from sklearn.linear_model import LogisticRegression, Ridge
from transformers import AutoModel, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.data.duplicates import text_keys
from adapterhub_fin.engine.data.units import units_of
from adapterhub_fin.engine.probing import probes, targets
from adapterhub_fin.engine.probing.result import Probe
from adapterhub_fin.engine.training.run import Run
from adapterhub_fin.testing import tiny_corpus
from adapterhub_fin.testing.tiny import TinyTone

TEXTS = TinyTone(None).load().table
TINY = {"name": tiny_corpus(), "splitter": {"by": "stratified"}}


def trained(base: Path, head: Any, corpus: Any = None, method: Any = None) -> Run:
    return ahf.train(
        name="acme/seen",
        base={"path": str(base)},
        method=method or {"name": "lora", "rank": 4},
        head=head,
        corpus=corpus or TINY,
        training={"epochs": 2, "batch_size": 8, "max_length": 32, "learning_rate": 1e-2},
    )


def probed(run: Run, **options: Any) -> Probe:
    return ahf.probe(run.reference, **{"split": "all", "resamples": 50, "folds": 2, **options})


def by_hand(base: Path, pooling: str) -> list[np.ndarray]:
    """Return the base's states, by Transformers alone and one text at a time: (rows, hidden) of each layer."""
    model, tokenizer = AutoModel.from_pretrained(base).eval(), AutoTokenizer.from_pretrained(base)
    rows = []
    with torch.inference_mode():
        for text in TEXTS["text"]:
            states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
            rows.append([state[0].mean(0).numpy() if pooling == "mean" else state[0, -1].numpy() for state in states])
    return [np.stack(layer) for layer in zip(*rows, strict=True)]


@pytest.mark.parametrize(("kind", "pooling"), [("encoder", "mean"), ("decoder", "mean"), ("decoder", "last")])
def test_the_states_are_those_of_the_bare_base_and_of_the_version(
    kind: str, pooling: Any, encoder: Path, decoder: Path
) -> None:
    base = encoder if kind == "encoder" else decoder
    run = trained(base, "classify")
    states = probed(run, pooling=pooling).states
    expected = by_hand(base, pooling)
    assert len(states.base) == len(expected) == 3, "the embeddings and two layers"
    for number, layer in enumerate(expected):
        assert states.base[number] == pytest.approx(layer, abs=2e-5)
        tuned = run.adapter.embed(TEXTS["text"][:], pooling=pooling, layer=number)
        assert states.tuned[number] == pytest.approx(tuned, abs=2e-5)
    assert np.abs(states.base[2] - states.tuned[2]).max() > 0.01


@pytest.mark.parametrize(("kind", "method"), [("decoder", "prompt-tuning"), ("encoder", "prefix-tuning")])
def test_virtual_tokens_are_no_text(kind: str, method: str, encoder: Path, decoder: Path) -> None:
    run = trained(encoder if kind == "encoder" else decoder, "classify", method=method)
    states = probed(run).states
    for number in range(3):
        assert states.tuned[number] == pytest.approx(run.adapter.embed(TEXTS["text"][:], layer=number), abs=2e-5)


def test_a_merge_is_probed_beside_its_base(encoder: Path) -> None:
    one, other = trained(encoder, "classify"), trained(encoder, "classify", method={"name": "lora", "rank": 2})
    merge = ahf.merge([one.reference, other.reference], into="acme/both")
    found = ahf.probe(merge.version, TINY, split="all", resamples=5, folds=20)
    assert found.states.base[2] == pytest.approx(by_hand(encoder, "mean")[2], abs=2e-5)
    assert np.abs(found.states.base[2] - found.states.tuned[2]).max() > 0.01 and len(found.probes) == 3
    assert found.rows_seen and "trained on the text of" in found.warnings[0], "both parents saw them"


def rows_with(**columns: list[Any]) -> Dataset:
    return Dataset.from_dict(columns)


def test_copies_and_groups_stay_in_one_fold() -> None:
    texts = [f"row {number}" for number in range(40)]
    texts[7], texts[21] = "Profit  ROSE", "profit rose"  # one text
    groups = [f"firm {number // 2}" for number in range(40)]  # rows 6 and 7, 20 and 21 are of one firm
    table = rows_with(text=texts, group=groups, label=["up", "down"] * 20)
    units = units_of(table)
    assert units[6] == units[7] == units[20] == units[21] and units[6] != units[8] and len(set(units)) == 19
    read = targets.read_targets(table, "classify")
    folds = list(probes.divide_units(read, units, 5, seed=0))
    assert sorted(row for fold in folds for row in fold.test) == list(range(40))
    for fold in folds:
        for fitted, answered in ((fold.train, fold.test), (fold.fitted, fold.held_out)):
            assert not set(units[fitted]) & set(units[answered])
        assert set(fold.fitted) | set(fold.held_out) == set(fold.train)
        assert len(set(table[fold.test]["label"])) == 2, "stratified"
    only_texts = units_of(rows_with(text=texts))
    assert only_texts[7] == only_texts[21] and len(set(only_texts)) == 39
    assert targets.distinct_rows(table).tolist() == [row for row in range(40) if row != 21]


@pytest.mark.parametrize("kind", ["labels", "numbers", "label sets"])
def test_probes_are_scikit_learns_by_hand(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(60, 5))
    vectors[:, 4] = 0.7  # a constant dimension
    score = vectors[:, 0] + 0.3 * draw.normal(size=60)
    sets = [[name for name, value in (("a", score[row]), ("b", -vectors[row, 1])) if value > 0] for row in range(60)]
    cells = {
        "labels": ["up" if value > 0 else "down" for value in score],
        "numbers": score.tolist(),
        "label sets": sets,
    }
    column = "target" if kind == "numbers" else "label"
    read = targets.read_targets(rows_with(text=[str(row) for row in range(60)], **{column: cells[kind]}), None)
    assert read.kind == kind
    monkeypatch.setitem(probes.PENALTIES, "numbers" if kind == "numbers" else "labels", (0.5,))
    folds = list(probes.divide_units(read, np.arange(60), 4, seed=3))
    answers = probes.cross_validated(vectors.astype(np.float32), read, folds)
    for fold in folds:
        mean, spread = vectors[fold.train, :4].mean(0), vectors[fold.train, :4].std(0)
        inputs = (vectors[:, :4] - mean) / spread
        for number, values in enumerate(read.values.T if kind == "label sets" else [read.values]):
            model = Ridge(alpha=0.5) if kind == "numbers" else LogisticRegression(C=0.5, max_iter=2000)
            expected = model.fit(inputs[fold.train], values[fold.train]).predict(inputs[fold.test])
            given = answers[fold.test, number] if kind == "label sets" else answers[fold.test]
            assert given == pytest.approx(expected, abs=1e-3)
    if kind == "numbers":
        from sklearn.metrics import r2_score

        assert read.scores(answers).mean() == pytest.approx(r2_score(score, answers))


def test_the_penalty_is_chosen_without_the_rows_that_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose the strong penalty where the weak one would do better on the fold itself, and the other way round."""
    read = targets.Targets("numbers", np.random.default_rng(0).normal(size=30))
    fold = probes.Fold(*(np.arange(*ends) for ends in ((0, 20), (20, 30), (0, 10), (10, 20))))
    asked: list[tuple[int, float]] = []

    def answered(vectors: Any, targets: Any, train: Any, test: Any, penalty: float, answers: Any) -> Any:
        asked.append((int(test[0]), penalty))
        right = {(10, 10.0), (20, 1e4)}  # the weak one on what is held out, the strong one on the fold
        given = answers.copy()
        given[test] = read.values[test] if (int(test[0]), penalty) in right else 9.0
        return given

    monkeypatch.setattr(probes, "_answered", answered)
    probes.cross_validated(np.zeros((30, 2)), read, [fold])
    assert asked[-1] == (20, 10.0) and all(start == 10 for start, _ in asked[:-1])


def test_constant_dimensions_do_not_blow_up() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    vectors[:, 1], vectors[12, 1] = 0.5, 0.5 + 1e-7
    scaled = probes.standardised(vectors, np.arange(10))
    assert np.abs(scaled[:, 1]).max() < 0.01
    assert scaled[:10, 0].std() == pytest.approx(1, abs=1e-3) and scaled[:10, 0].mean() == pytest.approx(0, abs=1e-9)
    assert np.isfinite(probes.standardised(np.ones((4, 2)), np.arange(4))).all()


def test_the_difference_is_tuned_minus_base_on_the_same_draws_and_p_is_corrected_over_the_layers() -> None:
    draw = np.random.default_rng(0)
    base = (draw.random((200, 3)) < 0.5).astype(float)
    tuned = base.copy()
    tuned[:40, 1] = 1.0  # better in layer 1 alone
    scores = np.empty((200, 6))
    scores[:, 0::2], scores[:, 1::2] = base, tuned
    found = probes.compared(scores, np.arange(200), resamples=2000, seed=0)
    assert [layer.difference.value for layer in found] == pytest.approx((tuned - base).mean(0).tolist())
    assert found[1].base.value == pytest.approx(base[:, 1].mean()) and found[1].tuned.value > found[1].base.value
    assert found[0].difference.interval == (0.0, 0.0) and found[0].p == 1
    low, high = found[1].difference.interval or (0, 0)
    error = 1.96 * (tuned - base)[:, 1].std() / np.sqrt(200)
    assert (low, high) == pytest.approx(
        (found[1].difference.value - error, found[1].difference.value + error), abs=0.01
    )
    assert found[1].p < 0.001 and found[1].p_corrected == pytest.approx(3 * found[1].p)
    together = probes.compared(scores, np.arange(200) // 20, resamples=2000, seed=0)  # the gain is of two units alone
    assert together[1].p == 0.5


def test_each_head_has_probes_of_its_own_kind_or_says_why_not(encoder: Path, decoder: Path) -> None:
    regress = probed(trained(encoder, "regress"))
    assert (regress.target, regress.score, regress.constant_score) == ("numbers", "R2", 0.0) and len(
        regress.probes
    ) == 3
    assert "within" not in regress.similarities[0].base
    assert "numbers and no labels" in regress.unmeasured["similarities within and between labels"]
    rows = [{"text": row["text"], "label": [row["label"], "even" if len(row["text"]) % 2 else "odd"]} for row in TEXTS]
    corpus = {"data": rows, "label": "label", "splitter": {"by": "random"}}
    several = probed(trained(encoder, "multi-label", corpus), corpus=corpus)
    assert (several.target, several.score) == ("label sets", "label accuracy") and len(several.probes) == 3
    texts = {"data": [{"text": text} for text in TEXTS["text"]]}
    written = probed(trained(decoder, "causal-lm", texts), corpus=texts)
    assert written.probes == () and written.unmeasured["probes"] == "the rows have neither a label nor a target"
    assert written.similarities[2].differences["anisotropy"].interval is not None
    assert written.cka_debiased[0][0] == pytest.approx(1) and written.warnings
    labelled = ahf.probe("acme/seen@3", TINY, split="all", resamples=5, folds=2)
    assert labelled.score == "accuracy", "a causal-lm's layers can be probed where the rows have labels"
    json.dumps([each.body() for each in (regress, several, written)], allow_nan=False, default=str)


def test_degenerate_rows_give_reasons(encoder: Path) -> None:
    run = trained(encoder, "classify")
    one = ahf.probe(
        run.reference, {"data": [{"text": "one", "label": "up"}], "label": "label"}, split="all", resamples=5, folds=2
    )
    assert {"probes", "pca", "cka, debiased", "cka"} - {"pca"} <= one.unmeasured.keys()
    assert "similarities of layer 0" in one.unmeasured and one.unmeasured["probes"] == "all rows have the same label"
    same = [{"text": "one text", "label": label} for label in ("up", "down", "up")]
    copies = ahf.probe(run.reference, {"data": same, "label": "label"}, split="all", resamples=5, folds=2)
    assert "belong together" in copies.unmeasured["probes"] and copies.texts == 1 and copies.rows == 3
    json.dumps([one.body(), copies.body()], allow_nan=False, default=str)


def test_a_sample_is_seeded_and_warns_of_rows_that_training_saw(trained: Run, encoder: Path) -> None:
    options: dict[str, Any] = {
        "registry": trained.registry,
        "base": encoder,
        "split": "all",
        "resamples": 5,
        "folds": 2,
    }
    one, again = (ahf.probe("acme/tone@1", sample=20, **options) for _ in range(2))
    other = ahf.probe("acme/tone@1", sample=20, seed=1, **options)
    assert (one.rows, one.rows_of_split) == (20, 48) and one.body() == again.body()
    assert not np.array_equal(one.states.base[0], other.states.base[0])
    assert one.rows_seen and f"{one.rows_seen} of the 20 rows" in one.warnings[0]
    test = ahf.probe("acme/tone@1", **{**options, "split": "test"})
    assert (test.rows_seen, test.warnings) == (0, [])


@pytest.mark.parametrize("kind", ["parquet", "npz"])
def test_the_vectors_of_a_layer_are_written_with_hashes_and_the_exact_version(
    kind: str, trained: Run, encoder: Path, tmp_path: Path
) -> None:
    file = tmp_path / f"layer.{kind}"
    options: dict[str, Any] = {
        "registry": trained.registry,
        "base": encoder,
        "split": "all",
        "resamples": 5,
        "folds": 2,
    }
    found = ahf.probe("acme/tone@1", vectors=file, layer=1, **options)
    if kind == "npz":
        read: Any = np.load(file)
        columns, metadata = {name: read[name] for name in read.files}, json.loads(str(read["metadata"]))
    else:
        table = parquet.read_table(file)
        columns = {name: np.array(table[name].to_pylist()) for name in table.column_names}
        metadata = json.loads(table.schema.metadata[b"adapterhub_fin"])
    assert np.array_equal(columns["base"].astype(np.float32), found.states.base[1])
    assert np.array_equal(columns["tuned"].astype(np.float32), found.states.tuned[1])
    from hashlib import sha256

    assert columns["text_sha256"].tolist() == [sha256(key.encode()).hexdigest() for key in text_keys(TEXTS) or ()]
    assert metadata["reference"] == f"acme/tone@{trained.version.digest}" and metadata["layer"] == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("layer")] == [file.name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 7, "vectors": "out.npz"}, "there is no layer 7"),
        ({"vectors": "out.csv"}, "a .parquet or a .npz file"),
        ({"vectors": "nowhere/out.npz"}, "does not exist"),
        ({"pooling": "median"}, "pooling"),
        ({"split": "trian"}, "no split"),
        ({"sample": 1}, "sample is 1"),
        ({"folds": 1}, "folds is 1"),
    ],
)
def test_wrong_options_are_refused(
    options: Any, message: str, trained: Run, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ahf.BadRecipe, match=message):
        ahf.probe("acme/tone@1", **{"registry": trained.registry, "base": encoder, "resamples": 5, **options})
    assert not list(tmp_path.glob("out*"))


def test_the_page_holds_its_pictures_and_says_what_is_missing(trained: Run, encoder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "registry": trained.registry,
        "base": encoder,
        "split": "all",
        "resamples": 20,
        "folds": 2,
    }
    found = ahf.probe("acme/tone@1", report=tmp_path / "page", **options)
    assert found.page == tmp_path / "page" / "report.html"
    page = found.page.read_text()
    pictures = {path.name: path.read_bytes() for path in found.page.parent.glob("*.png")}
    assert set(pictures) == {"probes.png", "cka.png", "components.png", "similarities.png"}
    assert page.count("data:image/png;base64,") == 4 and "left out" not in page
    assert f"{found.shares[0]:.1%}" in page and f"{found.probes[2].difference.value:+.4f}" in page
    assert "the version was trained on the text of" in page
    again = ahf.probe("acme/tone@1", report=tmp_path / "again", **options)
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").glob("*.png")} == pictures
    assert again.page is not None and again.page.read_text() == page, "the same bytes for the same numbers"
    rows = [{"text": text} for text in TEXTS["text"][:2]]
    bare = ahf.probe("acme/tone@1", {"data": rows}, report=tmp_path / "bare", **options)
    assert bare.page is not None
    page = bare.page.read_text()
    assert "Probes: left out, since the rows have neither a label nor a target" in page
    assert "CKA: left out, since 2 rows: it needs at least 4" in page and page.count("data:image/png") == 2
    (tmp_path / "file").write_text("")
    with pytest.raises(ahf.WriteFailed, match="can't be written"):
        ahf.probe("acme/tone@1", report=tmp_path / "file" / "page", **options)


def test_many_layers_and_many_labels_are_drawn() -> None:
    from adapterhub_fin.plugin.pictures import png
    from adapterhub_fin.reporting import probe_figures
    from adapterhub_fin.stats.representations import Components, Measured

    values = [Measured(0.5 + layer / 100, None if layer == 3 else (0.4, 0.8)) for layer in range(33)]
    rows = [[None if row == 2 else 0.5 for _ in range(33)] for row in range(33)]
    drawn = [
        probe_figures.scores_by_layer(values, values, values, [0.01] * 33, "accuracy", 0.3),
        probe_figures.cka_matrix(rows),
        probe_figures.cosines_by_layer([{"anisotropy": value} for value in values], [{} for _ in values]),
        probe_figures.components(Components(np.ones((4, 1)), np.zeros((4, 1)), [1.0]), None, ()),
    ]
    for figure in drawn:
        assert png(figure).startswith(b"\x89PNG")


def test_threads_probe_at_the_same_time(trained: Run, encoder: Path) -> None:
    options: dict[str, Any] = {
        "registry": trained.registry,
        "base": encoder,
        "split": "all",
        "resamples": 5,
        "folds": 2,
    }
    alone = ahf.probe("acme/tone@1", **options)
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda _: ahf.probe("acme/tone@1", **options), range(2)))
    assert all(one.body() == alone.body() for one in together)


def test_an_adapter_without_a_head_is_probed(encoder: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(r=2, target_modules=["query", "value"], init_lora_weights=False)
    get_peft_model(AutoModel.from_pretrained(encoder), config).save_pretrained(tmp_path / "theirs")
    base = {"id": "acme/tiny", "path": encoder, "knowledge_end": "2015-01-01", "evidence": "a test"}
    version = ahf.import_folder(tmp_path / "theirs", "acme/theirs", base=base).version
    assert version.manifest.head is None
    found = ahf.probe(version, TINY, split="all", resamples=5, folds=2, base=encoder)
    assert found.states.base[2] == pytest.approx(by_hand(encoder, "mean")[2], abs=2e-5)
    assert np.abs(found.states.base[2] - found.states.tuned[2]).max() > 0.01 and len(found.probes) == 3
    assert found.rows_seen is None and "may be among them" in found.warnings[0]
