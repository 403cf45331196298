"""A base that is trained on shards is the one that is trained on their text."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import adapterhub_fin as ahf
from adapterhub_fin.engine.pretraining.shard_cut import read_shards
from adapterhub_fin.errors import BadRecipe, Corrupted, LookAhead
from adapterhub_fin.recipe.pretrain_recipe import PretrainRecipe
from adapterhub_fin_registry.model.manifest import Knowledge

START = datetime(2010, 1, 1, 12, tzinfo=UTC)
UNTIL = "2010-03-31"


def text(day: int) -> str:
    return f"In {1990 + day % 30} the rate of bond {day * 17 % 97} rose by {day * 7 % 13} basis points to {day % 11}."


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    lines = [{"text": text(day), "available_at": (START + timedelta(days=day)).isoformat()} for day in range(120)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def recipe(name: str, **keys: Any) -> dict[str, Any]:
    training = {"max_steps": 5, "block": 32, "batch_size": 4, "learning_rate": 3e-3, "validation": 0.1}
    shape = {"new": "llama", "layers": 1, "width": 16, "heads": 2}
    return {"name": name, "base": {**shape, **keys.pop("shape", {})}, "until": UNTIL, "training": training, **keys}


def test_weights_and_losses_are_those_of_the_text(rows: Path, tmp_path: Path) -> None:
    corpus = {"name": "table", "path": str(rows), "available_at": "available_at"}
    made = ahf.pretrain(recipe("acme/text", corpus=corpus, shape={"tokenizer": {"train": 290}}))
    known = {"tokenizer_known": UNTIL, "tokenizer_evidence": "acme/text@1"}
    given = {"files": rows, "until": UNTIL, "tokenizer": made.folder, "shard_tokens": 500, **known}
    shards = ahf.tokenize({**given, "filters": {"duplicates": "none"}}, tmp_path / "shards")
    assert len(shards.record["shards"]) > 2
    again = ahf.pretrain(recipe("acme/shards", shards=str(shards.folder)))
    one, other = (load_file(base.folder / "model.safetensors") for base in (made, again))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert again.metrics == made.metrics
    manifest = again.version.manifest
    assert manifest.corpus is not None and manifest.corpus.digest == shards.digest
    inputs = {entry.input: (entry.at, entry.kind) for entry in manifest.knowledge.inputs}
    assert inputs["corpus:shards"] == ("2010-03-31T12:00:00Z", "observed")
    assert inputs["tokenizer:shards"] == ("2010-03-31T23:59:59.999999Z", "asserted")
    assert manifest.knowledge.end == "2010-03-31T23:59:59.999999Z"
    assert str(tmp_path) not in manifest.model_dump_json(exclude={"recipe"})
    agreed = ahf.verify_against("acme/shards@1", shards.folder)
    assert agreed.agrees and agreed.rows == len(shards) and agreed.digest == shards.digest
    less = ahf.tokenize({"files": rows, "until": "2010-03-30", "tokenizer": made.folder}, tmp_path / "less")
    assert "trained on other text" in str(ahf.verify_against("acme/shards@1", less.folder))
    with pytest.raises(BadRecipe, match="acme/shards@1 was trained on the token shards of one folder: give that"):
        ahf.verify_against("acme/shards@1", {"name": "table", "path": str(rows)})


def test_a_base_of_shards_is_compared_with_them(shards: ahf.TokenShards, decoder: Path, tmp_path: Path) -> None:
    """Manifests that were rewritten, canonical and with digests that fit, and a base with another tokenizer."""
    base = ahf.pretrain(recipe("acme/fin", shards=str(shards.folder))).version
    assert ahf.verify_against(base, shards.folder).agrees
    assert base.manifest.corpus is not None
    inputs = [entry.model_copy(update={"at": "2010-01-02T00:00:00Z"}) for entry in base.manifest.knowledge.inputs]
    early = base.manifest.model_copy(update={"knowledge": Knowledge.of(inputs)})
    [problem] = ahf.verify_against(ahf.Registry().add(base.files, early, name="acme/early"), shards.folder).problems
    assert "it knows until 2010-01-02T00:00:00Z, and a row is of 2010-03-31T12:00:00Z" in problem
    corpus = base.manifest.corpus.model_copy(update={"digest": f"sha256:{'0' * 64}"})
    other = ahf.Registry().add(base.files, base.manifest.model_copy(update={"corpus": corpus}), name="acme/other")
    [problem] = ahf.verify_against(other, shards.folder).problems
    assert "other@1 records 90 rows with the digest sha256:000" in problem
    edited = shutil.copytree(base.files, tmp_path / "edited")
    for path in edited.iterdir():
        path.chmod(0o644)
    words = json.loads((edited / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = words["model"]["vocab"]
    one, two = list(vocabulary)[-2:]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    (edited / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    again = base.manifest.model_copy(update={"files": (), "tensors": ()})
    leaky = ahf.Registry().add(edited, again, name="acme/leaky")
    [problem] = ahf.verify_against(leaky, shards.folder).problems
    assert problem == "acme/leaky@1 has another tokenizer than the shards, whose tokens it was trained on"
    ids = shards.folder / "shard-00000.bin"
    ids.chmod(0o644)
    ids.write_bytes(ids.read_bytes()[:-1] + b"\xff")
    with pytest.raises(Corrupted, match="shard-00000"):
        ahf.verify_against(base, shards.folder)


STATED = {"knowledge_end": "2010-03-30", "evidence": "https://example.org/the-archive-of-2010"}


@pytest.mark.parametrize("source", ["dated", "undated"])
def test_the_manifest_s_facts_are_those_of_the_text(rows: Path, tmp_path: Path, source: str) -> None:
    """End, kinds and evidence: dates that the corpus states are asserted through shards too."""
    if source == "undated":
        plain = [{"text": json.loads(line)["text"]} for line in rows.read_text().splitlines()[:90]]
        rows.write_text("".join(json.dumps(row) + "\n" for row in plain))
    dates = STATED if source == "undated" else {"available_at": "available_at"}
    corpus = {"name": "table", "path": str(rows), "license": "CC-BY-4.0", **dates}
    made = ahf.pretrain(recipe("acme/text", corpus=corpus, shape={"tokenizer": {"train": 290}}))
    known = {"tokenizer_known": UNTIL, "tokenizer_evidence": "acme/text@1"}
    given = {"corpus": corpus, "until": UNTIL, "tokenizer": made.folder, **known}
    shards = ahf.tokenize({**given, "filters": {"duplicates": "none"}}, tmp_path / "shards")
    again = ahf.pretrain(recipe("acme/shards", shards=str(shards.folder)))
    text, tokens = made.version.manifest, again.version.manifest
    assert text.corpus is not None and tokens.corpus is not None
    facts = [
        (entry.at, entry.kind, entry.evidence)
        for manifest, name in ((text, "corpus:table"), (tokens, "corpus:shards"))
        for entry in manifest.knowledge.inputs
        if entry.input == name
    ]
    assert len(facts) == 2 and facts[0] == facts[1]
    assert facts[0][1] == ("asserted" if source == "undated" else "observed")
    assert (tokens.corpus.rows, tokens.corpus.available) == (text.corpus.rows, text.corpus.available)
    assert tokens.corpus.license == text.corpus.license == "CC-BY-4.0"
    assert tokens.base == text.base and tokens.metrics == text.metrics
    assert tokens.corpus.digest == shards.digest, "the digest alone is of tokens, not of rows"
    for name in ("tokenizer.json", "config.json"):
        assert (again.folder / name).read_bytes() == (made.folder / name).read_bytes(), name
    limits = [json.loads((base.folder / "tokenizer_config.json").read_text()) for base in (made, again)]
    assert limits[0]["model_max_length"] == limits[1]["model_max_length"] == 32


@pytest.mark.parametrize(
    ("until", "kind"), [(UNTIL, "asserted"), ("2010-04-15", "asserted"), ("2010-03-20", "observed")]
)
def test_of_a_mixture_the_weakest_evidence_goes_through(rows: Path, tmp_path: Path, until: str, kind: str) -> None:
    # The stated date is the latest up to the cut, or dated rows are later, or its rows are not in the cut.
    stated = {**STATED, "knowledge_end": "2010-03-31T18:00:00Z"}
    (tmp_path / "undated.jsonl").write_text("".join(json.dumps({"text": f"Rate {day}."}) + "\n" for day in range(20)))
    parts = [
        {"name": "table", "path": str(rows), "available_at": "available_at"},
        {"name": "table", "path": str(tmp_path / "undated.jsonl"), **stated},
    ]
    mixture = {"name": "mixture", "corpora": parts}
    of_text = ahf.preview_pretrain(
        {**recipe("acme/text", corpus=mixture, shape={"tokenizer": {"train": 290}}), "until": until}
    )
    shards = ahf.tokenize({"corpus": mixture, "until": until, "tokenizer": {"train": 290}}, tmp_path / "shards")
    of_shards = ahf.preview_pretrain({**recipe("acme/shards", shards=str(shards.folder)), "until": until})
    assert of_shards.cut.known == of_text.cut.known == of_shards.known["corpus:shards"]
    assert of_shards.cut.known.kind == kind
    assert (STATED["evidence"] in of_shards.cut.known.evidence) == (kind == "asserted")
    assert shards.tokenizer_known is not None and shards.tokenizer_known.kind == kind
    assert bool(shards.stated) == (kind == "asserted"), "a date from after the cut is not recorded"


def test_a_tokenizer_that_is_trained_on_asserted_text_is_asserted(rows: Path, tmp_path: Path) -> None:
    rows.write_text("".join(json.dumps({"text": text(day)}) + "\n" for day in range(90)))
    corpus = {"name": "table", "path": str(rows), **STATED}
    shards = ahf.tokenize({"corpus": corpus, "until": UNTIL, "tokenizer": {"train": 290}}, tmp_path / "shards")
    known = shards.tokenizer_known
    assert known is not None and (known.kind, known.evidence) == ("asserted", STATED["evidence"])
    later = ahf.tokenize({"corpus": corpus, "until": "2011-12-31", "tokenizer": {"train": 290}}, tmp_path / "later")
    assert [each.kind for each in later.stated] == ["asserted"]


@pytest.fixture
def shards(rows: Path, decoder: Path, tmp_path: Path) -> ahf.TokenShards:
    return ahf.tokenize({"files": rows, "until": UNTIL, "tokenizer": decoder}, tmp_path / "shards")


def test_a_tokenizer_that_nobody_dates_dates_the_base_by_now(shards: ahf.TokenShards) -> None:
    planned = ahf.preview_pretrain(recipe("acme/shards", shards=str(shards.folder)))
    assert shards.knowledge_end.year == 2010 and planned.known["tokenizer:shards"].kind == "bounded"
    assert planned.known["tokenizer:shards"].at > datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ({"until": "2010-03-30"}, LookAhead, "up to 2010-03-31T12:00:00Z, after until 2010-03-30: tokenize"),
        ({"test_until": "2010-04-30"}, BadRecipe, "shards hold one cut of the text: leave since and test_until out"),
        ({"shape": {"tokenizer": {"train": 300}}}, BadRecipe, "of their own tokenizer: leave base.tokenizer out"),
        ({"shape": {"tokenizer": {"train": 8192}}}, BadRecipe, "of their own tokenizer: leave base.tokenizer out"),
    ],
)
def test_what_shards_can_t_do_is_refused(
    shards: ahf.TokenShards, keys: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ahf.preview_pretrain(recipe("acme/shards", shards=str(shards.folder), **keys))


def test_damaged_shards_are_refused_before_training(shards: ahf.TokenShards) -> None:
    path = shards.folder / "shard-00000.bin"
    path.write_bytes(path.read_bytes()[:-2] + b"\x01\x00")
    with pytest.raises(Corrupted, match="shard-00000.bin is not what the index says"):
        ahf.preview_pretrain(recipe("acme/shards", shards=str(shards.folder)))


def test_a_base_goes_on_after_the_instant_at_which_the_one_before_ended(shards: ahf.TokenShards) -> None:
    given = PretrainRecipe.model_validate(recipe("acme/on", shards=str(shards.folder)))
    end = np.sort(shards.available_at)[len(shards) // 2]
    cut = read_shards(given, end.item().replace(tzinfo=UTC))
    later = np.flatnonzero(shards.available_at > end)
    read = np.concatenate([documents.numbers for documents in cut.documents.values()])
    assert sorted(read.tolist()) == later.tolist()


def test_the_first_instant_after_the_cut_is_look_ahead(decoder: Path, tmp_path: Path) -> None:
    instants = ["2010-03-01T12:00:00Z", "2010-03-02T12:00:00Z", "2010-04-01T00:00:00Z"]  # not all midnights, so no days
    lines = [{"text": text(day), "available_at": instant} for day, instant in enumerate(instants)]
    (tmp_path / "late.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    given = {"files": tmp_path / "late.jsonl", "until": "2010-04-01", "tokenizer": decoder}
    late = ahf.tokenize(given, tmp_path / "late")
    with pytest.raises(LookAhead, match="hold text of up to 2010-04-01T00:00:00Z"):
        read_shards(PretrainRecipe.model_validate(recipe("acme/late", shards=str(late.folder))), None)
