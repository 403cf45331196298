"""Contrastive training: sentence-transformers' loss, copies that are no negatives, and vectors as answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModel, AutoTokenizer

import adapterhub_fin as ahf
from adapterhub_fin.engine.base.build_plugin import build_plugin
from adapterhub_fin.engine.base.padding import padding
from adapterhub_fin.errors import BadCorpus, BadRecipe
from adapterhub_fin.plugin.descriptions import Head
from adapterhub_fin.testing import HeadContract
from adapterhub_fin.testing.bench import TEXTS, Bench

ROWS = [
    {"anchor": "profit of Arlo", "positive": "Arlo: profit rose by a tenth.", "negative": "Arlo meets in May."},
    {"anchor": "debt", "positive": "The debt of Brent, in a much longer sentence.", "negative": "Brent: profit fell."},
    {"anchor": "who merges?", "positive": "Corvo merges.", "negative": "No."},
]


def head(**options: Any) -> Any:
    return build_plugin(Head, "contrastive", options)


def batch_of(rows: list[dict[str, Any]], tokenizer: Any) -> tuple[dict[str, Any], Any]:
    built = head()
    batch = built.collator(tokenizer)(list(built.encode(Dataset.from_list(rows), tokenizer, 64)))
    return batch, batch.pop("labels")


@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize(("kind", "side"), [("encoder", "right"), ("decoder", "right"), ("decoder", "left")])
def test_the_loss_is_that_of_sentence_transformers(
    columns: int, kind: str, side: str, request: pytest.FixtureRequest
) -> None:
    """On the left of an encoder, padding would move a text's positions, in both libraries."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    base: Path = request.getfixturevalue(kind)
    transformer = Transformer(str(base))
    theirs = SentenceTransformer(modules=[transformer, Pooling(transformer.get_embedding_dimension(), "mean")])
    theirs = theirs.to("cpu").eval()
    rows = [dict(list(row.items())[:columns]) for row in ROWS]
    tokenizer = padding(AutoTokenizer.from_pretrained(base))
    tokenizer.padding_side = side
    names = list(rows[0])
    encoded = [tokenizer([row[name] for row in rows], padding=True, return_tensors="pt") for name in names]
    features = [{key: each[key] for key in ("input_ids", "attention_mask")} for each in encoded]
    expected = MultipleNegativesRankingLoss(theirs)(features, None)
    batch, labels = batch_of(rows, tokenizer)
    model = AutoModel.from_pretrained(base).eval()
    assert float((head().loss(model(**batch), labels) - expected).abs().detach()) < 1e-5
    assert float(expected.detach()) > 0.1
    assert float((head(scale=1.0).loss(model(**batch), labels) - expected).abs().detach()) > 1e-2


def test_copies_are_no_negatives(encoder: Path) -> None:
    """A batch with every row twice costs what it costs once: only other texts push away."""
    tokenizer = padding(AutoTokenizer.from_pretrained(encoder))
    model = AutoModel.from_pretrained(encoder).eval()
    pairs = [{name: row[name] for name in ("anchor", "positive")} for row in ROWS]
    same_anchor = [*pairs, {"anchor": pairs[0]["anchor"], "positive": "Arlo earns more."}]

    def losses(rows: list[dict[str, Any]]) -> torch.Tensor:
        from torch.nn.functional import cosine_similarity

        batch, labels = batch_of(rows, tokenizer)
        built = head()
        vectors = built.answers(built.raw_outputs(model(**batch)), {"labels": labels})[:, :-2].chunk(2, 1)
        scores = 20 * cosine_similarity(vectors[0][:, None], vectors[1][None], dim=-1)
        for i, one in enumerate(rows):
            for j, other in enumerate(rows):
                if i != j and (one["positive"] == other["positive"] or one["anchor"] == other["anchor"]):
                    scores[i, j] = float("-inf")
        return torch.nn.functional.cross_entropy(scores, torch.arange(len(rows)))

    turned = [*pairs, {"anchor": pairs[1]["positive"], "positive": "Brent owes."}]
    for rows in ([*pairs, pairs[1]], same_anchor, turned):
        batch, labels = batch_of(rows, tokenizer)
        ours = head().loss(model(**batch), labels)
        expected = losses(rows)
        if rows is turned:  # a candidate that is the anchor itself is no negative either
            assert float(ours) < float(expected) - 1e-3
        else:
            assert float((ours - expected).abs()) < 1e-5


def test_a_rank_counts_each_text_once_and_ties_against_it() -> None:
    built = head()
    anchors = np.array([[1, 0], [1, 0], [0, 1], [1, 1]], dtype=np.float32)
    positives = np.array([[1, 0.1], [1, 0.1], [1, 0], [1, 0]], dtype=np.float32)
    numbers = np.array([[0, 10], [0, 10], [1, 11], [2, 11]], dtype=np.float32)  # two texts, four rows
    ranks = built.decide(np.concatenate([anchors, positives, numbers], 1))
    assert ranks.tolist() == [2, 2, 2, 2]
    equal = np.concatenate([anchors, np.ones((4, 2), dtype=np.float32), [[0, 1], [1, 2], [2, 3], [3, 4]]], 1)
    assert built.decide(equal).tolist() == [4, 4, 4, 4], "a model that gives every text one vector ranks nothing"
    several = np.concatenate([anchors, positives, [[0, 10], [0, 11], [1, 12], [2, 13]]], 1)
    assert built.decide(several)[0] == 3, "another positive of the same anchor does not count"


def pairs(folder: Path, negatives: bool = False) -> dict[str, Any]:
    """A corpus whose questions and passages name the same firm."""
    table = [
        {"anchor": f"what of firm {i}?", "positive": f"Firm {i} says so.", "negative": f"Firm {i + 50} says so."}
        for i in range(32)
    ]
    columns = ["anchor", "positive", *(["negative"] if negatives else [])]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, table)), encoding="utf-8")
    return {"name": "table", "path": str(folder / "pairs.jsonl"), "columns": columns}


def bench(folder: Path, kind: Any = "encoder", negatives: bool = False, **options: Any) -> Bench:
    head_options = {"name": "contrastive", **options}
    return Bench(folder, kind, {"name": "lora", "rank": 4}, head_options, pairs(folder, negatives))


class TestContrastive(HeadContract):
    name = "contrastive"

    @pytest.fixture(autouse=True)
    def _pairs(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(self), "corpus", pairs(tmp_path_factory.mktemp("pairs"), negatives=True))


@pytest.mark.parametrize("method", ["lora", "prefix-tuning", "prompt-tuning"])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_predict_gives_the_vectors_of_embed(kind: Any, method: str, tmp_path: Path) -> None:
    trained = Bench(tmp_path, kind, {"name": method}, {"name": "contrastive"}, pairs(tmp_path))
    run = trained.train("pairs", epochs=1)
    assert set(run.metrics) == {"mrr", "ndcg_at_10", "accuracy_at_1"}
    answers = run.adapter.predict(list(TEXTS))
    assert isinstance(answers[0], ahf.Vector)
    assert np.abs(np.array(answers) - run.adapter.embed(list(TEXTS))).max() < 1e-5
    again = ahf.evaluate(run.reference, registry=trained.registry, base=trained.base(), resamples=5)
    assert again.metrics == run.metrics


def test_plain_peft_and_sentence_transformers_read_it(tmp_path: Path) -> None:
    from peft import PeftModel
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    trained = bench(tmp_path)
    run = trained.train("pairs")
    ours = run.adapter.embed(list(TEXTS))
    plain = PeftModel.from_pretrained(AutoModel.from_pretrained(trained.base()), run.version.files).eval()
    transformer = Transformer(str(trained.base()))
    theirs = SentenceTransformer(modules=[transformer, Pooling(transformer.get_embedding_dimension(), "mean")])
    theirs = theirs.to("cpu").eval()
    theirs.load_adapter(str(run.version.files))
    theirs.max_seq_length = run.adapter.max_length
    assert np.abs(theirs.encode(list(TEXTS)) - ours).max() < 1e-5
    batch = run.adapter.tokenizer(list(TEXTS[:1]), return_tensors="pt")
    with torch.inference_mode():
        assert np.abs(plain(**batch).last_hidden_state.mean(1).numpy() - ours[:1]).max() < 1e-5
    loaded = ahf.load(run.reference, base=trained.base(), registry=trained.registry)
    assert np.array_equal(loaded.embed(list(TEXTS)), ours)


def test_two_versions_merge(tmp_path: Path) -> None:
    trained = bench(tmp_path)
    runs = [trained.train(name, epochs=1) for name in ("one", "two")]
    merged = ahf.merge([run.reference for run in runs], using="linear", into="acme/both", registry=trained.registry)
    assert merged.version is not None
    loaded = ahf.load(merged.version, base=trained.base(), registry=trained.registry)
    assert isinstance(loaded.predict(list(TEXTS))[0], ahf.Vector)


def test_a_version_shares_a_bare_backbone_with_a_classifier(tmp_path: Path) -> None:
    trained = bench(tmp_path)
    run = trained.train("pairs", epochs=1)
    other = Bench(tmp_path, "encoder", {"name": "lora", "rank": 4}, {"name": "classify"}).train("tone", epochs=1)
    shared = AutoModel.from_pretrained(trained.base())
    loaded = [ahf.load(each.reference, base=shared, registry=trained.registry) for each in (run, other)]
    for adapter, each in zip(loaded, (run, other), strict=True):
        assert float((adapter.logits(list(TEXTS)) - each.adapter.logits(list(TEXTS))).abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"positive": "a"}, "two of anchor, positive, negative are the same text"),
        ({"negative": "b"}, "two of anchor, positive, negative are the same text"),
        ({"negative": [{"role": "user", "content": "c"}]}, "a cell holds a conversation: write it as a text"),
    ],
)
def test_a_row_that_says_nothing_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadCorpus, match=reason):
        head().target({"anchor": "a", "positive": "b", "negative": "c", **change})


@pytest.mark.parametrize(
    ("options", "training", "reason"),
    [
        ({"scale": 0}, {}, "scale"),
        ({"pooling": "mean"}, {}, "pooling"),
        ({}, {"batch_size": 4, "accumulate": 4}, "gives parts of 1, and contrastive compares the 2 or more rows"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused(
    options: dict[str, Any], training: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(BadRecipe, match=reason):
        bench(tmp_path, **options).train("pairs", **training)


def test_a_missing_negative_is_named(tmp_path: Path) -> None:
    trained = bench(tmp_path, negatives=True)
    assert trained.corpus is not None
    path = Path(trained.corpus["path"])
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0].replace("Firm 50 says so.", ""), *lines[1:]]), encoding="utf-8")
    with pytest.raises(BadCorpus, match=r"pairs.jsonl, line 1: negative is missing"):
        trained.train("pairs")
